"""Empty jobs of one fixed unit, submitted beforehand, run by 2 worker processes: ours beside four other engines.

    python -m bench.engine_empty_jobs [--seconds 8] [--runs 1] [--only redrive,pgqueuer]

Every engine works on a database of its own on one embedded PostgreSQL with fsync on, one after the other. A
rate counts from the first job that started to the last one that ended, by the engine's own records; each of
ours leaves an attempt, events and an outcome, which is checked. Also: memory of our workers meanwhile.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import threading
import time
from multiprocessing.synchronize import Event, Semaphore
from pathlib import Path

import psycopg

from bench import peers_environment
from bench.memory import peak_megabytes
from bench.results import Figure, report
from redrive.database import Database, migrate
from redrive.database.embedded import EmbeddedPostgres
from redrive.engine import jobs
from redrive.engine.kinds import Done, Kind
from redrive.engine.model import NewJob, NewUnit
from redrive.engine.worker import Worker

KIND = Kind(name="bench.empty", title="nothing", run=lambda work: Done())
WORKERS = 2
LONGEST_SECONDS = 60.0

#: What each engine is expected to do, to size its queue for the wished duration.
GUESSES = {"redrive": 20_000, "pgqueuer": 10_000, "dbos": 800, "procrastinate": 800, "absurd": 1_000}
TARGETS = {"pgqueuer": 1.5, "dbos": 15, "procrastinate": 15, "absurd": 15}


def work(url: str, ready: Semaphore, go: Event, stop: Event) -> None:
    """Be a worker process of ours."""
    with Database(url, name="bench-worker") as db:
        worker = Worker(db, [KIND])
        ready.release()
        go.wait()
        thread = threading.Thread(target=worker.run)
        thread.start()
        stop.wait()
        worker.stop()
        thread.join()


def fill(db: Database, count: int) -> float:
    begun = time.perf_counter()
    new = [NewJob("bench.empty", 1, {}, "bench", units=(NewUnit(),)) for _ in range(5000)]
    for _ in range(0, count, len(new)):
        db.run(lambda conn: jobs.submit_many(conn, new))
    return count / (time.perf_counter() - begun)


def measure_ours(url: str, seconds: float) -> tuple[float, float]:
    """Return jobs a second, and the largest memory of a worker in MB."""
    count = max(1, round(GUESSES["redrive"] * seconds / 5000)) * 5000
    with Database(url) as db:
        migrate(db)
        rate = fill(db, count)
        print(f"submitted {count:,} ({rate:,.0f}/s)", flush=True)
        with db.connect() as conn:
            conn.execute("vacuum analyze")
        context = multiprocessing.get_context("spawn")
        ready, go, stop = context.Semaphore(0), context.Event(), context.Event()
        processes = [context.Process(target=work, args=(url, ready, go, stop)) for _ in range(WORKERS)]
        for process in processes:
            process.start()
        for _ in processes:
            ready.acquire()
        go.set()
        open_units = (
            "select exists (select from units where state = 'running' or ready_at is not null) as left"
        )
        until_empty(url, open_units)
        memory = max(peak_megabytes(process.pid or 0) for process in processes)
        stop.set()
        for process in processes:
            process.join()
        with db.transaction() as conn:
            row = conn.execute(
                "select (select count(*) from attempts where outcome = 'succeeded') as attempts,"
                " (select count(*) from events where name = 'succeeded') as events,"
                " count(*) filter (where state = 'succeeded') as jobs,"
                " extract(epoch from max(ended_at) - min(started_at))::float8 as seconds from jobs"
            ).fetchone()
        assert (row.attempts, row.events, row.jobs) == (count, count, count), row
    return count / row.seconds, memory


def until_empty(url: str, question: str) -> bool:
    """Wait until a query says that nothing is left; False where that takes too long. Asks seldom."""
    end = time.monotonic() + LONGEST_SECONDS
    with psycopg.connect(url, autocommit=True) as conn:
        while time.monotonic() < end:
            row = conn.execute(question.encode()).fetchone()
            if row is not None and not row[0]:
                return True
            time.sleep(0.5)
    return False


def measure_peer(server: EmbeddedPostgres, name: str, url: str, seconds: float) -> float:
    count = round(GUESSES[name] * seconds)
    with peers_environment.working(name, url, count, WORKERS):
        finished = until_empty(url, peers_environment.QUESTIONS[name].left)
    with psycopg.connect(url) as conn:
        row = conn.execute(peers_environment.QUESTIONS[name].done.encode()).fetchone()
    # One that is too slow for its queue still has a rate; one that lost jobs has none.
    assert row is not None and (row[0] == count or (row[0] and not finished)), f"{name} did {row} of {count}"
    return float(row[0] / row[1])


def run(seconds: float, runs: int, only: list[str]) -> None:
    rates: dict[str, list[float]] = {name: [] for name in GUESSES if name in only}
    memories = []
    with tempfile.TemporaryDirectory(prefix="redrive-bench-") as folder:
        server = EmbeddedPostgres(Path(folder))
        server.start()
        try:
            for number in range(runs):
                for name, found in rates.items():
                    url = fresh_database(server, f"{name}_{number}")
                    if name == "redrive":
                        rate, memory = measure_ours(url, seconds)
                        memories.append(memory)
                    else:
                        rate = measure_peer(server, name, url, seconds)
                    print(f"{name}: {rate:,.0f} empty jobs/s with {WORKERS} workers", flush=True)
                    found.append(rate)
                    drop_database(server, f"{name}_{number}")
        finally:
            server.stop()
    tell({name: statistics.median(found) for name, found in rates.items()}, memories, runs)


def tell(rates: dict[str, float], memories: list[float], runs: int) -> None:
    note = f"median of {runs}" if runs > 1 else "one run"
    if "redrive" not in rates:
        return
    ours = rates["redrive"]
    report(Figure("empty jobs, 2 workers", ours, "jobs/s", ">= 15,000", note=note))
    for name, target in TARGETS.items():
        if name in rates:
            report(Figure("empty jobs, 2 workers", ours, "jobs/s", f">= {target} x", name, rates[name], note))
    report(Figure("memory of a worker, empty jobs", max(memories), "MB", "<= 600", note="peak"))


def fresh_database(server: EmbeddedPostgres, name: str) -> str:
    with psycopg.connect(server.superuser_url(), autocommit=True) as conn:
        conn.execute(f"create database {name} owner redrive".encode())
        conn.execute("checkpoint")
    return server.database_url(name)


def drop_database(server: EmbeddedPostgres, name: str) -> None:
    with psycopg.connect(server.superuser_url(), autocommit=True) as conn:
        conn.execute(f"drop database {name} with (force)".encode())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=8.0, help="about how long each engine works")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--only", default=",".join(GUESSES))
    options = parser.parse_args()
    run(options.seconds, options.runs, options.only.split(","))


if __name__ == "__main__":
    main()

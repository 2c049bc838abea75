"""A million failed jobs put back by one filter call, while other work goes on.

    python -m bench.engine_bulk_retry [--jobs 1000000]

Prints the seconds of the one call, how long other jobs took from submit to end meanwhile, and the times of list
pages and single retries inside the engine (over HTTP: bench.jobs_over_http).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from pathlib import Path

from bench.results import Figure, report
from redrive.database import Database, migrate
from redrive.database.embedded import EmbeddedPostgres
from redrive.engine import jobs, recovery
from redrive.engine.jobs import JobFilter
from redrive.engine.kinds import Done, Kind
from redrive.engine.model import JobState, NewJob, NewUnit
from redrive.engine.recovery import RetryFilter
from redrive.engine.worker import Worker

TENANT = 1

LOAD = """
with new as (
    insert into jobs (id, tenant_id, kind, spec, lanes, state, phase, total_units, failed_units, failure, fingerprint,
                      actor, run_at, ended_at, started_at)
    select n, 1, 'bench.failed', '{}', 1, 'failed', 1, 1, 1,
           '{"code": "network", "detail": "x", "fingerprint": "f"}', 'f' || n %% 3, 'bench', now(), now(), now()
    from generate_series(1, %(count)s) n returning id
), u as (
    insert into units (id, job_id, tenant_id, kind, phase, state, attempt, claim, failure, ended_at)
    select n, n, 1, 'bench.failed', 1, 'failed', 1, 1, '{"code": "network", "fingerprint": "f"}', now()
    from generate_series(1, %(count)s) n
)
insert into attempts (job_id, number, cause, actor, ended_at, outcome)
select n, 1, 'submit', 'bench', now(), 'failed' from generate_series(1, %(count)s) n
"""


def other_work(url: str, stop: threading.Event, waits: list[float]) -> None:
    kind = Kind(name="bench.other", title="other", run=lambda work: Done())
    with Database(url) as db:
        worker = Worker(db, [kind])
        thread = threading.Thread(target=worker.run)
        thread.start()
        while not stop.is_set():
            begun = time.perf_counter()
            new = NewJob("bench.other", TENANT, {}, "bench", units=(NewUnit(),))
            job_id = db.run(lambda conn, new=new: jobs.submit(conn, new))
            while db.run(lambda conn, i=job_id: jobs.get(conn, TENANT, i)).state is not JobState.SUCCEEDED:
                time.sleep(0.002)
            waits.append(time.perf_counter() - begun)
            time.sleep(0.05)
        worker.stop()
        thread.join()


def timed(db: Database, what: str, wanted: JobFilter) -> None:
    times = []
    for _ in range(7):
        begun = time.perf_counter()
        with db.transaction() as conn:
            found = jobs.listing(conn, TENANT, wanted)
        times.append(time.perf_counter() - begun)
    print(f"  page of {len(found)} ({what}): {statistics.median(times) * 1000:.1f} ms")


def single_retries(db: Database, count: int) -> None:
    with db.transaction() as conn:
        rows = conn.execute(
            "select id from jobs where state = 'failed' order by id desc limit 1000"
        ).fetchall()
    took = []
    for row in rows[:count]:
        begun = time.perf_counter()
        db.run(lambda conn, i=row.id: recovery.retry_each(conn, TENANT, [i], actor="bench"))
        took.append(time.perf_counter() - begun)
        time.sleep(max(0.0, 0.01 - took[-1]))
    took.sort()
    print(
        f"  single retry: p50 {took[len(took) // 2] * 1000:.1f} ms, p99 {took[int(len(took) * 0.99)] * 1000:.1f} ms"
    )


def retry_all(db: Database, url: str) -> None:
    """Put all failed jobs back by one call, with a worker and its own small jobs beside."""
    stop, waits = threading.Event(), []
    beside = threading.Thread(target=other_work, args=(url, stop, waits))
    beside.start()
    time.sleep(1)
    wanted = RetryFilter(kinds=["bench.failed"])
    begun = time.perf_counter()
    retried, _ = db.run(lambda conn: recovery.retry_many(conn, TENANT, wanted, actor="bench", reason="bulk"))
    took = time.perf_counter() - begun
    stop.set()
    beside.join()
    report(Figure(f"{retried:,} failed jobs put back by one filter call", took, "s", "<= 30"))
    meanwhile = f"{len(waits)} of them, longest {max(waits) * 1000:.0f} ms"
    report(
        Figure("a small job meanwhile, submit to end", statistics.median(waits) * 1000, "ms", note=meanwhile)
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=1_000_000)
    count = parser.parse_args().jobs
    with tempfile.TemporaryDirectory(prefix="redrive-bench-") as folder:
        server = EmbeddedPostgres(Path(folder))
        url = server.start()
        try:
            with Database(url) as db:
                migrate(db)
                db.run(lambda conn: conn.execute(LOAD, {"count": count}))
                with db.connect() as conn:
                    conn.execute("vacuum analyze")
                print(f"{count:,} failed jobs in the table", flush=True)
                timed(db, "all", JobFilter())
                timed(db, "failed", JobFilter(states=[JobState.FAILED]))
                succeeded = JobFilter(kinds=["bench.failed"], states=[JobState.SUCCEEDED])
                timed(db, "one kind, succeeded", succeeded)
                timed(db, "one fingerprint", JobFilter(fingerprint="f1"))
                single_retries(db, 500)
                retry_all(db, url)
        finally:
            server.stop()


if __name__ == "__main__":
    main()

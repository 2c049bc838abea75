"""From submit to start: how long until an idle worker runs a job that was just submitted.

    python -m bench.engine_start [--jobs 200]

One worker process on an embedded PostgreSQL with fsync on waits for LISTEN/NOTIFY; jobs come one by one, at
irregular times. Counted from before the submitting transaction begins to the first line of the job's code.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import statistics
import tempfile
import threading
import time
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path

from bench.results import Figure, report
from redrive.database import Database, migrate
from redrive.database.embedded import EmbeddedPostgres
from redrive.engine import jobs
from redrive.engine.kinds import Done, Kind, Outcome, Work
from redrive.engine.model import NewJob, NewUnit
from redrive.engine.worker import Worker


def serve(url: str, told: Connection, stop: Event) -> None:
    """Be a worker process that tells when each job started (the clock is one for all processes)."""

    def tell(work: Work) -> Outcome:
        told.send(time.monotonic())
        return Done()

    with Database(url) as db:
        worker = Worker(db, [Kind(name="bench.start", title="start", run=tell)])
        thread = threading.Thread(target=worker.run)
        thread.start()
        stop.wait()
        worker.stop()
        thread.join()


def measure(url: str, count: int) -> list[float]:
    """Return milliseconds, one for each job."""
    context = multiprocessing.get_context("spawn")
    heard, told = context.Pipe(duplex=False)
    stop = context.Event()
    process = context.Process(target=serve, args=(url, told, stop))
    took = []
    with Database(url) as db:
        migrate(db)
        process.start()
        try:
            for _ in range(count):
                new = NewJob("bench.start", 1, {}, "bench", units=(NewUnit(),))
                begun = time.monotonic()
                db.run(lambda conn, new=new: jobs.submit(conn, new))
                took.append((heard.recv() - begun) * 1000)
                time.sleep(random.uniform(0.02, 0.08))
        finally:
            stop.set()
            process.join()
    return took[1:]  # the first one waited for the process itself


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="redrive-bench-") as folder:
        server = EmbeddedPostgres(Path(folder))
        try:
            took = sorted(measure(server.start(), options.jobs))
        finally:
            server.stop()
    last = took[int(len(took) * 0.99)]
    report(Figure("submit to start, idle worker: median", statistics.median(took), "ms", "<= 20"))
    report(Figure("submit to start, idle worker: 99 %", last, "ms"))


if __name__ == "__main__":
    main()

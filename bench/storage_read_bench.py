"""One point, one day out of many samples, after continuous small ingest with compaction beside it.

    python -m bench.storage_read_bench [--millions 100] [--moves 300]

Fills a table in big appends, then appends small batches (as the mover does, one per second of arrival) and
compacts as it goes. Prints read times with a fresh snapshot each, the number of files, and the memory used.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from bench import storage_bench as shapes
from bench.memory import peak_megabytes
from bench.results import Figure, report
from redrive.database import Database, migrate
from redrive.database.embedded import EmbeddedPostgres
from redrive.services.timeseries.boxes import Box, Points
from redrive.services.timeseries.storage import OrgTable, SampleStore


def fill(database_url: str, folder: str, days: int) -> None:
    """Fill the table in a process of its own: making the samples is not what is measured."""
    with Database(database_url) as db:
        store = SampleStore(folder, None, db)
        spent = shapes.fill(store.table("o1"), shapes.by_time(days), "import")
        snapshot = store.table("o1").snapshot()
        assert snapshot is not None
        print(f"{snapshot.rows / 1e6:.1f} M rows in {len(snapshot.files)} files, {spent:.1f} s", flush=True)
        store.close()


def moves(table: OrgTable, days: int, count: int) -> None:
    """Every minute all series get a value: batches of 4,000 rows."""
    series = shapes.ASSETS * shapes.POINTS
    asset = np.repeat(np.arange(shapes.ASSETS, dtype=np.int32), shapes.POINTS)
    point = np.tile(np.arange(shapes.POINTS, dtype=np.int32), shapes.ASSETS)
    numbers = np.round(np.random.default_rng(3).normal(20, 3, series), 2)
    appended, merged, took = 0.0, 0.0, []
    for number in range(count):
        at = np.full(series, shapes.START_MS + days * 86_400_000 + 60_000 * number, np.int64)
        batch = shapes._table(asset, point, at, numbers, 10**6 + number)
        began = time.perf_counter()
        table.append(batch, app_id="move", claim=1, step=10**6 + number)
        took.append(time.perf_counter() - began)
        appended += took[-1]
        began = time.perf_counter()
        if number % 8 == 7:
            shapes.compact(table)
        merged += time.perf_counter() - began
    middle = statistics.median(took) * 1000
    print(f"  {count} moves of {series} rows: median {middle:.1f} ms each; compaction beside: {merged:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--millions", type=int, default=100)
    parser.add_argument("--moves", type=int, default=300)
    arguments = parser.parse_args()
    days = max(1, round(arguments.millions * 1e6 / (shapes.ASSETS * shapes.POINTS * shapes.PER_DAY)))
    folder = Path(tempfile.mkdtemp(prefix="redrive-bench-"))
    server = EmbeddedPostgres(folder / "pg")
    try:
        server.start()
        with Database(server.database_url("redrive")) as db:
            migrate(db)
            filling = get_context("spawn").Process(
                target=fill, args=(server.database_url("redrive"), str(folder / "samples"), days)
            )
            filling.start()
            filling.join()
            store = SampleStore(str(folder / "samples"), None, db)
            table = store.table("o1")
            shapes.timed("compaction", lambda: shapes.compact(table))
            moves(table, days, arguments.moves)
            snapshot = table.snapshot()
            assert snapshot is not None
            bucket = max(len(snapshot.bucket(number)) for number in range(16))
            print(
                f"{snapshot.rows / 1e6:.1f} M rows in {len(snapshot.files)} files, at most {bucket} a bucket"
            )
            for day in (days // 2, days - 1, days):
                start = shapes.START_MS + day * 86_400_000
                box = Box(frozenset(["asset-00077"]), Points.only(["point_007"]), start, start + 86_400_000)
                times = []
                for _ in range(20):
                    began = time.perf_counter()
                    rows = table.scan([box]).num_rows
                    times.append((time.perf_counter() - began) * 1000)
                shown = (
                    f"first {times[0]:.1f}, median {statistics.median(times):.1f}, worst {max(times):.1f} ms"
                )
                print(f"  one point, day {day} of {days}: {rows} rows, {shown}")
                what = f"one point, day {day + 1}, out of {snapshot.rows / 1e6:.0f} M samples"
                report(Figure(f"{what}: median", statistics.median(times), "ms", "<= 50"))
                report(Figure(f"{what}: worst of 20", max(times), "ms", "<= 50"))
            store.close()
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    report(
        Figure(
            "memory of a process that moves, compacts and reads",
            peak_megabytes(),
            "MB",
            "<= 600",
            note="peak",
        )
    )


if __name__ == "__main__":
    main()

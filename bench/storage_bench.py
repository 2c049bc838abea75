"""The sample store beside bare deltalake: import, two erasures, one read. Ratios of one run.

python -m bench.storage_bench [--days 5] [--only import,erase,half,read]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from bench.results import Figure, report
from redrive.database import Database, migrate
from redrive.database.embedded import EmbeddedPostgres
from redrive.services.timeseries.boxes import Box, Points
from redrive.services.timeseries.storage import MEMORY, OrgTable, SampleStore, columns

ASSETS, POINTS, PER_DAY = 200, 20, 1440
START_MS = 1_700_006_400_000
ASSET_NAMES = [f"asset-{number:05d}" for number in range(ASSETS)]
POINT_NAMES = [f"point_{number:03d}" for number in range(POINTS)]


def by_asset(days: int, assets_at_once: int = 20) -> Iterator[pa.Table]:
    """Sensors' values: a walk of two decimals every minute; sorted, some assets at a time."""
    count = days * PER_DAY
    rng = np.random.default_rng(1)
    times = START_MS + 60_000 * np.arange(count, dtype=np.int64)
    for first in range(0, ASSETS, assets_at_once):
        series = assets_at_once * POINTS
        numbers = np.round(np.cumsum(rng.normal(0, 0.05, (series, count)), axis=1) + 20, 2).ravel()
        asset = np.repeat(np.arange(first, first + assets_at_once, dtype=np.int32), POINTS * count)
        point = np.tile(np.repeat(np.arange(POINTS, dtype=np.int32), count), assets_at_once)
        yield _table(asset, point, np.tile(times, series), numbers, 1)


def by_time(days: int, hours_at_once: int = 15) -> Iterator[pa.Table]:
    """The same shape of data as it arrives: all assets minute by minute."""
    rng = np.random.default_rng(2)
    series = ASSETS * POINTS
    last = np.full(series, 20.0)
    for first in range(0, days * PER_DAY, hours_at_once * 60):
        count = min(hours_at_once * 60, days * PER_DAY - first)
        walked = np.cumsum(rng.normal(0, 0.05, (count, series)), axis=0) + last
        last = walked[-1]
        asset = np.tile(np.repeat(np.arange(ASSETS, dtype=np.int32), POINTS), count)
        point = np.tile(np.arange(POINTS, dtype=np.int32), count * ASSETS)
        times = np.repeat(START_MS + 60_000 * np.arange(first, first + count, dtype=np.int64), series)
        yield _table(asset, point, times, np.round(walked, 2).ravel(), first + 1)


def _table(asset: Any, point: Any, times: Any, numbers: Any, seq: int) -> pa.Table:
    total = len(times)
    return pa.table(
        [
            pa.DictionaryArray.from_arrays(pa.array(asset), pa.array(ASSET_NAMES)),
            pa.DictionaryArray.from_arrays(pa.array(point), pa.array(POINT_NAMES)),
            pa.array(times),
            pa.array(numbers),
            pa.nulls(total, pa.string()),
            pa.array(np.zeros(total, np.int8)),
            pa.nulls(total, pa.int32()),
            pa.array(np.full(total, seq, np.int64)),
            pa.array(np.full(total, START_MS, np.int64)),
        ],
        schema=MEMORY,
    )


def timed(label: str, work: Callable[[], Any]) -> tuple[float, Any]:
    began, used = time.perf_counter(), time.process_time()
    result = work()
    seconds, used = time.perf_counter() - began, time.process_time() - used
    print(f"  {label:<58} {seconds * 1000:9.1f} ms  ({used * 1000:.1f} ms of processor)", flush=True)
    return seconds, result


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.parquet") if "_delta_log" not in str(path))


def plain(table: pa.Table) -> pa.Table:
    """As a user of deltalake would hand it over: strings, instants, and the day for the partition."""
    disk = columns.to_disk(columns.with_names(table))
    disk = disk.set_column(0, "asset", disk["asset"].cast(pa.string()))
    disk = disk.set_column(1, "point", disk["point"].cast(pa.string()))
    return disk.append_column("day", disk["time"].cast(pa.date32()))


def bare(folder: Path, days: int, partition: list[str] | None) -> float:
    spent = 0.0
    for table in by_asset(days):
        ready = plain(table)
        began = time.perf_counter()
        write_deltalake(str(folder), ready, mode="append", partition_by=partition)
        spent += time.perf_counter() - began
    return spent


def erase_bare(folder: Path, predicate: str) -> None:
    table = DeltaTable(str(folder))
    table.delete(predicate)
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)


def fill(table: OrgTable, source: Iterator[pa.Table], app_id: str) -> float:
    spent = 0.0
    for number, chunk in enumerate(source):
        began = time.perf_counter()
        table.append(chunk, app_id=f"{app_id}/{number}", claim=1)
        spent += time.perf_counter() - began
    return spent


def compact(table: OrgTable) -> int:
    rows = 0
    while plans := table.compactions():
        for plan in plans:
            rows += table.compact(plan, app_id="compact", claim=1).rows_before
    return rows


def erase_unit(table: OrgTable, unit: tuple[int, Box]) -> int:
    number, box = unit
    return table.erase(box, app_id=f"half/{number}", claim=1, seq_max=10**9).rows_deleted


def bench(root: Path, store: SampleStore, days: int, only: set[str]) -> None:
    total = ASSETS * POINTS * PER_DAY * days
    print(f"{total / 1e6:.1f} M samples: {ASSETS} assets x {POINTS} points x {days} days by the minute")
    table = store.table("o1")
    ours = fill(table, by_asset(days), "import")
    mine = size_of(root / "o1")
    print(
        f"  import, sorted by asset: {total / ours / 1e6:.2f} M samples/s, {mine / total:.2f} bytes a sample"
    )
    timed("  compaction of that", lambda: print("   rows merged", compact(table)))
    arriving = store.table("o2")
    spent = fill(arriving, by_time(days), "import")
    print(f"  import, in order of time: {total / spent / 1e6:.2f} M samples/s")
    timed("  compaction of that", lambda: print("   rows merged", compact(arriving)))
    if "import" in only:
        clustered = bare(root / "clustered", days, None)
        daily = bare(root / "daily", days, ["day"])
        size = size_of(root / "clustered")
        print(
            f"  bare deltalake, sorted: {total / clustered / 1e6:.2f} M samples/s, {size / total:.2f} bytes;"
        )
        print(f"  bare deltalake, by day: {total / daily / 1e6:.2f} M samples/s")
        print(f"  ratio to the faster of them: {min(clustered, daily) / ours:.2f} x")
    last = START_MS + days * 86_400_000
    for name, each in (("import by asset, compacted", table), ("import by time, compacted", arriving)):
        one = Box(
            frozenset([ASSET_NAMES[77]]), Points.only(["point_007"]), last - 2 * 86_400_000, last - 86_400_000
        )
        for _ in range(3):
            timed(f"read one point, one day ({name})", lambda t=each, b=one: t.scan([b]))
    begin, end = START_MS + 86_400_000, START_MS + 86_400_000 + int(3.5 * 86_400_000)
    where = "asset in ('asset-00050', 'asset-00120') and point in ('point_003', 'point_007', 'point_011')"
    spans = f"time >= {_sql(begin)} and time < {_sql(end)}"
    for name, each in (("import by asset, compacted", table), ("import by time, compacted", arriving)):
        box = Box(
            frozenset(["asset-00050", "asset-00120"]),
            Points.only(["point_003", "point_007", "point_011"]),
            begin,
            end,
        )
        print(f"   rows of the files touched: {each.rows_near(box):,}")
        took, erased = timed(
            f"erase 2 x 3 x 3.5 days ({name})",
            lambda t=each, b=box: t.erase(b, app_id="job/1", claim=1, seq_max=10**9),
        )
        print("   ", erased.as_ledger())
        timed("sweep", lambda t=each: t.sweep(10**9))
        if "import" in only and each is table:
            other, _ = timed(
                "bare delete + vacuum, sorted", lambda: erase_bare(root / "clustered", f"{where} and {spans}")
            )
            third, _ = timed(
                "bare delete + vacuum, by day", lambda: erase_bare(root / "daily", f"{where} and {spans}")
            )
            what = "bare rewrite of 2 x 3 x 3.5 days in one table, no job"
            report(Figure(what, took, "s", "", "bare deltalake delete and vacuum, sorted", other))
            report(Figure(what, took, "s", "", "bare deltalake delete and vacuum, by day", third))
    lanes = ThreadPoolExecutor(4)  # as a deletion job runs its units
    middle = START_MS + days * 86_400_000 // 2
    half = f"time < {_sql(middle)}"
    for name, each in (("import by asset, compacted", table), ("import by time, compacted", arriving)):
        boxes = [
            Box(frozenset(a for a in ASSET_NAMES if columns.bucket_of(a) == bucket), Points.all(), 0, middle)
            for bucket in range(columns.BUCKETS)
        ]
        took, erased = timed(
            f"erase half of all by time, 16 units ({name})",
            lambda t=each, bs=boxes: list(lanes.map(partial(erase_unit, t), enumerate(bs))),
        )
        print("   rows deleted", sum(erased))
        if "import" in only and each is table:
            other, _ = timed("bare delete + vacuum, sorted", lambda: erase_bare(root / "clustered", half))
            third, _ = timed("bare delete + vacuum, by day", lambda: erase_bare(root / "daily", half))
            what = "deletion of half of all samples by time, 16 units"
            report(Figure(what, took, "s", ">= 1 x", "bare deltalake delete and vacuum, sorted", other))
            report(Figure(what, took, "s", ">= 1 x", "bare deltalake delete and vacuum, by day", third))


def _sql(at_ms: int) -> str:
    return f"arrow_cast('{np.datetime64(at_ms, 'ms')}Z', 'Timestamp(Microsecond, Some(\"UTC\"))')"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=5)
    parser.add_argument("--only", default="import,erase,half,read")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="redrive-bench-"))
    server = EmbeddedPostgres(folder / "pg")
    try:
        server.start()
        url = server.database_url("redrive")
        with Database(url) as db:
            migrate(db)
            store = SampleStore(str(folder / "samples"), None, db)
            bench(folder / "samples", store, arguments.days, set(arguments.only.split(",")))
            store.close()
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

"""A deletion job from submit to physically gone, in 28.8 M samples, beside DuckDB and PostgreSQL.

    python -m bench.deletion_end_to_end [--days 5] [--postgres]

200 assets x 20 points by the minute for 5 days; 2 assets x 3 points x 3.5 days are deleted by a real job with
a worker of its own, several times. DuckDB deletes the same rows from a table in a file and checkpoints;
PostgreSQL (--postgres: it loads for minutes) deletes them through an index and vacuums.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path

import duckdb

from bench.results import Figure, report
from bench.storage_bench import ASSETS, POINTS, START_MS, by_asset, fill, plain
from redrive.database import Database, migrate
from redrive.database.embedded import EmbeddedPostgres
from redrive.engine import jobs
from redrive.engine.model import JobState
from redrive.engine.worker import Worker
from redrive.services.timeseries import deletion, deletion_job, mover, registry
from redrive.services.timeseries.deletion import Request
from redrive.services.timeseries.storage import SampleStore

TENANT, ORG = 1, "o1"
DAY_MS = 86_400_000
CHOSEN = ["asset-00050", "asset-00120"]
RUNS = 5


def submit_and_wait(db: Database, point: str, shift: int) -> float:
    begun = time.perf_counter()
    wanted = Request("m", point, CHOSEN, START_MS + shift, START_MS + shift + int(3.5 * DAY_MS) - 1)
    job_id = deletion.submit(db, TENANT, ORG, wanted, actor="bench")
    while (state := db.run(lambda conn: jobs.get(conn, TENANT, job_id)).state) is not JobState.SUCCEEDED:
        assert state is not JobState.FAILED
        time.sleep(0.002)
    return time.perf_counter() - begun


def ours(folder: Path, days: int) -> float:
    server = EmbeddedPostgres(folder / "pg")
    try:
        with Database(server.start()) as db:
            migrate(db)
            store = SampleStore(str(folder / "samples"), None, db)
            fill(store.table(ORG), by_asset(days), "import")
            with db.transaction() as conn:
                registry.add_seen(conn, TENANT, CHOSEN)
                conn.execute("insert into ingest_heads (tenant_id, head_seq) values (%s, 1)", [TENANT])
            worker = Worker(db, [deletion_job.kind(store), mover.kind(store)])
            thread = threading.Thread(target=worker.run)
            thread.start()
            time.sleep(1)
            # A job takes one point or all: three points are three jobs, one after the other.
            took = [
                sum(submit_and_wait(db, f"point_{run * 3 + n:03d}", 0) for n in range(3))
                for run in range(RUNS)
            ]
            print("  three jobs of one point each:", ", ".join(f"{each:.2f} s" for each in took))
            worker.stop()
            thread.join()
            store.close()
            return statistics.median(took)
    finally:
        server.stop()


def in_duckdb(folder: Path, days: int) -> float:
    with duckdb.connect(str(folder / "samples.duckdb")) as conn:
        for number, table in enumerate(by_asset(days)):
            ready = plain(table)
            conn.register("ready", ready)
            conn.execute(
                "create table s as select * from ready"
                if number == 0
                else "insert into s select * from ready"
            )
            conn.unregister("ready")
        conn.execute("checkpoint")
        begun = time.perf_counter()
        conn.execute(
            "delete from s where asset in ('asset-00050', 'asset-00120')"
            " and point in ('point_003', 'point_007', 'point_011')"
            f" and time >= epoch_ms({START_MS}) and time < epoch_ms({START_MS + int(3.5 * DAY_MS)})"
        )
        conn.execute("checkpoint")
        return time.perf_counter() - begun


def in_postgres(folder: Path, days: int) -> float:
    server = EmbeddedPostgres(folder / "plain-pg")
    try:
        with Database(server.start()) as db, db.connect() as conn:
            conn.execute("create table s (asset text, point text, time bigint, number float8)")
            for table in by_asset(days):
                rows = zip(
                    *(table[name].to_pylist() for name in ("asset", "point", "time_ms", "number")),
                    strict=True,
                )
                with conn.cursor().copy("copy s from stdin") as copy:
                    for row in rows:
                        copy.write_row(row)
            conn.execute("create index on s (asset, point, time)")
            conn.execute("vacuum analyze s")
            begun = time.perf_counter()
            conn.execute(
                "delete from s where asset = any(%s) and point = any(%s) and time >= %s and time < %s",
                [CHOSEN, ["point_003", "point_007", "point_011"], START_MS, START_MS + int(3.5 * DAY_MS)],
            )
            conn.execute("vacuum s")
            return time.perf_counter() - begun
    finally:
        server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=5)
    parser.add_argument("--postgres", action="store_true")
    options = parser.parse_args()
    print(f"{ASSETS * POINTS * 1440 * options.days / 1e6:.1f} M samples")
    folder = Path(tempfile.mkdtemp(prefix="redrive-bench-"))
    try:
        mine = ours(folder, options.days)
        peers = {"DuckDB delete and checkpoint": in_duckdb(folder, options.days)}
        if options.postgres:
            peers["PostgreSQL delete and vacuum"] = in_postgres(folder, options.days)
        for name, took in peers.items():
            report(Figure("deletion of 2 x 3 x 3.5 days, submit to gone", mine, "s", "<= 0.5", name, took))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

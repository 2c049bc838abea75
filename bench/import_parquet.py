"""Import of Parquet: a job on two worker processes, beside a bare deltalake write and PostgreSQL COPY.

``python -m bench.import_parquet [--assets 200] [--points 20] [--days 5]``. 28.8 M samples by default in one file, by
asset (as an export is) or by time (as a recorder writes): ``--order time``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import write_deltalake

from bench.ingest_over_http import copy_rate
from bench.results import Figure, report
from redrive.database.embedded import EmbeddedPostgres

START_MS, MINUTE = 1_700_000_000_000, 60_000


def tables(assets: int, points: int, days: int, order: str) -> Iterator[pa.Table]:
    """The samples, about a million at a time: one a minute of each series, a walk of two decimals."""
    minutes = days * 1440
    names = (
        pa.array([f"asset-{n:05d}" for n in range(assets)]),
        pa.array([f"point_{n:03d}" for n in range(points)]),
    )
    rng = np.random.default_rng(7)
    series = assets * points
    step = max(1, 1_000_000 // (minutes if order == "asset" else series))
    for first in range(0, series if order == "asset" else minutes, step):
        if order == "asset":
            which = np.repeat(np.arange(first, min(series, first + step)), minutes)
            at = np.tile(np.arange(minutes), len(which) // minutes)
        else:
            at = np.repeat(np.arange(first, min(minutes, first + step)), series)
            which = np.tile(np.arange(series), len(at) // series)
        value = np.round(20 + np.sin(at / 500 + which) * 5 + rng.normal(0, 0.05, len(at)), 2)
        codes = (which // points).astype(np.int32), (which % points).astype(np.int32)
        yield pa.table(
            {
                "asset": pa.DictionaryArray.from_arrays(pa.array(codes[0]), names[0]),
                "point": pa.DictionaryArray.from_arrays(pa.array(codes[1]), names[1]),
                "time": pa.array((START_MS + at * MINUTE) * 1000).view(pa.timestamp("us", "UTC")),
                "value": pa.array(value),
            }
        )


def write_file(path: Path, options: argparse.Namespace) -> int:
    rows, writer = 0, None
    for table in tables(options.assets, options.points, options.days, options.order):
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table, row_group_size=1_000_000)
        rows += table.num_rows
    assert writer is not None
    writer.close()
    return rows


def imported(folder: Path, path: Path, workers: int) -> tuple[float, int]:
    """Seconds from the request to the end of the job on a running server, and the bytes of the table."""
    data = folder / "D"
    command = [sys.executable, "-m", "redrive.cli", "up", "--data-dir", str(data), "--port", "0"]
    (folder / "redrive.toml").write_text(f'import_roots = "{path.parent}"\n')
    with subprocess.Popen(
        [*command, "--workers", str(workers), "--config", str(folder / "redrive.toml")],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as server:  # fmt: skip
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split()[-1]
            keys = json.loads((data / "credentials.json").read_text())
            time.sleep(2)
            with httpx.Client(
                base_url=url, auth=(keys["access_key"], keys["secret_key"]), timeout=60
            ) as http:
                begun = time.perf_counter()
                answer = http.post("/v1/timeseries/imports", json={"path": str(path)})
                job_id = answer.raise_for_status().json()["job_id"]
                while (job := http.get(f"/v1/jobs/{job_id}").json())["state"] not in {"succeeded", "failed"}:
                    time.sleep(0.05)
                took = time.perf_counter() - begun
            assert job["state"] == "succeeded", job
            files = (data / "storage").rglob("samples/bucket=*/*.parquet")
            return took, sum(file.stat().st_size for file in files)
        finally:
            server.terminate()
            server.wait(20)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--assets", type=int, default=200)
    parser.add_argument("--points", type=int, default=20)
    parser.add_argument("--days", type=int, default=5)
    parser.add_argument("--order", choices=["asset", "time"], default="asset")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="redrive-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        path = folder / "samples.parquet"
        rows = write_file(path, options)
        took, size = imported(folder, path, options.workers)
        begun = time.perf_counter()
        reader = pq.ParquetFile(path).iter_batches(1_000_000)
        write_deltalake(str(folder / "bare"), pa.RecordBatchReader.from_batches(pq.read_schema(path), reader))
        bare = time.perf_counter() - begun
        what = f"import of Parquet, by {options.order}"
        report(Figure(what, rows / took, "samples/s", ">= 4000000", "bare deltalake", rows / bare))
        postgres = EmbeddedPostgres(folder / "pg")
        copied = copy_rate(postgres.start(), 1_000_000, 1_000_000)
        postgres.stop()
        report(Figure(what, rows / took, "samples/s", "", "PostgreSQL COPY", copied))
        report(Figure(f"{what}, on disk", size / rows, "bytes a sample", "<= 4"))


if __name__ == "__main__":
    main()

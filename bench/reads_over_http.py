"""Reads of a server that runs, after 100 M samples were imported and samples kept arriving in small batches.

    python -m bench.reads_over_http [--days 18] [--minutes 200]

Imports 4,000 series by the minute, then sends each minute of all of them as one Arrow request, while the server moves
and compacts. Measures the EnOS calls: one point of one day, and the latest values of 3,000 points. Also: the most
memory that a worker took in all of this.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa

from bench.engine_empty_jobs import peak_megabytes
from bench.import_parquet import MINUTE, START_MS, write_file
from bench.results import Figure, report

ASSETS, POINTS = 200, 20
CALLS = 60


class Served:
    """A client of a running server."""

    def __init__(self, http: httpx.Client, keys: dict[str, str]) -> None:
        self.http = http
        self.org_id = keys["org_id"]
        self.pair = (keys["access_key"], keys["secret_key"])
        token = http.post("/v1/tokens", auth=self.pair).json()["access_token"]
        self.bearer = {"Authorization": f"Bearer {token}"}

    def read(self, call: str, body: dict[str, Any]) -> tuple[float, int]:
        """Return milliseconds and the number of items."""
        begun = time.perf_counter()
        answer = self.http.post(
            f"/tsdb-service/v2.1{call}", params={"orgId": self.org_id}, json=body, headers=self.bearer
        )
        took = (time.perf_counter() - begun) * 1000
        found = answer.json()
        assert found["code"] == 0, found
        return took, len(found["data"]["items"])

    def imported(self, path: Path) -> None:
        answer = self.http.post("/v1/timeseries/imports", json={"path": str(path)}, auth=self.pair)
        job_id = answer.raise_for_status().json()["job_id"]
        while (job := self.http.get(f"/v1/jobs/{job_id}", auth=self.pair).json())["state"] != "succeeded":
            assert job["state"] in ("queued", "running"), job
            time.sleep(0.1)

    def arrive(self, minute: int) -> None:
        series = np.arange(ASSETS * POINTS)
        table = pa.table(
            {
                "asset": pa.array([f"asset-{n // POINTS:05d}" for n in series]),
                "point": pa.array([f"point_{n % POINTS:03d}" for n in series]),
                "time": pa.array([START_MS + minute * MINUTE] * len(series)),
                "value": pa.array(np.round(np.random.default_rng(minute).normal(20, 3, len(series)), 2)),
            }
        )
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        headers = {"Content-Type": "application/vnd.apache.arrow.stream"}
        body = sink.getvalue().to_pybytes()
        self.http.post(
            "/v1/timeseries/samples", content=body, headers=headers, auth=self.pair
        ).raise_for_status()


def iso(ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ms // 1000))


def measure(served: Served, days: int, minutes: int, millions: float) -> None:
    first = days * 1440
    for minute in range(first, first + minutes):
        served.arrive(minute)
        time.sleep(0.1)
    time.sleep(5)
    for day in (days // 2, days):
        start = START_MS + day * 1440 * MINUTE
        body = {"assetIds": "asset-00077", "pointIds": "point_007", "pageSize": 1440}
        took = [
            served.read("/raw", {**body, "startTime": iso(start), "endTime": iso(start + 1440 * MINUTE)})[0]
            for _ in range(CALLS)
        ]
        where = "imported" if day < days else "arrived lately"
        what = f"one point, one day ({where}) out of {millions:.0f} M samples, over HTTP"
        report(
            Figure(
                f"{what}: median", statistics.median(took), "ms", "<= 50", note=f"worst {max(took):.0f} ms"
            )
        )
    assets = ",".join(f"asset-{n:05d}" for n in range(150))
    points = ",".join(f"point_{n:03d}" for n in range(POINTS))
    calls = [served.read("/latest", {"assetIds": assets, "pointIds": points}) for _ in range(CALLS)]
    assert all(items == 3000 for _, items in calls)
    took = [each for each, _ in calls]
    what = "latest of 3,000 points, over HTTP: median"
    report(Figure(what, statistics.median(took), "ms", "<= 50", note=f"worst {max(took):.0f} ms"))


def workers_of(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                facts = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(facts[1]) == parent and b"worker" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=18)
    parser.add_argument("--minutes", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="redrive-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        shape = argparse.Namespace(assets=ASSETS, points=POINTS, days=options.days, order="asset")
        rows = write_file(folder / "samples.parquet", shape)
        (folder / "redrive.toml").write_text(f'import_roots = "{folder}"\n')
        command = [sys.executable, "-m", "redrive.cli", "up", "--data-dir", str(folder / "D"), "--port", "0"]
        with subprocess.Popen(
            [*command, "--config", str(folder / "redrive.toml")],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as server:
            try:
                assert server.stdout is not None
                url = server.stdout.readline().split()[-1]
                keys = json.loads((folder / "D" / "credentials.json").read_text())
                with httpx.Client(base_url=url, timeout=60) as http:
                    served = Served(http, keys)
                    served.imported(folder / "samples.parquet")
                    measure(served, options.days, options.minutes, rows / 1e6)
                workers = workers_of(server.pid)
                assert workers
                most = max(peak_megabytes(pid) for pid in workers)
                report(Figure("memory of a worker in all of this", most, "MB", "<= 600", note="peak"))
            finally:
                server.terminate()
                server.wait(20)


if __name__ == "__main__":
    main()

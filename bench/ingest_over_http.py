"""Ingest over HTTP, 1,000 values a request: the vendor's JSON form, NDJSON, Arrow.

``python -m bench.ingest_over_http``

A real server (embedded PostgreSQL, fsync on, no workers), and one client process on the same machine with a few
connections kept alive; requests are made beforehand, so that the client costs little. Every answer is checked, and
at the end the samples in the log are counted. Beside it: PostgreSQL COPY of the same samples, one commit each
1,000 rows and one commit for all.
"""

from __future__ import annotations

import argparse
import base64
import json
import multiprocessing
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psycopg
import pyarrow as pa

from bench.results import Figure, report
from redrive.database.embedded import EmbeddedPostgres

VALUES = 1000
ASSETS, POINTS = 100, 10
START_MS = 1_700_000_000_000


def arrow_body(number: int) -> bytes:
    rng = np.random.default_rng(number)
    order = np.arange(VALUES, dtype=np.int32)
    names = [f"asset-{n:05d}" for n in range(ASSETS)], [f"point_{n:03d}" for n in range(POINTS)]
    table = pa.table(
        {
            "asset": pa.DictionaryArray.from_arrays(pa.array(order // POINTS), pa.array(names[0])),
            "point": pa.DictionaryArray.from_arrays(pa.array(order % POINTS), pa.array(names[1])),
            "time": pa.array(np.full(VALUES, START_MS + number * 1000)),
            "value": pa.array(np.round(rng.normal(20, 5, VALUES), 2)),
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def groups_of(number: int) -> Iterator[tuple[str, int, dict[str, float]]]:
    rng = np.random.default_rng(number)
    found = np.round(rng.normal(20, 5, (ASSETS, POINTS)), 2).tolist()
    for asset, values in enumerate(found):
        points = {f"point_{n:03d}": value for n, value in enumerate(values)}
        yield f"asset-{asset:05d}", START_MS + number * 1000, points


def wide_body(number: int) -> bytes:
    return b"\n".join(
        json.dumps({"asset": asset, "time": at, "values": points}).encode()
        for asset, at, points in groups_of(number)
    )


def long_body(number: int) -> bytes:
    return b"\n".join(
        json.dumps({"asset": asset, "point": point, "time": at, "value": value}).encode()
        for asset, at, points in groups_of(number)
        for point, value in points.items()
    )


def form_body(number: int) -> bytes:
    params = [
        {"assetId": asset, "time": at, "measurepoints": points} for asset, at, points in groups_of(number)
    ]
    message = {"id": "1", "version": "1.1", "method": "integration.measurepoint.post", "params": params}
    head = b'--b\r\nContent-Disposition: form-data; name="enos-message"\r\n\r\n'
    return head + json.dumps(message).encode() + b"\r\n--b--\r\n"


SAMPLES = "/v1/timeseries/samples"
FORMS: dict[str, tuple[Any, str, str, str]] = {
    "arrow": (arrow_body, SAMPLES, "application/vnd.apache.arrow.stream", ">= 1000000"),
    "form": (form_body, "", "multipart/form-data; boundary=b", ">= 100000"),
    "ndjson wide": (wide_body, SAMPLES, "application/x-ndjson", ">= 100000"),
    "ndjson long": (long_body, SAMPLES, "application/x-ndjson", ">= 100000"),
}


def request_bytes(path: str, kind: str, body: bytes, extra: str) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n{extra}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def client(
    address: tuple[str, int], requests: list[bytes], connections: int, seconds: float, out: Any
) -> None:
    """Send requests for a while over some connections, one at a time on each; put the number of good answers."""
    counts = [0] * connections
    latencies: list[float] = []
    end = time.monotonic() + seconds

    def run(place: int) -> None:
        with socket.create_connection(address) as link:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number = place
            while time.monotonic() < end:
                begun = time.monotonic()
                link.sendall(requests[number % len(requests)])
                answer = b""
                while b"\r\n\r\n" not in answer or (
                    b'"accepted"' not in answer and b'"code":0' not in answer
                ):
                    part = link.recv(65536)
                    answer += part
                    if not part or not answer.startswith(b"HTTP/1.1 200"):
                        raise RuntimeError(answer.decode(errors="replace"))
                latencies.append(time.monotonic() - begun)
                counts[place] += 1
                number += connections

    threads = [threading.Thread(target=run, args=(place,)) for place in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    out.put(
        (sum(counts), sorted(latencies)[len(latencies) // 2], sorted(latencies)[int(len(latencies) * 0.99)])
    )


def copy_rate(url: str, rows_a_commit: int, rows: int) -> float:
    data = "".join(
        f"asset-{n // POINTS % ASSETS:05d}\tpoint_{n % POINTS:03d}\t{START_MS + n}\t{n * 0.01:.2f}\n"
        for n in range(rows_a_commit)
    )
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("drop table if exists bench_copy")
        conn.execute("create table bench_copy (asset text, point text, time_ms bigint, value float8)")
        begun = time.perf_counter()
        for _ in range(rows // rows_a_commit):
            with conn.cursor() as cursor, cursor.copy("copy bench_copy from stdin") as copy:
                copy.write(data)
        took = time.perf_counter() - begun
        conn.execute("drop table bench_copy")
    return rows / took


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--only", default=",".join(FORMS))
    parser.add_argument("--workers", default="0")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="redrive-bench-") as folder:
        data = Path(folder) / "D"
        command = [sys.executable, "-m", "redrive.cli", "up", "--data-dir", str(data), "--port", "0"]
        with subprocess.Popen(
            [*command, "--workers", options.workers], stdout=subprocess.PIPE, text=True
        ) as server:
            try:
                assert server.stdout is not None
                line = server.stdout.readline()
                run(options, line.split()[-1], json.loads((data / "credentials.json").read_text()))
            finally:
                server.terminate()
                server.wait(20)
    with tempfile.TemporaryDirectory(prefix="redrive-bench-") as folder:
        Path(folder).chmod(0o711)
        postgres = EmbeddedPostgres(Path(folder) / "pg")
        url = postgres.start()
        try:
            report(Figure("COPY, 1,000 rows a commit", copy_rate(url, 1000, 200_000), "samples/s"))
            report(Figure("COPY, one commit", copy_rate(url, 1_000_000, 1_000_000), "samples/s"))
        finally:
            postgres.stop()


def run(options: argparse.Namespace, url: str, keys: dict[str, str]) -> None:
    address = (urlsplit(url).hostname or "", urlsplit(url).port or 0)
    basic = base64.b64encode(f"{keys['access_key']}:{keys['secret_key']}".encode()).decode()
    native = f"Authorization: Basic {basic}\r\n"
    token = token_of(address, native)
    context = multiprocessing.get_context("spawn")
    for name in options.only.split(","):
        make, path, kind, target = FORMS[name]
        extra = native
        if not path:
            path = f"/connect-service/v2.1/integration?action=postMeasurepoint&orgId={keys['org_id']}"
            extra = f"apim-accesstoken: {token}\r\n"
        requests = [request_bytes(path, kind, make(number), extra) for number in range(64)]
        out = context.Queue()
        for seconds in (1.0, options.seconds):
            process = context.Process(
                target=client, args=(address, requests, options.connections, seconds, out)
            )
            process.start()
            count, p50, p99 = out.get()
            process.join()
        note = f"p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms, {options.connections} connections"
        report(
            Figure(
                f"ingest over HTTP, {name}", count * VALUES / options.seconds, "samples/s", target, note=note
            )
        )


def token_of(address: tuple[str, int], native: str) -> str:
    with socket.create_connection(address) as link:
        link.sendall(request_bytes("/v1/tokens", "application/json", b"", native))
        answer = link.recv(65536)
        while b"}" not in answer:
            answer += link.recv(65536)
    return str(json.loads(answer.partition(b"\r\n\r\n")[2])["access_token"])


if __name__ == "__main__":
    main()

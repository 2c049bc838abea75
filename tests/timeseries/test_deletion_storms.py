"""Deletions under everything at once: workers killed again and again, frozen, the database restarted, the disk
full, an object store that fails, while samples arrive, are moved and are compacted. The result is that of an
undisturbed run, and nothing of what was deleted is left in any file.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from redrive.database import Database
from redrive.database.embedded import EmbeddedPostgres
from redrive.engine import jobs
from redrive.engine.model import ENDED, Job, JobState
from redrive.engine.recovery import retry
from redrive.services.timeseries import deletion, deletion_job
from redrive.services.timeseries.deletion import Request
from redrive.services.timeseries.ingest import Ingest
from redrive.services.timeseries.storage import SampleStore
from tests.engine.scene import check_counts, until
from tests.timeseries import bad_object_store
from tests.timeseries.ingest_scene import ORG, TENANT, Place, add_tenant
from tests.timeseries.test_deletion_crash import KILL_POINTS

HOUR, START = 3_600_000, 1_600_000_000_000
HOURS, GONE_HOURS = 8, 4
SECRET = "to-be-forgotten"
Samples = dict[tuple[str, str, int], Any]


def secret(value: object) -> bool:
    return isinstance(value, str) and SECRET in value


class Storm:
    """A deletion of ``temp`` of every asset in the first hours, and what must be there afterwards."""

    def __init__(self, place: Place, assets: int, options: dict[str, str] | None = None) -> None:
        self.place, self.assets = place, [f"a{n:03}" for n in range(assets)]
        self.options = options
        self.kills = 0
        self.before: Samples = {}
        self.late: Samples = {}
        self._random = random.Random(assets)

    def fill(self) -> None:
        """Half of the samples get into the tables, half of them stay in the log."""
        for hour in range(HOURS):
            gone = hour < GONE_HOURS
            self.place.accept(
                *(
                    (
                        asset,
                        point,
                        START + hour * HOUR,
                        f"{SECRET} {asset}" if gone and point == "temp" else hour / 8,
                    )
                    for asset in self.assets
                    for point in ("temp", "wind")
                )
            )
            if hour == HOURS // 2:
                with self.worker():
                    until(self.place.drained, 60)
        self.before = self.place.read()

    def submit(self) -> int:
        end = START + (GONE_HOURS - 1) * HOUR
        wanted = Request("m", "temp", self.assets, START, end)
        return deletion.submit(self.place.db, TENANT, ORG, wanted, actor="ann")

    def arrive(self) -> None:
        """New samples for the very range that is being deleted: they stay."""
        asset = self._random.choice(self.assets)
        when = START + self._random.randrange(HOURS) * HOUR
        value = self._random.random()
        self.place.accept((asset, "temp", when, value))
        self.late[asset, "temp", when] = value

    @contextlib.contextmanager
    def worker(self, failpoint: str = "") -> Iterator[subprocess.Popen[bytes]]:
        environment = {
            **os.environ,
            "REDRIVE_FAILPOINTS": failpoint,
            "LEASE_SECONDS": "1",
            "STORAGE_OPTIONS": json.dumps(self.options),
        }
        address = self.place.store.root_url
        command = [sys.executable, "-m", "tests.timeseries.crash_worker", self.place.db.url, address]
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as started:
            try:
                yield started
            finally:
                with contextlib.suppress(ProcessLookupError):
                    started.send_signal(signal.SIGCONT)
                    started.terminate()
                try:
                    started.wait(15)
                except subprocess.TimeoutExpired:
                    started.kill()

    def job(self, job_id: int) -> Job:
        return self.place.db.run(lambda conn: jobs.get(conn, TENANT, job_id))

    def launched(self, job_id: int) -> bool:
        """Whether the cut-off is fixed: what arrives from now on is later."""
        return self.job(job_id).phase > 0

    def ended(self, job_id: int) -> bool:
        return self.job(job_id).state in ENDED

    def verify(self, job_id: int) -> None:
        found = self.job(job_id)
        assert found.state is JobState.SUCCEEDED, found.failure
        expected = {key: value for key, value in self.before.items() if not secret(value)} | self.late
        with self.worker():
            until(self.place.drained, 60)
        assert self.place.read() == expected
        assert self.deleted(job_id) == len(self.assets) * GONE_HOURS
        assert self.redone(job_id) <= deletion.LANES * self.kills
        proof = deletion_job.kind(self.place.store).verify
        assert proof is not None and proof(self.place.db, job_id)["verified"]
        check_counts(self.place.db)

    def deleted(self, job_id: int) -> int:
        with self.place.db.transaction() as conn:
            units = jobs.units(conn, jobs.get(conn, TENANT, job_id), limit=1000)
        return sum(int((unit.ledger or {}).get("rows_deleted", 0)) for unit in units if unit.phase == 2)

    def redone(self, job_id: int) -> int:
        with self.place.db.transaction() as conn:
            attempts = jobs.attempts(conn, jobs.get(conn, TENANT, job_id))
        return sum(attempt.units_redone for attempt in attempts)


def verify_nothing_left_in(folder: Path) -> None:
    """No file holds a deleted value: neither as its bytes, nor in what its bytes decode to."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert SECRET.encode() not in path.read_bytes(), path
        if path.suffix == ".parquet":
            for column in pq.ParquetFile(path).read().columns:
                assert not any(SECRET in str(value) for value in column.to_pylist()), path


@pytest.fixture
def place(db: Database, tmp_path: Path) -> Iterator[Place]:
    add_tenant(db)
    store, ingest = SampleStore(str(tmp_path / "samples"), None, db), Ingest(db)
    yield Place(db, tmp_path / "samples", store, ingest)
    ingest.close()
    store.close()


@contextlib.contextmanager
def arriving(storm: Storm, every_seconds: float = 0.02) -> Iterator[None]:
    """Samples arrive all the while, from a thread of their own."""
    stop = threading.Event()

    def arrive() -> None:
        while not stop.wait(every_seconds):
            storm.arrive()

    thread = threading.Thread(target=arrive)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    ("assets", "most"),
    [(12, 8), pytest.param(100, 1000, marks=[pytest.mark.torture, pytest.mark.timeout(1800)])],
)
def test_a_deletion_whose_workers_are_killed_again_and_again(place: Place, assets: int, most: int) -> None:
    storm = Storm(place, assets)
    storm.fill()
    job_id = storm.submit()
    with storm.worker():
        until(lambda: storm.launched(job_id), 30)
    with arriving(storm):
        for point in itertools.islice(itertools.cycle(KILL_POINTS), most):
            with storm.worker(f"{point}=exit,after=1") as doomed:
                until(lambda: doomed.poll() is not None or storm.ended(job_id), 60)
                storm.kills += doomed.poll() == -signal.SIGKILL
            if storm.ended(job_id):
                break
        with storm.worker():
            until(lambda: storm.ended(job_id), 120)
    assert storm.kills >= 4
    storm.verify(job_id)
    verify_nothing_left_in(place.root)


@pytest.mark.torture
@pytest.mark.timeout(600)
def test_a_deletion_of_a_hundred_units_beside_frozen_workers_and_a_database_that_restarts(
    place: Place, postgres: EmbeddedPostgres
) -> None:
    storm = Storm(place, 100)
    storm.fill()
    job_id = storm.submit()
    with storm.worker():
        until(lambda: storm.launched(job_id), 30)
    with storm.worker("timeseries.deletion.checked=delay:0.05"):
        for point in ("before_commit", "written", "after_commit", "before_removal"):
            with storm.worker(f"timeseries.storage.{point}=stop,after=3") as frozen:
                storm.kills += 1
                with arriving(storm):
                    time.sleep(3.0)  # far past its lease
                postgres.stop()
                time.sleep(0.5)
                postgres.start()
                frozen.send_signal(signal.SIGCONT)
                time.sleep(0.5)
        until(lambda: storm.ended(job_id), 240)
    storm.kills += 4  # a restart cuts the units that are at work
    storm.verify(job_id)
    verify_nothing_left_in(place.root)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.root
def test_a_deletion_on_a_full_disk_says_so_and_finishes_when_there_is_room(
    db: Database, small_disk: Path
) -> None:
    add_tenant(db)
    store, ingest = SampleStore(str(small_disk / "samples"), None, db), Ingest(db)
    storm = Storm(Place(db, small_disk / "samples", store, ingest), 12)
    storm.fill()
    with storm.worker():
        until(storm.place.drained, 30)
    ballast = small_disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    job_id = storm.submit()
    with storm.worker():
        until(lambda: storm.ended(job_id), 60)
        failed = storm.job(job_id)
        assert failed.state is JobState.FAILED and failed.failure is not None
        assert failed.failure["class"] == "needs_input" and "full" in failed.failure["detail"], failed.failure
        assert storm.place.read() == storm.before, "a deletion that failed has lost or half erased something"
        ballast.unlink()
        db.run(lambda conn: retry(conn, TENANT, job_id, actor="ann"))
        until(lambda: storm.ended(job_id), 60)
    storm.verify(job_id)
    verify_nothing_left_in(storm.place.root)
    ingest.close()
    store.close()


@pytest.mark.parametrize(
    ("assets", "share"),
    [(6, 0.05), pytest.param(60, 0.1, marks=[pytest.mark.torture, pytest.mark.timeout(900)])],
)
def test_a_deletion_over_an_object_store_that_fails_and_loses_answers(
    db: Database, tmp_path: Path, assets: int, share: float
) -> None:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    add_tenant(db)
    with bad_object_store.before(server.get_host_and_port()) as bad:
        options = {
            "AWS_ENDPOINT_URL": bad.address,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }
        client = boto3.client(
            "s3",
            endpoint_url=bad.address,
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            region_name="us-east-1",
        )
        bucket = f"storm-{assets}"
        client.create_bucket(Bucket=bucket)
        store, ingest = SampleStore(f"s3://{bucket}/redrive", options, db), Ingest(db)
        storm = Storm(Place(db, tmp_path, store, ingest), assets, options)
        storm.fill()
        job_id = storm.submit()
        bad.share = share
        with storm.worker("timeseries.storage.after_commit=exit,after=3") as doomed:
            until(lambda: doomed.poll() is not None or storm.ended(job_id), 120)
            storm.kills += 1
        with storm.worker():
            for _ in range(20):
                until(lambda: storm.ended(job_id), 240)
                if storm.job(job_id).state is JobState.SUCCEEDED:
                    break
                # Its budget of automatic tries was not enough: that is what a retry is for.
                db.run(lambda conn: retry(conn, TENANT, job_id, actor="ann"))
        bad.share = 0.0
        assert min(bad.spoiled.values()) > 0, bad.spoiled
        storm.kills += sum(bad.spoiled.values())
        storm.verify(job_id)
        copy = tmp_path / "copy"
        for item in client.list_objects_v2(Bucket=bucket)["Contents"]:
            if not item["Size"]:
                continue  # stands for a folder
            target = copy / item["Key"]
            target.parent.mkdir(parents=True, exist_ok=True)
            client.download_file(bucket, item["Key"], str(target))
        verify_nothing_left_in(copy)
        ingest.close()
        store.close()
    server.stop()

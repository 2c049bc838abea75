"""Workers that delete are killed and frozen everywhere: the result equals that of an undisturbed run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from redrive.database import Database
from redrive.database.embedded import EmbeddedPostgres
from redrive.engine.model import JobState
from redrive.services.timeseries import deletion
from redrive.services.timeseries.boxes import Box, Points
from redrive.services.timeseries.storage import SampleStore
from tests.engine.scene import check_counts, until
from tests.timeseries.deletion_scene import HOUR, START, Place, deleted, expected

ASSETS = [f"a{n:03}" for n in range(24)]
SMALL = ASSETS[:16]
RANGE = Box(frozenset(SMALL), Points.only(["temp"]), START, START + 3 * HOUR + 1)
KILL_POINTS = [
    "engine.claimed",
    "engine.unit.before",
    "engine.unit.after",
    "engine.settle.before",
    "engine.settle.after",
    "timeseries.deletion.drained",
    "timeseries.deletion.checked",
    "timeseries.storage.journaled",
    "timeseries.storage.written",
    "timeseries.storage.before_commit",
    "timeseries.storage.after_commit",
    "timeseries.storage.before_removal",
    "timeseries.storage.after_removal",
]


@pytest.fixture
def place(db: Database, tmp_path: Path) -> Iterator[Place]:
    store = SampleStore(str(tmp_path / "samples"), None, db)
    made = Place(db, tmp_path / "samples", store)
    made.fill(ASSETS, ["temp", "wind"], 8)
    made.fill(["only-temp-secret"], ["temp"], 3, value=888_000.5)
    yield made
    store.close()


@contextlib.contextmanager
def process(
    place: Place, failpoint: str = "", lease_seconds: float = 1.0
) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "REDRIVE_FAILPOINTS": failpoint, "LEASE_SECONDS": str(lease_seconds)}
    command = [sys.executable, "-m", "tests.timeseries.crash_worker", place.db.url, str(place.root)]
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


def submit(place: Place) -> int:
    return place.submit([*SMALL, "only-temp-secret"], "temp", START, START + 3 * HOUR)


def verify_as_undisturbed(place: Place, job_id: int, before: set, kills: int) -> None:  # type: ignore[type-arg]
    found = place.job(job_id)
    assert found.state is JobState.SUCCEEDED, found.failure
    whole = Box(RANGE.assets | {"only-temp-secret"}, RANGE.points, RANGE.start_ms, RANGE.end_ms)
    assert place.stored() == expected(before, whole)
    assert deleted(place, job_id) == 16 * 4 + 3
    assert found.attempt_redone <= deletion.LANES * kills
    assert not any(number > 800_000 for number in place.numbers_on_disk())
    check_counts(place.db)


@pytest.mark.parametrize("point", KILL_POINTS)
def test_a_worker_killed_on_the_way_leaves_what_an_undisturbed_run_leaves(place: Place, point: str) -> None:
    before = place.stored()
    job_id = submit(place)
    with process(place, f"{point}=exit,after={0 if point.endswith('drained') else 3}") as doomed:
        doomed.wait(30)
        assert doomed.returncode == -signal.SIGKILL
    with process(place):
        place.ended(job_id, 40)
    verify_as_undisturbed(place, job_id, before, kills=1)


def test_a_worker_frozen_in_the_middle_changes_nothing_when_it_thaws(place: Place) -> None:
    before = place.stored()
    job_id = submit(place)
    with process(place, "timeseries.storage.before_commit=stop,after=4") as frozen:
        until(lambda: _stopped(frozen.pid), 30)
        with process(place):
            place.ended(job_id, 40)
            settled = place.stored()
            frozen.send_signal(signal.SIGCONT)
            time.sleep(2)
            assert place.stored() == settled
    verify_as_undisturbed(place, job_id, before, kills=1)


def _stopped(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    return stat.rsplit(")", 1)[1].split()[0] == "T"


def test_a_restart_of_the_database_is_got_over(place: Place, postgres: EmbeddedPostgres) -> None:
    before = place.stored()
    job_id = submit(place)
    with process(place, "timeseries.deletion.checked=delay:0.1"):
        until(lambda: place.job(job_id).done_units > 4, 30)
        postgres.stop()
        time.sleep(0.5)
        postgres.start()
        place.ended(job_id, 60)
    verify_as_undisturbed(place, job_id, before, kills=1)


@pytest.mark.torture
@pytest.mark.parametrize("point", KILL_POINTS)
@pytest.mark.parametrize("after", range(20))
def test_a_worker_killed_at_every_unit_leaves_what_an_undisturbed_run_leaves(
    place: Place, point: str, after: int
) -> None:
    before = place.stored()
    job_id = submit(place)
    with process(place, f"{point}=exit,after={after}") as doomed:
        until(lambda: doomed.poll() is not None or place.job(job_id).state is JobState.SUCCEEDED, 60)
    with process(place):
        place.ended(job_id, 60)
    verify_as_undisturbed(place, job_id, before, kills=1)

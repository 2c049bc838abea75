"""Real processes are killed and frozen: every unit has exactly one effect, at most one a lane is redone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from redrive.database import Database
from redrive.database.embedded import EmbeddedPostgres
from redrive.engine import jobs
from redrive.engine.model import JobState
from tests.engine.scene import ended, job, submit, until

UNITS, LANES = 30, 3


@contextlib.contextmanager
def process(
    db: Database, failpoint: str = "", lease_seconds: float = 1.0
) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "REDRIVE_FAILPOINTS": failpoint, "LEASE_SECONDS": str(lease_seconds)}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.engine.crash_worker", db.url],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as started:
        try:
            yield started
        finally:
            with contextlib.suppress(ProcessLookupError):
                started.send_signal(signal.SIGCONT)
                started.terminate()
            try:
                started.wait(10)
            except subprocess.TimeoutExpired:
                started.kill()


@pytest.fixture(autouse=True)
def effects(db: Database) -> None:
    with db.transaction() as conn:
        conn.execute("create table effects (unit_id bigint, claim int)")


def rows(db: Database) -> list[Any]:
    with db.transaction() as conn:
        return conn.execute("select unit_id, claim from effects").fetchall()


def verify_exactly_once(db: Database, job_id: int, kills: int) -> None:
    found = job(db, job_id)
    assert found.state is JobState.SUCCEEDED
    written = rows(db)
    with db.transaction() as conn:
        units = jobs.units(conn, found, limit=1000)
    assert len(written) == UNITS
    assert {row.unit_id for row in written} == {unit.id for unit in units}
    assert {row.unit_id: {"claim": row.claim} for row in written} == {unit.id: unit.ledger for unit in units}
    assert found.attempt_redone <= LANES * kills


POINTS = [
    "engine.claimed",
    "engine.unit.before",
    "engine.unit.after",
    "engine.settle.before",
    "engine.settle.after",
]


@pytest.mark.parametrize("point", POINTS)
def test_a_worker_killed_at_a_failpoint_loses_and_doubles_nothing(db: Database, point: str) -> None:
    job_id = submit(db, UNITS, lanes=LANES)
    with process(db, f"{point}=exit,after=7") as doomed:
        doomed.wait(15)
        assert doomed.returncode == -signal.SIGKILL
    with process(db):
        ended(db, job_id, 20)
    verify_exactly_once(db, job_id, kills=1)


def test_a_worker_killed_while_probing_loses_and_doubles_nothing(db: Database) -> None:
    job_id = submit(db, UNITS, lanes=LANES)
    with process(db, "engine.unit.after=exit,after=3") as first:
        first.wait(15)
    with process(db, "engine.probe.before=exit") as second:
        second.wait(15)
        assert second.returncode == -signal.SIGKILL
    with process(db):
        ended(db, job_id, 20)
    verify_exactly_once(db, job_id, kills=2)


@pytest.mark.torture
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("after", range(UNITS))
def test_a_worker_killed_at_every_unit_loses_and_doubles_nothing(
    db: Database, point: str, after: int
) -> None:
    job_id = submit(db, UNITS, lanes=LANES)
    with process(db, f"{point}=exit,after={after}") as doomed:
        with contextlib.suppress(subprocess.TimeoutExpired):
            doomed.wait(5)
    with process(db):
        ended(db, job_id, 20)
    verify_exactly_once(db, job_id, kills=1)


def test_a_dead_workers_units_run_elsewhere_within_ten_seconds_on_the_real_lease(db: Database) -> None:
    job_id = submit(db, UNITS, lanes=LANES)
    with process(db, "engine.unit.before=exit,after=5", lease_seconds=6.0) as doomed:
        doomed.wait(15)
        died = time.monotonic()
        with process(db, lease_seconds=6.0):
            ended(db, job_id, 20)
        assert time.monotonic() - died < 10
    verify_exactly_once(db, job_id, kills=1)


def test_a_frozen_worker_changes_nothing_when_it_thaws(db: Database) -> None:
    job_id = submit(db, UNITS, lanes=LANES)
    with process(db, "engine.unit.before=stop,after=4") as frozen:
        until(lambda: _stopped(frozen.pid))
        with process(db):
            ended(db, job_id, 20)
            before = sorted(rows(db))
            frozen.send_signal(signal.SIGCONT)
            time.sleep(1.5)
            assert sorted(rows(db)) == before
    verify_exactly_once(db, job_id, kills=1)


def _stopped(pid: int) -> bool:
    with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
        return stat.read().rsplit(")", 1)[1].split()[0] == "T"


def test_workers_get_over_a_restart_of_the_database(db: Database, postgres: EmbeddedPostgres) -> None:
    job_id = submit(db, 300, lanes=LANES)
    with process(db):
        until(lambda: job(db, job_id).done_units > 20)
        postgres.stop()
        time.sleep(0.5)
        postgres.start()
        assert ended(db, job_id, 30).done_units == 300
    assert len({row.unit_id for row in rows(db)}) == len(rows(db)) == 300

"""Races that were found by reading: each of these once lost a worker, stranded a job or did a unit twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from redrive.database import Database
from redrive.engine import claiming, failpoints, maintenance, recovery
from redrive.engine.execution import give_back
from redrive.engine.kinds import Again, Done, Outcome, Work
from redrive.engine.model import JobState, NewUnit, UnitState
from redrive.engine.recovery import RetryFilter
from redrive.engine.settling import Settlement, settle
from tests.engine.scene import TENANT, ended, job, kind, submit, until, working

KINDS = ["test.kind"]
FAILURE = {"code": "x", "detail": "y", "class": "permanent", "fingerprint": "f"}


def claim(db: Database, count: int = 100) -> list[Work]:
    return claiming.claim(db, 1, KINDS, count, 60.0)


def outcome(work: Work, state: UnitState = UnitState.DONE, **more: Any) -> Settlement:
    if state is UnitState.FAILED:
        more["failure"] = FAILURE
    return Settlement(work.unit_id, work.job_id, work.claim, work.attempt, state, **more)


def lapse(db: Database, probed: list[str] | None = None) -> None:
    with db.transaction() as conn:
        conn.execute("update units set lease_until = now() - interval '1 s' where state = 'running'")
    maintenance.put_back_lapsed(db, KINDS, probed or [], 0)


class RustPanic(BaseException):
    """What an extension module raises when it panics: not an ``Exception``."""


def test_a_panic_fails_its_unit_and_the_worker_lives_on(db: Database) -> None:
    def run(work: Work) -> Outcome:
        if work.unit_spec.get("panic"):
            raise RustPanic("panicked")
        return Done()

    bad = [submit(db, [NewUnit({"panic": True})]) for _ in range(3)]
    with working(db, kind(run), threads=2):
        assert all(ended(db, job_id).state is JobState.FAILED for job_id in bad)
        assert ended(db, submit(db)).state is JobState.SUCCEEDED


@pytest.fixture
def during_a_bulk_retry(db: Database) -> Callable[[Callable[[], None]], None]:
    """Return what runs ``meanwhile`` while a retry by filter waits for the lock of another job."""
    first = submit(db)
    settle(db, [outcome(work, UnitState.FAILED) for work in claim(db)])

    def run(meanwhile: Callable[[], None]) -> None:
        def retry_all() -> None:
            db.run(lambda conn: recovery.retry_many(conn, TENANT, RetryFilter(), actor="bulk"))

        bulk = threading.Thread(target=retry_all)
        with db.transaction() as conn:
            conn.execute("select from jobs where id = %s for update", (first,))
            bulk.start()
            until(lambda: _waiting_for_a_lock(db))
            meanwhile()
        bulk.join(10)
        assert not bulk.is_alive()
        assert job(db, first).attempt == 2

    return run


def _waiting_for_a_lock(db: Database) -> bool:
    with db.transaction() as conn:
        row = conn.execute(
            "select count(*) as n from pg_stat_activity where wait_event_type = 'Lock'"
            " and datname = current_database()"
        ).fetchone()
    return bool(row.n)


def test_a_bulk_retry_leaves_a_job_alone_that_failed_anew_behind_its_back(
    db: Database, during_a_bulk_retry: Callable[[Callable[[], None]], None]
) -> None:
    planned = submit(db, [NewUnit({}, 0, "plan")])
    settle(db, [outcome(work, UnitState.FAILED) for work in claim(db)])

    def plan_then_fail() -> None:
        db.run(lambda conn: recovery.retry(conn, TENANT, planned, actor="single"))
        (plan,) = claim(db)
        settle(db, [outcome(plan, added=[NewUnit({"n": n}) for n in range(3)], phase=0)])
        works = claim(db)
        while works:
            settle(db, [outcome(works[0], UnitState.FAILED), *(outcome(work) for work in works[1:])])
            works = claim(db)

    during_a_bulk_retry(plan_then_fail)
    assert (job(db, planned).state, job(db, planned).attempt) == (JobState.FAILED, 2)
    db.run(lambda conn: recovery.retry(conn, TENANT, planned, actor="single"))
    with working(db, kind()):
        assert ended(db, planned).state is JobState.SUCCEEDED


def test_a_bulk_retry_redoes_nothing_that_was_done_behind_its_back(
    db: Database, during_a_bulk_retry: Callable[[Callable[[], None]], None]
) -> None:
    job_id = submit(db, [NewUnit({}, 1), NewUnit({"n": 1}, 2), NewUnit({"n": 2}, 2)], lanes=2)
    settle(db, [outcome(work, UnitState.FAILED) for work in claim(db)])

    def go_on_then_fail() -> None:
        db.run(lambda conn: recovery.retry(conn, TENANT, job_id, actor="single"))
        settle(db, [outcome(work) for work in claim(db)])
        good, bad = claim(db)
        settle(db, [outcome(good), outcome(bad, UnitState.FAILED)])

    during_a_bulk_retry(go_on_then_fail)
    db.run(lambda conn: recovery.retry_many(conn, TENANT, RetryFilter(ids=[job_id]), actor="tester"))
    assert [work.unit_spec for work in claim(db) if work.job_id == job_id] == [{"n": 2}]


def test_a_stale_plan_adds_nothing_where_the_good_one_is_settled_with_it(db: Database) -> None:
    job_id = submit(db)
    (old,) = claim(db)
    lapse(db)
    (new,) = claim(db)
    plans = [
        outcome(work, added=[NewUnit({"by": work.claim}, work.phase)], phase=work.phase)
        for work in (old, new)
    ]
    assert settle(db, plans) == {(new.unit_id, new.claim)}
    assert [work.unit_spec for work in claim(db)] == [{"by": new.claim}]
    assert job(db, job_id).total_units == 2


def test_a_unit_that_its_own_worker_claims_again_at_once_keeps_its_heartbeat(db: Database) -> None:
    claims: list[int] = []

    def run(work: Work) -> Outcome:
        claims.append(work.claim)
        if work.claim == 1:
            return Again({"at": 1})
        time.sleep(3.0)
        return Done()

    job_id = submit(db)
    failpoints.arm_all("engine.settle.after=delay:0.3")
    try:
        with working(db, kind(run), lease_seconds=1.0, threads=2) as worker:
            for _ in range(60):
                time.sleep(0.01)
                worker._wake.set()  # what the submit of any other job does
            assert ended(db, job_id).state is JobState.SUCCEEDED
    finally:
        failpoints.arm_all("engine.settle.after=off")
    assert claims == [1, 2]


def test_a_ready_unit_of_a_held_job_stops_no_claim(db: Database) -> None:
    one = submit(db, subject="s", subject_cap=1)
    with db.transaction() as conn:
        # A claim that is under way and will come to nothing.
        conn.execute("select from units where job_id = %s for update", (one,))
        db.run(lambda other: recovery.pause(other, TENANT, one, actor="tester"))
        two = submit(db, subject="s", subject_cap=1)
        db.run(lambda other: recovery.resume(other, TENANT, one, actor="tester"))
    other = submit(db)
    with working(db, kind()):
        for job_id in (one, two, other):
            assert ended(db, job_id).state is JobState.SUCCEEDED


def test_a_unit_that_was_probed_for_a_cancelled_job_does_not_run(db: Database) -> None:
    job_id = submit(db, 2)
    claim(db, 1)
    db.run(lambda conn: recovery.cancel(conn, TENANT, job_id, actor="tester"))
    lapse(db, probed=KINDS)
    with working(db, kind(probe=lambda work: None)):
        assert ended(db, job_id).state is JobState.CANCELLED
    assert job(db, job_id).done_units == 0


def test_a_lapsed_unit_that_is_given_back_unrun_still_counts_as_lapsed(db: Database) -> None:
    job_id = submit(db)
    claim(db)
    lapse(db)
    (work,) = claim(db)
    settle(db, [give_back(work)])
    (work,) = claim(db)
    assert work.lapses == 1
    settle(db, [outcome(work, redone=work.lapsed)])
    assert job(db, job_id).attempt_redone == 1


def test_units_that_lapse_again_and_again_wait_longer_each_time(db: Database) -> None:
    submit(db)
    claim(db)
    lapse(db)
    assert len(claim(db)) == 1
    lapse(db)
    assert claim(db) == []
    time.sleep(1.1)
    assert len(claim(db)) == 1

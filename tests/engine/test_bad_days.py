"""What must not stop a worker or strand a job: wishes at the edge of a phase, outcomes that cannot be stored,
units that kill their worker, locks that last, ids that meet, crowds of held jobs."""

from __future__ import annotations

import threading
import time
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from redrive.database import Database
from redrive.engine import admission, claiming, failpoints, jobs, maintenance, recovery
from redrive.engine import worker as worker_module
from redrive.engine.kinds import Done, Outcome, RetryPolicy, Work
from redrive.engine.model import JobState, NewJob, NewUnit, UnitState
from redrive.engine.settling import Settlement, settle
from redrive.errors import Failure, FailureClass
from tests.engine.scene import TENANT, ended, hurry, job, kind, submit, until, working

FAILURE = {"code": "x", "detail": "y", "class": "permanent", "fingerprint": "f"}
KINDS = ["test.kind"]


def claim(db: Database, count: int = 1000, lease_seconds: float = 60) -> list[Work]:
    return claiming.claim(db, 1, KINDS, count, lease_seconds)


def settle_all(db: Database, works: list[Work], state: UnitState = UnitState.DONE, **more: Any) -> None:
    settle(db, [Settlement(w.unit_id, w.job_id, w.claim, w.attempt, state, **more) for w in works])


def wish(db: Database, verb: Any, job_id: int) -> None:
    db.run(lambda conn: verb(conn, TENANT, job_id, actor="tester"))


def test_a_pause_that_comes_while_the_last_unit_of_a_phase_fails_lets_the_attempt_fail(db: Database) -> None:
    job_id = submit(db)
    works = claim(db)
    wish(db, recovery.pause, job_id)
    settle_all(db, works, UnitState.FAILED, failure=FAILURE)
    assert job(db, job_id).state is JobState.FAILED
    wish(db, recovery.retry, job_id)
    with working(db, kind()):
        assert ended(db, job_id).state is JobState.SUCCEEDED


@pytest.mark.parametrize(
    ("stop", "go_on", "state"),
    [
        (recovery.pause, recovery.resume, JobState.PAUSED),
        (recovery.cancel, recovery.retry, JobState.CANCELLED),
    ],
)
def test_a_wish_at_the_end_of_a_phase_strands_nothing(
    db: Database, stop: Any, go_on: Any, state: JobState
) -> None:
    job_id = submit(db, [NewUnit({}, 1), NewUnit({}, 2)])
    works = claim(db)
    wish(db, stop, job_id)
    settle_all(db, works)
    assert job(db, job_id).state is state
    wish(db, go_on, job_id)
    with working(db, kind()):
        assert ended(db, job_id).done_units == 2


def test_a_cancel_that_comes_while_the_last_unit_of_a_phase_fails_can_be_retried(db: Database) -> None:
    job_id = submit(db, [NewUnit({}, 1), NewUnit({}, 2)])
    works = claim(db)
    wish(db, recovery.cancel, job_id)
    settle_all(db, works, UnitState.FAILED, failure=FAILURE)
    with db.transaction() as conn:
        assert jobs.get(conn, TENANT, job_id).state is JobState.CANCELLED
    wish(db, recovery.retry, job_id)
    with working(db, kind()):
        assert ended(db, job_id).state is JobState.SUCCEEDED


def run_badly(work: Work) -> Outcome:
    match work.unit_spec.get("bad"):
        case "nul in a failure":
            raise Failure("driver", "bad byte \0 in row \ud800")
        case "nul in a ledger":
            return Done({"text": "a\0b"})
        case "decimal in a ledger":
            return Done({"rows": Decimal(1)})
        case "surrogate in a ledger":
            return Done({"text": "\ud800"})
    return Done()


@pytest.mark.parametrize(
    "bad", ["nul in a failure", "nul in a ledger", "decimal in a ledger", "surrogate in a ledger"]
)
def test_an_outcome_that_cannot_be_stored_fails_its_unit_and_no_other(db: Database, bad: str) -> None:
    bad_id = submit(db, [NewUnit({"bad": bad})])
    good = [submit(db) for _ in range(5)]
    with working(db, kind(run_badly), threads=1):
        assert all(ended(db, job_id).state is JobState.SUCCEEDED for job_id in good)
        assert ended(db, bad_id).state is JobState.FAILED


def test_failpoints_of_the_environment_stay_when_those_of_the_table_are_loaded(db: Database) -> None:
    failpoints.arm_all("engine.unit.before=delay:0.01")
    try:
        failpoints.replace({"engine.unit.after": "delay:0.01"})
        assert set(failpoints._armed) == {"engine.unit.before", "engine.unit.after"}
        failpoints.replace({})
        assert set(failpoints._armed) == {"engine.unit.before"}
    finally:
        failpoints._given.clear()
        failpoints.replace({})


def test_arming_the_same_again_keeps_its_count() -> None:
    failpoints.replace({"engine.unit.before": "error:1"})
    try:
        with pytest.raises(Failure):
            failpoints.hit("engine.unit.before")
        failpoints.replace({"engine.unit.before": "error:1"})
        failpoints.hit("engine.unit.before")
    finally:
        failpoints.replace({})


def test_a_unit_that_kills_its_worker_every_time_fails_in_the_end(db: Database) -> None:
    job_id = submit(db)
    for _ in range(3):
        hurry(db)
        claim(db, lease_seconds=0.01)
        time.sleep(0.02)
        maintenance.put_back_lapsed(db, KINDS, [], 0)
    with working(db, kind(retry=RetryPolicy(max_lapses=3))):
        failed = ended(db, job_id)
    assert failed.state is JobState.FAILED and failed.failure is not None
    assert failed.failure["code"] == "worker_lost"


def test_what_is_tried_for_ever_goes_on_after_a_thousand_tries(db: Database) -> None:
    mended = threading.Event()

    def run(work: Work) -> Outcome:
        if not mended.is_set():
            raise Failure("storage", "the disk is full", kind=FailureClass.NEEDS_INPUT)
        return Done()

    quick = RetryPolicy(first_delay_seconds=0.001, longest_delay_seconds=0.002)
    job_id = submit(db)
    db.run(lambda conn: conn.execute("update units set tries = 1020"))
    with working(db, kind(run, endless=True, retry=quick), threads=1):
        until(lambda: db.run(lambda conn: conn.execute("select tries from units").fetchone()).tries > 1030)
        mended.set()
        assert ended(db, job_id).state is JobState.SUCCEEDED


def test_a_fault_of_the_engine_itself_costs_a_lease_and_no_thread(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = iter([True])
    known = worker_module.execute

    def faulty(*given: Any) -> Any:
        if next(faults, False):
            raise RuntimeError("a fault")
        return known(*given)

    def refused(*_: Any) -> Any:
        raise RuntimeError("another one")

    monkeypatch.setattr(worker_module, "execute", faulty)
    monkeypatch.setattr(worker_module, "refused", refused)
    job_id = submit(db)
    with working(db, kind(), threads=1, lease_seconds=0.3):
        assert until(lambda: hurry(db) or job(db, job_id).state is JobState.SUCCEEDED)


def test_units_that_lapse_without_end_do_not_keep_others_from_being_put_back(db: Database) -> None:
    submit(db, 2)
    claim(db, lease_seconds=0.01)
    db.run(lambda conn: conn.execute("update units set lapses = 2000 where id = (select min(id) from units)"))
    time.sleep(0.02)
    maintenance.put_back_lapsed(db, KINDS, [], 0)
    states = db.run(lambda conn: conn.execute("select state from units").fetchall())
    assert {row.state for row in states} == {"waiting"}


def test_a_pause_that_meets_a_claim_waits_for_nobody(db: Database) -> None:
    for _ in range(20):
        job_id = submit(db)
        thread = threading.Thread(target=claim, args=(db,))
        thread.start()
        before = time.monotonic()
        wish(db, recovery.pause, job_id)
        took = time.monotonic() - before
        thread.join()
        assert took < 0.5


def test_heartbeats_go_on_while_a_unit_stands_behind_its_fence(db: Database) -> None:
    submit(db, 2)
    first, second = claim(db)
    beaten: list[Any] = []
    pairs = [(first.unit_id, first.claim), (second.unit_id, second.claim)]
    with db.transaction() as conn:
        claiming.fence(conn, first)
        conn.execute("select 1")
        thread = threading.Thread(target=lambda: beaten.append(claiming.heartbeat(db, pairs)))
        thread.start()
        thread.join(5)
        assert not thread.is_alive()
        maintenance.put_back_lapsed(db, KINDS, [], 0)
    assert beaten == [{first.unit_id: None, second.unit_id: None}]


def test_a_unit_behind_its_fence_is_not_taken_away(db: Database) -> None:
    submit(db)
    (work,) = claim(db, lease_seconds=0.01)
    with db.transaction() as conn:
        claiming.fence(conn, work)
        time.sleep(0.05)
        assert maintenance.put_back_lapsed(db, KINDS, [], 0) == 0
    assert maintenance.put_back_lapsed(db, KINDS, [], 0) == 1


def test_a_worker_that_froze_behind_its_fence_does_not_keep_its_locks(db: Database) -> None:
    submit(db)
    (work,) = claim(db, lease_seconds=0.01)
    with (
        Database(db.url, idle_seconds=0.5) as frozen,
        pytest.raises(psycopg.Error),
        frozen.transaction() as conn,
    ):
        claiming.fence(conn, work)
        until(lambda: maintenance.put_back_lapsed(db, KINDS, [], 0) == 1, 5)
        conn.execute("select 1")


def test_ids_that_meet_are_drawn_again(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = submit(db)
    drawn = iter([range(taken, taken + 1), range(taken + 77, taken + 78)])
    real = jobs.new_ids
    monkeypatch.setattr(jobs, "new_ids", lambda count: next(drawn, None) or real(count))
    assert submit(db) == taken + 77


def test_a_crowd_of_held_jobs_costs_little_and_starves_no_other_subject(db: Database) -> None:
    new = NewJob("test.kind", TENANT, {}, "tester", units=(NewUnit(),), subject="crowd", subject_cap=1)
    for _ in range(4):
        db.run(lambda conn: jobs.submit_many(conn, [new] * 2500))
    other = submit(db, subject="other", subject_cap=1)
    assert not job(db, other).held
    before = time.monotonic()
    for _ in range(10):
        db.run(lambda conn: admission.admit(conn, TENANT, "other"))
    assert (time.monotonic() - before) / 10 < 0.05

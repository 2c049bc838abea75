"""Leases and fencing: a worker that vanished or froze cannot change anything, its units run elsewhere."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from redrive.database import Database
from redrive.engine import claiming, jobs, maintenance, recovery
from redrive.engine.claiming import LeaseLostError
from redrive.engine.kinds import Done, Outcome, Stopped, Work
from redrive.engine.model import JobState, UnitState
from redrive.engine.settling import Settlement, settle
from redrive.errors import Failure, FailureClass
from tests.engine.scene import TENANT, check_counts, ended, job, kind, submit, until, working

KINDS = ["test.kind"]
WORKER = 1


def claim(db: Database, count: int = 10, lease_seconds: float = 60.0) -> list[Work]:
    return claiming.claim(db, WORKER, KINDS, count, lease_seconds)


def outcome(work: Work, state: UnitState = UnitState.DONE, **more: Any) -> Settlement:
    return Settlement(work.unit_id, work.job_id, work.claim, work.attempt, state, **more)


FAILURE = {"code": "x", "detail": "y", "class": "permanent", "fingerprint": "f"}


def lapse(db: Database, probed: list[str] | None = None) -> None:
    with db.transaction() as conn:
        conn.execute(
            "update units set lease_until = clock_timestamp() - interval '1 s' where state = 'running'"
        )
    maintenance.put_back_lapsed(db, KINDS, probed or [], 0)


def only_unit(db: Database, job_id: int) -> Any:
    with db.transaction() as conn:
        (unit,) = jobs.units(conn, jobs.get(conn, TENANT, job_id))
    return unit


def test_a_claimed_unit_cannot_be_claimed_again(db: Database) -> None:
    submit(db)
    assert len(claim(db)) == 1
    assert claim(db) == []


def test_two_claimants_at_once_never_share_a_unit(db: Database) -> None:
    for _ in range(20):
        submit(db, 10, lanes=10)
    taken: list[int] = []
    lock = threading.Lock()

    def take() -> None:
        while works := claim(db, 7):
            with lock:
                taken.extend(work.unit_id for work in works)

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 200


def test_a_lapsed_unit_is_claimed_with_a_higher_number_and_the_old_outcome_changes_nothing(
    db: Database,
) -> None:
    job_id = submit(db)
    (old,) = claim(db)
    lapse(db)
    (new,) = claim(db)
    assert new.claim == old.claim + 1 and new.lapsed
    assert settle(db, [outcome(old, ledger={"by": "old"})]) == set()
    assert only_unit(db, job_id).state is UnitState.RUNNING
    assert settle(db, [outcome(new, ledger={"by": "new"}, redone=True)]) == {(new.unit_id, new.claim)}
    assert only_unit(db, job_id).ledger == {"by": "new"}
    with db.transaction() as conn:
        (attempt,) = jobs.attempts(conn, jobs.get(conn, TENANT, job_id))
    assert attempt.units_redone == 1


def test_an_outcome_of_a_former_attempt_changes_nothing(db: Database) -> None:
    job_id = submit(db)
    (old,) = claim(db)
    settle(db, [outcome(old, UnitState.FAILED, failure=FAILURE)])
    db.run(lambda conn: recovery.retry(conn, TENANT, job_id, actor="tester"))
    (new,) = claim(db)
    assert (new.attempt, new.claim) == (2, 2)
    assert settle(db, [outcome(old)]) == set()
    assert settle(db, [Settlement(new.unit_id, job_id, new.claim, 1, UnitState.DONE)]) == set()
    assert job(db, job_id).state is JobState.RUNNING


def test_settling_twice_changes_nothing_the_second_time(db: Database) -> None:
    job_id = submit(db)
    (work,) = claim(db)
    assert settle(db, [outcome(work)]) == {(work.unit_id, work.claim)}
    assert settle(db, [outcome(work)]) == set()
    assert job(db, job_id).done_units == 1


def test_a_write_behind_the_fence_is_refused_once_the_lease_is_lost(db: Database) -> None:
    submit(db)
    (old,) = claim(db)
    with db.transaction() as conn:
        claiming.fence(conn, old)
    lapse(db)
    with pytest.raises(LeaseLostError), db.transaction() as conn:
        claiming.fence(conn, old)
    with pytest.raises(LeaseLostError), db.transaction() as conn:
        claiming.save_cursor(conn, old, {"at": 1})


def test_heartbeats_keep_a_long_unit_and_nobody_else_gets_it(db: Database) -> None:
    runs: list[int] = []

    def slow(work: Work) -> Outcome:
        runs.append(work.claim)
        time.sleep(2.5)
        return Done()

    job_id = submit(db)
    with working(db, kind(slow), lease_seconds=1.0), working(db, kind(slow), lease_seconds=1.0):
        assert ended(db, job_id).state is JobState.SUCCEEDED
    assert runs == [1]


def test_a_unit_of_a_probing_kind_becomes_unknown_and_the_attempt_cannot_end_before_the_probe(
    db: Database,
) -> None:
    job_id = submit(db, 2)
    first, second = claim(db)
    settle(db, [outcome(second, UnitState.FAILED, failure=FAILURE)])
    lapse(db, probed=KINDS)
    assert job(db, job_id).state is JobState.RUNNING and job(db, job_id).live_units == 1
    probed: list[int] = []

    def probe(work: Work) -> Done | None:
        probed.append(work.unit_id)
        return Done({"found": True})

    def never(work: Work) -> Outcome:
        raise AssertionError("an effect that is there is not made again")

    with working(db, kind(never, probe=probe)):
        assert ended(db, job_id).state is JobState.FAILED
    assert probed == [first.unit_id]
    assert job(db, job_id).attempt_redone == 0


def test_a_probe_that_finds_no_effect_runs_the_unit_again_and_counts_it_as_redone(db: Database) -> None:
    job_id = submit(db)
    claim(db)
    lapse(db, probed=KINDS)
    assert only_unit(db, job_id).state is UnitState.UNKNOWN
    with working(db, kind(probe=lambda work: None)):
        ended(db, job_id)
    assert job(db, job_id).attempt_redone == 1


def test_a_probe_that_fails_is_tried_again(db: Database) -> None:
    job_id = submit(db)
    claim(db)
    lapse(db, probed=KINDS)
    calls: list[int] = []

    def probe(work: Work) -> Done | None:
        calls.append(work.claim)
        if len(calls) == 1:
            raise Failure("target", "away", kind=FailureClass.TRANSIENT)
        return Done()

    with working(db, kind(lambda work: Done({"ran": True}), probe=probe)):
        assert ended(db, job_id).state is JobState.SUCCEEDED
    assert len(calls) == 2
    assert only_unit(db, job_id).ledger != {"ran": True}


def test_cancel_waits_for_an_unknown_unit_to_be_probed(db: Database) -> None:
    job_id = submit(db, 3, lanes=1)
    claim(db)
    lapse(db, probed=KINDS)
    db.run(lambda conn: recovery.cancel(conn, TENANT, job_id, actor="tester"))
    assert job(db, job_id).state is JobState.RUNNING
    with working(db, kind(probe=lambda work: Done())):
        assert ended(db, job_id).state is JobState.CANCELLED
    assert job(db, job_id).done_units == 1


def test_cancel_of_a_job_whose_unit_lapsed_ends_it(db: Database) -> None:
    job_id = submit(db)
    claim(db)
    db.run(lambda conn: recovery.cancel(conn, TENANT, job_id, actor="tester"))
    assert job(db, job_id).wanted == "cancel"
    lapse(db)
    assert job(db, job_id).state is JobState.CANCELLED


def test_pause_reaches_a_running_unit_at_its_commit_point_and_resume_goes_on_in_the_same_attempt(
    db: Database,
) -> None:
    started = threading.Event()
    cursors: list[Any] = []

    def run(work: Work) -> Outcome:
        cursors.append(work.cursor)
        if work.cursor is not None:
            return Done()
        started.set()
        while not work.wait(0.01):
            pass
        return Stopped({"at": 3})

    job_id = submit(db)
    with working(db, kind(run)):
        started.wait(5)
        db.run(lambda conn: recovery.pause(conn, TENANT, job_id, actor="tester"))
        until(lambda: job(db, job_id).state is JobState.PAUSED)
        check_counts(db)
        time.sleep(0.3)
        assert cursors == [None]
        db.run(lambda conn: recovery.resume(conn, TENANT, job_id, actor="tester"))
        assert ended(db, job_id).state is JobState.SUCCEEDED
    assert cursors == [None, {"at": 3}]
    assert job(db, job_id).attempt == 1


def test_stopping_a_worker_gives_its_unstarted_units_back_at_once(db: Database) -> None:
    ids = [submit(db) for _ in range(40)]

    def slow(work: Work) -> Outcome:
        time.sleep(0.05)
        return Done()

    with working(db, kind(slow), threads=2):
        time.sleep(0.3)
    with db.transaction() as conn:
        row = conn.execute("select count(*) as n from units where state = 'running'").fetchone()
    assert row.n == 0
    with working(db, kind()):
        assert all(ended(db, job_id).state is JobState.SUCCEEDED for job_id in ids)

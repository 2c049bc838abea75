"""Jobs run: units, phases, lanes, plans, automatic retries, priorities, times."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

from redrive.clock import now
from redrive.database import Database
from redrive.engine import jobs
from redrive.engine.kinds import Again, Done, Outcome, Planned, Replaced, Work
from redrive.engine.model import PLAN_UNIT, JobState, NewUnit, UnitState
from redrive.errors import Failure, FailureClass
from tests.engine.scene import TENANT, ended, job, kind, submit, until, working


def test_a_job_of_one_unit_succeeds_and_leaves_attempt_and_events(db: Database) -> None:
    job_id = submit(db)
    with working(db, kind()):
        assert ended(db, job_id).state is JobState.SUCCEEDED
    found = job(db, job_id)
    with db.transaction() as conn:
        (attempt,) = jobs.attempts(conn, found)
        names = [event.name for event in jobs.events(conn, found)]
        (unit,) = jobs.units(conn, found)
    assert (attempt.number, attempt.cause, attempt.outcome, attempt.units_done) == (
        1,
        "submit",
        "succeeded",
        1,
    )
    assert attempt.started_at is not None and attempt.ended_at is not None
    assert names == ["submitted", "succeeded"]
    assert unit.state is UnitState.DONE and unit.ledger == {"unit": str(unit.id)}


def test_a_submitted_job_starts_within_milliseconds_on_an_idle_worker(db: Database) -> None:
    begun: list[float] = []

    def note(work: Work) -> Outcome:
        begun.append(time.monotonic())
        return Done()

    with working(db, kind(note)):
        time.sleep(0.3)
        waits = []
        for _ in range(10):
            before = time.monotonic()
            job_id = submit(db)
            ended(db, job_id)
            waits.append(begun[-1] - before)
    assert sorted(waits)[5] < 0.5  # the fallback poll is 1 s: this is the notification


def test_phases_run_in_order_and_all_of_a_phase_is_done_before_the_next(db: Database) -> None:
    seen: list[int] = []

    def note(work: Work) -> Outcome:
        time.sleep(0.01)
        seen.append(work.phase)
        return Done()

    units = [NewUnit({}, phase=phase) for phase in (3, 1, 2, 1, 3, 2, 1)]
    job_id = submit(db, units)
    with working(db, kind(note)):
        assert ended(db, job_id).state is JobState.SUCCEEDED
    assert seen == sorted(seen) and len(seen) == 7


def test_a_job_never_runs_more_units_at_once_than_it_has_lanes(db: Database) -> None:
    lock, running, most = threading.Lock(), [0], [0]

    def note(work: Work) -> Outcome:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.005)
        with lock:
            running[0] -= 1
        return Done()

    job_id = submit(db, 30, lanes=2)
    with working(db, kind(note), threads=6), working(db, kind(note), threads=6):
        assert ended(db, job_id).done_units == 30
    assert most[0] == 2


def test_a_plan_inserts_its_units_which_then_run(db: Database) -> None:
    def run(work: Work) -> Outcome:
        if work.phase == 0:
            return Planned([NewUnit({"n": n}, phase=1 + n % 2) for n in range(25)])
        return Done({"n": work.unit_spec["n"]})

    job_id = submit(db, [PLAN_UNIT])
    with working(db, kind(run)):
        found = ended(db, job_id)
    assert (found.state, found.total_units, found.done_units) == (JobState.SUCCEEDED, 26, 26)


def test_an_empty_plan_succeeds(db: Database) -> None:
    job_id = submit(db, [PLAN_UNIT])
    with working(db, kind(lambda work: Planned([]))):
        assert ended(db, job_id).state is JobState.SUCCEEDED


def test_a_failed_plan_leaves_no_units_and_a_retry_plans_again(db: Database) -> None:
    from redrive.engine import recovery

    broken = [True]

    def run(work: Work) -> Outcome:
        if work.phase == 0:
            if broken[0]:
                raise Failure("source", "no such table", kind=FailureClass.PERMANENT)
            return Planned([NewUnit({})] * 3)
        return Done()

    job_id = submit(db, [PLAN_UNIT])
    with working(db, kind(run)):
        assert (ended(db, job_id).state, job(db, job_id).total_units) == (JobState.FAILED, 1)
        broken[0] = False
        db.run(lambda conn: recovery.retry(conn, TENANT, job_id, actor="tester"))
        until(lambda: job(db, job_id).state is JobState.SUCCEEDED)
    assert job(db, job_id).total_units == 4


def test_a_unit_can_give_way_to_parts_of_itself(db: Database) -> None:
    def run(work: Work) -> Outcome:
        if work.unit_spec.get("n") == 1:
            return Replaced([NewUnit({"part": part}, phase=work.phase) for part in range(3)])
        return Done()

    job_id = submit(db, 3)
    with working(db, kind(run)):
        found = ended(db, job_id)
    assert (found.state, found.total_units, found.done_units, found.skipped_units) == (
        JobState.SUCCEEDED,
        6,
        5,
        1,
    )


def test_a_transient_failure_is_tried_again_and_leaves_a_note(db: Database) -> None:
    tries: list[int] = []

    def run(work: Work) -> Outcome:
        tries.append(work.tries)
        if len(tries) < 3:
            raise Failure("network", "connection reset", kind=FailureClass.TRANSIENT)
        return Done()

    job_id = submit(db)
    with working(db, kind(run)):
        assert ended(db, job_id).state is JobState.SUCCEEDED
    assert tries == [0, 1, 2]
    with db.transaction() as conn:
        events = jobs.events(conn, job(db, job_id))
    assert [event.name for event in events] == [
        "submitted",
        "unit_will_retry",
        "unit_will_retry",
        "succeeded",
    ]


def test_the_budget_of_tries_ends_and_other_units_go_on(db: Database) -> None:
    def run(work: Work) -> Outcome:
        if work.unit_spec["n"] == 0:
            raise Failure("network", "connection reset by 10.0.0.7", kind=FailureClass.TRANSIENT, target="db")
        return Done()

    job_id = submit(db, 20, lanes=1)
    with working(db, kind(run)):
        found = ended(db, job_id)
    assert (found.state, found.done_units, found.failed_units) == (JobState.FAILED, 19, 1)
    assert found.failure is not None and found.failure["class"] == "transient"
    assert found.fingerprint == found.failure["fingerprint"]
    with db.transaction() as conn:
        (attempt,) = jobs.attempts(conn, found)
    assert (attempt.outcome, attempt.units_done, attempt.units_failed) == ("failed", 19, 1)


def test_a_bug_fails_the_unit_without_its_text(db: Database) -> None:
    def run(work: Work) -> Outcome:
        raise RuntimeError("password=hunter2")

    job_id = submit(db)
    with working(db, kind(run)):
        found = ended(db, job_id)
    assert found.failure is not None
    assert found.failure["code"] == "internal" and "hunter2" not in str(found.failure)


def test_continuous_work_keeps_its_cursor_and_comes_back(db: Database) -> None:
    def run(work: Work) -> Outcome:
        at = (work.cursor or {"at": 0})["at"]
        return Done({"at": at}) if at == 5 else Again({"at": at + 1}, after_seconds=0.01)

    job_id = submit(db)
    with working(db, kind(run)):
        ended(db, job_id)
    with db.transaction() as conn:
        (unit,) = jobs.units(conn, job(db, job_id))
    assert unit.ledger == {"at": 5}


def test_a_job_waits_for_its_time(db: Database) -> None:
    job_id = submit(db, run_at=now() + timedelta(seconds=1.5))
    with working(db, kind()):
        time.sleep(0.7)
        assert job(db, job_id).state is JobState.QUEUED
        assert ended(db, job_id).state is JobState.SUCCEEDED


def test_higher_priority_runs_first(db: Database) -> None:
    order: list[int] = []

    def note(work: Work) -> Outcome:
        order.append(work.job_id)
        return Done()

    low = [submit(db) for _ in range(5)]
    high = submit(db, priority=5)
    with working(db, kind(note), threads=1):
        for job_id in [*low, high]:
            ended(db, job_id)
    assert order[0] == high


def test_subject_cap_lets_one_job_of_a_subject_run_at_a_time(db: Database) -> None:
    lock, running, most = threading.Lock(), [0], [0]

    def note(work: Work) -> Outcome:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.02)
        with lock:
            running[0] -= 1
        return Done()

    ids = [submit(db, subject="table-a", subject_cap=1) for _ in range(6)]
    with working(db, kind(note), threads=4):
        assert all(ended(db, job_id).state is JobState.SUCCEEDED for job_id in ids)
    assert most[0] == 1


def test_tenant_cap_holds_the_rest_back(db: Database) -> None:
    with db.transaction() as conn:
        conn.execute("insert into tenant_caps values (%s, 2)", [TENANT])
    ids = [submit(db) for _ in range(5)]
    assert [job(db, job_id).held for job_id in ids] == [False, False, True, True, True]
    with working(db, kind()):
        assert all(ended(db, job_id).state is JobState.SUCCEEDED for job_id in ids)

"""The verbs: every state and verb, lists, filters, reruns."""

from __future__ import annotations

import pytest

from redrive.database import Database
from redrive.engine import claiming, jobs, recovery
from redrive.engine.model import JobState, NewUnit, UnitState
from redrive.engine.recovery import Refusal, RetryFilter
from redrive.engine.settling import Settlement, settle
from redrive.errors import Problem
from tests.engine.scene import TENANT, ended, job, kind, submit, working

FAILURE = {"code": "x", "detail": "y", "class": "permanent", "fingerprint": "f"}


def claim(db: Database, count: int = 1000) -> list[Settlement]:
    return [
        Settlement(work.unit_id, work.job_id, work.claim, work.attempt, UnitState.DONE)
        for work in claiming.claim(db, 1, ["test.kind"], count, 60)
    ]


def fail(db: Database, count: int = 1000) -> None:
    settle(
        db,
        [
            Settlement(s.unit_id, s.job_id, s.claim, s.attempt, UnitState.FAILED, failure=FAILURE)
            for s in claim(db, count)
        ],
    )


def in_state(db: Database, state: JobState) -> int:
    job_id = submit(db)
    match state:
        case JobState.RUNNING:
            claim(db)
        case JobState.SUCCEEDED:
            settle(db, claim(db))
        case JobState.FAILED:
            fail(db)
        case JobState.PAUSED:
            db.run(lambda conn: recovery.pause(conn, TENANT, job_id, actor="tester"))
        case JobState.CANCELLED:
            db.run(lambda conn: recovery.cancel(conn, TENANT, job_id, actor="tester"))
    assert job(db, job_id).state is state
    return job_id


ALLOWED = {
    "retry": {JobState.FAILED, JobState.CANCELLED},
    "resume": {JobState.PAUSED},
    "pause": {JobState.QUEUED, JobState.RUNNING, JobState.PAUSED},
    "cancel": {JobState.QUEUED, JobState.RUNNING, JobState.PAUSED, JobState.CANCELLED},
    "rerun": {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED},
}


@pytest.mark.parametrize("verb", ALLOWED)
@pytest.mark.parametrize("state", JobState)
def test_every_verb_from_every_state(db: Database, verb: str, state: JobState) -> None:
    job_id = in_state(db, state)
    before = job(db, job_id)
    act = getattr(recovery, verb)
    if state in ALLOWED[verb]:
        db.run(lambda conn: act(conn, TENANT, job_id, actor="tester"))
        return
    with pytest.raises(Problem) as refused:
        db.run(lambda conn: act(conn, TENANT, job_id, actor="tester"))
    assert Refusal(refused.value.reason) in recovery.SENTENCES
    assert job(db, job_id) == before


@pytest.mark.parametrize("verb", ALLOWED)
def test_another_tenants_job_does_not_exist(db: Database, verb: str) -> None:
    job_id = in_state(db, JobState.FAILED)
    with pytest.raises(Problem) as refused:
        db.run(lambda conn: getattr(recovery, verb)(conn, TENANT + 1, job_id, actor="stranger"))
    assert refused.value.reason == "not_found"
    assert job(db, job_id).state is JobState.FAILED


def test_retry_keeps_what_is_done_and_numbers_the_attempt(db: Database) -> None:
    job_id = submit(db, 5, lanes=5)
    settle(db, claim(db, 3))
    fail(db)
    db.run(lambda conn: recovery.retry(conn, TENANT, job_id, actor="ann", reason="the disk is back"))
    found = job(db, job_id)
    assert (found.state, found.attempt, found.done_units, found.failure) == (JobState.QUEUED, 2, 3, None)
    with working(db, kind()):
        assert ended(db, job_id).state is JobState.SUCCEEDED
    with db.transaction() as conn:
        first, second = jobs.attempts(conn, found)
        names = [event.name for event in jobs.events(conn, found)]
    assert (first.outcome, first.units_done, first.units_failed) == ("failed", 3, 2)
    assert first.failure == FAILURE
    assert (second.cause, second.actor, second.reason) == ("retry", "ann", "the disk is back")
    assert (second.outcome, second.units_done, second.units_redone) == ("succeeded", 2, 0)
    assert names == ["submitted", "failed", "retried", "succeeded"]


def test_retry_of_a_cancelled_job_goes_on_with_its_waiting_units(db: Database) -> None:
    job_id = submit(db, 6, lanes=2)
    settle(db, claim(db, 2))
    db.run(lambda conn: recovery.cancel(conn, TENANT, job_id, actor="tester"))
    db.run(lambda conn: recovery.retry(conn, TENANT, job_id, actor="tester"))
    with working(db, kind()):
        found = ended(db, job_id)
    assert (found.state, found.done_units, found.attempt_done) == (JobState.SUCCEEDED, 6, 4)


def test_a_list_is_answered_one_by_one_in_the_order_asked(db: Database) -> None:
    # The queued one last: bringing a job into a state claims what is queued.
    refused = {
        JobState.RUNNING: Refusal.STILL_RUNNING,
        JobState.PAUSED: Refusal.IS_PAUSED,
        JobState.SUCCEEDED: Refusal.HAS_SUCCEEDED,
        JobState.FAILED: None,
        JobState.CANCELLED: None,
        JobState.QUEUED: Refusal.STILL_QUEUED,
    }
    expected: dict[int, Refusal | None] = {in_state(db, state): why for state, why in refused.items()}
    expected[12345] = Refusal.NOT_FOUND
    answers = db.run(lambda conn: recovery.retry_each(conn, TENANT, list(expected), actor="tester"))
    assert answers == expected
    assert list(answers) == list(expected)


def test_a_filter_retries_exactly_what_it_means(db: Database) -> None:
    wanted = [submit(db, subject="a") for _ in range(3)]
    others = [submit(db, subject="b") for _ in range(2)]
    fail(db)
    chosen = RetryFilter(subject="a", kinds=["test.kind"], fingerprint="f", states=[JobState.FAILED])
    with db.transaction() as conn:
        assert recovery.count_retryable(conn, TENANT, chosen) == 3
        assert recovery.retry_many(conn, TENANT, chosen, actor="tester")[0] == 3
        assert recovery.retry_many(conn, TENANT, chosen, actor="tester")[0] == 0
        assert recovery.retry_many(conn, TENANT + 1, RetryFilter(), actor="stranger")[0] == 0
    assert {job(db, job_id).state for job_id in wanted} == {JobState.QUEUED}
    assert {job(db, job_id).state for job_id in others} == {JobState.FAILED}


def test_two_retries_at_once_make_one_attempt(db: Database) -> None:
    import threading

    job_id = in_state(db, JobState.FAILED)
    answers: list[object] = []

    def retry() -> None:
        answers.append(db.run(lambda conn: recovery.retry_each(conn, TENANT, [job_id], actor="x"))[job_id])

    threads = [threading.Thread(target=retry) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count(None) == 1
    assert job(db, job_id).attempt == 2


def test_retry_of_a_capped_job_waits_for_its_subject(db: Database) -> None:
    first = submit(db, subject="s", subject_cap=1)
    fail(db)
    second = submit(db, subject="s", subject_cap=1)
    db.run(lambda conn: recovery.retry(conn, TENANT, first, actor="tester"))
    assert (job(db, first).held, job(db, second).held) == (True, False)
    with working(db, kind()):
        assert ended(db, first).state is JobState.SUCCEEDED


def test_rerun_is_a_new_linked_job_with_the_units_as_submitted(db: Database) -> None:
    first = submit(db, [NewUnit({"n": 1}, phase=1), NewUnit({"n": 2}, phase=2)], spec={"what": "all"})
    with working(db, kind()):
        ended(db, first)
        again = db.run(lambda conn: recovery.rerun(conn, TENANT, first, actor="ann"))
        assert ended(db, again).state is JobState.SUCCEEDED
    found = job(db, again)
    assert (found.origin_id, found.spec, found.total_units, found.attempt) == (first, {"what": "all"}, 2, 1)
    with db.transaction() as conn:
        (attempt,) = jobs.attempts(conn, found)
    assert attempt.cause == "rerun"
    assert job(db, first).state is JobState.SUCCEEDED


def test_pages_of_jobs_go_newest_first_without_holes_or_repeats(db: Database) -> None:
    ids = [submit(db, kind=f"kind.{n % 3}") for n in range(57)]
    seen: list[int] = []
    before = None
    while True:
        wanted = jobs.JobFilter(before=before, limit=10)
        page = db.run(lambda conn, wanted=wanted: jobs.listing(conn, TENANT, wanted))
        if not page:
            break
        seen.extend(found.id for found in page)
        before = page[-1].id
    assert seen == sorted(ids, reverse=True)


def test_a_vendor_id_names_one_job_of_one_tenant(db: Database) -> None:
    job_id = submit(db)
    with db.transaction() as conn:
        jobs.name_for_vendor(conn, "enos.tsdb", "302037106667073536", job_id)
    with db.transaction() as conn:
        found = jobs.by_vendor_id(conn, TENANT, "enos.tsdb", "302037106667073536")
        assert found is not None and found.id == job_id
        assert jobs.by_vendor_id(conn, TENANT + 1, "enos.tsdb", "302037106667073536") is None

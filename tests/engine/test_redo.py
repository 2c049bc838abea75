"""A retry keeps what is done, except where its input has changed: that is done again, and knows what it had done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from psycopg import Connection

from redrive.database import Database
from redrive.engine import jobs, recovery
from redrive.engine.kinds import Done, Kind, Outcome, Work
from redrive.engine.model import Job, JobState, NewUnit, UnitState
from redrive.errors import Failure
from tests.engine.scene import TENANT, check_counts, ended, kind, submit, working

STEPS = ["one", "two", "three", "four"]


class Recipe:
    """Steps in phases of their own; each is done with an input that may change, the last fails where told to."""

    def __init__(self) -> None:
        self.inputs = dict.fromkeys(STEPS, 1)
        self.failing = {"four"}
        self.ran: list[tuple[str, int, Any]] = []

    def run(self, work: Work) -> Outcome:
        self.ran.append((work.label, self.inputs[work.label], work.former))
        if work.label in self.failing:
            raise Failure("broken", f"{work.label} is broken", kind="permanent")
        return Done({"input": self.inputs[work.label]})

    def changed(self, conn: Connection[Any], job: Job) -> Sequence[int]:
        found = jobs.units(conn, job, states=[UnitState.DONE])
        return [unit.id for unit in found if (unit.ledger or {})["input"] != self.inputs[unit.label]]

    def kind(self) -> Kind:
        return kind(self.run, changed=self.changed)


def retry(db: Database, recipe: Recipe, job_id: int) -> None:
    def again(conn: Connection[Any]) -> None:
        recovery.retry(conn, TENANT, job_id, actor="tester")
        recovery.redo_changed(conn, TENANT, [recipe.kind()], actor="tester")

    db.run(again)


def failed_job(db: Database, recipe: Recipe) -> int:
    job_id = submit(db, [NewUnit({}, phase, step) for phase, step in enumerate(STEPS, 1)], lanes=1)
    with working(db, recipe.kind()):
        assert ended(db, job_id).state is JobState.FAILED
    recipe.ran.clear()
    return job_id


@pytest.mark.parametrize("changed", [[], ["one"], ["three"], ["one", "three"], ["one", "two", "three"]])
def test_only_steps_whose_input_changed_are_done_again_and_in_their_order(
    db: Database, changed: list[str]
) -> None:
    recipe = Recipe()
    job_id = failed_job(db, recipe)
    recipe.failing.clear()
    for step in changed:
        recipe.inputs[step] = 2
    retry(db, recipe, job_id)
    check_counts(db)
    with working(db, recipe.kind()):
        job = ended(db, job_id)
    assert job.state is JobState.SUCCEEDED and job.attempt == 2 and job.attempt_done == len(changed) + 1
    assert recipe.ran == [*((step, 2, {"input": 1}) for step in changed), ("four", 1, None)]
    check_counts(db)
    names = [event.name for event in db.run(lambda conn: jobs.events(conn, job))]
    assert ("units_redone" in names) == bool(changed)


def test_what_is_done_again_may_fail_and_be_retried_and_still_knows_what_it_had_done(db: Database) -> None:
    recipe = Recipe()
    job_id = failed_job(db, recipe)
    recipe.inputs["two"], recipe.failing = 2, {"two"}
    retry(db, recipe, job_id)
    with working(db, recipe.kind()):
        assert ended(db, job_id).failure["code"] == "broken"  # type: ignore[index]
        assert recipe.ran == [("two", 2, {"input": 1})]
        recipe.failing.clear()
        retry(db, recipe, job_id)
        assert ended(db, job_id).state is JobState.SUCCEEDED
    assert recipe.ran[1:] == [("two", 2, {"input": 1}), ("four", 1, None)]
    check_counts(db)


def test_jobs_that_were_not_retried_stay_as_they_are(db: Database) -> None:
    recipe = Recipe()
    job_id = failed_job(db, recipe)
    recipe.inputs["one"] = 2
    db.run(lambda conn: recovery.redo_changed(conn, TENANT, [recipe.kind()], actor="tester"))
    assert db.run(lambda conn: jobs.get(conn, TENANT, job_id)).done_units == 3

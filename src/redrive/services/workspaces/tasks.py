"""Tasks: the attempts of a workspace's jobs, each with the steps as they stood in it. Only reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import Connection

from redrive.engine import jobs
from redrive.engine.model import Attempt, Job, JobState, Unit, UnitState
from redrive.errors import Problem, ProblemCode
from redrive.services.workspaces.house import queries
from redrive.services.workspaces.model import KINDS
from redrive.services.workspaces.task_ids import task_id

#: So many jobs of a workspace are listed, the newest.
TASK_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class StepStatus:
    """A step in a task. ``kept``: an earlier attempt did it, with the times of then."""

    id: int
    name: str
    state: UnitState
    kept: bool
    started_at: datetime | None
    ended_at: datetime | None
    failure: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Task:
    """One attempt of a job of a workspace. Its state is the job's while it is the job's newest one."""

    id: str
    job: Job
    attempt: int
    state: JobState
    started_at: datetime
    ended_at: datetime | None
    failure: Mapping[str, Any]
    steps: Sequence[StepStatus]


def task(conn: Connection[Any], tenant_id: int, job_id: int, attempt: int) -> Task:
    """Return an attempt of a job of a workspace; a Problem where there is none such."""
    job = job_of_task(conn, tenant_id, job_id)
    found = [each for each in jobs.attempts(conn, job) if each.number == attempt]
    if not found:
        raise unknown_task()
    return _task(job, found[0], jobs.units(conn, job, limit=jobs.LIST_LIMIT))


def job_of_task(conn: Connection[Any], tenant_id: int, job_id: int) -> Job:
    """Return a job of a workspace; a Problem where there is none such."""
    job = jobs.by_ids(conn, tenant_id, [job_id]).get(job_id)
    if job is None or job.kind not in KINDS:
        raise unknown_task()
    return job


def newest(conn: Connection[Any], tenant_id: int, kinds: Sequence[str] = KINDS) -> list[Task]:
    """Return the newest task of each job of a workspace, newest first."""
    named = {"tenant_id": tenant_id, "kinds": list(kinds), "limit": TASK_LIMIT}
    ids = [row.id for row in conn.execute(queries.tasks, named).fetchall()]
    found = jobs.by_ids(conn, tenant_id, ids)
    return [task(conn, tenant_id, job_id, found[job_id].attempt) for job_id in ids]


def steps_among(conn: Connection[Any], tenant_id: int, numbers: Iterable[int]) -> set[int]:
    """Return which of these numbers are steps of the workspace's tasks."""
    named = {"tenant_id": tenant_id, "ids": [n for n in numbers if n < 1 << 63], "kinds": list(KINDS)}
    return {row.id for row in conn.execute(queries.steps_among, named).fetchall()}


def unknown_task() -> Problem:
    """Return the problem of a task that is not there, or another project's: nothing tells them apart."""
    return Problem(ProblemCode.NOT_FOUND, "there is no such task", reason="not_found")


def _task(job: Job, attempt: Attempt, units: Sequence[Unit]) -> Task:
    is_newest = attempt.number == job.attempt
    return Task(
        id=task_id(job.id, attempt.number),
        job=job,
        attempt=attempt.number,
        state=job.state if is_newest else JobState(str(attempt.outcome)),
        started_at=attempt.started_at or job.started_at or attempt.created_at,
        ended_at=attempt.ended_at,
        failure=(job.failure if is_newest else attempt.failure) or {},
        steps=[_step(job, attempt, unit) for unit in units],
    )


def _step(job: Job, attempt: Attempt, unit: Unit) -> StepStatus:
    state, failure = _state_in(job, attempt, unit)
    over = state in (UnitState.DONE, UnitState.FAILED, UnitState.SKIPPED)
    return StepStatus(
        id=unit.id,
        name=unit.label,
        state=state,
        kept=state is UnitState.DONE and 0 < unit.attempt < attempt.number,
        started_at=unit.started_at if state is not UnitState.WAITING else None,
        ended_at=unit.ended_at if over else None,
        failure=failure,
    )


def _state_in(job: Job, attempt: Attempt, unit: Unit) -> tuple[UnitState, Mapping[str, Any]]:
    """Return how a step stood in an attempt. Steps have a phase each, so where an earlier one ended tells all."""
    if attempt.number == job.attempt:
        return unit.state, (unit.failure or {}) if unit.state is UnitState.FAILED else {}
    failure = dict(attempt.failure or {})
    failed_at = failure.get("phase")
    if failed_at is None:  # it was cancelled: what was done then is done
        return (UnitState.DONE if 0 < unit.attempt <= attempt.number else UnitState.WAITING), {}
    if unit.phase < failed_at:
        return UnitState.DONE, {}
    return (UnitState.FAILED, failure) if unit.phase == failed_at else (UnitState.WAITING, {})

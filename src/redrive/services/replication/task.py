"""A task as it is stored, and what its units need of the process: the guard, and what opens passwords."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from psycopg import Connection

from redrive.database import Database, Queries
from redrive.endpoints.databases.model import Endpoint, endpoint_from
from redrive.endpoints.guard import Guard
from redrive.engine import claiming
from redrive.engine.kinds import Work
from redrive.engine.model import JobState
from redrive.errors import Failure, FailureClass, Problem, ProblemCode
from redrive.services.replication.model import End, Standing, Status, TaskSettings, settings_from, status_of

queries = Queries.beside(__file__, "replication.sql")


class Keys(Protocol):
    """The tenants' data keys (identity's)."""

    def seal(self, conn: Connection[Any], tenant_id: int, plain: bytes, place: str) -> bytes:
        """Return ``plain`` sealed with the tenant's key."""

    def open(self, conn: Connection[Any], tenant_id: int, sealed: bytes, place: str) -> bytes:
        """Return what was sealed with the tenant's key."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the service needs of the process."""

    guard: Guard
    keys: Keys


@dataclass(frozen=True, slots=True)
class Task:
    """A task. Passwords are here only where they were opened for a unit; elsewhere they are empty."""

    id: int
    tenant_id: int
    vendor_id: str
    settings: TaskSettings
    source: Endpoint | None
    target: Endpoint | None
    source_tested_at: datetime | None
    target_tested_at: datetime | None
    revision: int
    precheck_job_id: int | None
    precheck_revision: int | None
    job_id: int | None
    released_at: datetime | None
    release_job_id: int | None
    deleted_at: datetime | None
    created_at: datetime
    changed_at: datetime
    release_state: JobState | None
    #: Of its job, where it has one.
    state: JobState | None
    phase: int
    failure: Mapping[str, Any] | None
    run_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    is_due: bool
    wanted: str | None
    source_password: str = ""
    target_password: str = ""

    @property
    def status(self) -> Status:
        """Where it stands."""
        failed_phase = (self.failure or {}).get("phase")
        return status_of(
            Standing(
                self.state,
                self.phase,
                None if failed_phase is None else int(failed_phase),
                not self.is_due,
                self.released_at is not None,
                self.release_state,
            )
        )

    def end(self, end: End) -> Endpoint:
        """Return one of its databases; a Failure where it has not been named."""
        found = self.source if end is End.SOURCE else self.target
        if found is None:
            raise Failure(
                "no_endpoint",
                f"the {end} of the task is not named",
                hint="name it, then retry",
                kind=FailureClass.NEEDS_INPUT,
            )
        return found


def task_from(row: Any) -> Task:
    """Return a row of ``queries.tasks`` as a task."""
    return Task(
        id=row.id,
        tenant_id=row.tenant_id,
        vendor_id=row.vendor_id,
        settings=settings_from(row.settings),
        source=None if row.source is None else endpoint_from(row.source),
        target=None if row.target is None else endpoint_from(row.target),
        source_tested_at=row.source_tested_at,
        target_tested_at=row.target_tested_at,
        revision=row.revision,
        precheck_job_id=row.precheck_job_id,
        precheck_revision=row.precheck_revision,
        job_id=row.job_id,
        released_at=row.released_at,
        release_job_id=row.release_job_id,
        deleted_at=row.deleted_at,
        created_at=row.created_at,
        changed_at=row.changed_at,
        release_state=None if row.release_state is None else JobState(row.release_state),
        state=None if row.state is None else JobState(row.state),
        phase=row.phase or 0,
        failure=row.failure,
        run_at=row.run_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        is_due=row.is_due is not False,
        wanted=row.wanted,
    )


def secret_place(task_id: int, end: End) -> str:
    """Return the place for which a password is sealed."""
    return f"replication_tasks.{end}_secret/{task_id}"


def load_for(parts: Parts, work: Work) -> Task:
    """Return the task of a unit, with its passwords as they are now."""
    with work.db.transaction() as conn:
        claiming.fence(conn, work)
    return load_task(parts, work.db, work.tenant_id, int(work.spec["task_id"]))


def load_task(parts: Parts, db: Database, tenant_id: int, task_id: int) -> Task:
    """Return a task with its passwords; a Problem where there is none such."""
    with db.transaction() as conn:
        row = conn.execute(queries.task, {"tenant_id": tenant_id, "id": task_id}).fetchone()
        if row is None:
            raise Problem(ProblemCode.NOT_FOUND, "there is no such task", reason="not_found")
        opened = {
            end: ""
            if sealed is None
            else parts.keys.open(conn, tenant_id, bytes(sealed), secret_place(task_id, end)).decode()
            for end, sealed in ((End.SOURCE, row.source_secret), (End.TARGET, row.target_secret))
        }
    return replace(task_from(row), source_password=opened[End.SOURCE], target_password=opened[End.TARGET])

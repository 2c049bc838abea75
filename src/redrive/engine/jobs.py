"""Submitting and reading jobs. Every read is bound to a tenant: another tenant's job does not exist.

Reading never changes state.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import orjson
from psycopg import Connection, errors

from redrive.database import Queries
from redrive.engine.admission import admit
from redrive.engine.model import Attempt, Event, Job, JobState, Json, NewJob, Unit, UnitState
from redrive.errors import Problem, ProblemCode
from redrive.ids import new_ids

queries = Queries.beside(__file__, "jobs.sql")

LIST_LIMIT = 1000
_ID_TRIES = 5
_LAST_ID = (1 << 63) - 1
_JOB_FIELDS = tuple(field.name for field in fields(Job))
_UNIT_FIELDS = tuple(field.name for field in fields(Unit))


def dump(value: object) -> str:
    """Return ``value`` as JSON text for a jsonb parameter."""
    return orjson.dumps(value).decode()


def submit(conn: Connection[Any], job: NewJob) -> int:
    """Insert one job in the caller's transaction and return its id. Workers hear of it at commit."""
    return submit_many(conn, [job])[0]


def submit_many(
    conn: Connection[Any], new: Sequence[NewJob], *, cause: str = "submit", reason: str = ""
) -> list[int]:
    """Insert jobs with their units, first attempts and events; all or nothing; return the ids in order."""
    if not new:
        return []
    first_phases = [min(unit.phase for unit in job.units) if job.units else 0 for job in new]
    if not all(job.units for job in new):
        raise ValueError("a job needs at least one unit")
    ids, stored = insert_with_ids(
        conn,
        queries.insert_jobs,
        {
            "tenant_ids": [job.tenant_id for job in new],
            "kinds": [job.kind for job in new],
            "subjects": [job.subject for job in new],
            "subject_caps": [job.subject_cap for job in new],
            "specs": [dump(job.spec) for job in new],
            "priorities": [job.priority for job in new],
            "lanes": [job.lanes for job in new],
            "phases": first_phases,
            "totals": [len(job.units) for job in new],
            "opens": [
                sum(unit.phase == first for unit in job.units)
                for job, first in zip(new, first_phases, strict=True)
            ],
            "origins": [job.origin_id for job in new],
            "actors": [job.actor for job in new],
            "run_ats": [job.run_at for job in new],
            "cause": cause,
            "reason": reason,
        },
        len(new),
    )
    _insert_units(conn, list(zip(ids, new, first_phases, strict=True)))
    capped_tenants = {job.tenant_id for job, row in zip(new, stored, strict=True) if row.capped}
    for tenant_id in sorted(capped_tenants):
        admit(conn, tenant_id)
    conn.execute(queries.wake)
    return ids


def _insert_units(conn: Connection[Any], placed: Sequence[tuple[int, NewJob, int]]) -> None:
    rows: list[tuple[Any, ...]] = []
    for job_id, job, first_phase in placed:
        free = job.lanes
        for unit in sorted(job.units, key=lambda unit: unit.phase):
            ready = unit.phase == first_phase and free > 0
            free -= ready
            rows.append(
                (
                    job_id,
                    job.tenant_id,
                    job.kind,
                    unit.phase,
                    unit.label,
                    dump(unit.spec),
                    job.priority,
                    ready,
                )
            )
    job_ids, tenants, kinds, phases, labels, specs, priorities, ready_flags = zip(*rows, strict=True)
    insert_with_ids(
        conn,
        queries.insert_units,
        {
            "job_ids": list(job_ids),
            "tenant_ids": list(tenants),
            "kinds": list(kinds),
            "phases": list(phases),
            "labels": list(labels),
            "planned": [False] * len(rows),
            "specs": list(specs),
            "priorities": list(priorities),
            "ready": list(ready_flags),
        },
        len(rows),
    )


def insert_with_ids(
    conn: Connection[Any], query: str, parameters: dict[str, Any], count: int
) -> tuple[list[int], list[Any]]:
    """Run an insert of ``count`` rows under fresh ids; return the ids in order and what it returned.

    Two processes that make ids in the same millisecond can meet: then new ones are drawn.
    """
    for tries in range(1, _ID_TRIES + 1):
        ids = list(new_ids(count))
        try:
            with conn.transaction():
                cursor = conn.execute(query, {"ids": ids, **parameters})
                return ids, cursor.fetchall() if cursor.description else []
        except errors.UniqueViolation:
            if tries == _ID_TRIES:
                raise
    raise AssertionError("the loop above returns or raises")


def job_from_row(row: Any) -> Job:
    """Return the job in a row of ``jobs``."""
    values = {name: getattr(row, name) for name in _JOB_FIELDS}
    values["state"] = JobState(values["state"])
    return Job(**values)


def unit_from_row(row: Any) -> Unit:
    """Return the unit in a row of ``units``."""
    values = {name: getattr(row, name) for name in _UNIT_FIELDS}
    values["state"] = UnitState(values["state"])
    return Unit(**values)


def get(conn: Connection[Any], tenant_id: int, job_id: int) -> Job:
    """Return a job; a Problem (not found) also where it belongs to another tenant."""
    row = conn.execute(queries.get_job, {"id": job_id, "tenant_id": tenant_id}).fetchone()
    if row is None:
        raise Problem(ProblemCode.NOT_FOUND, f"there is no job {job_id}", reason="not_found")
    return job_from_row(row)


def by_ids(conn: Connection[Any], tenant_id: int, job_ids: Iterable[int]) -> dict[int, Job]:
    """Return those of the jobs that exist for the tenant."""
    rows = conn.execute(queries.jobs_by_ids, {"ids": list(job_ids), "tenant_id": tenant_id}).fetchall()
    return {row.id: job_from_row(row) for row in rows}


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs to list; None means any. Newest first; ``before`` is the last id of the page before."""

    kinds: Sequence[str] | None = None
    states: Sequence[JobState] | None = None
    subject: str | None = None
    fingerprint: str | None = None
    before: int | None = None
    limit: int = 50


def listing(conn: Connection[Any], tenant_id: int, wanted: JobFilter) -> list[Job]:
    """Return a page of jobs, newest first, at most ``LIST_LIMIT``."""
    kinds = list(wanted.kinds) if wanted.kinds is not None else kinds_in_use(conn, tenant_id)
    states = [state.value for state in (wanted.states if wanted.states is not None else JobState)]
    if wanted.fingerprint is not None and JobState.FAILED.value not in states:
        return []  # only a failed job has one
    if wanted.fingerprint is not None:
        query = queries.list_jobs_of_fingerprint
    elif wanted.subject is not None:
        query = queries.list_jobs_of_subject
    else:
        query = queries.list_jobs
    rows = conn.execute(
        query,
        {
            "tenant_id": tenant_id,
            "kinds": kinds,
            "states": states,
            "subject": wanted.subject,
            "fingerprint": wanted.fingerprint,
            "before": wanted.before if wanted.before is not None else _LAST_ID,
            "limit": min(wanted.limit, LIST_LIMIT),
        },
    ).fetchall()
    return [job_from_row(row) for row in rows]


def kinds_in_use(conn: Connection[Any], tenant_id: int) -> list[str]:
    """Return the kinds that the tenant has jobs of."""
    return [row.kind for row in conn.execute(queries.kinds_in_use, {"tenant_id": tenant_id}).fetchall()]


def attempts(conn: Connection[Any], job: Job) -> list[Attempt]:
    """Return all attempts of ``job``, first to last."""
    names = tuple(field.name for field in fields(Attempt))
    rows = conn.execute(queries.attempts_of, {"job_id": job.id}).fetchall()
    return [Attempt(**{name: _plain(getattr(row, name)) for name in names}) for row in rows]


def _plain(value: Any) -> Any:
    return str(value) if type(value).__name__ == "UUID" else value


def units(
    conn: Connection[Any],
    job: Job,
    *,
    after: tuple[int, int] = (-1, 0),
    states: Sequence[UnitState] | None = None,
    limit: int = 100,
) -> list[Unit]:
    """Return a page of units in order of (phase, id), behind ``after``."""
    rows = conn.execute(
        queries.units_of,
        {
            "job_id": job.id,
            "after_phase": after[0],
            "after": after[1],
            "states": [state.value for state in states] if states is not None else None,
            "limit": min(limit, LIST_LIMIT),
        },
    ).fetchall()
    return [unit_from_row(row) for row in rows]


def events(conn: Connection[Any], job: Job, *, after: int = 0, limit: int = 100) -> list[Event]:
    """Return a page of events in order, behind event id ``after``."""
    names = tuple(field.name for field in fields(Event))
    rows = conn.execute(
        queries.events_of, {"job_id": job.id, "after": after, "limit": min(limit, LIST_LIMIT)}
    ).fetchall()
    return [Event(**{name: getattr(row, name) for name in names}) for row in rows]


def log_event(
    conn: Connection[Any], job_id: int, name: str, actor: str = "", data: Json | None = None
) -> None:
    """Add an event to a job's history."""
    conn.execute(queries.log_event, {"job_id": job_id, "name": name, "actor": actor, "data": dump(data)})


def poke(conn: Connection[Any], job_id: int) -> None:
    """Let a continuous job's waiting unit run now instead of at its time; safe to repeat."""
    conn.execute(queries.poke, {"job_id": job_id})


def name_for_vendor(
    conn: Connection[Any], surface: str, vendor_id: str, job_id: int, attempt: int | None = None
) -> None:
    """Give a job (or one attempt of it) an id in a vendor's shape."""
    conn.execute(
        queries.insert_vendor_id,
        {"surface": surface, "vendor_id": vendor_id, "job_id": job_id, "attempt": attempt},
    )


def by_vendor_id(conn: Connection[Any], tenant_id: int, surface: str, vendor_id: str) -> Job | None:
    """Return the tenant's job with a vendor's id, or None."""
    row = conn.execute(
        queries.job_by_vendor_id, {"surface": surface, "vendor_id": vendor_id, "tenant_id": tenant_id}
    ).fetchone()
    return job_from_row(row) if row is not None else None

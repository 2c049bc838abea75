"""What callers ask of replication tasks. Reading changes nothing.

Calls about many tasks give a result for each: None where it is done, or the Problem that says why not; one that is
refused keeps no other from being done. Each task is locked while it is changed, so that of two calls one comes first.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from psycopg import Connection

from redrive.endpoints.databases import postgres
from redrive.endpoints.databases.model import Endpoint, Engine
from redrive.engine import jobs, recovery
from redrive.engine.jobs import dump
from redrive.engine.model import JobState, UnitState
from redrive.engine.recovery import Refusal
from redrive.errors import Failure, Problem, ProblemCode, invalid
from redrive.services.replication import job
from redrive.services.replication.model import (
    Chosen,
    End,
    Finding,
    Mode,
    Phase,
    Status,
    TaskSettings,
    Use,
    checked,
    passed,
)
from redrive.services.replication.task import Parts, Task, queries, secret_place, task_from

#: A list of tasks is of at most so many, the newest.
LIST_LIMIT = 10_000

_DIGIT = {Use.MIGRATION: "1", Use.SYNC: "2", Use.RECOVERY: "5"}
_FAILED = (Status.START_FAILED, Status.LOAD_FAILED)
_GONE = (Status.RELEASING, Status.RELEASE_FAILED, Status.RELEASED)


def create(
    conn: Connection[Any], tenant_id: int, settings: TaskSettings, ends: Mapping[End, Endpoint | None]
) -> Task:
    """Make a task that is to be configured. Refuses a name that another task has, and what cannot be moved yet."""
    settings = checked(settings)
    if settings.mode is not Mode.FULL or settings.use is Use.RECOVERY:
        raise Problem(
            ProblemCode.INVALID,
            "changes are not followed yet: only FULL_TRANS of a migration or sync",
            reason="schema",
        )
    if settings.engine != "postgresql":
        raise Problem(
            ProblemCode.INVALID,
            f"engine_type: expected postgresql, got {settings.engine[:40]}",
            reason="schema",
        )
    row = conn.execute(
        queries.create,
        {
            "tenant_id": tenant_id,
            "vendor_id": _vendor_id(settings.use),
            "settings": dump(settings.to_json()),
            **{end.value: _endpoint(ends.get(end)) for end in End},
        },
    ).fetchone()
    if row is None:
        raise Problem(
            ProblemCode.CONFLICT, f"the name {settings.name} belongs to another task", reason="name_taken"
        )
    return find(conn, tenant_id, row.vendor_id)


def _vendor_id(use: Use) -> str:
    """Return an id in the form of the documented ones: like a UUID, but ending in jb, a digit, and two characters."""
    plain = uuid.uuid4().hex
    last = f"{plain[20:27]}jb{_DIGIT[use]}{secrets.token_hex(1)}"
    return f"{plain[:8]}-{plain[8:12]}-{plain[12:16]}-{plain[16:20]}-{last}"


def _endpoint(endpoint: Endpoint | None) -> str | None:
    return None if endpoint is None else dump(endpoint.to_json())


# -- looking


def find(conn: Connection[Any], tenant_id: int, vendor_id: str, *, lock: bool = False) -> Task:
    """Return a task; a Problem where there is none such, or it was deleted."""
    if lock:
        conn.execute(queries.lock_tasks, {"tenant_id": tenant_id, "vendor_ids": [vendor_id]})
    found = by_ids(conn, tenant_id, [vendor_id]).get(vendor_id)
    if found is None:
        raise unknown()
    if found.deleted_at is not None:
        raise gone()
    return found


def require_configuring(conn: Connection[Any], tenant_id: int, vendor_id: str) -> None:
    """Refuse a task that has begun, or is not there."""
    task = find(conn, tenant_id, vendor_id)
    if task.status is not Status.CONFIGURING:
        raise wrong_status(task)


def unknown() -> Problem:
    """Return the problem of a task that is not there, or another project's: nothing tells them apart."""
    return Problem(ProblemCode.NOT_FOUND, "there is no such task", reason="not_found")


def gone() -> Problem:
    """Return the problem of a task that was deleted, or stopped for good."""
    return Problem(ProblemCode.NOT_FOUND, "the task has been deleted or released", reason="deleted")


def by_ids(conn: Connection[Any], tenant_id: int, vendor_ids: Sequence[str]) -> dict[str, Task]:
    """Return those of the tasks that there are, deleted ones included."""
    wanted = [each for each in vendor_ids if "\0" not in each]
    rows = conn.execute(queries.by_ids, {"tenant_id": tenant_id, "vendor_ids": wanted}).fetchall()
    return {row.vendor_id: task_from(row) for row in rows}


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks to list, newest first; None means any. ``names``: of these names or ids, or a part of one name."""

    use: Use | None = None
    names: Sequence[str] | None = None
    engine: str | None = None
    limit: int = LIST_LIMIT
    offset: int = 0


def listing(conn: Connection[Any], tenant_id: int, wanted: TaskFilter) -> list[Task]:
    """Return tasks that were not deleted."""
    named = {
        "tenant_id": tenant_id,
        "use": wanted.use,
        "names": None if wanted.names is None else list(wanted.names),
        "engine": wanted.engine,
        "limit": wanted.limit,
        "offset": wanted.offset,
    }
    return [task_from(row) for row in conn.execute(queries.listing, named).fetchall()]


@dataclass(frozen=True, slots=True)
class TableProgress:
    """How far a table is. ``chunks_left`` 0 and no rows: it is empty."""

    table: str
    rows: int
    bytes: int
    chunks_done: int
    chunks_left: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a task is: chunks and parts of the structure, done and all; the tables one by one."""

    structure: tuple[int, int]
    rows: tuple[int, int]
    keys: tuple[int, int]
    tables: Sequence[TableProgress]
    updated_at: datetime | None

    @property
    def percent(self) -> int:
        """How much of all there is to do is done, in percent, rounded down."""
        done, total = (sum(each[n] for each in (self.structure, self.rows, self.keys)) for n in (0, 1))
        return 100 * done // total if total else 0


def progress(conn: Connection[Any], tasks: Sequence[Task]) -> dict[int, Progress]:
    """Return how far tasks are, by their id."""
    ids = [task.job_id for task in tasks if task.job_id is not None]
    counts: dict[int, dict[int, Any]] = {}
    for row in conn.execute(queries.phases, {"job_ids": ids}).fetchall():
        counts.setdefault(row.job_id, {})[row.phase] = row
    moved: dict[int, list[TableProgress]] = {}
    for row in conn.execute(queries.tables, {"job_ids": ids}).fetchall():
        moved.setdefault(row.job_id, []).append(
            TableProgress(row.name, int(row.rows), int(row.bytes), row.done, row.open)
        )
    found = {}
    for task in tasks:
        phases = counts.get(task.job_id or 0, {})

        def share(*of: int, phases: dict[int, Any] = phases) -> tuple[int, int]:
            there = [phases[phase] for phase in of if phase in phases]
            return sum(each.done for each in there), sum(each.total for each in there)

        ended = [row.ended_at for row in phases.values() if row.ended_at is not None]
        found[task.id] = Progress(
            share(Phase.STRUCTURE),
            share(Phase.ROWS),
            share(Phase.KEYS, Phase.LINKS, Phase.END),
            moved.get(task.job_id or 0, []),
            max(ended, default=None),
        )
    return found


# -- configuring


def change(conn: Connection[Any], tenant_id: int, vendor_id: str, **changed: Any) -> Task:
    """Change a task's name, description or policy; what concerns its work only before it has begun."""
    task = find(conn, tenant_id, vendor_id, lock=True)
    if task.status in _GONE:
        raise wrong_status(task)
    working = set(changed) - {"name", "description"}
    if working and task.status is not Status.CONFIGURING:
        raise wrong_status(task)
    _store(conn, task, checked(replace(task.settings, **changed)))
    return find(conn, tenant_id, vendor_id)


def _store(conn: Connection[Any], task: Task, settings: TaskSettings) -> None:
    taken = conn.execute(
        queries.set_settings,
        {"id": task.id, "tenant_id": task.tenant_id, "settings": dump(settings.to_json())},
    ).fetchone()
    if taken is None:
        raise Problem(
            ProblemCode.CONFLICT, f"the name {settings.name} belongs to another task", reason="name_taken"
        )


def wrong_status(task: Task) -> Problem:
    """Return the problem of a call that a task's status does not allow."""
    return Problem(
        ProblemCode.CONFLICT,
        f"the call is not allowed in the present status of the task: it is {task.status}",
        reason="wrong_status",
    )


def test_connection(parts: Parts, endpoint: Endpoint, password: str) -> None:
    """Connect, and look that the database answers. ``Failure`` where it does not; takes up to 10 s."""
    if endpoint.engine is not Engine.POSTGRESQL:
        raise Failure("engine", f"{endpoint.engine} is not supported yet", hint="name a PostgreSQL")
    with postgres.connected(parts.guard, endpoint, password, purpose="test") as conn:
        conn.execute("select 1")


def store_endpoint(
    conn: Connection[Any],
    tenant_id: int,
    vendor_id: str,
    end: End,
    endpoint: Endpoint,
    password: str,
    parts: Parts,
    *,
    tested: bool,
) -> None:
    """Name a database of a task that has not begun. ``tested``: it has just been reached with this password."""
    task = find(conn, tenant_id, vendor_id, lock=True)
    if task.status is not Status.CONFIGURING:
        raise wrong_status(task)
    sealed = parts.keys.seal(conn, tenant_id, password.encode(), secret_place(task.id, end))
    named = {"id": task.id, "endpoint": dump(endpoint.to_json()), "secret": sealed, "tested": tested}
    conn.execute(queries.set_source if end is End.SOURCE else queries.set_target, named)


def set_password(
    conn: Connection[Any], tenant_id: int, vendor_id: str, end: End, password: str, parts: Parts
) -> None:
    """Give a task another password for one of its databases; a retry, and units that begin, take it."""
    task = find(conn, tenant_id, vendor_id, lock=True)
    if task.status in (Status.CONFIGURING, Status.RELEASING, Status.RELEASED):
        raise wrong_status(task)
    sealed = parts.keys.seal(conn, tenant_id, password.encode(), secret_place(task.id, end))
    named = {"id": task.id, "secret": sealed}
    conn.execute(queries.set_source_secret if end is End.SOURCE else queries.set_target_secret, named)


def select_objects(
    conn: Connection[Any],
    tenant_id: int,
    vendor_id: str,
    objects: Sequence[Chosen] | None,
    *,
    databases: Collection[str] = (),
) -> None:
    """Say which tables a task moves; None: everything. Takes a source that was reached and stored.

    ``databases``: from which they were chosen, where that was named; a task has one, and refuses others.
    """
    task = find(conn, tenant_id, vendor_id, lock=True)
    if task.status is not Status.CONFIGURING:
        raise wrong_status(task)
    if task.source is None or task.source_tested_at is None:
        raise not_tested()
    if others := sorted(set(databases) - {task.source.database}):
        raise invalid("objects", f"of the task's source, {task.source.database}", others[0])
    _store(conn, task, checked(replace(task.settings, objects=None if objects is None else tuple(objects))))


def not_tested() -> Problem:
    """Return the problem of a task whose databases have not been reached yet."""
    return Problem(
        ProblemCode.CONFLICT,
        "the connections have not been tested and stored",
        hint="test both, then store them with the task",
        reason="not_tested",
    )


# -- precheck and start


def begin_precheck(conn: Connection[Any], tenant_id: int, vendor_id: str, *, actor: str) -> None:
    """Let a worker look whether the task can be started, or retried. Takes both databases, reached and stored."""
    task = find(conn, tenant_id, vendor_id, lock=True)
    if task.status not in (Status.CONFIGURING, *_FAILED, Status.PAUSED):
        raise wrong_status(task)
    if not (task.source and task.target and task.source_tested_at and task.target_tested_at):
        raise not_tested()
    job_id = jobs.submit(conn, job.prechecking(tenant_id, task.id, actor))
    conn.execute(queries.set_precheck, {"id": task.id, "job_id": job_id})


@dataclass(frozen=True, slots=True)
class PrecheckResult:
    """What the last precheck has found; ``findings`` None while it runs."""

    findings: Sequence[Finding] | None
    failure: Mapping[str, Any] | None
    #: Whether nothing that it has looked at was changed since.
    is_current: bool

    @property
    def passed(self) -> bool:
        """Whether the task may start on it."""
        return self.findings is not None and passed(self.findings)


def precheck_result(conn: Connection[Any], task: Task) -> PrecheckResult | None:
    """Return what the last precheck of a task has found, None where there was none."""
    if task.precheck_job_id is None:
        return None
    looked = jobs.get(conn, task.tenant_id, task.precheck_job_id)
    findings = None
    if looked.state is JobState.SUCCEEDED:
        ledger = jobs.units(conn, looked, states=[UnitState.DONE])[0].ledger or {}
        findings = [Finding(**each) for each in ledger["findings"]]
    failure = looked.failure if looked.state is JobState.FAILED else None
    return PrecheckResult(findings, failure, task.precheck_revision == task.revision)


def start(
    conn: Connection[Any], tenant_id: int, vendor_id: str, *, actor: str, run_at: datetime | None = None
) -> None:
    """Start a task whose precheck has passed, now or at ``run_at``."""
    task = find(conn, tenant_id, vendor_id, lock=True)
    if task.status is not Status.CONFIGURING:
        raise wrong_status(task)
    found = precheck_result(conn, task)
    if found is None or not found.passed or not found.is_current:
        raise Problem(
            ProblemCode.CONFLICT,
            "the precheck has not passed, or something was changed since",
            hint="precheck again",
            reason="not_prechecked",
        )
    new = job.transfer(tenant_id, task.id, actor)
    job_id = jobs.submit(conn, new if run_at is None else replace(new, run_at=run_at))
    conn.execute(queries.set_job, {"id": task.id, "job_id": job_id})


# -- going on


def pause(conn: Connection[Any], tenant_id: int, vendor_id: str, *, actor: str) -> None:
    """Pause a task: its chunks come to their end, or are given back."""
    task = find(conn, tenant_id, vendor_id, lock=True)
    if task.status not in (Status.STARTING, Status.LOADING) or task.job_id is None:
        raise wrong_status(task)
    _busy_instead(lambda: recovery.pause(conn, tenant_id, int(task.job_id or 0), actor=actor))


def retry(
    conn: Connection[Any], tenant_id: int, vendor_ids: Sequence[str], *, actor: str
) -> dict[str, Problem | None]:
    """Retry failed tasks and resume paused ones; done units are kept. A result for each; one statement for all.

    Safe to repeat: a task that goes on already is refused (``wrong_status``).
    """
    conn.execute(queries.lock_tasks, {"tenant_id": tenant_id, "vendor_ids": list(vendor_ids)})
    found = by_ids(conn, tenant_id, vendor_ids)
    answers: dict[str, Problem | None] = {}
    retried: dict[int, str] = {}
    for vendor_id in vendor_ids:
        task = found.get(vendor_id)
        if task is None:
            answers[vendor_id] = unknown()
        elif task.deleted_at is not None or task.status in _GONE:
            answers[vendor_id] = gone()
        elif task.status in _FAILED and task.job_id is not None:
            retried[task.job_id] = vendor_id
        elif task.status is Status.PAUSED and task.job_id is not None:
            answers[vendor_id] = _resume(conn, tenant_id, task.job_id, actor)
        else:
            answers[vendor_id] = wrong_status(task)
    refusals = recovery.retry_each(conn, tenant_id, list(retried), actor=actor, reason="retry")
    for job_id, refusal in refusals.items():
        answers[retried[job_id]] = None if refusal is None else _refused(refusal)
    return answers


def _refused(refusal: Refusal) -> Problem:
    return Problem(ProblemCode.CONFLICT, recovery.SENTENCES[refusal], reason="busy")


def _resume(conn: Connection[Any], tenant_id: int, job_id: int, actor: str) -> Problem | None:
    try:
        _busy_instead(lambda: recovery.resume(conn, tenant_id, job_id, actor=actor, reason="retry"))
    except Problem as problem:
        return problem
    return None


def _busy_instead(work: Callable[[], None]) -> None:
    """Do what the engine may refuse: then somebody else is doing something with the task at this moment."""
    try:
        work()
    except Problem as problem:
        raise Problem(ProblemCode.CONFLICT, problem.detail, hint="try again later", reason="busy") from None


def release(
    conn: Connection[Any], tenant_id: int, vendor_id: str, *, actor: str, force: bool = False
) -> None:
    """Stop a task for good. What was moved stays in the target; the task can then be deleted. Safe to repeat.

    A job clears up what the target keeps of the task. ``force`` leaves it there, for a target that is gone.
    """
    task = find(conn, tenant_id, vendor_id, lock=True)
    if task.status is Status.RELEASE_FAILED and not force and task.release_job_id is not None:
        recovery.retry(conn, tenant_id, task.release_job_id, actor=actor, reason="terminate")
        return
    if task.released_at is not None and not force:
        return
    if task.job_id is not None and task.state in (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED):
        job_id = task.job_id
        if task.wanted != "cancel":
            _busy_instead(lambda: recovery.cancel(conn, tenant_id, job_id, actor=actor))
    clearing = None
    if task.job_id is not None and not force:
        clearing = jobs.submit(conn, job.releasing(tenant_id, task.id, actor))
    conn.execute(queries.release, {"id": task.id, "job_id": clearing})


def delete(conn: Connection[Any], tenant_id: int, vendor_id: str) -> None:
    """Delete a task that was released: its passwords and its structure go, its history stays."""
    task = find(conn, tenant_id, vendor_id, lock=True)
    if task.status is not Status.RELEASED:
        raise wrong_status(task)
    conn.execute(queries.delete, {"id": task.id})
    conn.execute(queries.forget_structure, {"job_id": task.job_id})


def erase(conn: Connection[Any], tenant_id: int) -> int:
    """Delete every task of a tenant that leaves; return how many. Safe to repeat."""
    conn.execute(queries.erase_structures, {"tenant_id": tenant_id})
    return conn.execute(queries.erase, {"tenant_id": tenant_id}).rowcount

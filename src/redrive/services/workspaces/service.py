"""What callers ask of workspaces: register, modify, deregister, retry, lock, look. Reading changes nothing.

Changes of one workspace go one after the other (an advisory lock), so of two registrations at once one is refused.
Its jobs are locked too: one that is retried as a job at the same moment is either seen here or superseded there.
Every verb stores its job in the transaction that decides that it may be.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from psycopg import Connection

from redrive.engine import jobs, recovery
from redrive.engine.kinds import Kind
from redrive.engine.model import Attempt, Job, JobState, Unit
from redrive.errors import Problem, ProblemCode, invalid
from redrive.services.workspaces import job as workspace_job
from redrive.services.workspaces.house import (
    Belonging,
    Secrets,
    Workspace,
    active_jobs,
    as_json,
    blocked,
    load,
    queries,
)
from redrive.services.workspaces.model import (
    KINDS,
    RESERVED,
    RETRIED,
    DirectoryKind,
    Status,
    WorkspaceSettings,
    check_password,
    checked,
    network,
    status_of,
)
from redrive.services.workspaces.steps import STEPS, enterprise_id_of

TASK_LIMIT = 1000
#: Where a workspace can be registered: not there yet, or gone.
_FREE = (Status.NONE, Status.CLOSED)
_FAILED = (Status.REGISTRATION_FAILED, Status.DEREGISTRATION_FAILED)


@dataclass(frozen=True, slots=True)
class Subnet:
    """A subnet that a registration can name."""

    id: str
    vpc_id: str
    cidr: str


def status(workspace: Workspace) -> Status:
    """Return where a workspace stands."""
    if workspace.kind is None or workspace.state is None:
        return Status.NONE
    return status_of(workspace.kind, workspace.state)


def register(
    conn: Connection[Any],
    tenant_id: int,
    settings: WorkspaceSettings,
    *,
    actor: str,
    secrets: Secrets,
    password: str | None = None,
) -> int:
    """Submit the registration of a workspace that is not registered; return its job."""
    settings = checked(settings)
    workspace = _locked(conn, tenant_id)
    present = status(workspace)
    if present not in _FREE:
        raise _not_now(present, "registered")
    sealed = _sealed(conn, workspace, settings, password, secrets) or _NO_PASSWORD
    job_id = jobs.submit(conn, workspace_job.registration(tenant_id, actor))
    values = {"tenant_id": tenant_id, "settings": as_json(settings.to_json()), "job_id": job_id}
    conn.execute(queries.put, {**values, **sealed})
    _leave_behind(conn, tenant_id, job_id)
    return job_id


def modify(
    conn: Connection[Any],
    tenant_id: int,
    settings: WorkspaceSettings,
    *,
    actor: str,
    secrets: Secrets,
    password: str | None = None,
) -> int | None:
    """Change what a workspace is to be; return the job that brings it about, None where there is nothing to do yet.

    A registered workspace's steps are done again where their input changes; a new password is tried, too. After a
    failure nothing is done: the retry finds the new settings. While something is under way nothing can be changed.
    """
    settings = checked(settings)
    workspace = _locked(conn, tenant_id)
    present = status(workspace)
    if present in _FREE:
        raise _not_now(present, "changed")
    _refuse_while_busy(conn, tenant_id)
    sealed = _sealed(conn, workspace, settings, password, secrets)
    conn.execute(queries.set_settings, {"tenant_id": tenant_id, "settings": as_json(settings.to_json())})
    if sealed is not None:
        conn.execute(queries.set_password, {"tenant_id": tenant_id, **sealed})
    if present is not Status.REGISTERED or workspace.job_id is None:
        return None
    recorded = workspace_job.recorded(conn, tenant_id, workspace.job_id)
    fresh = load(conn, tenant_id)
    changed = [
        (step, recorded[step.name])
        for step in STEPS
        if step.name in recorded and recorded[step.name].get("input") != step.inputs(fresh)
    ]
    if not changed:
        return None
    job_id = jobs.submit(conn, workspace_job.modification(tenant_id, actor, changed))
    _set_task(conn, tenant_id, job_id)
    return job_id


def deregister(conn: Connection[Any], tenant_id: int, *, actor: str, belongings: Sequence[Belonging]) -> int:
    """Submit the deregistration of a workspace that may be closed; from now on it takes no data calls."""
    workspace = _locked(conn, tenant_id)
    present = status(workspace)
    if present not in (Status.REGISTERED, Status.REGISTRATION_FAILED) or workspace.job_id is None:
        raise _not_now(present, "deregistered")
    why_not = why_not_closable(conn, workspace, belongings)
    if why_not:
        raise Problem(
            ProblemCode.CONFLICT, why_not, hint="mend that, or wait until it is over", reason="not_closable"
        )
    job_id = jobs.submit(conn, workspace_job.deregistration(tenant_id, actor, workspace.job_id))
    conn.execute(queries.set_job, {"tenant_id": tenant_id, "job_id": job_id})
    conn.execute(queries.set_open, {"tenant_id": tenant_id, "open": False})
    _leave_behind(conn, tenant_id, job_id)
    return job_id


def why_not_closable(conn: Connection[Any], workspace: Workspace, belongings: Sequence[Belonging]) -> str:
    """Return why the workspace cannot be deregistered now (its status, jobs, legal holds); empty where it can."""
    present = status(workspace)
    if present not in (Status.REGISTERED, Status.REGISTRATION_FAILED):
        return f"the workspace is {_WORDS[present]}"
    count, kind = active_jobs(conn, workspace.tenant_id, belongings)
    if count:
        return f"{count} jobs of the workspace are not over (such as {kind})"
    task = conn.execute(queries.active_tasks, {"tenant_id": workspace.tenant_id}).fetchone()
    if task is not None:
        return f"the task {task.kind} is not over"
    return blocked(conn, workspace.tenant_id, belongings)


def retry(
    conn: Connection[Any], tenant_id: int, job_id: int, attempt: int, kinds: Iterable[Kind], *, actor: str
) -> Job:
    """Give a failed registration or deregistration another attempt, named by its last one; return the job."""
    _lock(conn, tenant_id)
    job = jobs.get(conn, tenant_id, job_id)
    if job.kind not in RETRIED:
        raise Problem(
            ProblemCode.CONFLICT,
            "only registrations and deregistrations can be retried",
            hint="change the workspace again instead",
            reason="wrong_type",
        )
    if attempt != job.attempt:
        raise Problem(
            ProblemCode.CONFLICT,
            "the task has been retried already",
            hint="use its newest task",
            reason="retried",
        )
    if job.state not in (JobState.FAILED, JobState.CANCELLED):
        raise Problem(
            ProblemCode.CONFLICT, f"the task has not failed: it is {job.state}", reason="not_failed"
        )
    workspace = load(conn, tenant_id)
    if workspace.job_id != job_id:
        raise Problem(
            ProblemCode.CONFLICT,
            "the workspace has gone on since: this is not its last registration or deregistration",
            reason="superseded",
        )
    recovery.retry(conn, tenant_id, job_id, actor=actor, reason="retry")
    recovery.redo_changed(conn, tenant_id, kinds, actor=actor)
    _set_task(conn, tenant_id, job_id)
    return jobs.get(conn, tenant_id, job_id)


def set_enterprise_id(
    conn: Connection[Any], tenant_id: int, name: str, *, actor: str, secrets: Secrets
) -> str:
    """Give a workspace another enterprise id; it is taken at once where the workspace is registered."""
    workspace = _locked(conn, tenant_id)
    settings = checked(replace(workspace.wanted, enterprise_id=name))
    if is_used(conn, tenant_id, name):
        raise Problem(
            ProblemCode.CONFLICT,
            f"the enterprise id {name} belongs to another workspace",
            reason="name_taken",
        )
    modify(conn, tenant_id, settings, actor=actor, secrets=secrets)
    return enterprise_id_of(load(conn, tenant_id))


def is_used(conn: Connection[Any], tenant_id: int, name: str) -> bool:
    """Return whether another workspace has this enterprise id."""
    checked(WorkspaceSettings(enterprise_id=name))
    row = conn.execute(queries.is_used, {"tenant_id": tenant_id, "enterprise_id": name}).fetchone()
    return bool(row.used) if row is not None else False


def lock(conn: Connection[Any], tenant_id: int, reason: str) -> None:
    """Lock a registered workspace: its data calls are refused until it is unlocked. Safe to repeat."""
    workspace = _locked(conn, tenant_id)
    if status(workspace) is not Status.REGISTERED:
        raise _not_now(status(workspace), "locked")
    conn.execute(queries.set_lock, {"tenant_id": tenant_id, "locked": True, "reason": reason})
    conn.execute(queries.set_open, {"tenant_id": tenant_id, "open": False})


def unlock(conn: Connection[Any], tenant_id: int, *, actor: str) -> int:
    """Submit the unlocking of a locked workspace; return its job."""
    workspace = _locked(conn, tenant_id)
    if workspace.locked_at is None:
        raise Problem(ProblemCode.CONFLICT, "the workspace is not locked", reason="not_locked")
    _refuse_while_busy(conn, tenant_id)
    job_id = jobs.submit(conn, workspace_job.unlocking(tenant_id, actor))
    _set_task(conn, tenant_id, job_id)
    return job_id


def tasks(conn: Connection[Any], tenant_id: int, kinds: Sequence[str] = KINDS) -> list[Job]:
    """Return the jobs of a workspace, newest first."""
    named = {"tenant_id": tenant_id, "kinds": list(kinds), "limit": TASK_LIMIT}
    ids = [row.id for row in conn.execute(queries.tasks, named).fetchall()]
    found = jobs.by_ids(conn, tenant_id, ids)
    return [found[job_id] for job_id in ids]


def task(conn: Connection[Any], tenant_id: int, job_id: int, attempt: int) -> tuple[Job, Attempt, list[Unit]]:
    """Return a job of a workspace, one of its attempts, and its steps; a Problem where there is none such."""
    job = jobs.get(conn, tenant_id, job_id)
    found = [each for each in jobs.attempts(conn, job) if each.number == attempt]
    if job.kind not in KINDS or not found:
        raise Problem(ProblemCode.NOT_FOUND, "there is no such task", reason="not_found")
    return job, found[0], jobs.units(conn, job, limit=jobs.LIST_LIMIT)


def put_subnet(conn: Connection[Any], tenant_id: int, subnet: Subnet) -> None:
    """Name a subnet. Safe to repeat; another network under the same name replaces it."""
    found = network("cidr", subnet.cidr)
    if found.overlaps(RESERVED):
        raise invalid("cidr", f"a network outside {RESERVED}", found)
    checked(WorkspaceSettings(subnets=(subnet.id,), vpc_id=subnet.vpc_id))
    values = {"tenant_id": tenant_id, "id": subnet.id, "vpc_id": subnet.vpc_id, "cidr": str(found)}
    conn.execute(queries.put_subnet, values)


def delete_subnet(conn: Connection[Any], tenant_id: int, subnet_id: str) -> None:
    """Forget a subnet's name."""
    if conn.execute(queries.delete_subnet, {"tenant_id": tenant_id, "id": subnet_id}).fetchone() is None:
        raise Problem(ProblemCode.NOT_FOUND, f"there is no subnet {subnet_id[:64]!a}", reason="not_found")


def subnets(conn: Connection[Any], tenant_id: int) -> list[Subnet]:
    """Return the tenant's subnets by name."""
    rows = conn.execute(queries.subnets, {"tenant_id": tenant_id}).fetchall()
    return [Subnet(row.id, row.vpc_id, row.cidr) for row in rows]


def registering(conn: Connection[Any]) -> bool:
    """Return whether any workspace is being registered for the first time."""
    row = conn.execute(queries.registering).fetchone()
    return bool(row.found) if row is not None else False


def ensure_registered(conn: Connection[Any], secrets: Secrets, first_tenant_id: int | None) -> list[int]:
    """Register the first tenant, and those from before there were workspaces: local users, reached from anywhere.

    Safe to repeat and to race.
    """
    made = []
    for row in conn.execute(queries.unregistered, {"first": first_tenant_id}).fetchall():
        if status(_locked(conn, row.tenant_id)) is Status.NONE:
            made.append(register(conn, row.tenant_id, WorkspaceSettings(), actor="redrive", secrets=secrets))
    return made


_WORDS = {
    Status.NONE: "not registered",
    Status.CLOSED: "not registered",
    Status.QUEUED: "being registered",
    Status.REGISTERING: "being registered",
    Status.REGISTERED: "registered",
    Status.REGISTRATION_FAILED: "only partly registered: its registration failed",
    Status.DEREGISTERING: "being deregistered",
    Status.DEREGISTRATION_FAILED: "only partly deregistered: its deregistration failed",
}


def _not_now(present: Status, what: str) -> Problem:
    hint = "retry the failed task" if present in _FAILED else ""
    if present is Status.REGISTRATION_FAILED:
        hint = "retry the failed task, or deregister and register again"
    return Problem(
        ProblemCode.CONFLICT,
        f"the workspace cannot be {what} now: it is {_WORDS[present]}",
        hint=hint,
        reason="wrong_status",
    )


def _refuse_while_busy(conn: Connection[Any], tenant_id: int) -> None:
    task = conn.execute(queries.active_tasks, {"tenant_id": tenant_id}).fetchone()
    if task is not None:
        raise Problem(
            ProblemCode.CONFLICT, f"the task {task.kind} is not over", hint="wait until it is", reason="busy"
        )


def _lock(conn: Connection[Any], tenant_id: int) -> None:
    conn.execute(queries.lock, {"tenant_id": tenant_id})
    conn.execute(queries.lock_jobs, {"tenant_id": tenant_id})


def _locked(conn: Connection[Any], tenant_id: int) -> Workspace:
    _lock(conn, tenant_id)
    return load(conn, tenant_id)


def _set_task(conn: Connection[Any], tenant_id: int, job_id: int) -> None:
    conn.execute(queries.set_task, {"tenant_id": tenant_id, "job_id": job_id})
    _leave_behind(conn, tenant_id, job_id)


def _leave_behind(conn: Connection[Any], tenant_id: int, job_id: int) -> None:
    """Say of the jobs that the workspace is not at any more that this one has taken their place."""
    rows = conn.execute(queries.left_behind, {"tenant_id": tenant_id, "kinds": list(KINDS)}).fetchall()
    recovery.supersede(conn, tenant_id, [row.id for row in rows], by=job_id)


_NO_PASSWORD: dict[str, bytes | None] = {"directory_password": None, "directory_secret": None}


def _sealed(
    conn: Connection[Any],
    former: Workspace,
    settings: WorkspaceSettings,
    password: str | None,
    secrets: Secrets,
) -> dict[str, bytes | None] | None:
    """Return the directory's password as its columns; None: it stays as it is."""
    if settings.directory.kind is DirectoryKind.LOCAL:
        return _NO_PASSWORD
    if password is None:
        if former.directory_secret is not None or former.directory_password is not None:
            return None
        raise invalid("domain_password", "the password of the directory's account")
    check_password(password)
    return secrets.sealed(conn, former.tenant_id, password)

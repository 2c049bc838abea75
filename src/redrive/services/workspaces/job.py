"""The kinds of job of a workspace: registration, deregistration, modification, unlocking.

Each unit is one step, in a phase of its own. At a retry, done steps are kept unless their input has changed: those
are undone and done again. A deregistration undoes the steps in reverse, with what the registration recorded. It
begins by waiting until nothing of the tenant runs any more. A step that was never begun has nothing to undo.

A job that the workspace has left behind is superseded, so that nobody retries it; none is rerun. Should one run
nevertheless, because it was retried at the same moment, it changes nothing: every step first looks whether its job is
still the one that the workspace is at.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from psycopg import Connection

from redrive.clock import now
from redrive.engine import claiming, jobs
from redrive.engine.kinds import Again, Done, Kind, Outcome, RetryPolicy, Work
from redrive.engine.model import Job, NewJob, NewUnit, UnitState
from redrive.errors import Failure, FailureClass
from redrive.services.workspaces.house import (
    Belonging,
    House,
    Json,
    Workspace,
    active_jobs,
    blocked,
    load,
    queries,
)
from redrive.services.workspaces.model import DEREGISTRATION, MODIFICATION, REGISTRATION, UNLOCKING
from redrive.services.workspaces.steps import BY_NAME, STEPS, Step

CLOSE, CLOSED = "close", "closed"
_LOOK_SECONDS = 0.5
_POLICY = RetryPolicy(max_tries=3, first_delay_seconds=0.5, longest_delay_seconds=5.0)


def kinds(house: House) -> tuple[Kind, ...]:
    """Return the job kinds over the parts of a process."""
    return (
        Kind(
            REGISTRATION,
            "registration of a workspace",
            run=partial(_do, house),
            probe=partial(_find, house),
            retry=_POLICY,
            changed=_changed,
            reruns=False,
        ),
        Kind(
            DEREGISTRATION,
            "deregistration of a workspace",
            run=partial(_undo, house),
            retry=_POLICY,
            reruns=False,
        ),
        Kind(
            MODIFICATION,
            "change of a workspace",
            run=partial(_do, house),
            probe=partial(_find, house),
            retry=_POLICY,
            changed=_changed,
            reruns=False,
        ),
        Kind(UNLOCKING, "unlocking of a workspace", run=_unlock, retry=_POLICY, reruns=False),
    )


def registration(tenant_id: int, actor: str) -> NewJob:
    """Return the job that does every step."""
    units = [NewUnit({}, phase, step.name) for phase, step in enumerate(STEPS, 1)]
    return _job(REGISTRATION, tenant_id, {}, actor, units)


def modification(tenant_id: int, actor: str, changed: Sequence[tuple[Step, Json]]) -> NewJob:
    """Return the job that does steps again whose input has changed; each comes with what it had recorded."""
    units = [NewUnit({"former": former}, phase, step.name) for phase, (step, former) in enumerate(changed, 1)]
    return _job(MODIFICATION, tenant_id, {}, actor, units)


def deregistration(tenant_id: int, actor: str, registration_id: int) -> NewJob:
    """Return the job that undoes the steps of a registration, and of the changes since."""
    names = [CLOSE, *(step.name for step in reversed(STEPS) if step.name != "open"), CLOSED]
    units = [NewUnit({}, phase, name) for phase, name in enumerate(names, 1)]
    return _job(DEREGISTRATION, tenant_id, {"registration_id": registration_id}, actor, units)


def unlocking(tenant_id: int, actor: str) -> NewJob:
    """Return the job that unlocks a workspace."""
    return _job(UNLOCKING, tenant_id, {}, actor, [NewUnit({}, label="unlock")])


def _job(kind: str, tenant_id: int, spec: Json, actor: str, units: Sequence[NewUnit]) -> NewJob:
    return NewJob(
        kind, tenant_id, spec, actor, units=units, lanes=1, priority=5, subject=f"workspace:{tenant_id}"
    )


def recorded(conn: Connection[Any], tenant_id: int, registration_id: int) -> dict[str, Json]:
    """Return what each step has recorded last, by the registration or a change since; {} where it only began."""
    named = {
        "tenant_id": tenant_id,
        "registration_id": registration_id,
        "kinds": [REGISTRATION, MODIFICATION],
    }
    return {row.label: row.ledger or {} for row in conn.execute(queries.recorded, named).fetchall()}


def _workspace(work: Work) -> Workspace:
    with work.db.transaction() as conn:
        return load(conn, work.tenant_id)


def _present(work: Work) -> Workspace:
    """Return the workspace; ``Failure`` where it has gone on since and this job is none of its own any more."""
    workspace = _workspace(work)
    own = workspace.task_job_id if work.kind in (MODIFICATION, UNLOCKING) else workspace.job_id
    if own != work.job_id:
        raise Failure(
            "superseded",
            "the workspace has gone on since: this is not its last registration, deregistration or change",
            hint="ask for it anew: register, change or deregister the workspace",
            kind=FailureClass.PERMANENT,
            target="workspace",
        )
    return workspace


def _do(house: House, work: Work) -> Outcome:
    step, workspace = BY_NAME[work.label], _present(work)
    former = work.former or work.unit_spec.get("former")
    undone = {}
    if former is not None and not step.replaces:
        undone = {"undone": dict(step.undo(house, work, workspace, former))}
        workspace = _workspace(work)
    made = step.do(house, work, workspace)
    return Done({"input": step.inputs(workspace), "revision": workspace.revision, **made, **undone})


def _find(house: House, work: Work) -> Done | None:
    """Look whether a step whose worker vanished is done with the input of now."""
    step, workspace = BY_NAME[work.label], _workspace(work)
    if not step.replaces and (work.former or work.unit_spec.get("former")):
        return None  # to be undone first, which is safe to repeat
    found = step.find(house, work, workspace)
    if found is None:
        return None
    return Done({"input": step.inputs(workspace), "revision": workspace.revision, **found, "found": True})


def _changed(conn: Connection[Any], job: Job) -> list[int]:
    workspace = load(conn, job.tenant_id)
    return [
        unit.id
        for unit in jobs.units(conn, job, states=[UnitState.DONE])
        if (unit.ledger or {}).get("input") != BY_NAME[unit.label].inputs(workspace)
    ]


def _undo(house: House, work: Work) -> Outcome:
    workspace = _present(work)
    if work.label == CLOSE:
        return _close(house, work, workspace)
    if work.label == CLOSED:
        return _closed(work, workspace)
    with work.db.transaction() as conn:
        made = recorded(conn, work.tenant_id, work.spec["registration_id"])
    if work.label not in made:
        return Done({"never_begun": True})
    return Done({**BY_NAME[work.label].undo(house, work, workspace, made[work.label])})


def _close(house: House, work: Work, workspace: Workspace) -> Outcome:
    """Wait until no process takes calls for the tenant any more and nothing of it runs."""

    def shut(conn: Connection[Any]) -> Any:
        claiming.fence(conn, work)
        conn.execute(queries.set_open, {"tenant_id": work.tenant_id, "open": False})
        return conn.execute(queries.age, {"job_id": work.job_id}).fetchone()

    since = float(work.db.run(shut).seconds)
    if since < house.cache_seconds:
        return Again({}, after_seconds=house.cache_seconds - since, progress=False)
    with work.db.transaction() as conn:
        count, kind = active_jobs(conn, work.tenant_id, house.belongings)
        why_not = blocked(conn, work.tenant_id, house.belongings)
    if count:
        raise _busy(count, kind)
    if why_not:
        raise Failure(
            "held",
            why_not,
            hint="lift the hold when the data may be erased, then retry",
            kind=FailureClass.NEEDS_INPUT,
            target="hold",
        )
    # Each is asked, also where another is not done yet.
    if not all([_stopped(work, belonging) for belonging in house.belongings]):  # noqa: C419
        return Again({}, after_seconds=_LOOK_SECONDS)
    return Done({"closed_at": now().isoformat()})


def _stopped(work: Work, belonging: Belonging) -> bool:
    return work.db.run(lambda conn: belonging.stop(conn, work.tenant_id))


def _busy(count: int, kind: str) -> Failure:
    return Failure(
        "jobs_active",
        f"{count} jobs of the workspace are not over (such as {kind})",
        hint="wait for them or cancel them, then retry",
        kind=FailureClass.NEEDS_INPUT,
        target="jobs",
    )


def _closed(work: Work, workspace: Workspace) -> Outcome:
    def write(conn: Connection[Any]) -> None:
        claiming.fence(conn, work)
        conn.execute(queries.set_closed, {"tenant_id": work.tenant_id})

    work.db.run(write)
    return Done({"closed": True})


def _unlock(work: Work) -> Outcome:
    _present(work)  # a later lock is not undone by an old unlocking that is tried again

    def write(conn: Connection[Any]) -> None:
        claiming.fence(conn, work)
        conn.execute(queries.set_lock, {"tenant_id": work.tenant_id, "locked": False, "reason": ""})
        conn.execute(queries.open_registered, {"tenant_id": work.tenant_id})

    work.db.run(write)
    return Done({"locked": False})

"""``/v1/workspace``: the workspace of the caller's project; register, change, deregister, lock, retry, look.

The same actions guard these calls as the vendor's calls of the same meaning, so a policy holds on both. What changes
a workspace is a job; its answer is the task, to be looked at until it is over.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path
from psycopg import Connection
from starlette.requests import Request
from starlette.responses import Response

from redrive.engine import jobs
from redrive.identity.access import Principal, require
from redrive.identity.audit import record_change
from redrive.kinds import house
from redrive.services.workspaces import service, tasks
from redrive.services.workspaces.house import House, load
from redrive.services.workspaces.model import Access, WorkspaceSettings
from redrive.services.workspaces.service import Subnet
from redrive.services.workspaces.task_ids import attempt_of
from redrive.wire.native.auth import SECURITY, Caller
from redrive.wire.native.idempotency import AccountOnce
from redrive.wire.native.identity.guard import author, changed, db_of, named
from redrive.wire.native.problems import PROBLEM_RESPONSES, NativeRoute
from redrive.wire.native.shapes import NO_NUL
from redrive.wire.native.workspace_shapes import (
    LockAsked,
    RetryAsked,
    SubnetAsked,
    SubnetBody,
    SubnetList,
    TaskBody,
    TaskList,
    WorkspaceAsked,
    WorkspaceBody,
    subnet_body,
    task_body,
    workspace_body,
)

router = APIRouter(
    prefix="/v1/workspace",
    route_class=NativeRoute,
    responses=PROBLEM_RESPONSES,
    dependencies=SECURITY,
    tags=["workspace"],
)

Conn = Connection[Any]
SubnetName = Annotated[str, Path(max_length=64, pattern=NO_NUL, description="as a registration names it")]


def _require(caller: Principal, action: str, access: Access | None = None) -> None:
    about = None if access is None else {"workspace:accessmode": (access.name,)}
    require(caller, action, caller.urn("workspace", "workspace", caller.workspace_id), about)


def _house(request: Request) -> House:
    parts = request.app.state.parts
    return house(parts.settings, parts.sealer, parts.store)


def _newest(conn: Conn, tenant_id: int, job_id: int) -> tasks.Task:
    return tasks.task(conn, tenant_id, job_id, jobs.get(conn, tenant_id, job_id).attempt)


def _described(conn: Conn, request: Request, tenant_id: int) -> WorkspaceBody:
    workspace = load(conn, tenant_id)
    task = None if workspace.task_job_id is None else _newest(conn, tenant_id, workspace.task_job_id)
    why_not = service.why_not_closable(conn, workspace, _house(request).belongings)
    return workspace_body(workspace, task, why_not)


@router.get("", **named("workspace:tenants:get"))
def get_workspace(request: Request, caller: Caller) -> WorkspaceBody:
    """Tell where the workspace stands, what it was asked to be, and its last task."""
    _require(caller, "workspace:tenants:get")
    return db_of(request).run(lambda conn: _described(conn, request, caller.tenant_id))


@router.post("", response_model=TaskBody, status_code=202, **named("workspace:tenants:open"))
def register(request: Request, caller: Caller, once: AccountOnce, body: WorkspaceAsked) -> Response:
    """Register the workspace: a task of steps. Refused where it is registered, or partly so."""
    action = "workspace:tenants:open"
    _require(caller, action, body.access)
    wanted, secrets = body.upon(WorkspaceSettings()), _house(request).secrets

    def work(conn: Conn) -> tuple[int, TaskBody]:
        job_id = service.register(
            conn, caller.tenant_id, wanted, actor=caller.actor, secrets=secrets, password=body.password
        )
        return _begun(conn, request, caller, action, job_id)

    return changed(request, work, once)


def _begun(
    conn: Conn, request: Request, caller: Principal, action: str, job_id: int, reason: str = ""
) -> tuple[int, TaskBody]:
    """Record what was begun, and return its answer."""
    task = _newest(conn, caller.tenant_id, job_id)
    record_change(
        conn, author(request, caller), action, caller.workspace_id, reason=reason, detail={"task": task.id}
    )
    return 202, task_body(task)


@router.patch("", response_model=WorkspaceBody, **named("workspace:tenants:update"))
def change(request: Request, caller: Caller, once: AccountOnce, body: WorkspaceAsked) -> Response:
    """Change what is named. Of a registered workspace a task brings it about, where there is something to do."""
    action = "workspace:tenants:update"
    _require(caller, action, body.access if "access" in body.model_fields_set else None)
    secrets = _house(request).secrets

    def work(conn: Conn) -> tuple[int, WorkspaceBody]:
        wanted = body.upon(load(conn, caller.tenant_id).wanted)
        service.modify(
            conn, caller.tenant_id, wanted, actor=caller.actor, secrets=secrets, password=body.password
        )
        detail = {"changed": sorted(body.model_fields_set)}
        record_change(conn, author(request, caller), action, caller.workspace_id, detail=detail)
        return 200, _described(conn, request, caller.tenant_id)

    return changed(request, work, once)


@router.delete("", response_model=TaskBody, status_code=202, **named("workspace:tenants:delete"))
def deregister(request: Request, caller: Caller, once: AccountOnce) -> Response:
    """Deregister the workspace and erase its data; it cannot be undone."""
    action = "workspace:tenants:delete"
    _require(caller, action)
    belongings = _house(request).belongings

    def work(conn: Conn) -> tuple[int, TaskBody]:
        job_id = service.deregister(conn, caller.tenant_id, actor=caller.actor, belongings=belongings)
        return _begun(conn, request, caller, action, job_id)

    return changed(request, work, once)


@router.post("/lock", response_model=WorkspaceBody, **named("workspace:tenants:lock"))
def lock(request: Request, caller: Caller, once: AccountOnce, body: LockAsked) -> Response:
    """Refuse data calls until the workspace is unlocked. Safe to repeat."""
    action = "workspace:tenants:lock"
    _require(caller, action)

    def work(conn: Conn) -> tuple[int, WorkspaceBody]:
        service.lock(conn, caller.tenant_id, body.reason)
        record_change(conn, author(request, caller), action, caller.workspace_id, reason=body.reason)
        return 200, _described(conn, request, caller.tenant_id)

    return changed(request, work, once)


@router.post("/unlock", response_model=TaskBody, status_code=202, **named("workspace:tenants:unlock"))
def unlock(request: Request, caller: Caller, once: AccountOnce) -> Response:
    """Let a locked workspace take data calls again, by a task."""
    action = "workspace:tenants:unlock"
    _require(caller, action)

    def work(conn: Conn) -> tuple[int, TaskBody]:
        job_id = service.unlock(conn, caller.tenant_id, actor=caller.actor)
        return _begun(conn, request, caller, action, job_id)

    return changed(request, work, once)


# -- tasks


def _task(text: str) -> tuple[int, int]:
    found = attempt_of(text)
    if found is None:
        raise tasks.unknown_task()
    return found


def _require_task(caller: Principal, action: str, name: str) -> None:
    require(caller, action, caller.urn("workspace", "job", name[:64]))


@router.get("/tasks", **named("workspace:jobs:listSubJobs"))
def list_tasks(request: Request, caller: Caller) -> TaskList:
    """List the newest task of each job of the workspace, newest first."""
    _require_task(caller, "workspace:jobs:listSubJobs", "*")
    found = db_of(request).run(lambda conn: tasks.newest(conn, caller.tenant_id))
    return TaskList(tasks=[task_body(task) for task in found])


@router.get("/tasks/{task_id}", **named("workspace:jobs:get"))
def get_task(request: Request, caller: Caller, task_id: str) -> TaskBody:
    """Tell of a task and its steps."""
    _require_task(caller, "workspace:jobs:get", task_id)
    named_task = _task(task_id)
    return task_body(db_of(request).run(lambda conn: tasks.task(conn, caller.tenant_id, *named_task)))


@router.post(
    "/tasks/{task_id}/retry", response_model=TaskBody, status_code=202, **named("workspace:jobs:retry")
)
def retry(
    request: Request, caller: Caller, once: AccountOnce, task_id: str, body: RetryAsked | None = None
) -> Response:
    """Retry a failed registration or deregistration: a new task, done steps kept unless their input has changed."""
    action = "workspace:jobs:retry"
    _require_task(caller, action, task_id)
    named_task, reason = _task(task_id), "" if body is None else body.reason
    kinds = request.app.state.kinds.values()

    def work(conn: Conn) -> tuple[int, TaskBody]:
        job = service.retry(
            conn, caller.tenant_id, *named_task, kinds, actor=caller.actor, reason=reason or "retry"
        )
        return _begun(conn, request, caller, action, job.id, reason)

    return changed(request, work, once)


# -- subnets


@router.get("/subnets", **named("workspace:tenants:get"))
def list_subnets(request: Request, caller: Caller) -> SubnetList:
    """List the project's subnets by name."""
    _require(caller, "workspace:tenants:get")
    found = db_of(request).run(lambda conn: service.subnets(conn, caller.tenant_id))
    return SubnetList(subnets=[subnet_body(subnet) for subnet in found])


@router.put("/subnets/{subnet}", **named("workspace:tenants:update"))
def put_subnet(request: Request, caller: Caller, subnet: SubnetName, body: SubnetAsked) -> SubnetBody:
    """Name a subnet, so that a registration can name it. Another network under the same name replaces it."""
    _require(caller, "workspace:tenants:update")
    wanted = Subnet(subnet, body.vpc_id, body.cidr)
    return subnet_body(db_of(request).run(lambda conn: service.put_subnet(conn, caller.tenant_id, wanted)))


@router.delete("/subnets/{subnet}", status_code=204, **named("workspace:tenants:update"))
def delete_subnet(request: Request, caller: Caller, subnet: SubnetName) -> None:
    """Forget a subnet's name. What was registered with it stays."""
    _require(caller, "workspace:tenants:update")
    db_of(request).run(lambda conn: service.delete_subnet(conn, caller.tenant_id, subnet))

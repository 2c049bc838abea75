"""The calls of the service. Each is authorised by the action that the vendor's page names.

The resource of a call is the workspace (``workspace:<region>:<account>:workspace:<id>``) or the task
(``...:job:<id>``); the right to retry a task is another than the right to register.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit

import psycopg
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from redrive.database import Database
from redrive.engine import jobs
from redrive.engine.model import Job, UnitState
from redrive.errors import Problem, ProblemCode, invalid
from redrive.identity.access import Principal, require
from redrive.kinds import house
from redrive.services.workspaces import service
from redrive.services.workspaces.house import House, load
from redrive.wire.huawei.auth import ProjectCaller
from redrive.wire.huawei.codes import Surface
from redrive.wire.huawei.envelope import JSON_BODY, HuaweiRoute, json_body, render
from redrive.wire.huawei.identity.catalog import base_url
from redrive.wire.huawei.workspace import asked, shapes
from redrive.wire.huawei.workspace.codes import (
    ACCESS_OF_WORD,
    ACCESS_WORDS,
    JOB_TYPES,
    KIND_OF_TYPE,
    STEP_WORDS,
    WORKSPACE,
)
from redrive.wire.huawei.workspace.ids import attempt_of, task_id

Connection = psycopg.Connection[Any]

_MOST_LISTED = 1_000
_MOST_DELETED = 10
_UNIT = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)


class WorkspaceRoute(HuaweiRoute):
    """A route of the service."""

    surface: ClassVar[Surface] = WORKSPACE


router = APIRouter(prefix="/v2/{project_id}", route_class=WorkspaceRoute, tags=["huawei: workspace"])

Body = Annotated[dict[str, Any], Depends(json_body)]


def _db(request: Request) -> Database:
    db: Database = request.app.state.parts.db
    return db


def _require(caller: Principal, action: str, about: Mapping[str, Any] | None = None) -> None:
    require(caller, action, caller.urn("workspace", "workspace", caller.workspace_id), about)


def _mode(word: object) -> dict[str, tuple[str, ...]] | None:
    """Return the condition key of the access mode that a call asks for; what is no mode is refused later."""
    return {"workspace:accessmode": (word,)} if isinstance(word, str) and word in ACCESS_OF_WORD else None


def _house(request: Request) -> House:
    return house(request.app.state.parts)


def _task_of(request: Request, job_id: int | None, tenant_id: int) -> Response:
    """Return the answer of a call that began a job: the id of the task."""
    if job_id is None:
        return render({})
    job = _db(request).run(lambda conn: jobs.get(conn, tenant_id, job_id))
    return render({"job_id": task_id(job.id, job.attempt)}, 202)


# -- the workspace


@router.get("/workspaces")
def show_workspace(request: Request, caller: ProjectCaller) -> Response:
    """Tell where the project's workspace stands; what was never registered is CLOSED."""
    _require(caller, "workspace:tenants:get")

    def read(conn: Connection) -> tuple[Any, Job | None, str]:
        workspace = load(conn, caller.tenant_id)
        task = None
        if workspace.task_job_id is not None:
            task = jobs.get(conn, caller.tenant_id, workspace.task_job_id)
        return workspace, task, service.why_not_closable(conn, workspace, _house(request).belongings)

    workspace, task, why_not = _db(request).run(read)
    reached = urlsplit(base_url(request.url.scheme, request.headers.get("host", "")))
    port = str(reached.port or (443 if reached.scheme == "https" else 80))
    return render(shapes.workspace_body(workspace, task, not why_not, reached.netloc, port))


@router.post("/workspaces", status_code=202, openapi_extra=JSON_BODY)
def apply_workspace(request: Request, caller: ProjectCaller, body: Body) -> Response:
    """Register the project's workspace; the answer is the task."""
    settings, password = asked.registration(body)
    _require(caller, "workspace:tenants:open", _mode(ACCESS_WORDS[settings.access]))
    secrets = _house(request).secrets
    job_id = _db(request).run(
        lambda conn: service.register(
            conn, caller.tenant_id, settings, actor=caller.actor, secrets=secrets, password=password
        )
    )
    return _task_of(request, job_id, caller.tenant_id)


@router.put("/workspaces", openapi_extra=JSON_BODY)
def update_workspace(request: Request, caller: ProjectCaller, body: Body) -> Response:
    """Change one sort of attribute; a job where something has to be done for it."""
    _require(caller, "workspace:tenants:update", _mode(body.get("access_mode")))
    secrets = _house(request).secrets

    def write(conn: Connection) -> tuple[int | None, Any]:
        present = load(conn, caller.tenant_id).wanted
        settings, password = asked.change(body, present)
        if "enterprise_id" in body and service.is_used(conn, caller.tenant_id, settings.enterprise_id):
            raise Problem(
                ProblemCode.CONFLICT, "the enterprise id belongs to another workspace", reason="name_taken"
            )
        made = service.modify(
            conn, caller.tenant_id, settings, actor=caller.actor, secrets=secrets, password=password
        )
        return made, settings

    job_id, settings = _db(request).run(write)
    answer: dict[str, Any] = {}
    if job_id is not None and "subnet_ids" not in body:
        job = _db(request).run(lambda conn: jobs.get(conn, caller.tenant_id, job_id))
        answer["job_id"] = task_id(job.id, job.attempt)
    if "enterprise_id" in body:
        answer["enterprise_id"] = settings.enterprise_id
    if "dc_vnc_ip" in body:
        answer["dc_vnc_ip"] = settings.notes.get("dc_vnc_ip")
    return render(answer)


@router.delete("/workspaces", status_code=202)
def cancel_workspace(request: Request, caller: ProjectCaller) -> Response:
    """Deregister the workspace and erase its data; it cannot be undone. The answer is the task."""
    _require(caller, "workspace:tenants:delete")
    belongings = _house(request).belongings
    job_id = _db(request).run(
        lambda conn: service.deregister(conn, caller.tenant_id, actor=caller.actor, belongings=belongings)
    )
    return _task_of(request, job_id, caller.tenant_id)


@router.get("/workspaces/lock-status")
def show_lock(request: Request, caller: ProjectCaller) -> Response:
    """Tell whether the workspace is locked."""
    _require(caller, "workspace:tenants:get")
    return render(shapes.lock_body(_db(request).run(lambda conn: load(conn, caller.tenant_id))))


@router.put("/workspaces/lock-status", openapi_extra=JSON_BODY)
def unlock_workspace(request: Request, caller: ProjectCaller, body: Body) -> Response:
    """Unlock the workspace."""
    _require(caller, "workspace:tenants:unlock")
    if body.get("operate_type") != "unlock":
        raise invalid("operate_type", "unlock", body.get("operate_type"))
    job_id = _db(request).run(lambda conn: service.unlock(conn, caller.tenant_id, actor=caller.actor))
    return _task_of(request, job_id, caller.tenant_id)


@router.post("/workspaces/enterprise-ids/check", openapi_extra=JSON_BODY)
def check_enterprise_id(request: Request, caller: ProjectCaller, body: Body) -> Response:
    """Tell whether an enterprise id is used by another workspace."""
    _require(caller, "workspace:tenants:checkEnterpriseIds")
    name = _enterprise_id(body)
    used = _db(request).run(lambda conn: service.is_used(conn, caller.tenant_id, name))
    return render({"is_used": used, "enterprise_id": name})


@router.put("/workspaces/enterprise-id", openapi_extra=JSON_BODY)
def update_enterprise_id(request: Request, caller: ProjectCaller, body: Body) -> Response:
    """Give the workspace another enterprise id."""
    _require(caller, "workspace:tenants:update")
    name = _enterprise_id(body)
    secrets = _house(request).secrets
    taken = _db(request).run(
        lambda conn: service.set_enterprise_id(
            conn, caller.tenant_id, name, actor=caller.actor, secrets=secrets
        )
    )
    return render({"enterprise_id": taken})


def _enterprise_id(body: dict[str, Any]) -> str:
    name = body.get("enterprise_id")
    if not isinstance(name, str) or not name:
        raise invalid("enterprise_id", "1 to 32 digits, letters, _ and -", name)
    return name


# -- tasks


def _task(text: str) -> tuple[int, int]:
    found = attempt_of(text.replace("%2F", "/"))
    if found is None:
        raise Problem(ProblemCode.NOT_FOUND, f"there is no task {text[:64]!a}", reason="not_found")
    return found


def _require_task(caller: Principal, action: str, name: str) -> None:
    require(caller, action, caller.urn("workspace", "job", name[:64]))


@router.get("/workspace-jobs/{job_id}")
def show_job(request: Request, caller: ProjectCaller, job_id: str) -> Response:
    """Tell of a task and its steps."""
    _require_task(caller, "workspace:jobs:get", job_id)
    named = _task(job_id)
    found = _db(request).run(lambda conn: service.task(conn, caller.tenant_id, *named))
    return render(shapes.task_body(*found))


@router.post("/workspace-jobs/{job_id}/actions", openapi_extra=JSON_BODY)
def run_action(request: Request, caller: ProjectCaller, job_id: str, body: Body) -> Response:
    """Retry a failed registration or deregistration: a new task of the same job, done steps kept."""
    _require_task(caller, "workspace:jobs:retry", job_id)
    if body.get("op_type") != "retry":
        raise invalid("op_type", "retry", body.get("op_type", ""))
    unknown = sorted(set(body) - {"op_type"})
    if unknown:
        raise invalid(str(unknown[0]), "only op_type")
    named = _task(job_id)
    kinds = request.app.state.kinds.values()
    job = _db(request).run(
        lambda conn: service.retry(conn, caller.tenant_id, *named, kinds, actor=caller.actor)
    )
    return render({"job_id": task_id(job.id, job.attempt)})


@router.get("/workspace-sub-jobs")
def list_sub_jobs(request: Request, caller: ProjectCaller) -> Response:
    """List steps of tasks: of one task, or of all of a type (of each job its newest task)."""
    _require_task(caller, "workspace:jobs:listSubJobs", request.query_params.get("job_id", "*"))
    query = request.query_params
    limit, offset = _number(query, "limit", _MOST_LISTED, _MOST_LISTED), _number(query, "offset", 0, 10**9)
    wanted = query.get("status")
    if wanted is not None and wanted not in STEP_WORDS.values():
        raise invalid("status", ", ".join(sorted(set(STEP_WORDS.values()))), wanted)
    read = _steps_asked(caller, query.get("job_id"), query.get("job_type"))
    steps = [step for step in _db(request).run(read) if wanted in (None, step["status"])]
    listed = [{**step, "project_id": caller.project_id} for step in steps[offset : offset + limit]]
    return render({"total_count": len(steps), "jobs": listed})


def _steps_asked(
    caller: Principal, job_id: str | None, job_type: str | None
) -> Callable[[Connection], list[dict[str, Any]]]:
    if job_id is None and job_type is None:
        raise invalid("job_id", "a task, or a job_type, or both")

    def read(conn: Connection) -> list[dict[str, Any]]:
        if job_id is not None:
            job, attempt, units = service.task(conn, caller.tenant_id, *_task(job_id))
            if job_type not in (None, JOB_TYPES[job.kind]):
                return []
            return [shapes.step_body(job, attempt, unit) for unit in units]
        kind = KIND_OF_TYPE.get(job_type or "")
        if kind is None:
            return []  # a type that the vendor knows and we have no tasks of
        found = []
        for job in service.tasks(conn, caller.tenant_id, [kind]):
            _, attempt, units = service.task(conn, caller.tenant_id, job.id, job.attempt)
            found += [shapes.step_body(job, attempt, unit) for unit in units]
        return found

    return read


@router.post("/workspace-sub-jobs/batch-delete", openapi_extra=JSON_BODY)
def delete_sub_jobs(request: Request, caller: ProjectCaller, body: Body) -> Response:
    """Refuse: steps of registrations and deregistrations, all that there are, cannot be deleted."""
    _require_task(caller, "workspace:jobs:deleteSubJobs", "*")
    ids, by_status = body.get("job_ids"), body.get("delete_by_status")
    if ids is None and by_status is None:
        raise invalid("job_ids", "1 to 10 sub-tasks, or delete_by_status")
    if by_status is not None and by_status not in (STEP_WORDS[UnitState.DONE], STEP_WORDS[UnitState.FAILED]):
        raise invalid("delete_by_status", "SUCCESS or FAILED", by_status)
    if ids is not None:
        if not isinstance(ids, list) or not 1 <= len(ids) <= _MOST_DELETED:
            raise invalid("job_ids", f"a list of 1 to {_MOST_DELETED}", type(ids).__name__)
        _refuse_to_delete(request, caller, ids)
    # By status only what may be deleted is meant: there is nothing such.
    return render({})


def _refuse_to_delete(request: Request, caller: Principal, ids: list[Any]) -> None:
    numbers = [int(each) for each in ids if isinstance(each, str) and _UNIT.fullmatch(each)]
    found = _db(request).run(lambda conn: service.steps_among(conn, caller.tenant_id, numbers))
    for each in ids:
        if not (isinstance(each, str) and _UNIT.fullmatch(each) and int(each) in found):
            raise Problem(
                ProblemCode.NOT_FOUND, f"there is no sub-task {str(each)[:64]!a}", reason="not_found"
            )
    raise Problem(
        ProblemCode.CONFLICT,
        "sub-tasks of applyWorkspace, cancelWorkspace and changes of a workspace cannot be deleted",
        reason="not_deletable",
    )


def _number(query: Any, name: str, default: int, most: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= most):
        raise invalid(name, f"a number from 0 to {most}", text)
    return int(text)

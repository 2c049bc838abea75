"""The calls of the service. Each is authorised by the action that the vendor's page names.

The resource of a call is the workspace (``workspace:<region>:<account>:workspace:<id>``) or the task
(``...:job:<id>``); the right to retry a task is another than the right to register.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
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
from redrive.identity.audit import record_change
from redrive.kinds import house
from redrive.services.workspaces import service, tasks
from redrive.services.workspaces.house import House, load
from redrive.services.workspaces.task_ids import attempt_of, task_id
from redrive.wire.callers import who
from redrive.wire.huawei.auth import ProjectCaller
from redrive.wire.huawei.codes import Surface
from redrive.wire.huawei.envelope import JSON_BODY, HuaweiRoute, json_body, render
from redrive.wire.huawei.identity.catalog import base_url
from redrive.wire.huawei.workspace import asked, shapes
from redrive.wire.huawei.workspace.codes import (
    ACCESS_OF_WORD,
    ACCESS_WORDS,
    FIELD_NAMES,
    JOB_TYPES,
    KIND_OF_TYPE,
    STEP_WORDS,
    WORKSPACE,
)

Connection = psycopg.Connection[Any]

_MOST_LISTED = 1_000
_MOST_DELETED = 10
_UNIT = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)


class WorkspaceRoute(HuaweiRoute):
    """A route of the service."""

    surface: ClassVar[Surface] = WORKSPACE

    def answer_problem(self, request: Request, problem: Problem) -> Response:
        """Return the answer for a problem, with the vendor's names of the fields."""
        if problem.fields:
            fields = [
                replace(field, name=FIELD_NAMES.get(field.name, field.name)) for field in problem.fields
            ]
            detail = "; ".join(field.sentence() for field in fields)
            problem = Problem(problem.code, detail, hint=problem.hint, fields=fields, reason=problem.reason)
        return super().answer_problem(request, problem)


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
    parts = request.app.state.parts
    return house(parts.settings, parts.sealer, parts.store)


def _begin(
    request: Request, caller: Principal, action: str, work: Callable[[Connection], int | None]
) -> dict[str, Any]:
    """Do what may begin a job, and record it; return what is told of its task: nothing where there is none."""

    def begin(conn: Connection) -> dict[str, Any]:
        job_id = work(conn)
        told: dict[str, Any] = {}
        if job_id is not None:
            told["job_id"] = task_id(job_id, jobs.get(conn, caller.tenant_id, job_id).attempt)
        record_change(conn, who(request, caller, "huawei"), action, caller.workspace_id, detail=told)
        return told

    return _db(request).run(begin)


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
    action = "workspace:tenants:open"
    settings, password = asked.registration(body)
    _require(caller, action, _mode(ACCESS_WORDS[settings.access]))
    secrets = _house(request).secrets

    def work(conn: Connection) -> int:
        return service.register(
            conn, caller.tenant_id, settings, actor=caller.actor, secrets=secrets, password=password
        )

    return render(_begin(request, caller, action, work), 202)


@router.put("/workspaces", openapi_extra=JSON_BODY)
def update_workspace(request: Request, caller: ProjectCaller, body: Body) -> Response:
    """Change one sort of attribute; a job where something has to be done for it."""
    action = "workspace:tenants:update"
    _require(caller, action, _mode(body.get("access_mode")))
    secrets = _house(request).secrets

    def work(conn: Connection) -> int | None:
        settings, password = asked.change(body, load(conn, caller.tenant_id).wanted)
        return service.modify(
            conn, caller.tenant_id, settings, actor=caller.actor, secrets=secrets, password=password
        )

    told = _begin(request, caller, action, work)
    if "subnet_ids" in body:
        told.pop("job_id", None)
    return render({**told, **{name: body[name] for name in ("enterprise_id", "dc_vnc_ip") if name in body}})


@router.delete("/workspaces", status_code=202)
def cancel_workspace(request: Request, caller: ProjectCaller) -> Response:
    """Deregister the workspace and erase its data; it cannot be undone. The answer is the task."""
    action = "workspace:tenants:delete"
    _require(caller, action)
    belongings = _house(request).belongings

    def work(conn: Connection) -> int:
        return service.deregister(conn, caller.tenant_id, actor=caller.actor, belongings=belongings)

    return render(_begin(request, caller, action, work), 202)


@router.get("/workspaces/lock-status")
def show_lock(request: Request, caller: ProjectCaller) -> Response:
    """Tell whether the workspace is locked."""
    _require(caller, "workspace:tenants:get")
    return render(shapes.lock_body(_db(request).run(lambda conn: load(conn, caller.tenant_id))))


@router.put("/workspaces/lock-status", openapi_extra=JSON_BODY)
def unlock_workspace(request: Request, caller: ProjectCaller, body: Body) -> Response:
    """Unlock the workspace."""
    action = "workspace:tenants:unlock"
    _require(caller, action)
    if body.get("operate_type") != "unlock":
        raise invalid("operate_type", "unlock", body.get("operate_type"))

    def work(conn: Connection) -> int:
        return service.unlock(conn, caller.tenant_id, actor=caller.actor)

    return render(_begin(request, caller, action, work), 202)


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
    action = "workspace:tenants:update"
    _require(caller, action)
    name, secrets = _enterprise_id(body), _house(request).secrets

    def work(conn: Connection) -> int | None:
        wanted = replace(load(conn, caller.tenant_id).wanted, enterprise_id=name)
        return service.modify(conn, caller.tenant_id, wanted, actor=caller.actor, secrets=secrets)

    _begin(request, caller, action, work)
    return render({"enterprise_id": name})


def _enterprise_id(body: dict[str, Any]) -> str:
    name = body.get("enterprise_id")
    if not isinstance(name, str) or not name:
        raise invalid("enterprise_id", "1 to 32 digits, letters, _ and -", name)
    return name


# -- tasks


def _task(text: str) -> tuple[int, int]:
    found = attempt_of(text)
    if found is None:
        raise tasks.unknown_task()
    return found


def _require_task(caller: Principal, action: str, name: str) -> None:
    require(caller, action, caller.urn("workspace", "job", name[:64]))


@router.get("/workspace-jobs/{job_id}")
def show_job(request: Request, caller: ProjectCaller, job_id: str) -> Response:
    """Tell of a task and its steps."""
    _require_task(caller, "workspace:jobs:get", job_id)
    named = _task(job_id)
    return render(shapes.task_body(_db(request).run(lambda conn: tasks.task(conn, caller.tenant_id, *named))))


@router.post("/workspace-jobs/{job_id}/actions", openapi_extra=JSON_BODY)
def run_action(request: Request, caller: ProjectCaller, job_id: str, body: Body) -> Response:
    """Retry a failed registration or deregistration: a new task of the same job, done steps kept."""
    action = "workspace:jobs:retry"
    _require_task(caller, action, job_id)
    if body.get("op_type") != "retry":
        raise invalid("op_type", "retry", body.get("op_type", ""))
    unknown = sorted(set(body) - {"op_type"})
    if unknown:
        raise invalid(str(unknown[0]), "only op_type")
    named = _task(job_id)
    kinds = request.app.state.kinds.values()

    def work(conn: Connection) -> int:
        return service.retry(conn, caller.tenant_id, *named, kinds, actor=caller.actor).id

    return render(_begin(request, caller, action, work))


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
            task = tasks.task(conn, caller.tenant_id, *_task(job_id))
            if job_type not in (None, JOB_TYPES[task.job.kind]):
                return []
            return [shapes.step_body(task, step) for step in task.steps]
        kind = KIND_OF_TYPE.get(job_type or "")
        if kind is None:
            return []  # a type that the vendor knows and we have no tasks of
        found = tasks.newest(conn, caller.tenant_id, [kind])
        return [shapes.step_body(task, step) for task in found for step in task.steps]

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
    found = _db(request).run(lambda conn: tasks.steps_among(conn, caller.tenant_id, numbers))
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

"""``/v1/failpoints`` and ``/v1/workers``: the processes of the server, for those who operate and test it.

Failpoints are armed only where the server was started with ``--allow-failpoints``, by an admin, from this
machine: the address of the connection counts, no header does.
"""

from __future__ import annotations

import ipaddress
from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request

from redrive.database import Database
from redrive.engine import failpoints, fleet
from redrive.engine.fleet import WorkerState
from redrive.errors import Problem, ProblemCode
from redrive.settings import Settings
from redrive.wire.native.auth import SECURITY, Admin, Caller
from redrive.wire.native.problems import PROBLEM_RESPONSES, NativeRoute
from redrive.wire.native.shapes import FailpointsBody

router = APIRouter(
    prefix="/v1",
    route_class=NativeRoute,
    responses=PROBLEM_RESPONSES,
    dependencies=SECURITY,
    tags=["operation"],
)


class FailpointBody(BaseModel):
    """A named place in the code where a failure can be made."""

    name: str
    interrupts: str
    action: str | None = Field(description="what is armed there, null for nothing")


class FailpointList(BaseModel):
    """Every failpoint there is. ``allowed``: the server was started with --allow-failpoints."""

    allowed: bool
    failpoints: list[FailpointBody]


class WorkerBody(BaseModel):
    """A worker process. ``units`` run there now; a lost one was not heard of for 10 s."""

    id: str
    state: WorkerState
    host: str
    pid: int
    kinds: list[str]
    units: int
    started_at: datetime
    seen_at: datetime
    stopped_at: datetime | None


class WorkerList(BaseModel):
    """The workers of the last day, newest first; of stopped ones those of the last hour."""

    workers: list[WorkerBody]


@router.get("/failpoints")
def list_failpoints(request: Request, _: Caller) -> FailpointList:
    """List the failpoints and what is armed for every worker."""
    return _list(request, _db(request).run(fleet.armed))


@router.put("/failpoints")
def arm_failpoints(request: Request, _: Admin, body: FailpointsBody) -> FailpointList:
    """Arm exactly these failpoints, for every worker. Safe to repeat, so it needs no Idempotency-Key."""
    settings: Settings = request.app.state.parts.settings
    if not settings.allow_failpoints:
        raise Problem(
            ProblemCode.FORBIDDEN,
            "this server does not let failures be made",
            hint="start it with --allow-failpoints, for tests and demonstrations only",
            reason="failpoints_not_allowed",
        )
    if not _is_from_here(request):
        raise Problem(
            ProblemCode.FORBIDDEN,
            "failpoints can only be armed from the machine of the server",
            reason="failpoints_not_local",
        )
    _db(request).run(lambda conn: fleet.arm_everywhere(conn, body.failpoints))
    return _list(request, _db(request).run(fleet.armed))


@router.get("/workers")
def list_workers(request: Request, _: Admin) -> WorkerList:
    """List the worker processes; they serve all tenants, so only an admin sees them."""
    return WorkerList(
        workers=[
            WorkerBody(
                id=str(worker.id),
                state=worker.state,
                host=worker.host,
                pid=worker.pid,
                kinds=list(worker.kinds),
                units=worker.units,
                started_at=worker.started_at,
                seen_at=worker.seen_at,
                stopped_at=worker.stopped_at,
            )
            for worker in _db(request).run(fleet.workers)
        ]
    )


def _list(request: Request, armed: dict[str, str]) -> FailpointList:
    settings: Settings = request.app.state.parts.settings
    return FailpointList(
        allowed=settings.allow_failpoints,
        failpoints=[
            FailpointBody(name=name, interrupts=interrupts, action=armed.get(name))
            for name, interrupts in failpoints.NAMES.items()
        ],
    )


def _is_from_here(request: Request) -> bool:
    try:
        return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def _db(request: Request) -> Database:
    db: Database = request.app.state.parts.db
    return db

"""What every call about identities has in common: the action that guards it, who changes what, the process's caches.

A route names its action once, ``**may("iam:users:list")``: a caller without it is refused before anything is looked
up. Where the right is that of another project than the caller's, or depends on what there is, the route names the
action (``**named(...)``) and the service decides. ``docs/security.md`` has the table, and a test holds it to this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from redrive.database import Database
from redrive.errors import Problem, ProblemCode
from redrive.identity.access import NO_TENANT, Principal, require
from redrive.identity.audit import By
from redrive.identity.projects import get_project
from redrive.identity.user_tokens import Project
from redrive.wire.callers import who
from redrive.wire.native.auth import SECURITY, AccountCaller
from redrive.wire.native.idempotency import Answer, OneRequest
from redrive.wire.native.problems import PROBLEM_RESPONSES, NativeRoute

#: Where a route's description says its action.
ACTION = "x-redrive-action"

Connection = psycopg.Connection[Any]


def identity_router(path: str) -> APIRouter:
    """Return a router for calls about identities."""
    return APIRouter(
        prefix=f"/v1/identity{path}",
        route_class=NativeRoute,
        responses=PROBLEM_RESPONSES,
        dependencies=SECURITY,
        tags=["identity"],
    )


def may(action: str) -> dict[str, Any]:
    """Return what makes a route answer only who may do ``action``."""

    def required(caller: AccountCaller) -> None:
        require(caller, action)

    return {"dependencies": [Depends(required)], **named(action)}


def named(action: str) -> dict[str, Any]:
    """Return what says that a route's service asks for ``action``."""
    return {"openapi_extra": {ACTION: action}}


def db_of(request: Request) -> Database:
    """Return the process's database."""
    db: Database = request.app.state.parts.db
    return db


def author(request: Request, caller: Principal) -> By:
    """Return the caller as the trail names it."""
    return who(request, caller, "native")


def changed(
    request: Request, work: Callable[[Connection], Answer], once: OneRequest | None = None
) -> Response:
    """Do ``work`` in a transaction, once where the request has a key, and forget what is kept of rights."""
    once = once or OneRequest(db_of(request), NO_TENANT, None, b"")
    try:
        return once.answer(work)
    finally:
        request.app.state.parts.authenticator.forget_all()


def project_of(conn: Connection, caller: Principal, wanted: str | None) -> Project:
    """Return the project that a call is about: the named one, or the caller's own."""
    if wanted is None and caller.tenant_id == NO_TENANT:
        raise Problem(
            ProblemCode.INVALID,
            "project: expected the id or name of a project, since the token is for the account",
            reason="no_project",
        )
    return get_project(conn, caller.account_id, wanted or caller.project_id)

"""``/v1/audit``: who was refused what, and who changed rights."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request

from redrive.identity.access import require_admin
from redrive.identity.audit import AuditFilter, listing
from redrive.wire.native.auth import SECURITY, AccountCaller
from redrive.wire.native.identity.answers import AuditPage, audit_body
from redrive.wire.native.identity.guard import db_of, may
from redrive.wire.native.identity.shapes import AuditQuery
from redrive.wire.native.problems import PROBLEM_RESPONSES, NativeRoute

router = APIRouter(
    prefix="/v1/audit",
    route_class=NativeRoute,
    responses=PROBLEM_RESPONSES,
    dependencies=SECURITY,
    tags=["identity"],
)

_LARGEST_ID = (1 << 63) - 1


@router.get("", **may("redrive:audit:list"))
def list_audit(request: Request, caller: AccountCaller, wanted: Annotated[AuditQuery, Query()]) -> AuditPage:
    """List the account's trail, newest first. A refusal is in it within a second."""
    if wanted.strangers:
        require_admin(caller)
    asked = AuditFilter(
        outcome=wanted.outcome,
        actor=wanted.actor,
        action=wanted.action,
        since=wanted.since,
        before=None if wanted.before is None else min(int(wanted.before), _LARGEST_ID),
        limit=wanted.limit,
    )
    with db_of(request).transaction() as conn:
        found = listing(conn, caller.account_id, asked, strangers=wanted.strangers)
    more = len(found) == wanted.limit
    return AuditPage(entries=[audit_body(entry) for entry in found], next=str(found[-1].id) if more else None)

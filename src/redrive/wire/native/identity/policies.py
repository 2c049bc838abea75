"""``/v1/identity/policies``, ``/v1/identity/attachments`` and ``/v1/identity/simulate``."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query
from starlette.requests import Request
from starlette.responses import Response

from redrive.identity import delegation, policy_store, simulation
from redrive.identity.access import Principal, require
from redrive.identity.policy_store import Target
from redrive.identity.projects import get_project
from redrive.identity.simulation import Question
from redrive.wire.native.auth import AccountCaller
from redrive.wire.native.idempotency import AccountOnce, Answer
from redrive.wire.native.identity.answers import (
    AttachmentBody,
    AttachmentList,
    PolicyPage,
    PolicyShown,
    SimulationBody,
    attachment_body,
    policy_body,
    simulation_body,
)
from redrive.wire.native.identity.guard import Connection, author, changed, db_of, identity_router, may, named
from redrive.wire.native.identity.shapes import Asking, AttachmentQuery, NewAttachment, Page, PolicyBody
from redrive.wire.native.shapes import NO_NUL

router = identity_router("")

PolicyName = Annotated[str, Path(max_length=64, pattern=NO_NUL, description="name or id")]


@router.get("/policies", **may("iam:policies:list"))
def list_policies(request: Request, caller: AccountCaller, page: Annotated[Page, Query()]) -> PolicyPage:
    """List the account's own policies in order of name; the first page ends with those that are built in."""
    with db_of(request).transaction() as conn:
        found = policy_store.list_policies(conn, caller.account_id, after=page.after, limit=page.limit)
        builtin = policy_store.list_builtin(conn, caller.account_id) if page.after is None else []
    more = len(found) == page.limit
    return PolicyPage(
        policies=[policy_body(policy) for policy in (*found, *builtin)],
        next=found[-1].name if more else None,
    )


@router.get("/policies/{policy}", **may("iam:policies:get"))
def get_policy(request: Request, caller: AccountCaller, policy: PolicyName) -> PolicyShown:
    """Show a policy."""
    with db_of(request).transaction() as conn:
        return policy_body(policy_store.get_policy(conn, caller.account_id, policy))


@router.put("/policies/{policy}", response_model=PolicyShown, **named("iam:policies:create"))
def put_policy(request: Request, caller: AccountCaller, policy: PolicyName, body: PolicyBody) -> Response:
    """Write a policy, or give the one of this name (``iam:policies:update``) another document. Safe to repeat."""

    def work(conn: Connection) -> Answer:
        delegation.check_put(conn, caller, policy, body.document)
        by = author(request, caller)
        stored = policy_store.put_policy(
            conn, caller.account_id, policy, body.document, who=by, description=body.description
        )
        return 200, policy_body(stored)

    return changed(request, work)


@router.delete("/policies/{policy}", status_code=204, response_class=Response, **may("iam:policies:delete"))
def delete_policy(request: Request, caller: AccountCaller, policy: PolicyName) -> Response:
    """Delete a policy that is attached to nobody."""

    def work(conn: Connection) -> Answer:
        policy_store.delete_policy(conn, caller.account_id, policy, who=author(request, caller))
        return 204, None

    return changed(request, work)


@router.get("/attachments", **may("iam:policies:list"))
def list_attachments(
    request: Request, caller: AccountCaller, wanted: Annotated[AttachmentQuery, Query()]
) -> AttachmentList:
    """List what is attached to a user, also through its groups, or to a group."""
    with db_of(request).transaction() as conn:
        target = Target(user=wanted.user, group=wanted.group)
        found = policy_store.attachments_of(conn, caller.account_id, target)
    return AttachmentList(attachments=[attachment_body(each) for each in found])


@router.post("/attachments", response_model=AttachmentBody, status_code=201, **may("iam:policies:attach"))
def attach(request: Request, caller: AccountCaller, once: AccountOnce, body: NewAttachment) -> Response:
    """Attach a policy to a user or a group, in one project or in all. Safe to repeat."""

    def work(conn: Connection) -> Answer:
        target, project = _target(conn, caller, body)
        delegation.check_attach(conn, caller, body.policy, target)
        policy_store.attach(conn, caller.account_id, body.policy, target, who=author(request, caller))
        policy = policy_store.get_policy(conn, caller.account_id, body.policy)
        return 201, AttachmentBody(
            policy=policy.name, builtin=policy.builtin, project=project, group=body.group
        )

    return changed(request, work, once)


@router.delete("/attachments", status_code=204, response_class=Response, **may("iam:policies:detach"))
def detach(request: Request, caller: AccountCaller, wanted: Annotated[NewAttachment, Query()]) -> Response:
    """Detach a policy from a user or a group, where it is attached in just this way. Safe to repeat."""

    def work(conn: Connection) -> Answer:
        target, _ = _target(conn, caller, wanted)
        delegation.check_detach(conn, caller, wanted.policy, target)
        policy_store.detach(conn, caller.account_id, wanted.policy, target, who=author(request, caller))
        return 204, None

    return changed(request, work)


def _target(conn: Connection, caller: Principal, asked: NewAttachment) -> tuple[Target, str | None]:
    if asked.project is None:
        return Target(user=asked.user, group=asked.group), None
    project = get_project(conn, caller.account_id, asked.project)
    return Target(user=asked.user, group=asked.group, tenant_id=project.tenant_id), project.project_name


@router.post("/simulate", **named("iam:policies:simulate"))
def simulate(request: Request, caller: AccountCaller, body: Asking) -> SimulationBody:
    """Say whether somebody may do something, and why. Everybody may ask about itself. Changes nothing."""
    itself = (
        (body.user is None and body.access_key is None)
        or (body.user is not None and body.user in (caller.user_id, caller.user_name))
        or (body.access_key is not None and body.access_key == caller.access_key)
    )
    if not itself:
        require(caller, "iam:policies:simulate")
    with db_of(request).transaction() as conn:
        answer = simulation.simulate(conn, caller.account_id, _question(conn, caller, body))
    return simulation_body(body, answer)


def _question(conn: Connection, caller: Principal, body: Asking) -> Question:
    user, access_key = body.user, body.access_key
    if user is None and access_key is None:
        # The caller as it calls: with a key pair within its limits.
        access_key = caller.access_key or None
        user = None if access_key else caller.user_id
    tenant_id = None
    if body.project is not None:
        tenant_id = get_project(conn, caller.account_id, body.project).tenant_id
    elif user is not None:
        tenant_id = caller.tenant_id or None
    return Question(
        action=body.action,
        resource=body.resource,
        user=user,
        access_key=access_key,
        tenant_id=tenant_id,
        context=body.context,
    )

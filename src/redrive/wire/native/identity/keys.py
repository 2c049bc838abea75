"""``/v1/identity/keys``, ``/v1/identity/temporary-keys`` and ``/v1/identity/projects``."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import Path, Query
from starlette.requests import Request
from starlette.responses import Response

from redrive.errors import Problem, ProblemCode
from redrive.identity import delegation, issuing, projects
from redrive.identity.access import NO_TENANT, Action, Principal, parse_scope, require
from redrive.identity.authentication import USER_TOKEN
from redrive.identity.builtin import key_policy
from redrive.identity.keys import KeyPair, get_key, list_keys
from redrive.identity.user_tokens import Project
from redrive.identity.users import get_user
from redrive.wire.native.auth import AccountCaller, Caller
from redrive.wire.native.idempotency import AccountOnce, Answer
from redrive.wire.native.identity.answers import (
    CreatedKey,
    KeyList,
    ProjectBody,
    ProjectList,
    RevokedKey,
    TemporaryKeyBody,
    key_body,
    project_body,
)
from redrive.wire.native.identity.guard import (
    Connection,
    author,
    changed,
    db_of,
    identity_router,
    may,
    named,
    project_of,
)
from redrive.wire.native.identity.shapes import KeyQuery, NewKey, NewProject, NewTemporaryKey, Rotation
from redrive.wire.native.shapes import NO_NUL

router = identity_router("")

AccessKeyName = Annotated[str, Path(max_length=64, pattern=NO_NUL)]
ProjectName = Annotated[
    str | None, Query(max_length=64, pattern=NO_NUL, description="id or name; absent: the caller's")
]


@router.get("/keys", **named("iam:credentials:list"))
def list_key_pairs(request: Request, caller: AccountCaller, wanted: Annotated[KeyQuery, Query()]) -> KeyList:
    """List key pairs of a project, of all users or of one; never the secrets, and no temporary ones."""
    with db_of(request).transaction() as conn:
        project = _project(conn, caller, wanted.project, "iam:credentials:list")
        user = get_user(conn, caller.account_id, wanted.user) if wanted.user is not None else None
        found = list_keys(conn, project.tenant_id, user_id=user.id if user is not None else None)
    return KeyList(keys=[key_body(pair, project.project_name) for pair in found])


@router.post("/keys", response_model=CreatedKey, status_code=201, **named("iam:credentials:create"))
def create_key_pair(request: Request, caller: AccountCaller, once: AccountOnce, body: NewKey) -> Response:
    """Make a key pair; its secret is in this answer and nowhere else. It never may more than the caller."""
    policy = body.policy if body.policy is not None else _short(body)

    def work(conn: Connection) -> Answer:
        project = _project(conn, caller, body.project, "iam:credentials:create")
        owner = get_user(conn, caller.account_id, body.user or caller.user_id)
        wanted = [] if policy is None else [policy]
        layers = delegation.layers_for(conn, caller, owner, project.tenant_id, wanted)
        made = issuing.create(
            conn,
            request.app.state.parts.sealer,
            tenant_id=project.tenant_id,
            user_id=owner.id,
            user_name=owner.name,
            name=body.name,
            layers=layers,
            who=author(request, caller),
        )
        return 201, _created(made, body.name, owner.name, project, layers)

    return changed(request, work, once)


def _short(body: NewKey) -> Any:
    """Return the policy that the short form means; None where nothing was said."""
    if not (body.read or body.write or body.admin):
        return None
    scope = parse_scope(body.scope if body.scope is not None else "*")
    asked = {Action.READ: body.read, Action.WRITE: body.write}
    return key_policy({action: scope for action, wanted in asked.items() if wanted}, admin=body.admin)


@router.post(
    "/keys/{access_key}/rotate",
    response_model=CreatedKey,
    status_code=201,
    **named("iam:credentials:create"),
)
def rotate_key_pair(
    request: Request,
    caller: AccountCaller,
    once: AccountOnce,
    access_key: AccessKeyName,
    body: Rotation | None = None,
    project: ProjectName = None,
) -> Response:
    """Make a key pair with the same user, project and limits; the old one is revoked at once, or kept.

    Revoking it takes ``iam:credentials:delete``, too.
    """
    keep_old = body is not None and body.keep_old

    def work(conn: Connection) -> Answer:
        of = _project(conn, caller, project, "iam:credentials:create")
        pair = get_key(conn, of.tenant_id, access_key)
        owner = get_user(conn, caller.account_id, pair.user_id)
        layers = delegation.layers_for(conn, caller, owner, of.tenant_id, pair.layers or [])
        if not keep_old:
            delegation.check_revoke(conn, caller, pair, of.tenant_id)
        made = issuing.rotate(
            conn,
            request.app.state.parts.sealer,
            pair,
            of.tenant_id,
            layers=layers,
            keep_old=keep_old,
            who=author(request, caller),
        )
        return 201, _created(made, pair.name, pair.user_name, of, layers)

    return changed(request, work, once)


@router.delete("/keys/{access_key}", response_model=RevokedKey, **named("iam:credentials:delete"))
def revoke_key_pair(
    request: Request, caller: AccountCaller, access_key: AccessKeyName, project: ProjectName = None
) -> Response:
    """Revoke a key pair, its tokens and the temporary ones that it made, for good. Safe to repeat."""

    def work(conn: Connection) -> Answer:
        of = _project(conn, caller, project, "iam:credentials:delete")
        pair: KeyPair = get_key(conn, of.tenant_id, access_key)
        delegation.check_revoke(conn, caller, pair, of.tenant_id)
        done = issuing.revoke(conn, of.tenant_id, access_key, who=author(request, caller))
        return 200, RevokedKey(access_key=access_key, revoked=done)

    return changed(request, work)


@router.post("/temporary-keys", response_model=TemporaryKeyBody, status_code=201, **named("own"))
def create_temporary_key(
    request: Request, caller: Caller, once: AccountOnce, body: NewTemporaryKey
) -> Response:
    """Make a key pair for a while, for the caller itself; it is good for signed calls with its security token.

    With a key pair (Basic) or a token got with a password, beyond whose end it does not live. A bearer token of a key
    pair does not do: it must not prolong itself.
    """
    not_after = _token_ends(request, caller)

    def work(conn: Connection) -> Answer:
        made = issuing.create_temporary(
            conn,
            request.app.state.parts.sealer,
            caller,
            life=timedelta(seconds=body.duration_seconds),
            policy=body.policy,
            not_after=not_after,
            who=author(request, caller),
        )
        return 201, TemporaryKeyBody(
            access_key=made.pair.access_key,
            secret_key=made.pair.secret_key,
            security_token=made.security_token,
            expires_at=made.expires_at,
        )

    return changed(request, work, once)


def _token_ends(request: Request, caller: Principal) -> datetime | None:
    """Return when the user's token that was shown ends; None for a key pair."""
    scheme, _, shown = request.headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() != "bearer":
        return None
    if not shown.strip().startswith(USER_TOKEN):
        raise Problem(
            ProblemCode.FORBIDDEN,
            "an access token cannot prolong itself by a temporary key pair",
            hint="ask with the key pair itself (HTTP Basic), or with a token got with a password",
            reason="access_token",
        )
    ends: datetime = request.app.state.parts.authenticator.by_user_token(shown.strip()).expires_at
    return ends


@router.get("/projects", **may("iam:projects:list"))
def list_projects(request: Request, caller: AccountCaller) -> ProjectList:
    """List the account's projects, oldest first."""
    with db_of(request).transaction() as conn:
        found = projects.list_projects(conn, caller.account_id)
    return ProjectList(projects=[project_body(project) for project in found])


@router.post("/projects", response_model=ProjectBody, status_code=201, **may("iam:projects:create"))
def create_project(request: Request, caller: AccountCaller, once: AccountOnce, body: NewProject) -> Response:
    """Make a project with an organization of its own."""

    def work(conn: Connection) -> Answer:
        made = projects.create_project(conn, caller.account_id, body.name, who=author(request, caller))
        return 201, project_body(made)

    return changed(request, work, once)


def _project(conn: Connection, caller: Principal, wanted: str | None, action: str) -> Project:
    """Return the project that a call is about; refuse who may not do ``action`` there."""
    if caller.tenant_id != NO_TENANT and wanted in (None, caller.project_id, caller.project_name):
        require(caller, action)
    found = project_of(conn, caller, wanted)
    require(delegation.caller_in(conn, caller, found.tenant_id), action)
    return found


def _created(made: Any, name: str, user: str, project: Project, layers: Any) -> CreatedKey:
    return CreatedKey(
        access_key=made.access_key,
        secret_key=made.secret_key,
        name=name,
        user=user,
        project=project.project_name,
        org_id=project.org_id,
        layers=[dict(each) for each in layers] or None,
    )

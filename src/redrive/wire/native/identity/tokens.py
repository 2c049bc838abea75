"""``/v1/identity/tokens``: a user's token for a name and a password, and its end."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from redrive.errors import invalid
from redrive.identity import user_tokens
from redrive.identity.authentication import USER_TOKEN
from redrive.identity.bootstrap import DOMAIN_NAME
from redrive.identity.projects import get_project
from redrive.identity.user_tokens import Login
from redrive.wire.callers import address_of
from redrive.wire.native.auth import SECURITY, AccountCaller
from redrive.wire.native.identity.answers import UserTokenBody
from redrive.wire.native.identity.guard import db_of, named
from redrive.wire.native.identity.shapes import LoginBody
from redrive.wire.native.problems import PROBLEM_RESPONSES, LoginRoute

router = APIRouter(
    prefix="/v1/identity/tokens", route_class=LoginRoute, responses=PROBLEM_RESPONSES, tags=["identity"]
)


@router.post("", status_code=201, **named("open"))
def create_token(request: Request, body: LoginBody) -> UserTokenBody:
    """Answer a token for 24 hours. The body proves who asks; whatever is wrong with it is refused in one way.

    Each call makes a new token, so it takes no ``Idempotency-Key``. After ten wrong passwords within five minutes a
    user is closed for the address that sent them, longer each time.
    """
    parts = request.app.state.parts
    login = Login(
        body.password.get_secret_value(),
        name=body.user_name,
        account_name=body.domain_name if body.domain_name is not None else DOMAIN_NAME,
    )
    user = user_tokens.check_login(parts.db, login, attempts=parts.logins, address=address_of(request))
    with db_of(request).transaction() as conn:
        project = None if body.project is None else get_project(conn, user.account_id, body.project)
        made = user_tokens.issue(conn, user.id, project.tenant_id if project is not None else None)
    return UserTokenBody(
        token=made.text,
        user=user.name,
        project=project.project_name if project is not None else None,
        issued_at=made.issued_at,
        expires_at=made.expires_at,
    )


@router.delete("", status_code=204, response_class=Response, dependencies=SECURITY, **named("own"))
def revoke_token(request: Request, caller: AccountCaller) -> Response:
    """End the user's token that this call shows as ``Authorization: Bearer``."""
    shown = request.headers.get("authorization", "").strip().partition(" ")[2].strip()
    if not shown.startswith(USER_TOKEN):
        raise invalid("Authorization", "Bearer and a token got with a password")
    parts = request.app.state.parts
    with parts.db.transaction() as conn:
        user_tokens.revoke(conn, caller.account_id, shown)
    parts.authenticator.forget_all()
    return Response(status_code=204)

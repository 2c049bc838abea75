"""Tokens, catalog, projects and accounts (Keystone's calls), caller identity, temporary keys, sealed refusals.

Whoever has a password gets a token; what it may do is asked at each call. A caller may look at its own tokens, and
with ``iam:tokens:get`` at those of its account.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from redrive.errors import Problem, ProblemCode, invalid
from redrive.identity import issuing, sealed_refusals, user_tokens
from redrive.identity.access import NO_TENANT, Principal, require
from redrive.identity.authentication import Authenticator, UserToken
from redrive.identity.principals import principal_of
from redrive.wire.callers import address_of, claimed, seen, who
from redrive.wire.huawei.auth import Caller, not_yours
from redrive.wire.huawei.codes import STATUS, Surface, surface
from redrive.wire.huawei.envelope import JSON_BODY, HuaweiRoute, json_body, refuse_as_keystone, render
from redrive.wire.huawei.identity import catalog as places
from redrive.wire.huawei.identity import shapes
from redrive.wire.refusals import log_bug

IAM = surface("iam", "PAP5")
STS = surface("sts", "STS5")
_MOST_PER_PAGE = 5_000
_SUBJECT = "X-Subject-Token"


class KeystoneRoute(HuaweiRoute):
    """A route whose refusals are Keystone's."""

    def answer_problem(self, request: Request, problem: Problem) -> Response:
        """Return the answer for a problem."""
        return refuse_as_keystone(request, problem, STATUS[problem.code])

    def answer_bug(self, request: Request, error: BaseException) -> Response:
        """Return the answer for any other exception."""
        name = log_bug(request, error)
        return refuse_as_keystone(
            request, Problem(ProblemCode.UNAVAILABLE, f"internal error, request {name}"), 500
        )


class IamRoute(HuaweiRoute):
    """A route of the newer identity service."""

    surface: ClassVar[Surface] = IAM


class StsRoute(HuaweiRoute):
    """A route of the security token service."""

    surface: ClassVar[Surface] = STS


keystone = APIRouter(route_class=KeystoneRoute, tags=["huawei: identity"])
iam = APIRouter(route_class=IamRoute, tags=["huawei: identity"])
sts = APIRouter(route_class=StsRoute, tags=["huawei: identity"])

Body = Annotated[dict[str, Any], Depends(json_body)]


def _base(request: Request) -> str:
    return places.base_url(request.url.scheme, request.headers.get("host", ""))


def _catalog(request: Request, principal: Principal) -> list[dict[str, Any]]:
    region = principal.project_name or "global"
    return places.catalog(_base(request), principal.project_id, region)


@keystone.get("/", include_in_schema=False)
def list_versions(request: Request) -> Response:
    """Tell which versions of the identity service there are."""
    return render(places.versions(_base(request)), 300)


@keystone.get("/v3", include_in_schema=False)
@keystone.get("/v3/", include_in_schema=False)
def show_version(request: Request) -> Response:
    """Tell of the one version."""
    return render({"version": places.version(_base(request))})


@keystone.post("/v3/auth/tokens", status_code=201, openapi_extra=JSON_BODY)
def create_token(request: Request, body: Body) -> Response:
    """Return a token for a user's password, in X-Subject-Token. The body is the proof: no other is looked at."""
    asked = shapes.asked_token(body)
    claimed(request, asked.login.name or asked.login.user_id or "")
    parts = request.app.state.parts
    db = parts.db
    user = user_tokens.check_login(db, asked.login, attempts=parts.logins, address=address_of(request))
    with db.transaction() as conn:
        tenant_id = _scope(conn, user.account_id, asked)
        made = user_tokens.issue(conn, user.id, tenant_id)
        row = conn.execute(
            user_tokens.principals.principal_of_user, {"user_id": user.id, "tenant_id": tenant_id}
        ).fetchone()
        principal = principal_of(row)
    principal = seen(request, principal)
    listed = None if request.query_params.get("nocatalog") else _catalog(request, principal)
    answer = shapes.token_body(principal, made.issued_at, made.expires_at, listed)
    return render(answer, 201, {_SUBJECT: made.text})


def _scope(conn: Any, account_id: str, asked: shapes.Asked) -> int | None:
    if asked.domain is not None:
        # Tokens are for the account of the user; its name is not told to those who guess another.
        named = {"id": asked.domain.get("id"), "name": asked.domain.get("name")}
        there = user_tokens.names_something(named)
        found = conn.execute(user_tokens.queries.account_by, named).fetchone() if there else None
        if found is None or found.id != account_id:
            raise not_yours("auth.scope.domain")
        return None
    if asked.project is None:
        return None
    wanted = {"project_id": asked.project.get("id"), "name": asked.project.get("name")}
    found = user_tokens.projects(conn, account_id, wanted)
    if len(found) != 1:
        raise not_yours("auth.scope.project")
    return found[0].tenant_id


def _subject(request: Request, caller: Principal) -> UserToken:
    shown = request.headers.get(_SUBJECT)
    if not shown:
        raise invalid(_SUBJECT, "the token to look at, in this header")
    authenticator: Authenticator = request.app.state.parts.authenticator
    try:
        found = authenticator.by_user_token(shown)
    except Problem as problem:
        if problem.code is not ProblemCode.UNAUTHENTICATED:
            raise
        raise Problem(ProblemCode.NOT_FOUND, "Could not find the token", reason="not_found") from None
    if found.principal.account_id != caller.account_id:
        raise Problem(ProblemCode.NOT_FOUND, "Could not find the token", reason="not_found")
    if found.principal.user_id != caller.user_id:
        require(caller, "iam:tokens:get")
    return found


@keystone.get("/v3/auth/tokens")
@keystone.head("/v3/auth/tokens")
def show_token(request: Request, caller: Caller) -> Response:
    """Tell what the token in X-Subject-Token is good for."""
    found = _subject(request, caller)
    headers = {_SUBJECT: request.headers[_SUBJECT]}
    if request.method == "HEAD":
        return Response(status_code=200, headers=headers)
    listed = None if request.query_params.get("nocatalog") else _catalog(request, found.principal)
    return render(shapes.token_body(found.principal, found.issued_at, found.expires_at, listed), 200, headers)


@keystone.delete("/v3/auth/tokens", status_code=204)
def revoke_token(request: Request, caller: Caller) -> Response:
    """End the token in X-Subject-Token."""
    found = _subject(request, caller)
    if found.principal.user_id != caller.user_id:
        require(caller, "iam:tokens:delete")
    parts = request.app.state.parts
    parts.db.run(lambda conn: user_tokens.revoke(conn, caller.account_id, request.headers[_SUBJECT]))
    parts.authenticator.forget_all()
    return Response(status_code=204)


@keystone.get("/v3/auth/catalog")
def show_catalog(request: Request, caller: Caller) -> Response:
    """Tell which services there are for the caller."""
    return render(
        {"catalog": _catalog(request, caller), "links": {"self": f"{_base(request)}/v3/auth/catalog"}}
    )


@keystone.get("/v3/auth/projects")
def list_own_projects(request: Request, caller: Caller) -> Response:
    """List the projects for which the caller can call."""
    base = _base(request)
    found = _projects(request, caller, {})
    listed = [shapes.project_body(project, base) for project in found]
    return render({"projects": listed, "links": _links(f"{base}/v3/auth/projects")})


@keystone.get("/v3/auth/domains")
def list_own_domains(request: Request, caller: Caller) -> Response:
    """List the accounts for which the caller can call: its own."""
    base = _base(request)
    return render({"domains": [shapes.domain_body(caller, base)], "links": _links(f"{base}/v3/auth/domains")})


@keystone.get("/v3/projects")
def list_projects(request: Request, caller: Caller) -> Response:
    """List projects by name or account. The name of a project is its region's: clients find exactly one."""
    query = request.query_params
    page, per_page = (
        _number(query, "page", 1, 2**31),
        _number(query, "per_page", _MOST_PER_PAGE, _MOST_PER_PAGE),
    )
    found = _projects(request, caller, {"name": query.get("name")})
    for name in ("domain_id", "parent_id"):
        if query.get(name) not in (None, caller.account_id):
            found = []
    if _flag(query, "enabled") is False or _flag(query, "is_domain") is True:
        found = []
    base = _base(request)
    listed = [
        shapes.project_body(project, base) for project in found[(page - 1) * per_page : page * per_page]
    ]
    return render({"projects": listed, "links": _links(f"{base}/v3/projects")})


def _projects(
    request: Request, caller: Principal, wanted: dict[str, str | None]
) -> list[user_tokens.Project]:
    """Return the projects that the caller can call for: a key pair's own; a user's, all of its account."""
    db = request.app.state.parts.db
    found: list[user_tokens.Project] = db.run(
        lambda conn: user_tokens.projects(conn, caller.account_id, wanted)
    )
    return [project for project in found if not caller.key_id or project.tenant_id == caller.tenant_id]


def _links(own: str) -> dict[str, str | None]:
    return {"self": own, "previous": None, "next": None}


def _number(query: Any, name: str, default: int, most: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:12]) <= most):
        raise invalid(name, f"a number from 1 to {most}", text)
    return int(text)


def _flag(query: Any, name: str) -> bool | None:
    text = query.get(name)
    if text is None:
        return None
    if text.lower() not in ("true", "false", "1", "0"):
        raise invalid(name, "true or false", text)
    return text.lower() in ("true", "1")


@iam.get("/v5/caller-identity")
def show_caller(caller: Caller) -> Response:
    """Tell who calls."""
    return render(
        {
            "account_id": caller.account_id,
            "principal_id": caller.user_id,
            "principal_urn": f"iam::{caller.account_id}:user:{caller.user_name}",
        }
    )


@sts.post("/v5/decode-authorization-message", openapi_extra=JSON_BODY)
def decode_message(request: Request, caller: Caller, body: Body) -> Response:
    """Open a sealed refusal of the caller's account."""
    require(caller, "sts::decodeAuthorizationMessage")
    text = body.get("encoded_message")
    if not isinstance(text, str):
        raise invalid("encoded_message", "text", type(text).__name__)
    opened = sealed_refusals.open_sealed(request.app.state.parts.sealer, caller.account_id, text)
    return render({"decoded_message": opened})


@iam.post("/v3.0/OS-CREDENTIAL/securitytokens", status_code=201, openapi_extra=JSON_BODY)
def create_temporary_access_key(request: Request, caller: Caller, body: Body) -> Response:
    """Make a key pair for a while, for the caller's own rights and project."""
    if caller.key_id:
        raise Problem(
            ProblemCode.FORBIDDEN, "a key pair cannot make temporary ones: use a token", reason="key_pair"
        )
    if caller.tenant_id == NO_TENANT:
        raise not_yours("auth.scope.project")
    identity = (body.get("auth") or {}).get("identity") if isinstance(body.get("auth"), dict) else None
    if not isinstance(identity, dict) or identity.get("methods") != ["token"]:
        raise invalid("auth.identity.methods", '["token"]')
    wanted = identity.get("token")
    seconds = wanted.get("duration_seconds", 900) if isinstance(wanted, dict) else 900
    if isinstance(seconds, str) and seconds.isascii() and seconds.isdigit() and len(seconds) <= 6:
        seconds = int(seconds)
    if not isinstance(seconds, int) or isinstance(seconds, bool):
        raise invalid("auth.identity.token.duration_seconds", "900 to 86400", seconds)
    parts = request.app.state.parts
    # As everywhere: what a token makes does not outlive it.
    token: UserToken = parts.authenticator.by_user_token(request.headers["x-auth-token"])
    made = parts.db.run(
        lambda conn: issuing.create_temporary(
            conn,
            parts.sealer,
            caller,
            life=timedelta(seconds=min(seconds, 10**6)),
            policy=identity.get("policy"),
            not_after=token.expires_at,
            who=who(request, caller, "huawei"),
        )
    )
    credential = {
        "access": made.pair.access_key,
        "secret": made.pair.secret_key,
        "expires_at": shapes.instant(made.expires_at),
        "securitytoken": made.security_token,
    }
    return render({"credential": credential}, 201)

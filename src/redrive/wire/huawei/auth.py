"""Who calls, and for which project: a token in ``X-Auth-Token``, or a signature over the request as it came.

Decisions where the vendor's pages are silent (``docs/decisions/0060-huawei-gateway.md``): a call shows one of the
two, not both; a header that says who calls or for what stands once; the security token of a temporary key pair must
be among the signed headers; ``X-Project-Id`` and ``X-Domain-Id`` are never believed, but where they are sent they
must agree with the caller; a project that is not the caller's is refused in the same words whether it exists or not.
"""

from __future__ import annotations

import re
import secrets
from typing import Annotated, TypeAlias

from fastapi import Depends
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from redrive.clock import now
from redrive.errors import Problem, ProblemCode
from redrive.identity import signatures
from redrive.identity.access import NO_TENANT, Principal, require_open
from redrive.identity.authentication import Authenticator, Credential, refused
from redrive.wire.callers import claimed, seen

_ONCE = (
    "authorization",
    "x-auth-token",
    "x-subject-token",
    "x-project-id",
    "x-domain-id",
    "x-security-token",
    "x-sdk-date",
    "x-sdk-content-sha256",
    "host",
)
_PROJECT = re.compile(r"[0-9a-f]{32}")
_LONGEST_TOKEN = 4_096
_SECURITY_TOKEN = "x-security-token"  # noqa: S105


async def huawei_principal(request: Request) -> Principal:
    """Return who calls, for whatever it is known for. A FastAPI dependency."""
    for name in _ONCE:
        if len(request.headers.getlist(name)) > 1:
            raise refused(f"{name}: the header stands more than once", "header")
    token, authorization = request.headers.get("x-auth-token"), request.headers.get("authorization")
    if token is not None and authorization is not None:
        raise refused("X-Auth-Token and Authorization: one of them is enough", "header")
    if token is not None:
        caller = await run_in_threadpool(_by_token, request, token)
    elif authorization is not None:
        body = await request.body()
        caller = await run_in_threadpool(_by_signature, request, authorization, body)
    else:
        raise refused("there is neither a token (X-Auth-Token) nor a signature (Authorization)", "missing")
    principal = seen(request, caller)
    _check_scope_headers(request, principal)
    return principal


def _by_token(request: Request, token: str) -> Principal:
    authenticator: Authenticator = request.app.state.parts.authenticator
    if len(token) > _LONGEST_TOKEN:
        raise refused("decrypt token fail", "unknown_token")
    try:
        return authenticator.by_user_token(token).principal
    except Problem as problem:
        if problem.code is not ProblemCode.UNAUTHENTICATED:
            raise
        words = "The token must be updated" if problem.reason == "token_expired" else "decrypt token fail"
        raise refused(words, problem.reason) from None


def wire_of(request: Request) -> signatures.Wire:
    """Return the request as it came over the wire."""
    scope = request.scope
    state = scope.get("state", {})
    path: bytes = state.get("raw_path") or scope["raw_path"]
    return signatures.Wire(scope["method"], path, scope["query_string"], scope["headers"])


def _by_signature(request: Request, authorization: str, body: bytes) -> Principal:
    if not signatures.is_signature(authorization):
        raise refused("Authorization: expected SDK-HMAC-SHA256", "signature_header")
    shown = signatures.parse(authorization)
    claimed(request, shown.access_key)
    wire = wire_of(request)
    security_token = request.headers.get(_SECURITY_TOKEN)
    if security_token is not None and _SECURITY_TOKEN not in shown.signed_headers:
        raise refused("X-Security-Token must be among the signed headers", "signature_header")
    credential = _credential(request, shown.access_key, security_token)
    # A key pair that is not known costs as much, and is refused like a wrong signature.
    secret_key = credential.secret_key if credential is not None else secrets.token_hex(16)
    signatures.check(shown, wire, body, secret_key, now())
    if credential is None:
        raise refused("verify aksk signature fail", "signature")
    return credential.principal


def _credential(request: Request, access_key: str, security_token: str | None) -> Credential | None:
    authenticator: Authenticator = request.app.state.parts.authenticator
    try:
        return authenticator.by_signing_key(access_key, security_token)
    except Problem as problem:
        if problem.code is ProblemCode.UNAUTHENTICATED:
            return None
        raise


def _check_scope_headers(request: Request, principal: Principal) -> None:
    project, domain = request.headers.get("x-project-id"), request.headers.get("x-domain-id")
    if project is not None and project != principal.project_id:
        raise not_yours("X-Project-Id")
    if domain is not None and domain != principal.account_id:
        raise not_yours("X-Domain-Id")


def not_yours(name: str) -> Problem:
    """Return the refusal of a project or account that is not the caller's, whether it exists or not."""
    return Problem(ProblemCode.FORBIDDEN, f"{name}: not the caller's", reason="scope")


def project_principal(caller: Annotated[Principal, Depends(huawei_principal)], project_id: str) -> Principal:
    """Return who calls, for the project in the path. A FastAPI dependency."""
    if project_id in ("{project_id}", "%7Bproject_id%7D"):
        raise Problem(
            ProblemCode.INVALID,
            "project_id: the client was built without a project id and sent its placeholder",
            hint="give the client its project id, or a region and the endpoint of the identity service",
            reason="placeholder",
        )
    if _PROJECT.fullmatch(project_id) is None:
        raise Problem(ProblemCode.INVALID, "project_id: expected 32 hex digits", reason="project_id")
    if caller.tenant_id == NO_TENANT or project_id != caller.project_id:
        raise not_yours("project_id")
    return caller


def data_principal(caller: Annotated[Principal, Depends(project_principal)]) -> Principal:
    """Return who calls for a project whose workspace is open. A FastAPI dependency."""
    require_open(caller)
    return caller


Caller: TypeAlias = Annotated[Principal, Depends(huawei_principal)]
ProjectCaller: TypeAlias = Annotated[Principal, Depends(project_principal)]
#: For calls on data: refused while the workspace is not registered.
DataCaller: TypeAlias = Annotated[Principal, Depends(data_principal)]

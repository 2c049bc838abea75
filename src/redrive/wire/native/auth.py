"""Who calls the native API: HTTP Basic with ``access_key:secret_key``, or ``Bearer`` with a token.

The bearer token is the one of ``POST /v1/tokens``, of a vendor's token call, or one got with a password. The
dependencies are plain functions, so the framework runs them in a thread; a caller that was seen within the
last seconds costs no query.

Refuses: a changing request that a page of another site makes a browser send, since browsers add the key pair that
they were once given for this address (``/docs``) by themselves.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, TypeAlias
from urllib.parse import urlsplit

from fastapi import Depends
from fastapi.security import HTTPBasic, HTTPBearer
from starlette.requests import Request

from redrive.errors import Problem, ProblemCode
from redrive.identity.access import Principal, require_admin, require_open, require_tenant
from redrive.identity.authentication import USER_TOKEN, Authenticator, refused
from redrive.wire.callers import claimed, seen

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

#: For the OpenAPI document: pass as ``dependencies`` of a router, so that its routes say how to authenticate.
SECURITY = [
    Depends(HTTPBasic(scheme_name="key pair", description="access_key:secret_key", auto_error=False)),
    Depends(HTTPBearer(scheme_name="access token", auto_error=False)),
]


def native_principal(request: Request) -> Principal:
    """Return who calls, for a project. A FastAPI dependency."""
    caller = account_principal(request)
    require_tenant(caller)
    return caller


def data_principal(request: Request) -> Principal:
    """Return who calls, for a project whose workspace is open. A FastAPI dependency."""
    caller = native_principal(request)
    require_open(caller)
    return caller


def account_principal(request: Request) -> Principal:
    """Return who calls, also with a token that is for the account alone. A FastAPI dependency."""
    authenticator: Authenticator = request.app.state.parts.authenticator
    scheme, _, shown = request.headers.get("authorization", "").strip().partition(" ")
    token = shown.strip()
    if scheme.lower() != "bearer":
        _refuse_other_sites(request)
        return seen(request, authenticator.by_secret(*_claimed_pair(request, scheme, shown)))
    if token.startswith(USER_TOKEN):
        return seen(request, authenticator.by_user_token(token).principal)
    return seen(request, authenticator.by_token(token).principal)


def seen_lately(request: Request) -> bool:
    """Return whether ``native_principal`` can tell without the database, so that an event loop may call it."""
    authenticator: Authenticator = request.app.state.parts.authenticator
    scheme, _, shown = request.headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer":
        token = shown.strip()
        kept = authenticator.kept_user_token if token.startswith(USER_TOKEN) else authenticator.kept_token
        return kept(token) is not None
    try:
        return authenticator.kept_key(_key_pair(scheme, shown)[0]) is not None
    except Problem:
        return True


def key_pair_principal(request: Request) -> Principal:
    """Return who calls, by its key pair only: a token cannot prolong itself. A FastAPI dependency."""
    authenticator: Authenticator = request.app.state.parts.authenticator
    scheme, _, shown = request.headers.get("authorization", "").strip().partition(" ")
    _refuse_other_sites(request)
    return seen(request, authenticator.by_secret(*_claimed_pair(request, scheme, shown)))


def _claimed_pair(request: Request, scheme: str, shown: str) -> tuple[str, str]:
    pair = _key_pair(scheme, shown)
    claimed(request, pair[0])
    return pair


def _refuse_other_sites(request: Request) -> None:
    if request.method in _SAFE_METHODS:
        return
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is None:
        same = origin is None or _host_of(origin) == request.headers.get("host")
    else:
        same = site in ("same-origin", "none")
    if not same:
        raise Problem(
            ProblemCode.FORBIDDEN,
            "a page of another site may not use the key pair that the browser remembers",
            hint="send an access token as Bearer instead",
            reason="cross_site",
        )


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _key_pair(scheme: str, shown: str) -> tuple[str, str]:
    if scheme.lower() != "basic":
        raise refused(
            "there is no key pair in the request",
            "missing",
            hint="send HTTP Basic with access_key:secret_key, or Bearer with an access token",
        )
    try:
        access_key, colon, secret_key = base64.b64decode(shown.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        colon = ""
    if not colon:
        raise refused("Authorization: expected Basic and base64 of access_key:secret_key", "missing")
    return access_key, secret_key


Caller: TypeAlias = Annotated[Principal, Depends(native_principal)]
#: For calls on data: refused while the workspace is not registered.
DataCaller: TypeAlias = Annotated[Principal, Depends(data_principal)]


def admin_principal(caller: Caller) -> Principal:
    """Return who calls, an admin. A FastAPI dependency."""
    require_admin(caller)
    return caller


#: Also with a token for the account alone: for what is the account's, such as its users.
AccountCaller: TypeAlias = Annotated[Principal, Depends(account_principal)]
Admin: TypeAlias = Annotated[Principal, Depends(admin_principal)]

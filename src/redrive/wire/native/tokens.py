"""``POST /v1/tokens``: an access token for a key pair.

Repeating it gives the same token while it lives, so it needs no ``Idempotency-Key``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel
from starlette.requests import Request

from redrive.identity.access import Principal
from redrive.identity.authentication import Authenticator
from redrive.identity.tokens import present_token
from redrive.wire.native.auth import SECURITY, key_pair_principal
from redrive.wire.native.problems import PROBLEM_RESPONSES, NativeRoute

router = APIRouter(
    prefix="/v1",
    route_class=NativeRoute,
    responses=PROBLEM_RESPONSES,
    dependencies=SECURITY[:1],
    tags=["identity"],
)


class TokenBody(BaseModel):
    """An access token; send it as ``Authorization: Bearer``."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105
    expires_in: int
    expires_at: datetime


@router.post("/tokens")
def create_token(request: Request, caller: Annotated[Principal, Depends(key_pair_principal)]) -> TokenBody:
    """Return the key pair's present access token; make one where there is none."""
    authenticator: Authenticator = request.app.state.parts.authenticator
    secret_key = authenticator.by_access_key(caller.access_key).secret_key
    token = authenticator.db.run(lambda conn: present_token(conn, caller.key_id, secret_key))
    return TokenBody(access_token=token.text, expires_in=token.seconds_left(), expires_at=token.expires_at)

"""The token calls: ``POST /apim-token-service/v2.0/token/get`` and ``.../refresh``.

The body proves who calls: ``encryption`` is the lower-case hex SHA-256 of ``appKey + timestamp + appSecret``.
``timestamp`` may be a number or its text (the vendor's Java client sends text) and five minutes off; the same
``encryption`` counts once. Replies use ``status``, not ``code``, and are always HTTP 200.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import orjson
import psycopg
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from redrive.errors import Problem, ProblemCode
from redrive.identity.authentication import Authenticator, Credential, refused
from redrive.identity.tokens import Token, check_clock, present_token, refreshed_token, use_proof
from redrive.wire.enos.codes import GATEWAY_FAULT, OK, gateway_code
from redrive.wire.enos.descriptions import TEXT, Schema, call, fields
from redrive.wire.enos.envelope import EnosRoute, render
from redrive.wire.refusals import log_bug

BUSINESS = "apim-token-service"

_TIMESTAMP_DIGITS = 16

_ANSWER: Schema = {
    "type": "object",
    "required": ["status", "msg", "business", "data"],
    "properties": {
        "status": {"type": "integer"},
        "msg": {"type": "string"},
        "business": {"type": "string"},
        "data": {
            "type": ["object", "null"],
            "required": ["accessToken", "expire"],
            "properties": {"accessToken": {"type": "string"}, "expire": {"type": "integer"}},
        },
    },
}


def _described(**more: Schema) -> dict[str, Any]:
    names: dict[str, Schema] = {
        "appKey": TEXT,
        "encryption": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "timestamp": {"type": ["integer", "string"], "description": "epoch milliseconds"},
        **more,
    }
    return call(body=fields(names, list(names)), answer=_ANSWER, organization=False)


class TokenRoute(EnosRoute):
    """A route whose refusals carry the gateway's ``status``."""

    body_bytes = 16 * 1024

    def answer_problem(self, request: Request, problem: Problem) -> Response:
        """Return the refusal with its documented status."""
        return refuse_token_call(request, problem)

    def answer_bug(self, request: Request, error: BaseException) -> Response:
        """Return status 1005 and the id under which the log has the traceback."""
        return _reply(GATEWAY_FAULT, f"service fault: request {log_bug(request, error)}")


def refuse_token_call(_request: Request, problem: Problem) -> Response:
    """Return the answer for a problem of a call below the gateway's path."""
    return _reply(gateway_code(problem), problem.detail)


router = APIRouter(prefix=f"/{BUSINESS}/v2.0/token", route_class=TokenRoute, tags=["enos gateway"])


async def _read_body(request: Request) -> dict[str, Any]:
    try:
        body = orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        raise _bad("body", "a JSON object") from None
    if not isinstance(body, dict):
        raise _bad("body", "a JSON object")
    return body


Body: TypeAlias = Annotated[dict[str, Any], Depends(_read_body)]


@router.post("/get", openapi_extra=_described())
def get_token(request: Request, body: Body) -> Response:
    """Return the key pair's present access token; make one where there is none."""
    proof = _prove(request, body)
    token = _in_transaction(
        request, proof, lambda conn, owner: present_token(conn, owner.principal.key_id, owner.secret_key)
    )
    return _success(token)


@router.post("/refresh", openapi_extra=_described(accessToken=TEXT))
def refresh_token(request: Request, body: Body) -> Response:
    """Return a new access token for a living one, which lives on until its own end."""
    old = _text(body, "accessToken")
    proof = _prove(request, body)
    token = _in_transaction(
        request,
        proof,
        lambda conn, owner: refreshed_token(conn, owner.principal.key_id, owner.secret_key, old),
    )
    return _success(token)


@dataclass(frozen=True, slots=True)
class _Proof:
    owner: Credential
    encryption: str
    epoch_ms: int


def _prove(request: Request, body: dict[str, Any]) -> _Proof:
    app_key = _text(body, "appKey")
    encryption = _text(body, "encryption")
    timestamp = _timestamp(body)
    authenticator: Authenticator = request.app.state.parts.authenticator
    owner = authenticator.by_access_key(app_key)
    expected = hashlib.sha256(f"{app_key}{timestamp}{owner.secret_key}".encode()).hexdigest()
    if not hmac.compare_digest(expected.encode(), encryption.encode()):
        raise refused(
            "encryption: expected the lower-case hex SHA-256 of appKey + timestamp + appSecret", "signature"
        )
    check_clock(int(timestamp))
    return _Proof(owner, encryption, int(timestamp))


def _in_transaction(
    request: Request, proof: _Proof, work: Callable[[psycopg.Connection[Any], Credential], Token]
) -> Token:
    def prove_and_work(conn: psycopg.Connection[Any]) -> Token:
        use_proof(conn, f"token {proof.encryption}", proof.epoch_ms)
        return work(conn, proof.owner)

    authenticator: Authenticator = request.app.state.parts.authenticator
    # Not repeated after a lost commit: the proof would count as used.
    return authenticator.db.run(prove_and_work, repeat_lost_commit=False)


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None or value == "":
        raise refused(f"{name}: the parameter is empty", "missing")
    if not isinstance(value, str):
        raise _bad(name, "text")
    return value


def _timestamp(body: dict[str, Any]) -> str:
    value = body.get("timestamp")
    if value is None or value == "":
        raise refused("timestamp: the parameter is empty", "missing")
    digits = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _TIMESTAMP_DIGITS):
        raise _bad("timestamp", "epoch milliseconds")
    return digits


def _bad(name: str, expected: str) -> Problem:
    return Problem(ProblemCode.INVALID, f"{name}: expected {expected}")


def _success(token: Token) -> Response:
    return _reply(OK, "SUCCESS", {"accessToken": token.text, "expire": token.seconds_left()})


def _reply(status: int, msg: str, data: dict[str, Any] | None = None) -> Response:
    return render({"status": status, "msg": msg, "business": BUSINESS, "data": data})

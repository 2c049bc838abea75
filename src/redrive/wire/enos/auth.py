"""Who calls an EnOS endpoint, and for which organization.

Three ways, the same rights:

* ``apim-accesstoken`` + ``apim-signature`` + ``apim-timestamp``: the signature is the lower-case hex
  SHA-256 of token, sorted query names and values, raw body, timestamp and secret, concatenated.
* ``Authorization: Bearer <token>``, or the bare token. Where signature headers come too, both must agree.
* ``apim-accesstoken`` alone, holding what the Poseidon client makes: the key pair, encrypted to our public
  key.

Rules of ours where the vendor's pages are silent (``docs/security.md`` explains them): a timestamp may be
five minutes off; all values of a repeated query name are signed, in the order sent; a signature counts once
on a call that changes something (``enos_writer``), and may be repeated on a read; every call names its own
organization in ``orgId``, and any other one is refused without saying whether it exists.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from redrive.errors import FieldProblem, Problem, ProblemCode
from redrive.identity.access import Principal, require_open
from redrive.identity.authentication import Authenticator, Credential, refused
from redrive.identity.tokens import check_clock, use_proof_fast
from redrive.wire.callers import seen

#: An encrypted header is 344 characters, our tokens are 43.
_LONGEST_TOKEN = 200
_TIMESTAMP_DIGITS = 16


async def enos_principal(request: Request) -> Principal:
    """Return who calls; for reads. A FastAPI dependency: the body stays readable for the route."""
    return await _authenticate(request, once=False, upload=False)


async def enos_writer(request: Request) -> Principal:
    """Return who calls; for calls that change something: a signature counts once."""
    return await _authenticate(request, once=True, upload=False)


async def enos_uploader(request: Request) -> Principal:
    """Return who calls the integration endpoint: the token suffices, a multipart body is not signed."""
    return await _authenticate(request, once=True, upload=True)


def signature_of(
    token: str, parameters: Iterable[tuple[str, str]], body: bytes, timestamp: str, secret: str
) -> str:
    """Return the signature of a call. ``parameters`` are decoded names and values in the order sent."""
    digest = hashlib.sha256(token.encode())
    for name, value in sorted(parameters, key=lambda pair: pair[0]):
        digest.update(name.encode() + value.encode())
    digest.update(body)
    digest.update(timestamp.encode() + secret.encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class _Shown:
    """The headers with which a caller shows who it is; empty text where one is missing."""

    token: str
    bearer: str
    signature: str
    timestamp: str

    @property
    def signed(self) -> bool:
        return bool(self.signature or self.timestamp)


async def _authenticate(request: Request, *, once: bool, upload: bool) -> Principal:
    authenticator: Authenticator = request.app.state.parts.authenticator
    shown = _read_headers(request)
    if len(shown.token) > _LONGEST_TOKEN:
        principal = await _by_encrypted_header(authenticator, shown)
    else:
        principal = await _by_token(request, authenticator, shown, once=once, upload=upload)
    caller = seen(request, principal)
    _check_organization(request, caller)
    require_open(caller)
    return caller


async def _by_encrypted_header(authenticator: Authenticator, shown: _Shown) -> Principal:
    if shown.signed or shown.bearer:
        raise refused("an encrypted apim-accesstoken stands alone, without a signature or a token", "header")
    try:
        blob = base64.b64decode(shown.token, validate=True)
    except (binascii.Error, ValueError):
        raise refused("apim-accesstoken is neither a token nor an encrypted header", "header") from None
    return await run_in_threadpool(authenticator.by_encrypted_header, blob)


async def _by_token(
    request: Request, authenticator: Authenticator, shown: _Shown, *, once: bool, upload: bool
) -> Principal:
    token = shown.token or shown.bearer
    if not token:
        raise refused(
            "apim-accesstoken: the header is missing", "missing", hint="get a token and sign the call"
        )
    if shown.token and shown.bearer and shown.token != shown.bearer:
        raise refused("apim-accesstoken and Authorization hold different tokens", "signature")
    if not shown.signed and not shown.bearer and not upload:
        raise refused(
            "apim-signature: the header is missing",
            "missing",
            hint="sign the call, or send the token as Authorization: Bearer",
        )
    credential = authenticator.kept_token(token)
    if credential is None:
        credential = await run_in_threadpool(authenticator.by_token, token)
    if shown.signed:
        epoch_ms = _check_timestamp(shown)
        unread = upload and request.headers.get("content-type", "").lower().startswith("multipart/")
        _check_signature(request, shown, token, credential, b"" if unread else await request.body())
        if once:
            proof = f"{request.method} {request.url.path} {credential.principal.access_key} {shown.signature}"
            await run_in_threadpool(use_proof_fast, authenticator.db, proof, epoch_ms)
    return credential.principal


def _read_headers(request: Request) -> _Shown:
    headers = request.headers
    scheme, _, rest = headers.get("authorization", "").strip().partition(" ")
    if rest and scheme.lower() != "bearer":
        raise refused(
            "Authorization: this scheme is not accepted here", "missing", hint="send Bearer and a token"
        )
    return _Shown(
        token=headers.get("apim-accesstoken", "").strip(),
        bearer=(rest or scheme).strip(),
        signature=headers.get("apim-signature", "").strip(),
        timestamp=headers.get("apim-timestamp", "").strip(),
    )


def _check_timestamp(shown: _Shown) -> int:
    if not shown.signature or not shown.timestamp:
        missing = "apim-timestamp" if shown.signature else "apim-signature"
        raise refused(f"{missing}: the header is missing", "missing")
    digits = shown.timestamp
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _TIMESTAMP_DIGITS):
        raise refused("apim-timestamp: expected epoch milliseconds", "clock")
    check_clock(int(digits))
    return int(digits)


def _check_signature(
    request: Request, shown: _Shown, token: str, credential: Credential, body: bytes
) -> None:
    parameters = request.query_params.multi_items()
    expected = signature_of(token, parameters, body, shown.timestamp, credential.secret_key)
    if not hmac.compare_digest(expected.encode(), shown.signature.encode()):
        raise refused(
            "apim-signature: the signature does not match",
            "signature",
            hint="sign token, sorted names and values of the query, the body as sent, timestamp, secret",
        )


def _check_organization(request: Request, principal: Principal) -> None:
    named = request.query_params.getlist("orgId")
    if not any(named):
        raise Problem(
            ProblemCode.INVALID,
            "orgId: expected the id of the organization in the query",
            fields=(FieldProblem("orgId", "the id of the organization in the query"),),
        )
    for org_id in named:
        if org_id != principal.org_id:
            raise Problem(ProblemCode.FORBIDDEN, f"orgId {org_id[:80]}", reason="organization")

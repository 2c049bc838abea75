"""Signatures over whole requests: ``SDK-HMAC-SHA256``, and ``V11-HMAC-SHA256`` whose key is derived. Pure.

What is signed is the request as it came over the wire: method, path, query, the signed headers, the body's hash. A
path is decoded, split at ``/`` and encoded anew, as the vendor's clients do; query pairs are sorted. Source of the
rules and of the test vector: the vendor's signing guide, and what its published client sends.

Refuses, beyond a wrong signature: an instant that is not signed or further than ``CLOCK_SKEW`` away, a signed header
that is missing or stands twice, a body that does not have the hash that was signed, and the other algorithms of the
vendor's clients. Within the clock window a request can be sent again by whoever saw it: there is no nonce.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote_to_bytes

from redrive.errors import Problem, ProblemCode

PLAIN, DERIVED = "SDK-HMAC-SHA256", "V11-HMAC-SHA256"
#: Known to the vendor's clients, not to us.
UNSUPPORTED = ("SDK-HMAC-SM3", "SDK-ECDSA-P256-SHA256", "SDK-SM2-SM3")
CLOCK_SKEW = timedelta(minutes=15)
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"

_DATE, _CONTENT = "x-sdk-date", "x-sdk-content-sha256"
_MOST_HEADERS = 64
_LONGEST_HEADER = 8_192
_HEX = re.compile(r"[0-9a-f]{64}")
_KEY = re.compile(r"[\x21-\x7e]{1,128}")


@dataclass(frozen=True, slots=True)
class Wire:
    """A request as it came: target not decoded, header names in lower case."""

    method: str
    path: bytes
    query: bytes
    headers: Sequence[tuple[bytes, bytes]]

    def values(self, name: str) -> list[bytes]:
        """Return the values of a header, in order."""
        wanted = name.encode()
        return [value for given, value in self.headers if given == wanted]


@dataclass(frozen=True, slots=True)
class Scope:
    """For which day, region and service a derived key is good."""

    day: str
    region: str
    service: str

    def words(self) -> str:
        """Return the scope as it stands in the header."""
        return f"{self.day}/{self.region}/{self.service}"


@dataclass(frozen=True, slots=True)
class Shown:
    """What an Authorization header says."""

    algorithm: str
    access_key: str
    signed_headers: tuple[str, ...]
    signature: str
    scope: Scope | None = None


def is_signature(authorization: str) -> bool:
    """Return whether a header is a signature of the vendor's kind, supported or not."""
    return authorization.split(" ", 1)[0] in (PLAIN, DERIVED, *UNSUPPORTED)


def parse(authorization: str) -> Shown:
    """Return what the header says; a Problem (reason ``signature_header``) where it is not understood."""
    algorithm, _, rest = authorization.partition(" ")
    if algorithm in UNSUPPORTED:
        raise _refused(f"the algorithm {algorithm} is not supported, {PLAIN} and {DERIVED} are")
    if algorithm not in (PLAIN, DERIVED) or len(authorization) > _LONGEST_HEADER:
        raise _refused(f"Authorization: expected {PLAIN} or {DERIVED}")
    fields = {name.strip(): value for name, _, value in (part.partition("=") for part in rest.split(","))}
    who = fields.get("Access" if algorithm == PLAIN else "Credential", "").strip()
    names = tuple(fields.get("SignedHeaders", "").strip().split(";"))
    signature = fields.get("Signature", "").strip()
    scope = None
    if algorithm == DERIVED:
        who, *parts = who.split("/")
        if len(parts) != 3 or not all(parts):
            raise _refused("Credential: expected access key, day, region and service with / between them")
        scope = Scope(*parts)
    if _KEY.fullmatch(who) is None:
        raise _refused("Authorization: the access key is missing")
    if _HEX.fullmatch(signature) is None:
        raise _refused("Signature: expected 64 lower-case hex digits")
    if not 1 <= len(names) <= _MOST_HEADERS or any(name != name.lower() or not name for name in names):
        raise _refused("SignedHeaders: expected names in lower case with ; between them")
    return Shown(algorithm, who, names, signature, scope)


def check(shown: Shown, wire: Wire, body: bytes, secret_key: str, at: datetime) -> None:
    """Refuse the request unless ``shown`` is its signature with ``secret_key``, and it is now.

    A Problem with the reason ``clock``, ``signature_header`` or ``signature``; the hint of the last holds the
    canonical request, lines separated by ``|``, which tells a client's author what was signed differently.
    """
    _check_clock(wire, at, shown)
    canonical = canonical_request(wire, shown.signed_headers, payload_hash(wire, shown.signed_headers, body))
    expected = sign(shown, _one(wire, _DATE), canonical, secret_key)
    if not hmac.compare_digest(expected, shown.signature):
        raise wrong_signature(canonical)


def wrong_signature(canonical: bytes) -> Problem:
    """Return the one refusal for an unknown access key and for a wrong signature."""
    shown = canonical.decode("utf-8", "replace").replace("\n", "|")
    return Problem(ProblemCode.UNAUTHENTICATED, "verify aksk signature fail", hint=shown, reason="signature")


def sign(shown: Shown, sdk_date: str, canonical: bytes, secret_key: str) -> str:
    """Return the signature of a canonical request, as 64 hex digits."""
    lines = [shown.algorithm, sdk_date]
    key = secret_key.encode()
    if shown.scope is not None:
        lines.append(shown.scope.words())
        key = _derived(shown.access_key, secret_key, shown.scope)
    lines.append(hashlib.sha256(canonical).hexdigest())
    return hmac.new(key, "\n".join(lines).encode(), hashlib.sha256).hexdigest()


def canonical_request(wire: Wire, names: Sequence[str], payload: str) -> bytes:
    """Return what the hash is taken of: six parts, a line feed between two."""
    headers = b"".join(name.encode() + b":" + _one(wire, name).encode("latin-1") + b"\n" for name in names)
    head = f"{wire.method.upper()}\n{_path(wire.path)}\n{_query(wire.query)}\n".encode()
    return head + headers + f"\n{';'.join(names)}\n{payload}".encode()


def payload_hash(wire: Wire, names: Sequence[str], body: bytes) -> str:
    """Return the hash of the body as it was signed; a Problem where a signed hash is not the body's."""
    actual = hashlib.sha256(body).hexdigest()
    if not wire.values(_CONTENT):
        return actual
    told = _one(wire, _CONTENT)
    if told == UNSIGNED_PAYLOAD and _CONTENT in names:
        # The published client then still signs the hash of nothing where there is no body.
        return told if body else actual
    if told.lower() != actual:
        raise _refused("X-Sdk-Content-Sha256 is not the hash of the body", reason="signature")
    return told


def _check_clock(wire: Wire, at: datetime, shown: Shown) -> None:
    if _DATE not in shown.signed_headers:
        raise _refused("X-Sdk-Date must be among the signed headers")
    text = _one(wire, _DATE)
    try:
        instant = datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise _refused("X-Sdk-Date: expected YYYYMMDDTHHMMSSZ", reason="clock") from None
    if abs(instant - at) > CLOCK_SKEW:
        away = abs(instant - at).total_seconds()
        raise _refused(
            f"X-Sdk-Date is {away:.0f} s from the server's clock, {CLOCK_SKEW.total_seconds():.0f} s are allowed",
            reason="clock",
        )
    if shown.scope is not None and not text.startswith(shown.scope.day):
        raise _refused("Credential: the day is not that of X-Sdk-Date", reason="clock")


def _one(wire: Wire, name: str) -> str:
    found = wire.values(name)
    if len(found) != 1:
        what = "missing" if not found else "there more than once"
        raise _refused(f"the signed header {name[:80]} is {what}")
    return found[0].decode("latin-1").strip()


def _path(raw: bytes) -> str:
    path = "/".join(_encoded(part) for part in unquote_to_bytes(raw).split(b"/"))
    return path if path.endswith("/") else path + "/"


def _query(raw: bytes) -> str:
    pairs = []
    for part in raw.split(b"&") if raw else ():
        name, _, value = part.partition(b"=")
        pairs.append((unquote_to_bytes(name), unquote_to_bytes(value)))
    return "&".join(f"{_encoded(name)}={_encoded(value)}" for name, value in sorted(pairs))


def _encoded(text: bytes) -> str:
    return quote(text, safe="~")


def _derived(access_key: str, secret_key: str, scope: Scope) -> bytes:
    """Return the derived key: HKDF-SHA256 with the access key as its salt, as lower-case hex text."""
    prk = hmac.new(access_key.encode(), secret_key.encode(), hashlib.sha256).digest()
    key = hmac.new(prk, scope.words().encode() + b"\x01", hashlib.sha256).hexdigest()
    return key.encode()


def _refused(detail: str, *, reason: str = "signature_header") -> Problem:
    return Problem(ProblemCode.UNAUTHENTICATED, detail, reason=reason)

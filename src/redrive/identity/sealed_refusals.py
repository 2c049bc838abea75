"""Why a caller was refused, sealed: only whoever may ask has it opened.

The reason tells of policies that the refused caller may not read. It is sealed with the master key and bound to the
account that was refused; after a rotation it opens for as long as the old key is in the file. It holds neither tokens
nor keys, and is always shorter than ``LONGEST`` characters.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import Any

import orjson

from redrive.clock import now
from redrive.errors import Problem, ProblemCode
from redrive.identity.access import Denied
from redrive.identity.sealing import SealBroken, Sealer

#: The vendor's limit, of both the sealed message and what it says.
LONGEST = 10_240
_LONGEST_VALUE = 96
_MOST_VALUES = 4
#: What a sealed message decompresses to at most: it is ours, but it comes from outside.
_MOST_BYTES = 16_384


def seal(sealer: Sealer, denied: Denied, request_id: str) -> str:
    """Return why ``denied`` was raised, sealed for the caller's account."""
    packed = zlib.compress(orjson.dumps(reason_of(denied, request_id)))
    return base64.b64encode(sealer.seal(packed, _place(denied.principal.account_id))).decode()


def reason_of(denied: Denied, request_id: str) -> dict[str, Any]:
    """Return what a sealed message says: context, failure, decision, the statement that it rests on."""
    principal, decision = denied.principal, denied.decision
    known = {**principal.known, **denied.about}
    conditions = [
        {"key": _cut(key), "values": [_cut(value) for value in values[:_MOST_VALUES]]}
        for key, values in sorted(known.items())[: 4 * _MOST_VALUES]
    ]
    matched = decision.matched
    return {
        "allowed": False,
        "explicit_deny": decision.reason.startswith("explicit deny"),
        "failure": decision.reason,
        "matched_statement": None
        if matched is None
        else {"policy": _cut(matched.policy), "statement": _cut(matched.statement)},
        "context": {
            "user_profile": {
                "user_id": principal.user_id,
                "user_name": principal.user_name,
                "domain_id": principal.account_id,
                "domain_name": principal.account_name,
                "project_id": principal.project_id,
            },
            "action": _cut(denied.action),
            "resource": _cut(denied.resource),
            "conditions": conditions,
        },
        "request_id": _cut(request_id),
        "time": now().isoformat(),
    }


def open_sealed(sealer: Sealer, account_id: str, text: str) -> str:
    """Return what a sealed message of the account says, as JSON text.

    A Problem (invalid, reason ``sealed``), in one way whether it is forged, cut, or another account's.
    """
    if not 1 <= len(text) <= LONGEST:
        raise Problem(
            ProblemCode.INVALID, f"encoded_message: expected 1 to {LONGEST} characters", reason="sealed"
        )
    try:
        packed = sealer.open(base64.b64decode(text, validate=True), _place(account_id))
        plain = zlib.decompressobj().decompress(packed, _MOST_BYTES)
    except (binascii.Error, ValueError, SealBroken, zlib.error):
        raise Problem(
            ProblemCode.INVALID, "encoded_message: not a message of this account", reason="sealed"
        ) from None
    return plain.decode()


def _place(account_id: str) -> str:
    return f"authorization_message/{account_id}"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."

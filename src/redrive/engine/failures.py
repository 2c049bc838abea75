"""Failures as data: what is stored with a unit and its attempt, and the fingerprint that groups them.

A fingerprint is the hash of kind, phase, code, target and the normalised text of the error, so that 40,000
failures show as three causes.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from redrive.errors import Failure, FailureClass

DETAIL_LIMIT = 2000

_NORMALISED = (
    (re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"), "<uuid>"),
    (re.compile(r"\b[0-9a-fA-F]{16,}\b"), "<hex>"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?"), "<time>"),
    (re.compile(r"\d+"), "<n>"),
)


def normalise(text: str) -> str:
    """Return ``text`` without what differs from one occurrence to the next: ids, times, numbers."""
    for pattern, name in _NORMALISED:
        text = pattern.sub(name, text)
    return " ".join(text.split())[:500]


def fingerprint(kind: str, phase: int, failure: Failure) -> str:
    """Return 16 hex digits, the same for failures with the same cause."""
    parts = (kind, str(phase), failure.code, failure.target, normalise(failure.detail))
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "replace")).hexdigest()[:16]


def as_data(kind: str, phase: int, failure: Failure) -> dict[str, Any]:
    """Return what is stored: code, detail, hint, class, target, phase and fingerprint."""
    return {
        "code": failure.code,
        "detail": _storable(failure.detail),
        "hint": _storable(failure.hint),
        "class": failure.kind.value,
        "target": _storable(failure.target),
        "phase": phase,
        "fingerprint": fingerprint(kind, phase, failure),
    }


def _storable(text: str) -> str:
    """Return ``text`` as the database can keep it: no NUL, no lone surrogates, not too long."""
    return text[:DETAIL_LIMIT].replace("\0", "").encode("utf-8", "replace").decode()


def of_bug(error: BaseException) -> Failure:
    """Return the failure that stands for an unexpected exception; its traceback goes to the log only."""
    return Failure(
        "internal",
        f"unexpected {type(error).__name__}",
        hint="This is a fault in the program. The worker's log has the traceback; retry after it is mended.",
        kind=FailureClass.UNCLASSIFIED,
        target=type(error).__name__,
    )


def of_outage() -> Failure:
    """Return the failure of a unit that lost our own database on the way; it is tried again by itself."""
    return Failure(
        "database",
        "the server's database was away or refused a conflicting transaction",
        hint="Nothing to do: the unit is tried again when the database answers.",
        kind=FailureClass.TRANSIENT,
        target="server database",
    )


def of_lapses(count: int) -> Failure:
    """Return the failure of a unit whose worker vanished too often to try once more."""
    return Failure(
        "worker_lost",
        f"the worker vanished {count} times in a row while it ran this unit",
        hint="Look for what ends the process (memory, a crash in a library), then retry.",
        kind=FailureClass.UNCLASSIFIED,
        target="worker",
    )

"""The two ways in which things go wrong on purpose.

::

    Problem   a request cannot be answered as wished; no HTTP here, each edge has its own table of codes
    Failure   a unit of work ended badly; stored with the unit and its attempt, shown to operators

Any other exception is a bug: logged with its traceback, answered as an internal error without its text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class ProblemCode(StrEnum):
    """Why a request cannot be answered. Closed: every edge maps all of them."""

    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    TOO_LARGE = "too_large"
    TOO_MANY = "too_many"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One field that is wrong: its name as the caller wrote it, what was expected, what came."""

    name: str
    expected: str
    got: str = ""

    def sentence(self) -> str:
        """Return ``name: expected ..., got ...`` for people."""
        tail = f", got {self.got}" if self.got else ""
        return f"{self.name}: expected {self.expected}{tail}"


class Problem(Exception):
    """A request cannot be answered as wished.

    ``detail`` says what is wrong, ``hint`` what the caller can do. ``reason`` is a stable word for programs
    where one code has several causes (such as why a job cannot be retried).
    """

    def __init__(
        self,
        code: ProblemCode | str,
        detail: str,
        *,
        hint: str = "",
        fields: Iterable[FieldProblem] = (),
        reason: str = "",
    ) -> None:
        super().__init__(detail)
        self.code = ProblemCode(code)
        self.detail = _writable(detail)
        self.hint = _writable(hint)
        self.fields = tuple(
            FieldProblem(_writable(field.name), _writable(field.expected), _writable(field.got))
            for field in fields
        )
        self.reason = reason


def _writable(text: str) -> str:
    """Return ``text`` without lone surrogates: what a caller sent must not break the answer that names it."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def invalid(name: str, expected: str, got: object = "", *, hint: str = "") -> Problem:
    """Return the problem of a single bad field; long values are cut so that an answer stays small."""
    field = FieldProblem(name, expected, _shown(got))
    return Problem(ProblemCode.INVALID, field.sentence(), hint=hint, fields=(field,))


def _shown(got: object) -> str:
    try:
        text = str(got)
    except RecursionError:  # JSON may be nested deeper than Python writes it
        return "something nested too deep"
    return text if len(text) <= 80 else text[:77] + "..."


class FailureClass(StrEnum):
    """What kind of trouble a failure is, so that people and retry policies know what to do."""

    TRANSIENT = "transient"
    PERMANENT = "permanent"
    NEEDS_INPUT = "needs_input"
    UNCLASSIFIED = "unclassified"


class Failure(Exception):
    """A unit of work ended badly.

    Transient failures are tried again by the unit's policy; the others wait for a person. ``target`` names
    what the work was done to (a table, a hold, an address) and is part of the fingerprint.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        hint: str = "",
        kind: FailureClass | str = FailureClass.UNCLASSIFIED,
        target: str = "",
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.hint = hint
        self.kind = FailureClass(kind)
        self.target = target

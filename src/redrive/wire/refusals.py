"""What every edge does with an exception before it renders it in its own words. No vendor words here.

``problem_of`` turns what the web framework and the database raise into a ``Problem``; what it does not know
is a bug, which ``log_bug`` writes down with its traceback and a request id. The answer carries the id,
never the text.
"""

from __future__ import annotations

import re
import uuid

import structlog
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from redrive.database import is_outage
from redrive.errors import FieldProblem, Problem, ProblemCode

log = structlog.get_logger(__name__)

_SHOWN = 80
#: So many fields are named in one refusal; a body can have a million wrong ones.
_MOST_FIELDS = 20
#: Fields whose values no answer repeats.
_SECRET = re.compile(r"password|secret|token", re.IGNORECASE)
_BY_STATUS = {
    401: ProblemCode.UNAUTHENTICATED,
    403: ProblemCode.FORBIDDEN,
    404: ProblemCode.NOT_FOUND,
    405: ProblemCode.NOT_FOUND,
    409: ProblemCode.CONFLICT,
    413: ProblemCode.TOO_LARGE,
    429: ProblemCode.TOO_MANY,
    503: ProblemCode.UNAVAILABLE,
}


def request_id(request: Request) -> str:
    """Return the id of this request: the one a middleware gave it, or a new one that stays with it."""
    state = request.scope.setdefault("state", {})
    return str(state.setdefault("request_id", str(uuid.uuid4())))


def problem_of(error: BaseException) -> Problem | None:
    """Return the problem that ``error`` stands for, or None where it is a bug."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RequestValidationError):
        fields = tuple(_field(item) for item in error.errors()[:_MOST_FIELDS])
        return Problem(ProblemCode.INVALID, "; ".join(field.sentence() for field in fields), fields=fields)
    if isinstance(error, HTTPException):
        return Problem(_BY_STATUS.get(error.status_code, ProblemCode.INVALID), str(error.detail))
    if is_outage(error):
        return Problem(ProblemCode.UNAVAILABLE, "the database does not answer", hint="try again later")
    return None


def log_bug(request: Request, error: BaseException) -> str:
    """Write ``error`` down with its traceback and return the id under which it is found."""
    name = request_id(request)
    log.error("request failed", request_id=name, method=request.method, path=request.url.path, exc_info=error)
    return name


def _field(item: dict[str, object]) -> FieldProblem:
    place = item.get("loc")
    parts = list(place) if isinstance(place, tuple) else []
    if item.get("type") == "json_invalid":
        return FieldProblem("body", "valid JSON")
    name = ""
    for part in parts[1:] or parts:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else str(part)
    given = item.get("input")
    # What stands in a field that is not known may be a secret under a misspelt name.
    hidden = item.get("type") in ("missing", "extra_forbidden") or _SECRET.search(name) is not None
    got = "" if hidden or isinstance(given, dict | list) else str(given)
    got = got if len(got) <= _SHOWN else got[: _SHOWN - 3] + "..."
    return FieldProblem(name, str(item.get("msg", "another value")), got)

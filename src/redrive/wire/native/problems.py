"""Refusals as ``application/problem+json`` (RFC 9457).

``type`` is ``urn:redrive:problem:<code>`` and ``reason`` a stable word for programs; ``errors`` names the
fields. An exception that is a bug gives status 500, a request id and no text of the exception.

Routers use ``route_class=NativeRoute`` and ``responses=PROBLEM_RESPONSES``; ``add_handlers`` covers what no
route catches (unknown paths), and lets the vendors' prefixes answer such calls in their own shape.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from redrive.errors import Problem, ProblemCode
from redrive.wire.bodies import limited
from redrive.wire.callers import note_refusal
from redrive.wire.native.auth import account_principal
from redrive.wire.refusals import log_bug, problem_of, request_id

MEDIA_TYPE = "application/problem+json"

#: How long a caller should wait before it tries again where the server or the database is busy.
_RETRY_AFTER_SECONDS = "1"

_STATUS: Mapping[ProblemCode, tuple[int, str]] = MappingProxyType(
    {
        ProblemCode.INVALID: (422, "The request is not valid"),
        ProblemCode.UNAUTHENTICATED: (401, "The caller is not known"),
        ProblemCode.FORBIDDEN: (403, "The caller may not do this"),
        ProblemCode.NOT_FOUND: (404, "There is no such thing"),
        ProblemCode.CONFLICT: (409, "The present state does not allow this"),
        ProblemCode.TOO_LARGE: (413, "The request is too large"),
        ProblemCode.TOO_MANY: (429, "Too many requests"),
        ProblemCode.UNAVAILABLE: (503, "The service cannot answer now"),
    }
)
_RETRIED = (429, 503)


class FieldError(BaseModel):
    """A field that is wrong."""

    field: str
    expected: str
    got: str = ""


class ProblemBody(BaseModel):
    """What a refusal looks like."""

    type: str = Field(examples=["urn:redrive:problem:invalid"])
    title: str
    status: int
    detail: str
    hint: str | None = Field(None, description="what the caller can do")
    reason: str | None = Field(None, description="a stable word where one code has several causes")
    errors: list[FieldError] | None = None
    request_id: str


def _problem_schema() -> dict[str, Any]:
    # Put together in one piece: the framework adds definitions only for models of its own media type.
    schema = ProblemBody.model_json_schema()
    definitions = schema.pop("$defs")
    schema["properties"]["errors"]["anyOf"][0]["items"] = definitions["FieldError"]
    return schema


#: For ``APIRouter(responses=...)``: how every route of ours refuses.
PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "The request was refused",
        "content": {MEDIA_TYPE: {"schema": _problem_schema()}},
    }
}


def status_of(problem: Problem) -> int:
    """Return the HTTP status of ``problem``. Total over the problem codes."""
    return _STATUS[problem.code][0]


def render_problem(request: Request, problem: Problem, *, status: int | None = None) -> Response:
    """Return ``problem`` as problem+json."""
    usual, title = _STATUS[problem.code]
    status = status or usual
    body: dict[str, Any] = {
        "type": f"urn:redrive:problem:{problem.code.value}",
        "title": title,
        "status": status,
        "detail": problem.detail,
    }
    if problem.hint:
        body["hint"] = problem.hint
    if problem.reason:
        body["reason"] = problem.reason
    if problem.fields:
        body["errors"] = [
            {"field": field.name, "expected": field.expected, "got": field.got} for field in problem.fields
        ]
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="redrive", charset="UTF-8"'
    if status in _RETRIED:
        headers["Retry-After"] = _RETRY_AFTER_SECONDS
    return _render(request, status, body, headers)


def render_bug(request: Request, error: BaseException) -> Response:
    """Return the answer for an exception that is a bug; it is logged with its traceback."""
    name = log_bug(request, error)
    body = {
        "type": "urn:redrive:problem:internal",
        "title": "Internal error",
        "status": 500,
        "detail": f"the server failed on this request; its log has the reason under {name}",
    }
    return _render(request, 500, body, {})


def render_error(request: Request, error: Exception) -> Response:
    """Return the answer for any exception."""
    problem = problem_of(error)
    if problem is None:
        return render_bug(request, error)
    note_refusal(request, problem, "native")
    if isinstance(error, HTTPException):
        answer = render_problem(request, problem, status=error.status_code)
        answer.headers.update(error.headers or {})
        return answer
    return render_problem(request, problem)


class NativeRoute(APIRoute):
    """A route whose refusals are problem+json, with a limit on the body, which only a known caller's is read."""

    #: Whether the caller must be known before a body is read.
    asks_first: ClassVar[bool] = True
    #: The longest body; None where the route reads its body itself, with a limit of its own.
    body_bytes: ClassVar[int | None] = 1024 * 1024

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the framework's handler, so that dependencies are covered too."""
        handle = super().get_route_handler()

        async def handle_or_refuse(request: Request) -> Response:
            try:
                if self.asks_first and self.body_field is not None:
                    # The framework reads and parses a body before it asks who calls.
                    await run_in_threadpool(account_principal, request)
                return await handle(request if self.body_bytes is None else limited(request, self.body_bytes))
            except ClientDisconnect:
                raise
            except Exception as error:
                return render_error(request, error)

        return handle_or_refuse


class StreamingRoute(NativeRoute):
    """A route that asks who calls and reads its body by itself."""

    body_bytes = None


class LoginRoute(NativeRoute):
    """A route whose body is the proof of who calls: read from everybody, and small."""

    asks_first = False
    body_bytes = 16 * 1024


Refusal = Callable[[Request, Problem], Response]


def add_handlers(app: FastAPI, elsewhere: Mapping[str, Refusal] = MappingProxyType({})) -> None:
    """Answer what no route catches. ``elsewhere`` maps path prefixes to a vendor's way of refusing."""

    async def handle(request: Request, error: Exception) -> Response:
        problem = problem_of(error)
        for prefix, refuse in elsewhere.items():
            if problem is not None and request.url.path.startswith(prefix):
                return refuse(request, problem)
        return render_error(request, error)

    for kind in (Problem, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, handle)


def _render(request: Request, status: int, body: dict[str, Any], headers: dict[str, str]) -> Response:
    content = orjson.dumps({**body, "request_id": request_id(request)})
    return Response(content, status_code=status, headers=headers, media_type=MEDIA_TYPE)

"""Refusals in the vendor's shapes.

::

    a service   {"error_code", "error_msg", "request_id", "encoded_authorization_message"?}
    Keystone    {"error": {"message", "code", "title"}}

The sealed message says why a caller who is known may not do something; those who may can have it opened. Whatever is
no problem of ours is a bug: logged, answered with the request's id and none of its text.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, ClassVar

import orjson
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from redrive.errors import Problem, ProblemCode
from redrive.identity import sealed_refusals
from redrive.identity.access import Denied
from redrive.wire.bodies import limited
from redrive.wire.callers import note_refusal
from redrive.wire.huawei.codes import GATEWAY, Surface
from redrive.wire.huawei.language import in_language, language_of
from redrive.wire.refusals import log_bug, problem_of, request_id

#: The body of a signed call is read as a whole, so there is a limit to it.
BODY_BYTES = 1024 * 1024
_LONGEST_MESSAGE = 1_000
_LONGEST_HELP = 4_000
#: Of the gateway, before what is wrong with a signature or a token.
_UNKNOWN = "Incorrect IAM authentication information: "
_MEDIA_TYPE = "application/json;charset=utf-8"


def render(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return ``body`` as JSON."""
    return Response(orjson.dumps(body), status_code=status, headers=headers, media_type=_MEDIA_TYPE)


def refuse(request: Request, problem: Problem, surface: Surface) -> Response:
    """Return the answer of a service for ``problem``."""
    status, code = surface.code_of(problem)
    words = problem.detail if not problem.hint else f"{problem.detail} ({problem.hint})"
    if problem.code is ProblemCode.UNAUTHENTICATED:
        # The canonical request, which helps the author of a client, is longer than other messages.
        words = f"{_UNKNOWN}{problem.detail}" + (
            f", canonicalRequest: {problem.hint}" if problem.hint else ""
        )
    words = in_language(request, problem, words)
    limit = _LONGEST_HELP if problem.code is ProblemCode.UNAUTHENTICATED else _LONGEST_MESSAGE
    body = {"error_code": code, "error_msg": words[:limit], "request_id": request_id(request)}
    if isinstance(problem, Denied):
        sealer = request.app.state.parts.sealer
        body["encoded_authorization_message"] = sealed_refusals.seal(sealer, problem, request_id(request))
    return render(body, status)


def refuse_bug(request: Request, error: BaseException, surface: Surface) -> Response:
    """Return the answer of a service for an exception that is a bug."""
    name = log_bug(request, error)
    body = {
        "error_code": surface.internal,
        "error_msg": f"internal error, request {name}",
        "request_id": name,
    }
    return render(body, 500)


def refuse_as_keystone(request: Request, problem: Problem, status: int) -> Response:
    """Return the answer of Keystone's calls for ``problem``."""
    words = in_language(request, problem, problem.detail)[:_LONGEST_MESSAGE]
    error = {"message": words, "code": status, "title": HTTPStatus(status).phrase}
    return render({"error": error}, status)


class HuaweiRoute(APIRoute):
    """A route of a service. Subclasses say which: its codes, and how long a body may be."""

    surface: ClassVar[Surface] = GATEWAY
    body_bytes: ClassVar[int] = BODY_BYTES

    def answer_problem(self, request: Request, problem: Problem) -> Response:
        """Return the answer for a problem."""
        return refuse(request, problem, self.surface)

    def answer_bug(self, request: Request, error: BaseException) -> Response:
        """Return the answer for any other exception."""
        return refuse_bug(request, error, self.surface)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the framework's handler, so that dependencies are covered too."""
        handle = super().get_route_handler()

        async def handle_or_refuse(request: Request) -> Response:
            try:
                language_of(request)
                return await handle(limited(request, self.body_bytes))
            except ClientDisconnect:
                raise
            except Exception as error:
                problem = problem_of(error)
                if problem is None:
                    return self.answer_bug(request, error)
                note_refusal(request, problem, "huawei")
                return await run_in_threadpool(self.answer_problem, request, problem)

        return handle_or_refuse


#: For routes whose body ``json_body`` reads: what the description of the API says of it.
JSON_BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
}


async def json_body(request: Request) -> dict[str, Any]:
    """Return the request's body, an object; a Problem where it is none. A FastAPI dependency."""
    raw = await request.body()
    if not raw.strip():
        raise Problem(ProblemCode.INVALID, "the request has no body", reason="empty")
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise Problem(ProblemCode.INVALID, "body: expected JSON", reason="body") from None
    if not isinstance(found, dict):
        raise Problem(ProblemCode.INVALID, "body: expected a JSON object", reason="body")
    return found


def _unknown_call(request: Request, problem: Problem) -> Response:
    """Return the gateway's answer for a call that nothing takes."""
    status = 404 if problem.code is ProblemCode.NOT_FOUND else 400
    body = {
        "error_code": "APIGW.0101",
        "error_msg": "The API does not exist or has not been published in the environment",
        "request_id": request_id(request),
    }
    return render(body, status)


#: How calls that no route takes are refused, by the beginning of their path.
UNKNOWN_CALLS = dict.fromkeys(("/v2/", "/v3/", "/v3.0/", "/v5/"), _unknown_call)

"""The vendor's envelope around every answer, and the route class that puts refusals into it.

Always HTTP 200: the vendor's published client drops the body of any other answer. A route that is made with
``route_class=TsdbRoute`` (or ``GeneralRoute``) may raise ``Problem`` or anything else, also in its
dependencies.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

import orjson
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from redrive.errors import Problem
from redrive.wire.bodies import limited
from redrive.wire.callers import note_refusal
from redrive.wire.enos.codes import GENERAL, OK, TSDB, Surface, problem_to_enos
from redrive.wire.refusals import log_bug, problem_of, request_id

#: The body of a signed call is read as a whole, so there is a limit to it.
JSON_BODY_BYTES = 16 * 1024 * 1024

_MEDIA_TYPE = "application/json;charset=UTF-8"


def answer(data: Any, *, submsg: str | None = "success", msg: str = "OK") -> Response:
    """Return a success of the time-series service."""
    return render({"code": OK, "msg": msg, "submsg": submsg, "data": data})


def answer_general(request: Request, data: Any, *, msg: str = "OK") -> Response:
    """Return a success of the services that tell a request id."""
    return render({"code": OK, "msg": msg, "requestId": request_id(request), "data": data})


def refuse(request: Request, problem: Problem, surface: Surface) -> Response:
    """Return the answer for ``problem``; on the time-series service the hint is the ``submsg``."""
    code, msg = problem_to_enos(problem, surface)
    return _failure(request, surface, code, msg, problem.hint)


def refuse_bug(request: Request, surface: Surface, error: BaseException) -> Response:
    """Return the answer for an exception that is a bug: a request id, and no text of the exception."""
    code, words = surface.internal
    return _failure(request, surface, code, f"{words}request {log_bug(request, error)}", "")


class EnosRoute(APIRoute):
    """A route whose refusals are the vendor's, with a limit on the body. Subclasses say how they look."""

    surface: ClassVar[Surface] = GENERAL
    #: The longest body; the framework's own limit would answer in its own words.
    body_bytes: ClassVar[int] = JSON_BODY_BYTES

    def answer_problem(self, request: Request, problem: Problem) -> Response:
        """Return the answer for a problem."""
        return refuse(request, problem, self.surface)

    def answer_bug(self, request: Request, error: BaseException) -> Response:
        """Return the answer for any other exception."""
        return refuse_bug(request, self.surface, error)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the framework's handler, so that dependencies are covered too."""
        handle = super().get_route_handler()

        async def handle_or_refuse(request: Request) -> Response:
            try:
                return await handle(limited(request, self.body_bytes))
            except ClientDisconnect:
                raise
            except Exception as error:
                problem = problem_of(error)
                if problem is None:
                    return self.answer_bug(request, error)
                note_refusal(request, problem, "enos")
                return self.answer_problem(request, problem)

        return handle_or_refuse


class GeneralRoute(EnosRoute):
    """A route of a service with the codes 99400 to 99500."""


class TsdbRoute(EnosRoute):
    """A route of the time-series service."""

    surface = TSDB


def _failure(request: Request, surface: Surface, code: int, msg: str, hint: str) -> Response:
    body: dict[str, Any] = {"code": code, "msg": msg}
    if surface.bare:
        body["submsg"] = hint or None
    else:
        body["requestId"] = request_id(request)
    return render({**body, "data": None})


def render(body: dict[str, Any]) -> Response:
    """Return ``body`` as JSON with HTTP 200."""
    return Response(orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS), media_type=_MEDIA_TYPE)

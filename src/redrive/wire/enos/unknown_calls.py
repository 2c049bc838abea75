"""How calls that no route takes are refused, by the beginning of their path.

See ``native.problems.add_handlers``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from starlette.requests import Request
from starlette.responses import Response

from redrive.errors import Problem
from redrive.wire.enos.codes import GENERAL, TSDB, Surface
from redrive.wire.enos.envelope import refuse
from redrive.wire.enos.token import BUSINESS, refuse_token_call


def _refuser(surface: Surface) -> Callable[[Request, Problem], Response]:
    return lambda request, problem: refuse(request, problem, surface)


UNKNOWN_CALLS: Mapping[str, Callable[[Request, Problem], Response]] = MappingProxyType(
    {
        "/tsdb-service/": _refuser(TSDB),
        "/connect-service/": _refuser(GENERAL),
        "/streaming/": _refuser(GENERAL),
        f"/{BUSINESS}/": refuse_token_call,
    }
)

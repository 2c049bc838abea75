"""Our problems in the vendor's codes. Tables only.

A *surface* is a family of calls that share codes. The codes of the gateway itself (1001 to 1204) stand for a
caller who did not show who it is, on every surface; see ``docs/decisions/0010-enos-gateway-refusals.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from redrive.errors import Problem, ProblemCode

OK = 0


@dataclass(frozen=True, slots=True)
class Surface:
    """A family of calls: per problem its code and the words before the detail; the code of a bug.

    ``bare``: answers carry ``submsg`` and no ``requestId`` (as the time-series service answers).
    """

    name: str
    codes: Mapping[ProblemCode, tuple[int, str]]
    internal: tuple[int, str]
    bare: bool = False


def surface(
    name: str,
    *,
    invalid: tuple[int, str],
    forbidden: tuple[int, str],
    missing: tuple[int, str],
    internal: tuple[int, str],
    bare: bool = False,
) -> Surface:
    """Return a surface that knows only these four codes: every other problem is one of them."""
    return Surface(
        name,
        MappingProxyType(
            {
                ProblemCode.INVALID: invalid,
                ProblemCode.UNAUTHENTICATED: forbidden,
                ProblemCode.FORBIDDEN: forbidden,
                ProblemCode.NOT_FOUND: missing,
                ProblemCode.CONFLICT: invalid,
                ProblemCode.TOO_LARGE: invalid,
                ProblemCode.TOO_MANY: internal,
                ProblemCode.UNAVAILABLE: internal,
            }
        ),
        internal,
        bare,
    )


_BAD_PARAMETER = (80400, "Invalid param error: ")

#: Time-series service. It has no code for "not found" or "wrong state": both are a bad parameter.
TSDB = surface(
    "tsdb",
    invalid=_BAD_PARAMETER,
    forbidden=(80401, "Asset unauthorized: "),
    missing=_BAD_PARAMETER,
    internal=(80500, "Internal server error: "),
    bare=True,
)

#: Every other service of the vendor that has no table of its own.
GENERAL = surface(
    "general",
    invalid=(99400, "Invalid Argument "),
    forbidden=(99403, "Denied resource:  "),
    missing=(99404, "Not Found: "),
    internal=(99500, "Internal Server Error: "),
)

#: Why a caller was not recognised, in the gateway's own codes.
GATEWAY_CODES: Mapping[str, int] = MappingProxyType(
    {
        "replay": 1001,
        "unknown_key": 1002,
        "temporary_key": 1002,
        "wrong_secret": 1003,
        "signature": 1003,
        "header": 1003,
        "clock": 1004,
        "parameter": 1004,
        "missing": 1202,
        "unknown_token": 1203,
        "token_expired": 1203,
        "refresh": 1204,
    }
)
GATEWAY_DEFAULT = 1003
GATEWAY_FAULT = 1005


def gateway_code(problem: Problem) -> int:
    """Return the gateway's code for ``problem``; what it has no word for is a fault of the service."""
    if problem.reason in GATEWAY_CODES:
        return GATEWAY_CODES[problem.reason]
    if problem.code is ProblemCode.UNAUTHENTICATED:
        return GATEWAY_DEFAULT
    if problem.code in (ProblemCode.INVALID, ProblemCode.TOO_LARGE):
        return GATEWAY_CODES["parameter"]
    return GATEWAY_FAULT


def problem_to_enos(problem: Problem, surface: Surface) -> tuple[int, str]:
    """Return (code, msg) of ``problem`` on ``surface``. Total over the problem codes."""
    if problem.code is ProblemCode.UNAUTHENTICATED:
        return gateway_code(problem), problem.detail
    code, words = surface.codes[problem.code]
    return code, f"{words}{problem.detail}"

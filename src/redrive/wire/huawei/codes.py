"""Our problems in the vendor's codes. Tables only; each service brings its own.

``reasons`` come before ``codes``: a problem of one code can have several causes, each with an error code of its own.
The gateway's codes stand before every service; see ``docs/decisions/0060-huawei-gateway.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from redrive.errors import Problem, ProblemCode

#: The gateway does not know the caller; it knows no such call.
UNKNOWN_CALLER, UNKNOWN_CALL = "APIGW.0301", "APIGW.0101"

STATUS: Mapping[ProblemCode, int] = MappingProxyType(
    {
        ProblemCode.INVALID: 400,
        ProblemCode.UNAUTHENTICATED: 401,
        ProblemCode.FORBIDDEN: 403,
        ProblemCode.NOT_FOUND: 404,
        # The pages list no 409: what the present state does not allow is a bad request there.
        ProblemCode.CONFLICT: 400,
        ProblemCode.TOO_LARGE: 413,
        ProblemCode.TOO_MANY: 429,
        ProblemCode.UNAVAILABLE: 503,
    }
)


@dataclass(frozen=True, slots=True)
class Surface:
    """A service: its error codes per problem, and per reason where that says more; the code of a bug."""

    name: str
    codes: Mapping[ProblemCode, str]
    internal: str
    reasons: Mapping[str, str] = field(default_factory=dict)

    def code_of(self, problem: Problem) -> tuple[int, str]:
        """Return HTTP status and error code of a problem. Total."""
        status = STATUS[problem.code]
        if problem.code is ProblemCode.UNAUTHENTICATED:
            return status, UNKNOWN_CALLER
        return status, self.reasons.get(problem.reason) or self.codes[problem.code]


def surface(name: str, prefix: str, reasons: Mapping[str, str] = MappingProxyType({})) -> Surface:
    """Return a service whose codes are ``prefix`` and the HTTP status, in the vendor's eight digits."""
    codes = {code: f"{prefix}.{status:08d}" for code, status in STATUS.items()}
    codes[ProblemCode.CONFLICT] = f"{prefix}.{409:08d}"
    return Surface(name, MappingProxyType(codes), f"{prefix}.{500:08d}", reasons)


GATEWAY = Surface(
    "gateway",
    MappingProxyType(dict.fromkeys(STATUS, "APIGW.0101") | {ProblemCode.TOO_LARGE: "APIGW.0201"}),
    "APIGW.0500",
)

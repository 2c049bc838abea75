"""Who a request comes from: what conditions of policies can ask of it, and its place in the audit trail."""

from __future__ import annotations

from starlette.requests import Request

from redrive.clock import now
from redrive.errors import Problem, ProblemCode
from redrive.identity.access import Denied, Principal, require_endpoint, require_place
from redrive.identity.audit import By, Refusal, Refusals, by
from redrive.identity.conditions import Context
from redrive.identity.decisions import context_of
from redrive.identity.login_attempts import REASON as TOO_MANY_LOGINS
from redrive.identity.user_tokens import LoginRefused
from redrive.wire.refusals import request_id

_AUDITED = (ProblemCode.UNAUTHENTICATED, ProblemCode.FORBIDDEN)
_AUDITED_REASONS = (TOO_MANY_LOGINS,)
_CLAIMED = 80


def seen(request: Request, principal: Principal) -> Principal:
    """Return the caller with what is known of its request, and remember it; refuse it from a forbidden network."""
    caller = principal.at(context_of_request(request))
    request.scope.setdefault("state", {})["principal"] = caller
    through = request.scope["state"].get("through")
    if through is not None:
        require_endpoint(caller, through, address_of(request))
    require_place(caller, address_of(request))
    return caller


def claimed(request: Request, access_key: str) -> None:
    """Remember who the caller says to be, for the trail, until it is known whether that is true."""
    request.scope.setdefault("state", {})["claimed"] = access_key[:_CLAIMED]


def context_of_request(request: Request) -> Context:
    """Return what conditions can ask of a request."""
    return context_of(
        {
            "g:SourceIp": address_of(request) or None,
            "g:UserAgent": request.headers.get("user-agent"),
            "g:CurrentTime": now().isoformat(),
            "g:SecureTransport": "true" if request.url.scheme == "https" else "false",
        }
    )


def address_of(request: Request) -> str:
    """Return the address at the other end of the connection. Headers that proxies add are not believed."""
    return request.client.host if request.client is not None else ""


def who(request: Request, principal: Principal, surface: str) -> By:
    """Return the caller as the trail names it."""
    return by(principal, surface, address=address_of(request), request_id=request_id(request))


def note_refusal(request: Request, problem: Problem, surface: str) -> None:
    """Put a refusal into the audit trail where it is one of who may what; never fails a request."""
    if problem.code not in _AUDITED and problem.reason not in _AUDITED_REASONS:
        return
    refusals: Refusals = request.app.state.parts.refusals
    state = request.scope.get("state", {})
    principal = state.get("principal")
    if principal is not None:
        caller = who(request, principal, surface)
    else:
        caller = By(
            "unknown",
            surface,
            account_id=problem.account_id if isinstance(problem, LoginRefused) else None,
            user_id=problem.user_id if isinstance(problem, LoginRefused) else None,
            access_key=state.get("claimed"),
            address=address_of(request),
            request_id=request_id(request),
        )
    if isinstance(problem, Denied):
        action, resource, reason = problem.action, problem.resource, problem.decision.reason
    else:
        action, resource, reason = _route(request), "", problem.reason or problem.code.value
    if isinstance(problem, LoginRefused):
        resource = f"user {problem.tried}"
    refusals.add(Refusal(caller, action, resource, reason, {"detail": problem.detail[:300]}))


def _route(request: Request) -> str:
    path = getattr(request.scope.get("route"), "path", None)
    return f"{request.method} {path or 'no route'}"

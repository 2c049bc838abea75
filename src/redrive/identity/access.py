"""Principals and what they may do: frozen values, no database.

A principal is a user that calls for one tenant, by a key pair, or by a token. What it may do is said by policies
(``decisions``); this module says what the product's own actions and resources are called::

    enos:asset:read, enos:asset:write     on  enos:<region>:<account>:asset:<asset id>
    redrive:jobs:<verb>                   on  redrive:<region>:<account>:job:<kind>
    redrive:server:admin                  the server itself

Write does not include read. A scope speaks of names only, never of whether an asset exists, so a refusal reveals
nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from redrive.errors import Problem, ProblemCode
from redrive.identity.conditions import Context
from redrive.identity.decisions import EVERYTHING, NO_CONTEXT, Decision, Reach, Rights, Scope

_NAMED = 5

#: Of a principal that calls for an account as a whole: no row of any tenant has it.
NO_TENANT = 0

ADMIN = "redrive:server:admin"


class Action(StrEnum):
    """What can be done on assets."""

    READ = "enos:asset:read"
    WRITE = "enos:asset:write"


class Verb(StrEnum):
    """What can be done with jobs."""

    LIST = "redrive:jobs:list"
    GET = "redrive:jobs:get"
    RETRY = "redrive:jobs:retry"
    RESUME = "redrive:jobs:resume"
    PAUSE = "redrive:jobs:pause"
    CANCEL = "redrive:jobs:cancel"
    RERUN = "redrive:jobs:rerun"


def parse_scope(text: str) -> Scope:
    """Return the assets that ``text`` says: ``*``, or ids and prefixes (``station-*``) with commas."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or any("*" in part[:-1] or "?" in part for part in parts):
        raise Problem(
            ProblemCode.INVALID,
            f"scope: expected * or asset ids and prefixes such as a1,b2,station-*, got {text!r}",
        )
    return EVERYTHING if "*" in parts else Scope((Reach(tuple(dict.fromkeys(parts))),))


def scope_words(scope: Scope) -> str:
    """Return a scope for people: ``*``, or names and patterns with commas; empty where it covers nothing."""
    if scope.every:
        return "*"
    layers = [",".join(reach.allowed or ("*",) if reach.allowed != () else ()) for reach in scope.reaches]
    denied = [f"not {name}" for reach in scope.reaches for name in reach.denied]
    return "" if scope.nothing else " and ".join([*layers, *denied])


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls. Everything that is done is bound to ``tenant_id``; ``actor`` goes into histories.

    ``known`` is what conditions can ask of the user, and of the request where it came by one. ``key_id`` 0: no key
    pair, but a token got with a password.
    """

    tenant_id: int
    account_id: str
    project_id: str
    org_id: str
    user_id: str
    key_id: int
    access_key: str
    actor: str
    rights: Rights
    project_name: str = ""
    account_name: str = ""
    user_name: str = ""
    #: Whether its user is the account's own, which may everything.
    root: bool = False
    #: The policies that limit its key pair; empty: it may whatever its user may.
    layers: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    known: Context = field(default_factory=lambda: NO_CONTEXT)
    workspace_id: str = ""
    #: Whether the tenant's workspace is registered, and not locked: data calls are answered.
    open: bool = True
    #: The networks from which the tenant's calls may come; None: from anywhere.
    allowed_from: tuple[str, ...] | None = None
    #: The ways by which the tenant's workspace is reached, and from which networks (None: from anywhere).
    endpoints: Mapping[str, Sequence[str] | None] = field(default_factory=lambda: MappingProxyType({}))

    def at(self, request: Context) -> Principal:
        """Return the same principal, with what is known of its request."""
        return replace(self, known=MappingProxyType({**self.known, **request}))

    def may_come_from(self, address: str) -> bool:
        """Return whether a call may come from an address; what is no address comes from nowhere."""
        return _is_within(self.allowed_from, address)

    def may_come_through(self, workspace_id: str, way: str, address: str) -> bool:
        """Return whether a call may come through an access endpoint, from an address."""
        if workspace_id != self.workspace_id or way not in self.endpoints:
            return False
        return _is_within(self.endpoints[way], address)

    @property
    def limited(self) -> bool:
        """Whether it may less than its user: its key pair has policies of its own."""
        return bool(self.layers)

    def urn(self, service: str, kind: str, name: str) -> str:
        """Return the URN of a resource of the principal's project."""
        return f"{service}:{self.project_name}:{self.account_id}:{kind}:{name}"

    def decide(self, action: str, resource: str = "*", about: Mapping[str, Any] | None = None) -> Decision:
        """Return whether the principal may do ``action``, and why; ``about``: what is known of the resource."""
        context = self.known if about is None else {**self.known, **about}
        return self.rights.decide(action, resource, context)

    @property
    def is_admin(self) -> bool:
        """Whether the caller may change the server itself."""
        return self.decide(ADMIN).allowed

    def scope(self, action: Action | str) -> Scope:
        """Return the assets on which the caller may do ``action``; use it to filter lists."""
        kind = f"enos:{self.project_name}:{self.account_id}:asset"
        return self.rights.scope(_action(action), kind, self.known)

    def job_scope(self, verb: Verb) -> Scope:
        """Return the job kinds with whose jobs the caller may do ``verb``."""
        return self.rights.scope(verb, f"redrive:{self.project_name}:{self.account_id}:job", self.known)

    def may(self, action: Action | str, asset_ids: Iterable[str] = ()) -> bool:
        """Return whether the caller has ``action`` at all and on every one of ``asset_ids``."""
        scope = self.scope(action)
        return not scope.nothing and not scope.outside(asset_ids)


class Denied(Problem):
    """The caller is known and may not do this: which action on what, and the decision with its reason."""

    def __init__(
        self,
        principal: Principal,
        action: str,
        resource: str,
        decision: Decision,
        detail: str = "",
        *,
        hint: str = "",
        reason: str = "permission",
        about: Mapping[str, Any] | None = None,
    ) -> None:
        words = detail or f"{principal.user_name} may not do {action}: {decision.reason}"
        super().__init__(ProblemCode.FORBIDDEN, words, hint=hint, reason=reason)
        self.principal = principal
        self.action = action
        self.resource = resource
        self.decision = decision
        self.about = about or {}


def require(
    principal: Principal, action: str, resource: str = "*", about: Mapping[str, Any] | None = None
) -> None:
    """Refuse unless ``principal`` may do ``action`` to ``resource`` (a URN)."""
    decision = principal.decide(action, resource, about)
    if not decision.allowed:
        raise Denied(principal, action, resource, decision, about=about)


def require_assets(principal: Principal, action: Action | str, asset_ids: Iterable[str]) -> None:
    """Refuse unless ``principal`` may do ``action`` on every one of ``asset_ids``: all or nothing.

    Reads are refused as a whole too: a partial answer looks complete to a program.
    """
    wanted = _action(action)
    scope = principal.scope(wanted)
    if scope.nothing:
        raise _denied(
            principal,
            wanted,
            principal.urn("enos", "asset", "*"),
            f"the caller has no permission {wanted}",
            hint=f"give it one: redrive identity keys create --{wanted.value.rpartition(':')[2]}, or attach a policy",
        )
    outside = scope.outside(asset_ids)
    if outside:
        more = f" and {len(outside) - _NAMED} more" if len(outside) > _NAMED else ""
        raise _denied(
            principal,
            wanted,
            principal.urn("enos", "asset", outside[0]),
            f"{wanted} does not cover {', '.join(outside[:_NAMED])}{more}",
            hint="nothing was done; ask for assets that the caller's policies cover",
            reason="scope",
        )


def require_every_asset(principal: Principal, action: Action | str) -> None:
    """Refuse unless ``principal`` may do ``action`` on all assets, also those that nobody has seen yet."""
    require_assets(principal, action, [])
    if not principal.scope(action).every:
        raise _denied(
            principal,
            _action(action),
            principal.urn("enos", "asset", "*"),
            f"this concerns every asset, and the caller's {_action(action)} covers only some",
            hint="use a key pair whose scope is all assets",
            reason="scope",
        )


def require_jobs(principal: Principal, verb: Verb, kind: str | None = None) -> Scope:
    """Return the job kinds that ``verb`` covers; refuse where it covers none, or not ``kind``."""
    scope = principal.job_scope(verb)
    if scope.nothing:
        raise _denied(
            principal,
            verb,
            principal.urn("redrive", "job", "*"),
            f"the caller has no permission {verb}",
            hint="jobs tell of all assets and change any: it takes read (write) on all of them, or a policy",
        )
    if kind is not None and not scope.covers(kind):
        raise _denied(
            principal,
            verb,
            principal.urn("redrive", "job", kind),
            f"{verb} does not cover jobs of the kind {kind}",
            reason="scope",
        )
    return scope


def require_admin(principal: Principal) -> None:
    """Refuse unless ``principal`` is an admin."""
    if not principal.is_admin:
        raise _denied(
            principal,
            ADMIN,
            "*",
            f"this changes the server itself and takes an administrator ({ADMIN})",
            reason="role",
        )


def _denied(
    principal: Principal,
    action: str,
    resource: str,
    detail: str,
    *,
    hint: str = "",
    reason: str = "permission",
) -> Denied:
    decision = principal.decide(action, resource)
    return Denied(principal, action, resource, decision, detail, hint=hint, reason=reason)


def require_open(principal: Principal) -> None:
    """Refuse calls on data of a tenant whose workspace is not registered, or is locked."""
    if not principal.open:
        raise Problem(
            ProblemCode.FORBIDDEN,
            "the project's workspace is not registered, or is locked: its data cannot be reached",
            hint="register the workspace (or unlock it), then call again",
            reason="workspace",
        )


def _is_within(networks: Sequence[str] | None, address: str) -> bool:
    if networks is None:
        return True
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    plain = getattr(found, "ipv4_mapped", None) or found
    return any(plain in ipaddress.ip_network(each) for each in networks)


def require_endpoint(principal: Principal, through: tuple[str, str], address: str) -> None:
    """Refuse calls through an access endpoint that is not the caller's, is closed, or is not for its network."""
    if not principal.may_come_through(*through, address):
        raise Problem(
            ProblemCode.FORBIDDEN,
            "this access endpoint is not open to the caller",
            hint="use the address that a query of the workspace tells, from one of its networks",
            reason="network",
        )


def require_place(principal: Principal, address: str) -> None:
    """Refuse calls that come from elsewhere than the tenant's network rules allow."""
    if not principal.may_come_from(address):
        raise Problem(
            ProblemCode.FORBIDDEN,
            "the project's network rules do not allow calls from this address",
            hint="call from one of the workspace's networks, or change its access mode",
            reason="network",
        )


def require_tenant(principal: Principal) -> None:
    """Refuse a caller whose token is not for a project."""
    if principal.tenant_id == NO_TENANT:
        raise Problem(
            ProblemCode.FORBIDDEN,
            "the token is for the account, not for a project",
            hint="get a token with auth.scope.project",
            reason="scope",
        )


def _action(action: Action | str) -> Action:
    if isinstance(action, Action):
        return action
    return Action(action if ":" in action else f"enos:asset:{action}")

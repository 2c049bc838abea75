"""Principals and what they may do: frozen values, no database.

A principal is a key pair that acts for its tenant. On assets it has two separate permissions,
``asset:read`` and ``asset:write``; write does not include read. Each has a scope: all assets, or listed ids
and prefixes of ids. A scope speaks of ids only, never of whether an asset exists, so a refusal reveals
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from redrive.errors import Problem, ProblemCode

_NAMED = 5


class Action(StrEnum):
    """What a permission allows."""

    READ = "asset:read"
    WRITE = "asset:write"


class Role(StrEnum):
    """What a key pair may do beyond its tenant's data: an admin also changes the server itself."""

    ADMIN = "admin"
    MEMBER = "member"


@dataclass(frozen=True, slots=True)
class Scope:
    """The assets that a permission covers. Nothing by default."""

    every: bool = False
    ids: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()

    def covers(self, asset_id: str) -> bool:
        """Return whether ``asset_id`` is in the scope."""
        return self.every or asset_id in self.ids or asset_id.startswith(self.prefixes)

    def outside(self, asset_ids: Iterable[str]) -> list[str]:
        """Return those of ``asset_ids`` that the scope does not cover, in order."""
        if self.every:
            return []
        return [asset_id for asset_id in asset_ids if not self.covers(asset_id)]

    def words(self) -> str:
        """Return the scope as ``--scope`` takes it: ``*``, or ids and ``prefix*`` with commas."""
        if self.every:
            return "*"
        return ",".join([*sorted(self.ids), *(f"{prefix}*" for prefix in sorted(self.prefixes))])


EVERYTHING = Scope(every=True)
NOTHING = Scope()


def parse_scope(text: str) -> Scope:
    """Return the scope that ``text`` says: ``*``, or ids and prefixes (``station-*``) with commas."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or any("*" in part[:-1] for part in parts):
        raise Problem(
            ProblemCode.INVALID,
            f"scope: expected * or asset ids and prefixes such as a1,b2,station-*, got {text!r}",
        )
    if "*" in parts:
        return EVERYTHING
    return Scope(
        ids=frozenset(part for part in parts if not part.endswith("*")),
        prefixes=tuple(sorted({part[:-1] for part in parts if part.endswith("*")})),
    )


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls. Everything that is done is bound to ``tenant_id``; ``actor`` goes into histories."""

    tenant_id: int
    account_id: str
    project_id: str
    org_id: str
    user_id: str
    key_id: int
    access_key: str
    actor: str
    role: Role = Role.MEMBER
    permissions: Mapping[Action, Scope] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def is_admin(self) -> bool:
        """Whether the caller may change the server itself."""
        return self.role is Role.ADMIN

    def scope(self, action: Action | str) -> Scope:
        """Return the assets on which the caller may do ``action``; use it to filter lists."""
        return self.permissions.get(_action(action), NOTHING)

    def may(self, action: Action | str, asset_ids: Iterable[str] = ()) -> bool:
        """Return whether the caller has ``action`` at all and on every one of ``asset_ids``."""
        scope = self.permissions.get(_action(action))
        return scope is not None and not scope.outside(asset_ids)


def require_assets(principal: Principal, action: Action | str, asset_ids: Iterable[str]) -> None:
    """Refuse unless ``principal`` may do ``action`` on every one of ``asset_ids``: all or nothing.

    Reads are refused as a whole too: a partial answer looks complete to a program.
    """
    wanted = _action(action)
    scope = principal.permissions.get(wanted)
    if scope is None:
        raise Problem(
            ProblemCode.FORBIDDEN,
            f"the key pair has no permission {wanted}",
            hint=f"create one that has it: redrive identity keys create --{wanted.value.split(':')[1]}",
            reason="permission",
        )
    outside = scope.outside(asset_ids)
    if outside:
        more = f" and {len(outside) - _NAMED} more" if len(outside) > _NAMED else ""
        raise Problem(
            ProblemCode.FORBIDDEN,
            f"{wanted} does not cover {', '.join(outside[:_NAMED])}{more}",
            hint="nothing was done; ask for assets in the scope of the key pair",
            reason="scope",
        )


def require_every_asset(principal: Principal, action: Action | str) -> None:
    """Refuse unless ``principal`` may do ``action`` on all assets, also those that nobody has seen yet."""
    require_assets(principal, action, [])
    if not principal.scope(action).every:
        raise Problem(
            ProblemCode.FORBIDDEN,
            f"this concerns every asset, and the key pair's {_action(action)} covers only some",
            hint="use a key pair whose scope is all assets",
            reason="scope",
        )


def require_sight_of_jobs(principal: Principal) -> None:
    """Refuse unless ``principal`` may read or write all assets: jobs tell of any of them."""
    if not any(principal.scope(action).every for action in Action):
        require_every_asset(principal, Action.READ)


def require_admin(principal: Principal) -> None:
    """Refuse unless ``principal`` is an admin."""
    if not principal.is_admin:
        raise Problem(
            ProblemCode.FORBIDDEN,
            "this changes the server itself and needs a key pair with the role admin",
            reason="role",
        )


def _action(action: Action | str) -> Action:
    if isinstance(action, Action):
        return action
    return Action(action if ":" in action else f"asset:{action}")

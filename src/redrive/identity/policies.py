"""Policy documents: what a statement says, read strictly, ready to be decided on. Pure.

Two kinds are taken, told apart by ``Version``: identity policies (``5.0``) and the older policies (``1.1``)::

    {"Version": "5.0",
     "Statement": [{"Sid": "operators", "Effect": "Allow", "Action": ["workspace:jobs:retry"],
                    "Resource": ["workspace:*:*:job:*"],
                    "Condition": {"StringEquals": {"g:UserName": ["anna"]}}}]}

``Action`` or ``NotAction``, never both; without ``Resource`` a statement is about every resource. Actions compare
without regard to case, resources with. Refuses, by the name of the field, whatever it does not know: a policy
that is only half understood allows too much or denies too little.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from redrive.errors import invalid
from redrive.identity.conditions import OPERATORS, Condition, condition
from redrive.identity.patterns import PATTERN_LENGTH, matcher

VERSIONS = ("1.1", "5.0")
MOST_STATEMENTS = 64
MOST_NAMES = 10_000
MOST_VALUES = 128
#: A URN has five parts: service, region, account, type of the resource, its name.
URN_PARTS = 5

#: Beyond this, numbers of JSON are not what they seem.
_LARGEST = (1 << 53) - 1

_ACTION = re.compile(r"\*|[A-Za-z0-9_*?-]+:[A-Za-z0-9_*?-]*(?::[A-Za-z0-9_*?-]+)?")
_SID = re.compile(r"[A-Za-z0-9 _.-]{1,64}")
_FIELDS = {"Sid", "Effect", "Action", "NotAction", "Resource", "Condition"}


class Effect(StrEnum):
    """What a statement does where it applies."""

    ALLOW = "Allow"
    DENY = "Deny"


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. ``not_actions``: it is about every action but ``actions``. No resources: about all."""

    place: int
    effect: Effect
    actions: tuple[str, ...]
    not_actions: bool = False
    resources: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    sid: str = ""

    def is_about(self, action: str) -> bool:
        """Return whether the statement is about ``action``."""
        named = any(matcher(pattern, ignore_case=True)(action) for pattern in self.actions)
        return named != self.not_actions

    def covers(self, resource: str) -> bool:
        """Return whether the statement is about ``resource`` (a URN; ``*`` where an action has none)."""
        return not self.resources or any(_same_urn(pattern, resource) for pattern in self.resources)

    @property
    def name(self) -> str:
        """How the statement is called in a decision."""
        return self.sid or f"Statement[{self.place}]"


@dataclass(frozen=True, slots=True)
class Policy:
    """A named policy."""

    name: str
    version: str
    statements: tuple[Statement, ...]


def parse_policy(name: str, document: Mapping[str, Any]) -> Policy:
    """Return the policy that a document says; a Problem that names the field where it says it badly."""
    unknown = sorted(set(document) - {"Version", "Statement"})
    if unknown:
        raise invalid(str(unknown[0]), "only Version and Statement")
    version = document.get("Version")
    if version not in VERSIONS:
        raise invalid("Version", " or ".join(VERSIONS), _shown(version))
    statements = document.get("Statement")
    if not isinstance(statements, list) or not 1 <= len(statements) <= MOST_STATEMENTS:
        raise invalid("Statement", f"a list of 1 to {MOST_STATEMENTS} statements", type(statements).__name__)
    read = tuple(_statement(place, each) for place, each in enumerate(statements))
    return Policy(name, version, read)


def _statement(place: int, given: Any) -> Statement:
    where = f"Statement[{place}]"
    if not isinstance(given, dict):
        raise invalid(where, "an object", type(given).__name__)
    unknown = sorted(set(given) - _FIELDS)
    if unknown:
        raise invalid(f"{where}.{unknown[0]}", f"one of {', '.join(sorted(_FIELDS))}")
    effect = given.get("Effect")
    if effect not in tuple(Effect):
        raise invalid(f"{where}.Effect", "Allow or Deny", _shown(effect))
    if ("Action" in given) == ("NotAction" in given):
        raise invalid(f"{where}.Action", "either Action or NotAction, and not both")
    side = "Action" if "Action" in given else "NotAction"
    actions = _names(f"{where}.{side}", given[side])
    for action in actions:
        if _ACTION.fullmatch(action) is None:
            raise invalid(f"{where}.{side}", "service:type:operation, each with * and ? where wanted", action)
    resources = _names(f"{where}.Resource", given["Resource"]) if "Resource" in given else ()
    for resource in resources:
        if resource != "*" and resource.count(":") < URN_PARTS - 1:
            raise invalid(f"{where}.Resource", "* or service:region:account:type:name", resource)
    sid = given.get("Sid", "")
    if "Sid" in given and (not isinstance(sid, str) or _SID.fullmatch(sid) is None):
        raise invalid(f"{where}.Sid", "1 to 64 letters, digits, blanks, _ . -", _shown(sid))
    return Statement(
        place,
        Effect(effect),
        actions,
        side == "NotAction",
        () if "*" in resources else resources,
        _conditions(f"{where}.Condition", given.get("Condition", {})),
        sid,
    )


def _names(where: str, given: Any) -> tuple[str, ...]:
    listed = [given] if isinstance(given, str) else given
    if not isinstance(listed, list) or not 1 <= len(listed) <= MOST_NAMES:
        raise invalid(where, f"a list of 1 to {MOST_NAMES} texts", type(given).__name__)
    for name in listed:
        if not isinstance(name, str) or not 1 <= len(name) <= PATTERN_LENGTH or not name.isprintable():
            raise invalid(where, f"texts of 1 to {PATTERN_LENGTH} printable characters", _shown(name))
    return tuple(listed)


def _conditions(where: str, given: Any) -> tuple[Condition, ...]:
    if not isinstance(given, dict):
        raise invalid(where, "an object: operator, key, values", type(given).__name__)
    found: list[Condition] = []
    for operator, keys in given.items():
        if not isinstance(keys, dict) or not keys:
            raise invalid(f"{where}.{operator}", "an object: key to values", type(keys).__name__)
        for key, values in keys.items():
            found.append(_condition(f"{where}.{operator}.{key}", operator, key, values))
    return tuple(found)


def _condition(where: str, operator: str, key: str, given: Any) -> Condition:
    values = given if isinstance(given, list) else [given]
    if not 1 <= len(key) <= PATTERN_LENGTH or not key.isprintable():
        raise invalid(where, f"a key of 1 to {PATTERN_LENGTH} printable characters")
    if not 1 <= len(values) <= MOST_VALUES:
        raise invalid(where, f"1 to {MOST_VALUES} values", len(values))
    try:
        return condition(operator, key, [_text(where, value) for value in values])
    except LookupError:
        raise invalid(where, f"an operator of {', '.join(OPERATORS)}", operator) from None
    except ValueError as error:
        raise invalid(
            where, f"values that {operator} can compare with ({error})", [_shown(value) for value in values]
        ) from None


def _text(where: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.isprintable():
        return value
    if isinstance(value, int | float) and abs(value) <= _LARGEST:
        return str(value)
    raise invalid(where, f"printable texts, numbers up to {_LARGEST} or booleans", _shown(value))


def _shown(value: Any) -> str:
    """Return what stands in a refusal for a value of any depth and size."""
    return (
        value if isinstance(value, str) else str(value) if isinstance(value, float) else type(value).__name__
    )


def _same_urn(pattern: str, resource: str) -> bool:
    """Return whether a pattern means a resource: part by part, so that a star ends at the next colon."""
    parts, given = pattern.split(":", URN_PARTS - 1), resource.split(":", URN_PARTS - 1)
    return len(given) == URN_PARTS and all(matcher(one)(part) for one, part in zip(parts, given, strict=True))


def names_of(statement: Statement, urn: Sequence[str]) -> tuple[str, ...] | None:
    """Return the patterns of resource names that a statement is about, among the resources of a type.

    ``urn`` are the first four parts of the resources' URN. None: every name. Empty: none at all.
    """
    if not statement.resources:
        return None
    found: list[str] = []
    for resource in statement.resources:
        *parts, name = resource.split(":", URN_PARTS - 1)
        if all(matcher(pattern)(part) for pattern, part in zip(parts, urn, strict=True)):
            found.append(name)
    return None if "*" in found else tuple(found)

"""Do these rights contain everything that a policy allows? Asked before somebody gives rights away. Pure.

The answer errs on one side only: *contained* is true for sure, *beyond* may be said of rights that are contained in
some roundabout way (by two statements together, under a condition, next to a denial that only seems to matter).
Whoever gives rights that it has as it has them, statement by statement, is never told so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from redrive.identity.decisions import Layer, Rights
from redrive.identity.patterns import contains, may_overlap
from redrive.identity.policies import URN_PARTS, Effect, Policy, Statement

#: Statements and their patterns are compared in pairs; where there are more pairs than this, the answer is no.
MOST_COMPARISONS = 200_000

_EVERYTHING = "*"


def beyond(rights: Rights, policies: Iterable[Policy]) -> str | None:
    """Return the first thing, in words, that the policies allow and ``rights`` do not contain; None: all is."""
    allowed = [each for policy in policies for each in policy.statements if each.effect is Effect.ALLOW]
    return _first_beyond(rights, allowed)


def beyond_without(rights: Rights, denials: Iterable[Statement]) -> str | None:
    """Return the first thing, in words, that is not contained in ``rights`` and that ``denials`` keep away.

    Who takes a denial away gives what it denied.
    """
    return _first_beyond(rights, [replace(each, effect=Effect.ALLOW, conditions=()) for each in denials])


def denials_of(policies: Iterable[Policy]) -> list[Statement]:
    """Return the statements that deny."""
    return [each for policy in policies for each in policy.statements if each.effect is Effect.DENY]


def _first_beyond(rights: Rights, wanted: list[Statement]) -> str | None:
    if not wanted:
        return None
    if not rights.layers:
        return _words(wanted[0], wanted[0].actions[0], _EVERYTHING)
    if _comparisons(rights, wanted) > MOST_COMPARISONS:
        return "more than can be compared"
    for statement in wanted:
        for action in (_EVERYTHING,) if statement.not_actions else statement.actions:
            for resource in statement.resources or (_EVERYTHING,):
                if not all(_allows(layer, statement, action, resource) for layer in rights.layers):
                    return _words(statement, action, resource)
    return None


def _words(statement: Statement, action: str, resource: str) -> str:
    if statement.not_actions:
        action = f"everything but {', '.join(statement.actions[:3])}"
    return action if resource == _EVERYTHING else f"{action} on {resource}"


def _allows(layer: Layer, wanted: Statement, action: str, resource: str) -> bool:
    statements = [each for policy in layer.policies for each in policy.statements]
    denials = [each for each in statements if each.effect is Effect.DENY]
    if any(_may_meet(each, action, resource) for each in denials):
        return False
    if layer.everything:
        return True
    return any(
        _has_actions(each, wanted, action)
        and _has_resource(each, resource)
        and set(each.conditions) <= set(wanted.conditions)
        for each in statements
        if each.effect is Effect.ALLOW
    )


def _has_actions(held: Statement, wanted: Statement, action: str) -> bool:
    if held.not_actions and wanted.not_actions:
        return all(
            any(contains(left_out, each, ignore_case=True) for left_out in wanted.actions)
            for each in held.actions
        )
    if held.not_actions:
        return not any(may_overlap(each, action, ignore_case=True) for each in held.actions)
    return any(contains(each, action, ignore_case=True) for each in held.actions)


def _has_resource(held: Statement, resource: str) -> bool:
    return not held.resources or any(_urn_contains(each, resource) for each in held.resources)


def _urn_contains(wide: str, narrow: str) -> bool:
    if narrow == _EVERYTHING:
        return False
    parts = zip(wide.split(":", URN_PARTS - 1), narrow.split(":", URN_PARTS - 1), strict=True)
    return all(contains(one, part) for one, part in parts)


def _may_meet(denial: Statement, action: str, resource: str) -> bool:
    if denial.not_actions:
        met = not any(contains(each, action, ignore_case=True) for each in denial.actions)
    else:
        met = any(may_overlap(each, action, ignore_case=True) for each in denial.actions)
    return met and (
        not denial.resources or any(_urns_may_overlap(each, resource) for each in denial.resources)
    )


def _urns_may_overlap(one: str, other: str) -> bool:
    if other == _EVERYTHING:
        return True
    parts = zip(one.split(":", URN_PARTS - 1), other.split(":", URN_PARTS - 1), strict=True)
    return all(may_overlap(left, right) for left, right in parts)


def _comparisons(rights: Rights, wanted: list[Statement]) -> int:
    held = sum(
        len(each.actions) + len(each.resources)
        for layer in rights.layers
        for policy in layer.policies
        for each in policy.statements
    )
    return held * sum(len(each.actions) * max(1, len(each.resources)) for each in wanted)

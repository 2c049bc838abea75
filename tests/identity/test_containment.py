"""Whether rights contain what a policy allows: never said of rights that do not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redrive.identity.builtin import POLICIES
from redrive.identity.containment import beyond, beyond_without, denials_of
from redrive.identity.decisions import rights_of
from redrive.identity.patterns import contains, matcher, may_overlap
from redrive.identity.policies import Policy, parse_policy


def policy(*statements: dict[str, Any]) -> Policy:
    return parse_policy("mine", {"Version": "5.0", "Statement": list(statements)})


def allow(*actions: str, **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), **more}


def deny(*actions: str, **more: Any) -> dict[str, Any]:
    return {"Effect": "Deny", "Action": list(actions), **more}


@pytest.mark.parametrize(
    ("wide", "narrow", "inside"),
    [
        ("*", "", True),
        ("*", "*", True),
        ("a*", "a*", True),
        ("a*", "ab*", True),
        ("ab*", "a*", False),
        ("a?", "a?", True),
        ("a?", "a*", False),
        ("a*", "a?", True),
        ("a??", "a*", False),
        ("*a*", "xay", True),
        ("*a*b*", "*ab*", True),
        ("*ab*", "*a*b*", False),
        ("a", "a", True),
        ("a", "*", False),
        ("[a]*", "[a]b", True),
        ("[a]*", "ab", False),
    ],
)
def test_a_pattern_contains_another(wide: str, narrow: str, inside: bool) -> None:
    assert contains(wide, narrow) is inside


patterns = st.text("ab*?", min_size=1, max_size=6)
texts = st.text("ab", max_size=6)


@given(patterns, patterns, texts)
def test_what_is_contained_matches_no_more(wide: str, narrow: str, text: str) -> None:
    if contains(wide, narrow) and matcher(narrow)(text):
        assert matcher(wide)(text)


@given(patterns, patterns, texts)
def test_what_cannot_overlap_has_nothing_in_common(one: str, other: str, text: str) -> None:
    if matcher(one)(text) and matcher(other)(text):
        assert may_overlap(one, other)


def test_a_pattern_made_to_take_long_is_compared_at_once() -> None:
    assert not contains("*a" * 200 + "b", "a" * 500)


words = st.sampled_from(["a", "b", "*", "a*", "?"])
actions = st.builds(lambda *parts: ":".join(parts), words, words, words)
urns = st.builds(lambda *parts: ":".join(parts), words, words, words, words, words)
conditions = st.sampled_from([{}, {"StringEquals": {"k": ["v"]}}, {"StringEquals": {"k": ["v", "w"]}}])


@st.composite
def statements(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {"Effect": draw(st.sampled_from(["Allow", "Allow", "Allow", "Deny"]))}
    side = draw(st.sampled_from(["Action", "Action", "NotAction"]))
    found[side] = draw(st.lists(actions, min_size=1, max_size=2))
    if draw(st.booleans()):
        found["Resource"] = draw(st.lists(urns, min_size=1, max_size=2))
    return {**found, "Condition": draw(conditions)}


policies = st.builds(lambda given: policy(*given), st.lists(statements(), min_size=1, max_size=3))
names = st.sampled_from(["a", "b", "ab", "ba"])


@given(
    held=st.lists(policies, max_size=2),
    layers=st.none() | st.lists(policies, min_size=1, max_size=2),
    root=st.booleans(),
    gift=policies,
    action=st.builds(lambda *parts: ":".join(parts), names, names, names),
    resource=st.just("*") | st.builds(lambda *parts: ":".join(parts), names, names, names, names, names),
    value=st.sampled_from([None, "v", "w"]),
)
def test_whoever_gives_what_is_contained_gives_no_more_than_it_may(
    held: list[Policy],
    layers: list[Policy] | None,
    root: bool,
    gift: Policy,
    action: str,
    resource: str,
    value: str | None,
) -> None:
    rights = rights_of(held, root=root, key_policies=layers)
    context = {} if value is None else {"k": (value,)}
    if beyond(rights, [gift]) is None and rights_of([gift]).decide(action, resource, context).allowed:
        assert rights.decide(action, resource, context).allowed
    # who takes the denials of a policy away gives what they denied
    freed = denials_of([gift])
    if beyond_without(rights, freed) is None:
        as_root = rights_of([gift], root=True).decide(action, resource, context)
        if not as_root.allowed:
            assert rights.decide(action, resource, context).allowed


def test_everybody_contains_what_it_has_itself() -> None:
    for name, found in POLICIES.items():
        assert beyond(rights_of([found]), [found]) is None, name
        assert beyond(rights_of([POLICIES["administrator"]]), [found]) is None, name
        assert beyond(rights_of([], root=True), [found]) is None, name
        assert beyond(rights_of([]), [found]) is not None, name


def test_what_is_missing_is_named() -> None:
    rights = rights_of([policy(allow("a:b:get"))])
    assert beyond(rights, [policy(allow("a:b:get", "a:b:*"))]) == "a:b:*"
    assert beyond(rights, [policy(allow("c:d:e", Resource=["c:*:*:t:x"]))]) == "c:d:e on c:*:*:t:x"
    left = {"Effect": "Allow", "NotAction": ["a:b:get"]}
    assert beyond(rights, [policy(left)]) == "everything but a:b:get"
    assert beyond_without(rights, denials_of([policy(deny("x:y:z"))])) == "x:y:z"


def test_too_much_to_compare_is_beyond() -> None:
    many = policy(allow(*[f"a:b:c{n}" for n in range(2_000)]))
    assert beyond(rights_of([many]), [many]) == "more than can be compared"

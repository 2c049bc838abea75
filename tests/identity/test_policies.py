"""Policies: documents read strictly, conditions one by one, and decisions against a plain reference."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redrive.errors import Problem
from redrive.identity.conditions import condition
from redrive.identity.decisions import KEY_PAIR, Decision, Matched, context_of, rights_of
from redrive.identity.patterns import matcher
from redrive.identity.policies import Policy, names_of, parse_policy

RETRY, OPEN = "workspace:jobs:retry", "workspace:tenants:open"
JOB = "workspace:local-1:acc:job:17"


def policy(*statements: dict[str, Any], version: str = "5.0", name: str = "mine") -> Policy:
    return parse_policy(name, {"Version": version, "Statement": list(statements)})


def allow(*actions: str, **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), **more}


def deny(*actions: str, **more: Any) -> dict[str, Any]:
    return {"Effect": "Deny", "Action": list(actions), **more}


def decide(*policies: Policy, action: str = RETRY, resource: str = JOB, **context: str) -> Decision:
    known = context_of({key.replace("_", ":", 1): value for key, value in context.items()})
    return rights_of(policies).decide(action, resource, known)


def test_nothing_is_allowed_by_default() -> None:
    assert decide() == Decision(False, "implicit deny by identity-based policy")
    assert decide(policy(allow(OPEN))).reason == "implicit deny by identity-based policy"


def test_the_right_to_retry_is_not_the_right_to_create() -> None:
    operators = policy(allow(RETRY, Sid="operators"))
    assert decide(operators) == Decision(
        True, "allowed by identity-based policy", Matched("mine", "operators")
    )
    assert not decide(operators, action=OPEN).allowed


def test_a_denial_wins_whatever_its_place_and_version() -> None:
    older = policy(deny("workspace:*:retry"), version="1.1", name="older")
    for order in ((policy(allow("*")), older), (older, policy(allow("*")))):
        assert decide(*order) == Decision(
            False, "explicit deny by identity-based policy", Matched("older", "Statement[0]")
        )
    assert decide(policy(allow("*")), older, action=OPEN).allowed


def test_the_root_user_may_everything_but_what_is_denied() -> None:
    assert rights_of((), root=True).decide(RETRY, JOB) == Decision(True, "the account's root user")
    assert not rights_of((policy(deny("*")),), root=True).decide(RETRY, JOB).allowed


def test_a_key_pair_with_policies_of_its_own_may_no_more_than_they_and_its_user() -> None:
    readers = policy(allow("workspace:*:get"))
    rights = rights_of((policy(allow("workspace:*:*")),), key_policies=(readers,))
    assert rights.decide("workspace:jobs:get").allowed
    assert rights.decide(RETRY) == Decision(False, f"implicit deny by {KEY_PAIR}")
    assert not rights_of((), key_policies=(readers,)).decide("workspace:jobs:get").allowed
    assert not rights_of((), root=True, key_policies=()).decide("workspace:jobs:get").allowed


def test_not_action_is_about_all_others() -> None:
    most = policy({"Effect": "Allow", "NotAction": ["iam:*:*", OPEN]})
    assert decide(most).allowed
    assert not decide(most, action=OPEN).allowed
    assert not decide(most, action="iam:users:create").allowed


def test_resources_are_compared_with_their_case_and_actions_without() -> None:
    one = policy(allow("Workspace:Jobs:*", Resource=["workspace:*:acc:job:1?"]))
    assert decide(one).allowed
    assert not decide(one, resource="workspace:local-1:acc:job:170").allowed
    assert not decide(one, resource="workspace:local-1:other:job:17").allowed
    assert not decide(one, resource="workspace:local-1:ACC:job:17").allowed


@pytest.mark.parametrize(
    ("operator", "values", "matching", "other"),
    [
        ("StringEquals", ["a", "b"], "b", "B"),
        ("StringNotEquals", ["a", "b"], "B", "b"),
        ("StringEqualsIgnoreCase", ["Anna"], "aNNA", "annas"),
        ("StringNotEqualsIgnoreCase", ["Anna"], "annas", "ANNA"),
        ("StringMatch", ["a*z", "q?"], "a1z", "A1z"),
        ("StringNotMatch", ["a*z", "q?"], "qqq", "qq"),
        ("StringStartWith", ["Pre"], "prefix", "aprefix"),
        ("StringNotStartWith", ["Pre"], "apre", "PREx"),
        ("StringEndWith", ["End"], "the end", "ends"),
        ("StringNotEndWith", ["End"], "ends", "the END"),
        ("NumberEquals", [5, "6"], "6.0", "7"),
        ("NumberNotEquals", [5], "6", "5.0"),
        ("NumberLessThan", ["5"], "4.9", "5"),
        ("NumberLessThanEquals", ["5"], "5", "5.1"),
        ("NumberGreaterThan", ["5"], "5.1", "5"),
        ("NumberGreaterThanEquals", ["5"], "5", "4.9"),
    ],
)
def test_operators_over_the_keys_of_a_service(
    operator: str, values: list[Any], matching: str, other: str
) -> None:
    only = policy(allow("*", Condition={operator: {"workspace:Key": values}}))
    assert decide(only, workspace_Key=matching).allowed
    assert not decide(only, workspace_key=other).allowed
    assert decide(only).allowed == ("Not" in operator), "a key that is not there"
    if_exists = policy(allow("*", Condition={f"{operator}IfExists": {"workspace:Key": values}}))
    assert decide(if_exists).allowed
    assert not decide(if_exists, workspace_key=other).allowed


@pytest.mark.parametrize(
    ("operator", "key", "value", "matching", "other"),
    [
        ("DateLessThan", "g:CurrentTime", "2026-01-01", "2025-12-31T23:59:59Z", "2026-01-01T00:00:00Z"),
        ("DateGreaterThanEquals", "g:CurrentTime", "2026-01-01T01:00:00+01:00", "2026-01-01", "2025-12-31"),
        ("Bool", "g:SecureTransport", True, "true", "false"),
        ("IpAddress", "g:SourceIp", "10.1.0.0/16", "10.1.2.3", "10.2.0.1"),
        ("NotIpAddress", "g:SourceIp", "10.1.0.0/16", "2001:db8::1", "10.1.2.3"),
    ],
)
def test_operators_over_the_keys_of_every_request(
    operator: str, key: str, value: Any, matching: str, other: str
) -> None:
    only = condition(operator, key, [str(value).lower() if isinstance(value, bool) else value])
    assert only.holds(context_of({key: matching}))
    assert not only.holds(context_of({key: other}))
    assert not only.holds(context_of({key: "neither"}))


def test_an_operator_of_another_type_than_its_key_never_holds() -> None:
    for operator in ("StringEquals", "StringNotEquals", "StringEqualsIfExists"):
        assert not condition(operator, "g:SourceIp", ["10.0.0.1"]).holds(
            context_of({"g:SourceIp": "10.0.0.1"})
        )
        assert not condition(operator, "g:MFAPresent", ["false"]).holds(context_of({}))


def test_all_conditions_of_a_statement_must_hold() -> None:
    both = {
        "StringEquals": {"g:UserName": ["anna"], "workspace:AccessMode": ["BOTH"]},
        "Bool": {"g:MFAPresent": True},
    }
    only = policy(allow("*", Condition=both))
    assert decide(only, g_UserName="anna", workspace_AccessMode="BOTH", g_MFAPresent="true").allowed
    assert not decide(only, g_UserName="anna", workspace_AccessMode="BOTH", g_MFAPresent="false").allowed
    assert not decide(only, g_UserName="anna", g_MFAPresent="true").allowed


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "Version"),
        ({"Version": "2.0", "Statement": []}, "Version"),
        ({"Version": "5.0", "Statement": []}, "Statement"),
        ({"Version": "5.0", "Statement": [{}] * 65}, "Statement"),
        ({"Version": "5.0", "Statement": [allow("*")], "Id": 1}, "Id"),
        ({"Version": "5.0", "Statement": ["x"]}, "Statement[0]"),
        ({"Version": "5.0", "Statement": [{**allow("*"), "Effect": "allow"}]}, "Statement[0].Effect"),
        ({"Version": "5.0", "Statement": [{"Effect": "Allow"}]}, "Statement[0].Action"),
        ({"Version": "5.0", "Statement": [allow("*", NotAction=["*"])]}, "Statement[0].Action"),
        ({"Version": "5.0", "Statement": [allow("nonsense")]}, "Statement[0].Action"),
        ({"Version": "5.0", "Statement": [allow("a:b:c", Principal="x")]}, "Statement[0].Principal"),
        ({"Version": "5.0", "Statement": [allow("a:b:c", Resource="job/17")]}, "Statement[0].Resource"),
        ({"Version": "5.0", "Statement": [allow("a:b:c", Resource=[])]}, "Statement[0].Resource"),
        ({"Version": "5.0", "Statement": [allow("a:b:c", Resource=["\n"])]}, "Statement[0].Resource"),
        ({"Version": "5.0", "Statement": [allow("a:b:c", Sid="x" * 65)]}, "Statement[0].Sid"),
        ({"Version": "5.0", "Statement": [allow("a:b:c", Condition=[])]}, "Statement[0].Condition"),
        (
            {"Version": "5.0", "Statement": [allow("a:b:c", Condition={"StringLike": {"k": "v"}})]},
            "Statement[0].Condition.StringLike.k",
        ),
        (
            {"Version": "5.0", "Statement": [allow("a:b:c", Condition={"NumberEquals": {"k": "many"}})]},
            "Statement[0].Condition.NumberEquals.k",
        ),
        (
            {"Version": "5.0", "Statement": [allow("a:b:c", Condition={"IpAddress": {"k": "10.0.0.0/40"}})]},
            "Statement[0].Condition.IpAddress.k",
        ),
    ],
)
def test_a_document_that_is_only_half_understood_is_refused_by_field(
    document: dict[str, Any], field: str
) -> None:
    with pytest.raises(Problem) as caught:
        parse_policy("mine", document)
    assert [each.name for each in caught.value.fields] == [field]


texts = st.text("ab:*?.", max_size=8)


@given(texts, texts)
def test_patterns_match_what_fnmatch_does(pattern: str, text: str) -> None:
    assert matcher(pattern)(text) == fnmatchcase(text, pattern)


def test_a_pattern_of_many_stars_takes_no_time() -> None:
    assert not matcher("a*" * 100 + "b")("a" * 5_000)


parts = st.sampled_from(["a", "b", "*", "?"])
patterns = st.builds(lambda *three: ":".join(three), parts, parts, parts)
urns = st.builds(lambda *five: ":".join(five), parts, parts, parts, parts, parts)
statements = st.fixed_dictionaries(
    {"Effect": st.sampled_from(["Allow", "Deny"])},
    optional={"Resource": st.lists(urns, min_size=1, max_size=2)},
).flatmap(
    lambda given_: st.sampled_from(["Action", "NotAction"]).flatmap(
        lambda side: st.lists(patterns, min_size=1, max_size=2).map(lambda named: {**given_, side: named})
    )
)
plain = st.sampled_from(["a", "b"])


@given(
    st.lists(st.lists(statements, min_size=1, max_size=3), max_size=3),
    st.builds(lambda *three: ":".join(three), plain, plain, plain),
    st.builds(lambda *five: ":".join(five), plain, plain, plain, plain, plain),
)
def test_a_decision_is_that_of_a_plain_reading(
    documents: list[list[dict[str, Any]]], action: str, resource: str
) -> None:
    def applies(given_: dict[str, Any]) -> bool:
        if "Action" in given_:
            about = any(fnmatchcase(action, pattern) for pattern in given_["Action"])
        else:
            about = not any(fnmatchcase(action, pattern) for pattern in given_["NotAction"])
        return about and any(fnmatchcase(resource, pattern) for pattern in given_.get("Resource", ["*"]))

    effects = {each["Effect"] for document in documents for each in document if applies(each)}
    found = rights_of([policy(*document) for document in documents]).decide(action, resource)
    assert found.allowed == (effects == {"Allow"})


def test_names_of_resources_of_a_type() -> None:
    (some,) = policy(
        allow("enos:asset:read", Resource=["enos:*:acc:asset:a1", "enos:*:*:asset:b*", "*:*:x:*:c"])
    ).statements
    assert names_of(some, ("enos", "local-1", "acc", "asset")) == ("a1", "b*")
    assert names_of(some, ("enos", "local-1", "x", "asset")) == ("b*", "c")
    (every,) = policy(allow("enos:asset:read")).statements
    assert names_of(every, ("enos", "local-1", "acc", "asset")) is None

"""Bodies that no client sends: each is refused in the service's own shape, is no bug, and changes nothing."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import pytest

from redrive.wire.huawei.envelope import BODY_BYTES
from tests.engine.scene import until
from tests.wire_huawei.scene import Cloud, login

NESTED = 1_000
#: What may stand in the place of any value. Each is JSON that its reader takes.
WRONG: tuple[Any, ...] = (
    None, True, 0, -1, 7.5, 10**30, "7", "", "\0", "a\0b", "x" * 2_000, [], ["retry"], [[["password"]]], {},
    {"id": 7}, {"name": ["admin"]}, {"name": {"$ne": ""}},
)  # fmt: skip
#: Whole bodies that are no object, or no JSON.
NO_OBJECTS: tuple[bytes, ...] = (
    b"", b" ", b"\0", b"null", b"7", b'"retry"', b"[]", b'[{"op_type": "retry"}]', b"{", b'{"op_type"}',
    b"{'op_type': 1}", b"\xff\xfe", b'{"op_type": "\xff"}', b'{"op_type": "\xed\xa0\x80"}', b'{"op_type": "\\ud800"}',
    b'{"op_type": NaN}', b'{"op_type": 1e999}', b'{"op_type": "a\0"}', b"\xef\xbb\xbf{}", "{}".encode("utf-16"),
    b"op_type=retry", b"[" * 100_000, b'{"a":' * 100_000, b"[" * NESTED + b"]" * NESTED,
)  # fmt: skip


def deep(kind: str) -> str:
    """JSON nested as deep as its reader takes it."""
    return "[" * NESTED + "]" * NESTED if kind == "list" else '{"a":' * NESTED + "1" + "}" * NESTED


def is_a_services(answer: httpx.Response) -> bool:
    told = answer.json()
    return set(told) == {"error_code", "error_msg", "request_id"} and all(map(bool, told.values()))


def is_keystones(answer: httpx.Response) -> bool:
    told = answer.json()
    return (
        set(told) == {"error"}
        and told["error"]["code"] == answer.status_code
        and bool(told["error"]["message"])
    )


def facts(cloud: Cloud) -> dict[str, list[str]]:
    """What is stored of who may call, of tokens, and of the workspace and its tasks."""
    asked = {
        **{name: f"select t::text from {name} t" for name in ("users", "key_pairs", "tenants", "workspaces")},
        "tokens": "select t::text from user_tokens t",
        "jobs": "select t::text from jobs t where kind like 'workspace.%'",
        "attempts": "select t::text from attempts t join jobs j on j.id = t.job_id where j.kind like 'workspace.%'",
        "units": "select t::text from units t where kind like 'workspace.%'",
    }
    with cloud.db.transaction() as conn:
        return {
            name: sorted(str(row[0]) for row in conn.execute(statement).fetchall())
            for name, statement in asked.items()
        }


@pytest.fixture
def unchanged(unregistered: Cloud) -> Iterator[Callable[[], None]]:
    """Look, where it is called for the first time; whatever comes after that must leave no trace."""
    seen: list[dict[str, list[str]]] = []
    yield lambda: seen.append(facts(unregistered))
    assert seen and facts(unregistered) == seen[0]


def failed_task(cloud: Cloud, token: str) -> str:
    """A registration that failed, so that a retry would be taken."""
    wanted = {
        "ad_domains": {"domain_type": "LITE_AS"}, "vpc_id": "v", "subnet_ids": [{"subnet_id": "net-1"}],
    }  # fmt: skip
    begun = cloud.call("POST", "/v2/{}/workspaces", token=token, json=wanted)
    assert begun.status_code == 202, begun.text
    task = str(begun.json()["job_id"])

    def failed() -> bool:
        told = cloud.call("GET", f"/v2/{{}}/workspace-jobs/{task}", token=token).json()
        return bool(told["status"] == "FAIL")

    until(failed)
    return task


def test_no_garbage_in_a_retry_is_an_error_of_the_server_or_retries(
    unregistered: Cloud, unchanged: Callable[[], None]
) -> None:
    token = unregistered.token()
    task = failed_task(unregistered, token)
    unchanged()
    bodies = [*NO_OBJECTS]
    bodies += [json.dumps({"op_type": wrong}).encode() for wrong in WRONG]
    bodies += [f'{{"op_type": {deep(kind)}}}'.encode() for kind in ("list", "object")]
    bodies += [f'{{"op_type": "retry", "x": {deep("list")}}}'.encode()]
    bodies += [
        b'{"op_type": "retry", "op_type": "RETRY"}',
        b'{"op_type": "retry", "\\u0000": 1}',
        b'{"OP_TYPE": "retry"}',
    ]
    for body in bodies:
        answer = unregistered.call(
            "POST", f"/v2/{{}}/workspace-jobs/{task}/actions", token=token, content=body
        )
        assert answer.status_code == 400 and is_a_services(answer), (
            body[:80],
            answer.status_code,
            answer.text[:300],
        )


def test_no_garbage_for_a_sealed_message_is_an_error_of_the_server(
    unregistered: Cloud, unchanged: Callable[[], None]
) -> None:
    token = unregistered.token()
    unchanged()
    bodies = [*NO_OBJECTS]
    bodies += [json.dumps({"encoded_message": wrong}).encode() for wrong in WRONG]
    bodies += [f'{{"encoded_message": {deep(kind)}}}'.encode() for kind in ("list", "object")]
    for body in bodies:
        answer = unregistered.call("POST", "/v5/decode-authorization-message", token=token, content=body)
        assert answer.status_code == 400 and is_a_services(answer), (
            body[:80],
            answer.status_code,
            answer.text[:300],
        )


#: Each field of a request for a token. First those behind the password: wrong ones close the user for this address.
FIELDS = (
    "auth.scope", "auth.scope.project", "auth.scope.project.id", "auth.scope.project.name", "auth.scope.domain",
    "auth", "auth.identity", "auth.identity.methods", "auth.identity.password", "auth.identity.password.user",
    "auth.identity.password.user.name", "auth.identity.password.user.domain",
    "auth.identity.password.user.domain.name",
    "auth.identity.password.user.domain.id", "auth.identity.password.user.id", "auth.identity.password.user.password",
)  # fmt: skip
#: Nothing, where something may be left out, is nothing wrong.
LEFT_OUT = {
    field for field in FIELDS if field.endswith(("user.domain.id", "user.id", "project.name", ".scope"))
}


def put(body: dict[str, Any], field: str, value: Any) -> Mapping[str, Any]:
    """Return the body with another value in one field."""
    changed = copy.deepcopy(body)
    *way, last = field.split(".")
    place = changed
    for part in way:
        place = place[part]
    place[last] = value
    return changed


def test_no_garbage_in_a_request_for_a_token_is_an_error_of_the_server_or_makes_one(
    unregistered: Cloud, unchanged: Callable[[], None]
) -> None:
    credentials = unregistered.credentials
    scope = {"project": {"id": unregistered.project}}
    good = login(credentials.user_name, credentials.password, credentials.domain_name, scope)
    unchanged()
    bodies: list[str | bytes] = [*NO_OBJECTS]
    for field in FIELDS:
        bodies += [
            json.dumps(put(good, field, wrong))
            for wrong in WRONG
            # A name that is only wrong is no garbage, and each costs the time of a password.
            if wrong not in ("7", "a\0b") and (wrong is not None or field not in LEFT_OUT)
        ]
        bodies += [
            json.dumps(put(good, field, "@")).replace('"@"', deep(kind)) for kind in ("list", "object")
        ]
    statuses: Counter[int] = Counter()
    for body in bodies:
        answer = unregistered.http.post("/v3/auth/tokens", content=body)
        assert answer.status_code in (400, 401, 403, 429), (body[:300], answer.text[:300])
        assert is_keystones(answer) and "X-Subject-Token" not in answer.headers
        assert credentials.password not in answer.text
        statuses[answer.status_code] += 1
    assert statuses[403] >= 2, "what stands behind the password was looked at"


def test_settings_that_are_nested_too_deep_to_be_kept_are_refused(
    unregistered: Cloud, unchanged: Callable[[], None]
) -> None:
    token = unregistered.token()
    unchanged()
    for levels in (300, 480, NESTED):
        nested = "[" * levels + "]" * levels
        for field in ("apply_shared_vpc_dedicated_param", "ad_domains", "subnet_ids", "enterprise_id"):
            named = {"ad_domains": {"domain_type": "LITE_AS"}, field: {"a": "@"}}
            body = json.dumps(named).replace('"@"', nested)
            answer = unregistered.call("POST", "/v2/{}/workspaces", token=token, content=body)
            assert answer.status_code == 400 and is_a_services(answer), (levels, field, answer.text[:300])


def test_a_body_ten_times_too_long_is_refused_wherever_it_is_sent(
    unregistered: Cloud, unchanged: Callable[[], None]
) -> None:
    token = unregistered.token()
    task = failed_task(unregistered, token)
    unchanged()
    filler = b'{"op_type": "retry", "x": "' + b"x" * (10 * BODY_BYTES) + b'"}'
    for path, shape in (
        (f"/v2/{unregistered.project}/workspace-jobs/{task}/actions", is_a_services),
        ("/v3/auth/tokens", is_keystones),
        ("/v5/decode-authorization-message", is_a_services),
    ):
        told = unregistered.http.post(path, content=filler, headers={"X-Auth-Token": token})
        assert told.status_code == 413 and shape(told), (path, told.text[:300])

        def pieces() -> Iterator[bytes]:
            yield from (filler[at : at + 65_536] for at in range(0, len(filler), 65_536))

        unsaid = unregistered.http.post(path, content=pieces(), headers={"X-Auth-Token": token})
        assert unsaid.status_code == 413 and shape(unsaid), (path, unsaid.text[:300])

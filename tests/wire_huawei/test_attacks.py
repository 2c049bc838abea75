"""What somebody tries who wants more than is theirs: each is refused, and stands in the audit trail."""

from __future__ import annotations

import base64
import json
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from redrive.database import Database
from redrive.engine import jobs
from redrive.engine.model import JobState
from redrive.identity import authentication, sealed_refusals, users
from redrive.identity.builtin import DOCUMENTS
from redrive.identity.data_keys import DataKeys
from redrive.ids import new_id
from redrive.services.workspaces import service
from redrive.services.workspaces.house import Secrets
from redrive.services.workspaces.model import WorkspaceSettings
from redrive.services.workspaces.steps import STEPS
from redrive.services.workspaces.task_ids import attempt_of, task_id
from tests.engine.scene import until
from tests.wire_huawei.scene import BY, Cloud, cloud_at, login, signed, wait

OTHER = "f" * 32


def send(
    cloud: Cloud, headers: Sequence[tuple[str, str]], method: str = "GET", target: str = "", body: bytes = b""
) -> tuple[int, dict[str, Any]]:
    url = cloud.url + (target or f"/v2/{cloud.project}/workspaces")
    request = httpx.Request(
        method, httpx.URL(url, raw_path=(target or f"/v2/{cloud.project}/workspaces").encode())
    )
    raw = [(name.encode(), value.encode()) for name, value in headers]
    if body:
        raw.append((b"content-length", str(len(body)).encode()))
    request = httpx.Request(method, request.url, headers=raw, content=body)
    with httpx.Client() as client:
        answer = client.send(request)
    return answer.status_code, answer.json()


@pytest.fixture
def pair(cloud: Cloud) -> tuple[str, str]:
    return cloud.credentials.access_key, cloud.credentials.secret_key


def target(cloud: Cloud, path: str = "workspaces") -> str:
    return f"/v2/{cloud.project}/{path}"


def test_a_good_signature_passes(cloud: Cloud, pair: tuple[str, str]) -> None:
    assert send(cloud, signed(cloud.url, pair, "GET", target(cloud)))[0] == 200


@pytest.mark.parametrize("minutes", [-16, 16, -60 * 24 * 365])
def test_a_request_from_outside_the_clock_window_is_refused(
    cloud: Cloud, pair: tuple[str, str], minutes: int
) -> None:
    at = datetime.now(UTC) + timedelta(minutes=minutes)
    status, body = send(cloud, signed(cloud.url, pair, "GET", target(cloud), at=at))
    assert (status, body["error_code"]) == (401, "APIGW.0301") and "server's clock" in body["error_msg"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"sign_target": "/v2/{}/workspaces/lock-status"},
        {"sign_target": "/v2/{}/workspaces?limit=1"},
        {"sign_body": b'{"op_type": "retry"}'},
        {"signing": ["host"]},
        {"signing": ["host", "x-sdk-date", "x-not-there"]},
    ],
    ids=["path", "query", "body", "no date", "absent header"],
)
def test_a_signature_over_something_else_is_refused(
    cloud: Cloud, pair: tuple[str, str], wrong: dict[str, Any]
) -> None:
    filled = {
        name: value.replace("{}", cloud.project) if isinstance(value, str) else value
        for name, value in wrong.items()
    }
    if "x-not-there" in filled.get("signing", ()):
        headers = signed(cloud.url, pair, "GET", target(cloud))
        headers[-1] = ("authorization", headers[-1][1].replace("host;", "host;x-not-there;"))
    elif filled.get("signing") == ["host"]:
        headers = signed(cloud.url, pair, "GET", target(cloud), signing=["host"])
    else:
        headers = signed(cloud.url, pair, "GET", target(cloud), **filled)
    status, body = send(cloud, headers)
    assert (status, body["error_code"]) == (401, "APIGW.0301")


def test_an_unknown_key_and_a_wrong_signature_get_the_same_answer(
    cloud: Cloud, pair: tuple[str, str]
) -> None:
    strangers = "00000000-0000-4000-8000-000000000000"
    wrong = send(cloud, signed(cloud.url, (pair[0], "wrong"), "GET", target(cloud)))
    unknown = send(cloud, signed(cloud.url, (strangers, "wrong"), "GET", target(cloud)))
    for answer in (wrong, unknown):
        answer[1].pop("request_id")
    assert [wrong[0], wrong[1]["error_code"]] == [unknown[0], unknown[1]["error_code"]]
    assert (
        wrong[1]["error_msg"].partition("x-sdk-date")[0] == unknown[1]["error_msg"].partition("x-sdk-date")[0]
    )


@pytest.mark.parametrize(
    "algorithm", ["SDK-HMAC-SM3", "SDK-ECDSA-P256-SHA256", "SDK-SM2-SM3", "Basic", "Bearer"]
)
def test_other_algorithms_are_refused_by_name(cloud: Cloud, algorithm: str) -> None:
    status, body = send(
        cloud, [("host", cloud.url[7:]), ("authorization", f"{algorithm} Access=x, Signature=y")]
    )
    assert status == 401 and ("not supported" in body["error_msg"] or "expected" in body["error_msg"])


@pytest.mark.parametrize(
    "name", ["x-project-id", "x-domain-id", "x-sdk-date", "x-auth-token", "authorization"]
)
def test_headers_that_say_who_and_for_what_stand_once(cloud: Cloud, pair: tuple[str, str], name: str) -> None:
    headers = signed(cloud.url, pair, "GET", target(cloud), headers=[("x-project-id", cloud.project)])
    twice = [
        *headers,
        (name, dict(headers).get(name, "x")),
        *([(name, "y")] if name not in dict(headers) else []),
    ]
    assert send(cloud, twice)[0] == 401


@pytest.mark.parametrize("signing", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("name", ["x-project-id", "x-domain-id"])
def test_the_scope_of_another_is_refused_signed_or_not(
    cloud: Cloud, pair: tuple[str, str], name: str, signing: bool
) -> None:
    names = ["host", "x-sdk-date", *([name] if signing else [])]
    headers = signed(cloud.url, pair, "GET", target(cloud), headers=[(name, OTHER)], signing=names)
    assert send(cloud, headers)[0] == 403


def test_a_project_of_another_is_refused_as_one_that_does_not_exist(
    cloud: Cloud, pair: tuple[str, str]
) -> None:
    with cloud.db.transaction() as conn:
        conn.execute(
            """insert into tenants (id, account_id, project_id, project_name, org_id, workspace_id, open)
               select 9, account_id, repeat('e', 32), 'other', 'o99', repeat('e', 32), true from tenants"""
        )
    answers = []
    for project in ("e" * 32, OTHER):
        path = f"/v2/{project}/workspaces"
        status, body = send(cloud, signed(cloud.url, pair, "GET", path), target=path)
        body.pop("request_id")
        answers.append((status, body))
    assert answers[0] == answers[1] and answers[0][0] == 403
    for odd in ("x", "E" * 32, "e" * 31, "..", "%2e%2e"):
        path = f"/v2/{odd}/workspaces"
        assert send(cloud, signed(cloud.url, pair, "GET", path), target=path)[0] in (400, 404), odd


@pytest.mark.parametrize(
    "odd",
    [
        "/v2/{}//workspaces",
        "/v2/{}/./workspaces",
        "/v2/{}/x/../workspaces",
        "/v2/{}/workspaces/",
        "/v2/{};x/workspaces",
        "//v2/{}/workspaces",
        "/v2/{}%2Fworkspaces",
        "/v2/{}/workspaces%00",
    ],
)
def test_another_spelling_of_a_path_is_another_path(cloud: Cloud, pair: tuple[str, str], odd: str) -> None:
    path = odd.replace("{}", cloud.project)
    status, _ = send(cloud, signed(cloud.url, pair, "GET", path), target=path)
    assert status in (400, 401, 404)  # 401 where the sender's library had tidied the path after signing


def _answer(cloud: Cloud, token: str, call: tuple[str, str, Any], named: str) -> tuple[int, dict[str, Any]]:
    """Make a call about something; return the answer without what names the request and the thing."""
    method, path, body = call
    sent = json.loads(json.dumps(body).replace("@", named)) if body is not None else None
    answer = cloud.call(method, path.replace("@", named), token=token, json=sent)
    numbers = attempt_of(named) or (named,)
    told = answer.text.replace(answer.json()["request_id"], "").replace(named, "@")
    return answer.status_code, json.loads(told.replace(str(numbers[0]), "#"))


def test_tasks_and_steps_of_another_project_are_refused_as_ones_that_never_were(cloud: Cloud) -> None:
    secrets = Secrets(cloud.parts.sealer, DataKeys(cloud.parts.sealer))
    wanted = WorkspaceSettings(subnets=("net-1",))
    with cloud.db.transaction() as conn:
        conn.execute(
            """insert into tenants (id, account_id, project_id, project_name, org_id, workspace_id)
               select 9, account_id, repeat('e', 32), 'other', 'o99', repeat('e', 32) from tenants"""
        )
    job_id = cloud.db.run(lambda conn: service.register(conn, 9, wanted, actor="other", secrets=secrets))
    until(lambda: cloud.db.run(lambda conn: jobs.get(conn, 9, job_id)).state is JobState.FAILED)
    job = cloud.db.run(lambda conn: jobs.get(conn, 9, job_id))
    unit = cloud.db.run(lambda conn: jobs.units(conn, job))[0]
    token, never = cloud.token(), new_id()
    about_tasks: tuple[tuple[str, str, Any], ...] = (
        ("GET", "/v2/{}/workspace-jobs/@", None),
        ("POST", "/v2/{}/workspace-jobs/@/actions", {"op_type": "retry"}),
        ("GET", "/v2/{}/workspace-sub-jobs?job_id=@", None),
        ("GET", "/v2/{}/workspace-sub-jobs?job_id=@&job_type=applyWorkspace", None),
    )
    for call in about_tasks:
        theirs = _answer(cloud, token, call, task_id(job.id, job.attempt))
        assert theirs == _answer(cloud, token, call, task_id(never, 1)) and theirs[0] == 404, (call, theirs)
    # Steps of one's own are known, and cannot be deleted; those of others are not known, also among one's own.
    own = cloud.call("GET", "/v2/{}/workspace-sub-jobs?job_type=applyWorkspace", token=token).json()["jobs"]
    for ids in (["@"], [own[0]["id"], "@"]):
        call = ("POST", "/v2/{}/workspace-sub-jobs/batch-delete", {"job_ids": ids})
        theirs = _answer(cloud, token, call, str(unit.id))
        assert theirs == _answer(cloud, token, call, str(never)) and theirs[0] == 404, (call, theirs)
    assert len(own) == len(STEPS) and all(step["project_id"] == cloud.project for step in own)
    assert cloud.db.run(lambda conn: jobs.get(conn, 9, job_id)) == job


def test_the_order_of_a_query_does_not_matter_and_its_values_do(cloud: Cloud, pair: tuple[str, str]) -> None:
    path = target(cloud, "workspace-sub-jobs")
    ordered, other = f"{path}?job_type=applyWorkspace&limit=1", f"{path}?limit=1&job_type=applyWorkspace"
    assert send(cloud, signed(cloud.url, pair, "GET", ordered), target=other)[0] == 200
    changed = f"{path}?limit=2&job_type=applyWorkspace"
    assert send(cloud, signed(cloud.url, pair, "GET", ordered), target=changed)[0] == 401


def test_a_token_and_a_signature_together_are_refused(cloud: Cloud, pair: tuple[str, str]) -> None:
    headers = [*signed(cloud.url, pair, "GET", target(cloud)), ("x-auth-token", cloud.token())]
    assert send(cloud, headers)[0] == 401


@pytest.mark.parametrize("token", ["", "x", "rdu_", "rdu_" + "A" * 48, "A" * 10_000, "\u00e9"])
def test_tokens_that_are_none(cloud: Cloud, token: str) -> None:
    try:
        answer = cloud.http.get(target(cloud), headers=[(b"x-auth-token", token.encode())])
    except httpx.RemoteProtocolError:
        return  # the server does not even take such a header
    assert answer.status_code in (400, 401)


def test_the_token_of_a_user_ends_when_it_is_disabled_gets_a_password_or_is_revoked(cloud: Cloud) -> None:
    for name, change in {
        "disabled": lambda conn: users.change_user(conn, cloud.account_id, "disabled", who=BY, enabled=False),
        "renewed": lambda conn: users.set_password(
            conn, cloud.account_id, "renewed", "another-password", who=BY
        ),
    }.items():
        token = cloud.user(name, "reader")
        assert cloud.call("GET", "/v2/{}/workspaces", token=token).status_code == 200
        cloud.db.run(change)
        cloud.parts.authenticator.forget_all()
        assert cloud.call("GET", "/v2/{}/workspaces", token=token).status_code == 401
    token = cloud.user("revoked", "reader")
    subject = {"X-Subject-Token": token}
    assert cloud.call("DELETE", "/v3/auth/tokens", token=token, headers=subject).status_code == 204
    assert cloud.call("GET", "/v2/{}/workspaces", token=token).status_code == 401
    refused = cloud.http.post("/v3/auth/tokens", json=login("disabled", "a-long-password", "redrive", None))
    assert refused.status_code == 401


def test_the_token_of_a_user_that_is_shut_out_ends_at_once_and_elsewhere_within_the_time_that_is_documented(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert authentication.CACHE_SECONDS == 5.0, "docs/security.md says so"
    monkeypatch.setattr(authentication, "CACHE_SECONDS", 0.5)
    pair = (cloud.credentials.access_key, cloud.credentials.secret_key)
    ways: dict[str, tuple[tuple[str, str, Any], Callable[[Any, str], object]]] = {
        "disabled": (
            ("PATCH", "", {"enabled": False}),
            lambda conn, name: users.change_user(conn, cloud.account_id, name, who=BY, enabled=False),
        ),
        "renewed": (
            ("POST", "/password", {"password": "another-password"}),
            lambda conn, name: users.set_password(
                conn, cloud.account_id, name, "another-password", who=BY
            ),
        ),
        "deleted": (
            ("DELETE", "", None),
            lambda conn, name: users.delete_user(conn, cloud.account_id, name, who=BY),
        ),
    }  # fmt: skip

    def status(token: str) -> int:
        return cloud.call("GET", "/v2/{}/workspaces", token=token).status_code

    for way, ((method, path, body), _) in ways.items():
        token = cloud.user(f"{way}-here", "reader")
        assert status(token) == 200
        url = f"/v1/identity/users/{way}-here{path}"
        changed = cloud.http.request(method, url, json=body, auth=pair)
        assert changed.status_code in (200, 204), changed.text
        assert status(token) == 401, way

    held = {way: cloud.user(f"{way}-elsewhere", "reader") for way in ways}
    assert {status(token) for token in held.values()} == {200}
    for way, (_, change) in ways.items():  # as another process does: nobody tells this one
        with cloud.db.transaction() as conn:
            change(conn, f"{way}-elsewhere")
    wait(authentication.CACHE_SECONDS)
    assert {way: status(token) for way, token in held.items()} == dict.fromkeys(ways, 401)
    trail = [row.action for row in cloud.audit() if row.outcome == "refused" and row.surface == "huawei"]
    assert trail.count("GET /v2/{project_id}/workspaces") >= 1


def test_a_user_that_does_not_exist_is_refused_in_the_same_words_and_about_the_same_time(
    cloud: Cloud,
) -> None:
    def tried(name: str, password: str, domain: str = "redrive") -> tuple[float, int, str]:
        begun = time.perf_counter()
        answer = cloud.http.post("/v3/auth/tokens", json=login(name, password, domain, None))
        return time.perf_counter() - begun, answer.status_code, answer.text

    tried("admin", "wrong")
    wrong = [tried("admin", "wrong") for _ in range(9)]
    strange = [tried("nobody", "wrong") for _ in range(9)]
    elsewhere = [tried("admin", "wrong", "nowhere") for _ in range(9)]
    assert {answer[1:] for answer in [*wrong, *strange, *elsewhere]} == {
        (401, '{"error":{"message":"The username or password is wrong.","code":401,"title":"Unauthorized"}}')
    }
    medians = [statistics.median(each[0] for each in answers) for answers in (wrong, strange, elsewhere)]
    assert max(medians) < 3 * min(medians), medians


@pytest.mark.parametrize("kind", ["cut", "changed", "foreign", "empty", "long", "text", "number"])
def test_sealed_messages_that_are_not_the_accounts_are_refused_in_one_way(cloud: Cloud, kind: str) -> None:
    reader = cloud.user("rita", "workspace-reader")
    refused = cloud.call("DELETE", "/v2/{}/workspaces", token=reader)
    sealed = refused.json()["encoded_authorization_message"]
    raw = bytearray(base64.b64decode(sealed))
    raw[-1] ^= 1
    foreign = base64.b64encode(cloud.parts.sealer.seal(b"x", "authorization_message/" + "0" * 32)).decode()
    message: Any = {
        "cut": sealed[: len(sealed) // 2],
        "changed": base64.b64encode(raw).decode(),
        "foreign": foreign,
        "empty": "",
        "long": "A" * 10_241,
        "text": "\N{SNOWMAN}",
        "number": 7,
    }[kind]
    answer = cloud.call("POST", "/v5/decode-authorization-message", json={"encoded_message": message})
    assert answer.status_code == 400 and answer.json()["error_code"].startswith("STS5.")
    assert "encoded_message" in answer.json()["error_msg"]
    assert (
        json.loads(sealed_refusals.open_sealed(cloud.parts.sealer, cloud.account_id, sealed))["allowed"]
        is False
    )


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "0.0.0.0", "224.0.0.1", "255.255.255.255", "127.0.0.1"]
)
def test_a_directory_is_no_way_into_the_servers_own_network(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    directory = {
        "domain_type": "LOCAL_AD",
        "domain_name": "plant.example",
        "domain_admin_account": "admin",
        "domain_password": "a-password",
        "active_domain_ip": address,
        "active_domain_name": "dc1",
    }
    with cloud_at(db, tmp_path, monkeypatch, allow_loopback_endpoints=False) as cloud:
        job_id = cloud.call("POST", "/v2/{}/workspaces", json={"ad_domains": directory}).json()["job_id"]

        def failed() -> Any:
            task = cloud.call("GET", f"/v2/{{}}/workspace-jobs/{job_id}").json()
            return task if task["status"] == "FAIL" else None

        assert until(failed, 20)["job_error_code"] == "address_refused"


def test_every_refusal_stands_in_the_trail_with_who_what_and_from_where(
    cloud: Cloud, pair: tuple[str, str]
) -> None:
    reader = cloud.user("rita", "workspace-reader")
    cloud.call("DELETE", "/v2/{}/workspaces", token=reader)
    send(cloud, signed(cloud.url, (pair[0], "wrong"), "GET", target(cloud)))
    cloud.http.post("/v3/auth/tokens", json=login("admin", "wrong", "redrive", None))
    limited = cloud.key("limited", DOCUMENTS["workspace-reader"])
    cloud.http.get("/v1/jobs", auth=("x", "y"))
    cloud.http.get("/v1/timeseries/models", auth=(limited.access_key, limited.secret_key))
    told = [(row.surface, row.actor, row.action, row.outcome, row.address) for row in cloud.audit()]
    assert ("huawei", "rita", "workspace:tenants:delete", "refused", "127.0.0.1") in told
    assert ("huawei", "unknown", "GET /v2/{project_id}/workspaces", "refused", "127.0.0.1") in told
    assert ("huawei", "unknown", "POST /v3/auth/tokens", "refused", "127.0.0.1") in told
    assert ("native", "unknown", "GET /v1/jobs", "refused", "127.0.0.1") in told
    assert ("native", "limited", "enos:asset:read", "refused", "127.0.0.1") in told
    assert ("test", "tester", "iam:users:create", "changed", "") in told
    assert not any(secret in str(cloud.audit()) for secret in (pair[1], limited.secret_key, reader))


def test_network_rules_are_enforced_for_every_call_of_the_project(
    cloud: Cloud, pair: tuple[str, str]
) -> None:
    assert WorkspaceSettings().access.value == "internet"
    with cloud.db.transaction() as conn:
        conn.execute("update tenants set allowed_from = '{10.1.0.0/16}'")
    cloud.parts.authenticator.forget_all()
    status, body = send(cloud, signed(cloud.url, pair, "GET", target(cloud)))
    assert (status, body["error_code"]) == (403, "WKS.00001012")
    assert cloud.http.get("/v1/jobs", auth=pair).json()["reason"] == "network"
    with cloud.db.transaction() as conn:
        conn.execute("update tenants set allowed_from = '{127.0.0.0/8}'")
    cloud.parts.authenticator.forget_all()
    assert send(cloud, signed(cloud.url, pair, "GET", target(cloud)))[0] == 200

"""Rights on real calls: jobs by kind, what operators may, conditions on the request, and the trail of refusals."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from redrive.database.embedded import EmbeddedPostgres
from redrive.identity.builtin import jobs_of
from redrive.wire.native.identity.shapes import LoginBody, NewUser, PasswordChange
from tests.wire_native.identity_scene import PASSWORD, Scene, allow, deny, identity_scene, policy
from tests.wire_native.jobs_scene import database_of_a_module

STREAMS, SERIES = "streams.reset", "timeseries.deletion"


@pytest.fixture(scope="module")
def scene(
    postgres: EmbeddedPostgres, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    with database_of_a_module(postgres) as db, identity_scene(db, tmp_path_factory.mktemp("i")) as scene:
        yield scene


@pytest.fixture
def jobs(scene: Scene) -> dict[str, list[str]]:
    """Failed jobs of two services: nothing else is there."""
    scene.api.clear()
    return {
        kind: [str(each) for each in scene.api.failed(3, kind=kind, fingerprint=kind[0] * 16)]
        for kind in (STREAMS, SERIES)
    }


def listed(client: httpx.Client, **query: Any) -> set[str]:
    answer = client.get("/v1/jobs", params=query)
    assert answer.status_code == 200, answer.text
    return {job["id"] for job in answer.json()["jobs"]}


# -- jobs by kind


def test_an_operator_of_one_service_sees_only_its_jobs(scene: Scene, jobs: dict[str, list[str]]) -> None:
    client = scene.someone("streams-operator")
    assert listed(client) == set(jobs[STREAMS])
    assert listed(client, kind=STREAMS) == set(jobs[STREAMS])
    assert listed(client, kind=SERIES) == set()
    assert listed(client, kind=[SERIES, STREAMS]) == set(jobs[STREAMS])
    assert listed(client, state="failed", fingerprint="s" * 16) == set(jobs[STREAMS])
    [cause] = client.get("/v1/failures").json()["failures"]
    assert (cause["kind"], cause["jobs"]) == (STREAMS, 3)
    assert client.get("/v1/failures", params={"kind": SERIES}).json()["failures"] == []
    other = jobs[SERIES][0]
    for path in ("", "/attempts", "/units", "/events", "/verify"):
        assert client.get(f"/v1/jobs/{other}{path}").status_code == 403
    assert listed(scene.someone("reader")) == set(jobs[STREAMS] + jobs[SERIES])


def test_an_operator_of_one_service_acts_only_on_its_jobs(scene: Scene, jobs: dict[str, list[str]]) -> None:
    client = scene.someone("streams-operator")
    for verb in ("retry", "pause", "resume", "rerun", "cancel"):
        assert client.post(f"/v1/jobs/{jobs[SERIES][0]}/{verb}").status_code == 403
    ids = [jobs[SERIES][0], jobs[STREAMS][0]]
    answer = client.post("/v1/jobs/retry", json={"ids": ids}).json()
    found = {result["id"]: result["why_not"] for result in answer["results"]}
    assert found[jobs[STREAMS][0]] is None and found[jobs[SERIES][0]]["reason"] == "not_found"
    dry = client.post("/v1/jobs/retry", json={"filter": {}, "dry_run": True}).json()
    assert dry["count"] == 2
    assert client.post("/v1/jobs/retry", json={"filter": {}}).json()["count"] == 2
    assert client.post("/v1/jobs/retry", json={"filter": {"kind": SERIES}}).json()["count"] == 0
    with scene.db.transaction() as conn:
        states = conn.execute(
            "select kind, state, count(*) as n from jobs group by 1, 2 order by 1"
        ).fetchall()
    assert [(row.kind, row.state, row.n) for row in states] == [(STREAMS, "queued", 3), (SERIES, "failed", 3)]


def test_the_right_to_retry_is_not_the_right_to_create_or_to_cancel(
    scene: Scene, jobs: dict[str, list[str]]
) -> None:
    client = scene.someone("operator")
    assert client.post(f"/v1/jobs/{jobs[SERIES][0]}/cancel").status_code == 403
    assert client.post(f"/v1/jobs/{jobs[SERIES][0]}/retry").status_code == 200
    assert client.put("/v1/timeseries/holds/h", json={"assets": ["a"], "reason": "x"}).status_code == 403
    may = {
        action: client.post("/v1/identity/simulate", json={"action": action}).json()["allowed"]
        for action in (
            "workspace:jobs:retry",
            "workspace:tenants:open",
            "drs:migrationJob:action",
            "drs:migrationJobs:create",
            "drs:migrationJobs:delete",
            "DataArtsStudio:instance:list",
            "DataArtsStudio:instance:create",
            "iam:users:list",
            "redrive:server:admin",
        )
    }
    assert [action for action, allowed in may.items() if allowed] == [
        "workspace:jobs:retry",
        "drs:migrationJob:action",
        "DataArtsStudio:instance:list",
    ]


def test_a_denied_kind_is_left_out_of_everything(scene: Scene, jobs: dict[str, list[str]]) -> None:
    client = scene.someone("administrator", policy(deny("redrive:jobs:*", Resource=jobs_of("timeseries"))))
    assert listed(client) == set(jobs[STREAMS])
    assert client.get(f"/v1/jobs/{jobs[SERIES][0]}").status_code == 403
    assert client.post("/v1/jobs/retry", json={"filter": {}}).json()["count"] == 3


def test_a_reader_does_not_act(scene: Scene, jobs: dict[str, list[str]]) -> None:
    client = scene.someone("timeseries-reader")
    assert listed(client) == set(jobs[SERIES])
    assert client.post(f"/v1/jobs/{jobs[SERIES][0]}/retry").status_code == 403
    assert client.post("/v1/jobs/retry", json={"filter": {}, "dry_run": True}).status_code == 403


# -- conditions


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ({"IpAddress": {"g:SourceIp": "127.0.0.1/32"}}, 200),
        ({"IpAddress": {"g:SourceIp": "10.0.0.0/8"}}, 403),
        ({"NotIpAddress": {"g:SourceIp": "127.0.0.0/8"}}, 403),
        ({"StringStartWith": {"g:UserName": "user"}}, 200),
        ({"StringEquals": {"g:UserName": "admin"}}, 403),
        ({"StringMatch": {"g:UserAgent": "python-httpx/*"}}, 200),
        ({"StringEquals": {"g:ProjectName": "local-1"}}, 200),
        ({"Bool": {"g:SecureTransport": "true"}}, 403),
        ({"Bool": {"g:MFAPresent": "false"}}, 200),
        ({"DateGreaterThan": {"g:CurrentTime": "2020-01-01T00:00:00Z"}}, 200),
        ({"DateLessThan": {"g:CurrentTime": "2020-01-01T00:00:00Z"}}, 403),
    ],
)
def test_conditions_ask_the_real_request(scene: Scene, condition: dict[str, Any], status: int) -> None:
    conditional = policy(allow("redrive:jobs:list", Condition=condition))
    assert scene.someone(conditional).get("/v1/jobs").status_code == status
    limited = scene.calling(scene.user("reader"), conditional)
    assert limited.get("/v1/jobs").status_code == status, "and so in what limits a key pair"


def test_an_address_is_that_of_the_connection_whatever_headers_say(scene: Scene) -> None:
    client = scene.someone(
        policy(allow("redrive:jobs:list", Condition={"IpAddress": {"g:SourceIp": "10.0.0.7"}}))
    )
    for name in ("X-Forwarded-For", "X-Real-IP", "Forwarded"):
        assert client.get("/v1/jobs", headers={name: "10.0.0.7"}).status_code == 403


# -- the trail


def test_refusals_of_every_surface_are_in_the_trail(scene: Scene) -> None:
    me = scene.user("reader")
    client = scene.calling(me)
    client.post("/v1/jobs/retry", json={"filter": {}})
    client.get("/v1/audit")
    httpx.get(f"{scene.api.url}/v1/jobs", auth=("00000000-0000-0000-0000-000000000000", "x"))
    httpx.get(f"{scene.api.url}/tsdb-service/v2.1/data/delete-detail", params={"orgId": "o\0x"})
    token = client.post("/v1/tokens").json()["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    for org in ("o1", "o\x001"):
        url = f"{scene.api.url}/tsdb-service/v2.1/data/delete-detail"
        httpx.get(url, params={"orgId": org, "jobId": "1"}, headers=bearer)
    scene.flush()
    answer = scene.root.get("/v1/audit", params={"outcome": "refused", "actor": me, "limit": 10})
    told = [(entry["surface"], entry["action"], entry["reason"]) for entry in answer.json()["entries"]]
    assert ("native", "redrive:jobs:retry", "implicit deny by identity-based policy") in told
    assert ("native", "redrive:audit:list", "implicit deny by identity-based policy") in told
    [(surface, _, reason)] = {each for each in told if each[0] != "native"}
    assert (surface, reason) == ("enos", "organization")
    strangers = scene.root.get("/v1/audit", params={"strangers": True, "limit": 100}).json()["entries"]
    claimed = [one for one in strangers if one["access_key"] == "00000000-0000-0000-0000-000000000000"]
    assert [(one["actor"], one["action"], one["reason"]) for one in claimed] == [
        ("unknown", "GET /v1/jobs", "unknown_key")
    ]
    assert not any(
        one["actor"] == "unknown" and one["access_key"]
        for one in scene.root.get("/v1/audit", params={"limit": 100}).json()["entries"]
    )


def test_strangers_are_shown_to_administrators_of_the_server_only(scene: Scene) -> None:
    client = scene.someone("identity-reader")
    assert client.get("/v1/audit").status_code == 200
    assert client.get("/v1/audit", params={"strangers": True}).status_code == 403


def test_the_trail_is_filtered_and_comes_in_pages(scene: Scene) -> None:
    group = scene.name("audited")
    for _ in range(3):
        scene.root.post("/v1/identity/groups", json={"name": group})
        scene.root.delete(f"/v1/identity/groups/{group}")
    query: dict[str, Any] = {"action": "iam:groups:*", "actor": "admin", "outcome": "changed", "limit": 2}
    found, before = [], None
    for _ in range(3):
        page = scene.root.get("/v1/audit", params={**query, **({"before": before} if before else {})}).json()
        found += [(entry["action"], entry["resource"]) for entry in page["entries"]]
        before = page["next"]
    assert found == [("iam:groups:delete", group), ("iam:groups:create", group)] * 3
    since = scene.root.get("/v1/audit", params={**query, "since": "2100-01-01T00:00:00Z"})
    assert since.json() == {"entries": [], "next": None}
    for wrong in (
        {"outcome": "allowed"},
        {"since": "yesterday"},
        {"before": "0"},
        {"before": "1" * 19},
        {"limit": 0},
        {"actor": "\0"},
        {"who": "x"},
    ):
        status = scene.root.get("/v1/audit", params=wrong).status_code
        assert status == (200 if wrong.get("before") == "1" * 19 else 422), wrong


# -- secrets


def test_no_secret_is_in_a_log_an_answer_the_trail_or_a_repr(
    scene: Scene, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "s3cret-that-stands-nowhere"
    user = scene.user(password=secret)
    pair = scene.root.post("/v1/identity/keys", json={"name": "app", "user": user}).json()
    temporary = scene.root.post("/v1/identity/temporary-keys", json={}).json()
    token = scene.token(user, "local-1", password=secret)
    hidden = [secret, pair["secret_key"], temporary["secret_key"], temporary["security_token"], token]
    client = scene.bearing(token)
    said = [
        scene.root.get(path).text
        for path in (
            "/v1/identity/users",
            "/v1/identity/keys",
            "/v1/audit?limit=1000",
            f"/v1/identity/users/{user}",
        )
    ]
    said.append(client.get("/v1/jobs").text)
    said.append(client.post(f"/v1/identity/users/{user}/password", json={"password": secret}).text)
    said.append(
        client.post("/v1/identity/tokens", json={"user_name": user, "password": secret, "x": secret}).text
    )
    said.append(client.post("/v1/identity/tokens", json={"user_name": "nobody", "password": secret}).text)
    scene.flush()
    with scene.db.transaction() as conn:
        for table in ("audit", "users", "key_pairs", "user_tokens", "idempotency_keys"):
            rows = conn.execute(f"select to_jsonb(t)::text as row from {table} t").fetchall()
            said += [row.row for row in rows]
    captured = capsys.readouterr()
    said += [caplog.text, captured.out, captured.err]
    values: list[Any] = [
        LoginBody(user_name=user, password=secret),
        NewUser(name=user, password=secret),
        PasswordChange(password=secret, old_password=secret),
    ]
    said += [repr(value) for value in values] + [repr(scene.authenticator.by_user_token(token))]
    for text in said:
        for one in hidden:
            assert one not in text
            assert json.dumps(one) not in text


def test_a_body_without_an_end_or_of_a_stranger_is_not_read(scene: Scene) -> None:
    big = {"name": "x", "description": "y" * (2 << 20)}
    assert scene.root.post("/v1/identity/groups", json=big).status_code == 413
    answer = httpx.post(f"{scene.api.url}/v1/identity/groups", json=big)
    assert answer.status_code == 401
    body = b'{"name": ' + b"[" * 200_000
    kind = {"content-type": "application/json"}
    assert scene.root.post("/v1/identity/groups", content=body, headers=kind).status_code in (400, 422)
    assert PASSWORD not in answer.text

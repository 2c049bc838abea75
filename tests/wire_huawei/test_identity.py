"""The identity calls: tokens by every documented form, catalog, projects, versions; refusals in their shapes."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.wire_huawei.scene import Cloud, login

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def ask(cloud: Cloud, scope: Any, query: str = "", **user: Any) -> Any:
    body = login(cloud.credentials.user_name, cloud.credentials.password, cloud.credentials.domain_name, None)
    if scope is not None:
        body["auth"]["scope"] = scope
    if user:
        body["auth"]["identity"]["password"]["user"] = {"password": cloud.credentials.password, **user}
    return cloud.http.post(f"/v3/auth/tokens{query}", json=body)


def test_a_token_has_everything_that_the_page_names(cloud: Cloud) -> None:
    answer = ask(cloud, {"project": {"name": cloud.credentials.project_name}})
    assert answer.status_code == 201 and answer.headers["X-Subject-Token"].startswith("rdu_")
    token = answer.json()["token"]
    domain = {"id": cloud.account_id, "name": "redrive"}
    assert token["methods"] == ["password"]
    assert token["project"] == {"id": cloud.project, "name": cloud.credentials.project_name, "domain": domain}
    assert token["user"]["domain"] == domain and token["user"]["password_expires_at"] == ""
    assert token["roles"] == [{"id": "0", "name": "root"}]
    issued, expires = (token[name] for name in ("issued_at", "expires_at"))
    assert INSTANT.fullmatch(issued) and INSTANT.fullmatch(expires)
    assert datetime.fromisoformat(expires) - datetime.fromisoformat(issued) == timedelta(hours=24)
    assert {entry["type"] for entry in token["catalog"]} == {
        "identity",
        "sts",
        "workspace",
        "drs",
        "dataarts",
    }
    for entry in token["catalog"]:
        (endpoint,) = entry["endpoints"]
        assert endpoint["interface"] == "public" and endpoint["url"].startswith(cloud.url)
        assert endpoint["region"] == endpoint["region_id"] == cloud.credentials.project_name


@pytest.mark.parametrize(
    ("scope", "of"),
    [
        (None, "domain"),
        ("unscoped", "domain"),
        ({"domain": {"name": "redrive"}}, "domain"),
        ({"project": {"name": "local-1"}}, "project"),
        ({"project": {"name": "local-1", "domain": {"name": "redrive"}}}, "project"),
    ],
)
def test_scopes(cloud: Cloud, scope: Any, of: str) -> None:
    token = ask(cloud, scope).json()["token"]
    assert of in token and ({"project", "domain"} - {of}).pop() not in token
    by_id = ask(cloud, {of: {"id": token[of]["id"]}}).json()["token"]
    assert by_id[of] == token[of]


def test_a_token_for_the_account_opens_no_project(cloud: Cloud) -> None:
    token = ask(cloud, {"domain": {"id": cloud.account_id}}).headers["X-Subject-Token"]
    assert cloud.call("GET", "/v2/{}/workspaces", token=token).status_code == 403
    bearer = {"Authorization": f"Bearer {token}"}
    assert cloud.http.get("/v1/jobs", headers=bearer).status_code == 403


def test_users_by_id_and_by_the_id_of_their_account(cloud: Cloud) -> None:
    user_id = ask(cloud, None).json()["token"]["user"]["id"]
    assert ask(cloud, None, id=user_id).status_code == 201
    assert ask(cloud, None, name="admin", domain={"id": cloud.account_id}).status_code == 201


def test_without_a_catalog(cloud: Cloud) -> None:
    assert "catalog" not in ask(cloud, None, "?nocatalog=true").json()["token"]
    assert "catalog" in ask(cloud, None).json()["token"]


@pytest.mark.parametrize(
    ("scope", "status"),
    [
        ({"project": {"name": "elsewhere"}}, 403),
        ({"project": {"id": "f" * 32}}, 403),
        ({"domain": {"name": "elsewhere"}}, 403),
        ({"project": {}}, 400),
        ({"project": {"name": "local-1"}, "domain": {"name": "redrive"}}, 400),
        ({}, 400),
        ([], 400),
        ({"project": {"name": 7}}, 400),
    ],
)
def test_scopes_that_cannot_be(cloud: Cloud, scope: Any, status: int) -> None:
    answer = ask(cloud, scope)
    assert answer.status_code == status and answer.json()["error"]["code"] == status
    assert answer.json()["error"]["title"] in ("Forbidden", "Bad Request")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"auth": []},
        {"auth": {"identity": {"methods": ["token"]}}},
        {"auth": {"identity": {"methods": ["password"]}}},
        {"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "admin"}}}}},
        {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": {"name": "a\0", "password": 1}}}
            }
        },
    ],
)
def test_bodies_that_are_no_request_for_a_token(cloud: Cloud, body: Any) -> None:
    answer = cloud.http.post("/v3/auth/tokens", json=body)
    assert answer.status_code == 400 and answer.json()["error"]["message"].startswith("auth")


def test_a_name_with_a_nul_is_nobodys(cloud: Cloud) -> None:
    assert cloud.http.post("/v3/auth/tokens", json=login("ad\0min", "x", "redrive", None)).status_code == 401


def test_looking_at_a_token_with_and_without_a_body_and_revoking_it(cloud: Cloud) -> None:
    mine, other = cloud.token(), cloud.user("olga", "reader")
    shown = cloud.call("GET", "/v3/auth/tokens", headers={"X-Subject-Token": other})
    assert shown.status_code == 200 and shown.headers["X-Subject-Token"] == other
    assert shown.json()["token"]["user"]["name"] == "olga"
    assert [role["name"] for role in shown.json()["token"]["roles"]] == ["reader"]
    head = cloud.call("HEAD", "/v3/auth/tokens", headers={"X-Subject-Token": other})
    assert (head.status_code, head.content) == (200, b"")
    # Others' tokens are looked at and ended by those who may.
    for method in ("GET", "HEAD", "DELETE"):
        subject = {"X-Subject-Token": mine}
        assert cloud.call(method, "/v3/auth/tokens", token=other, headers=subject).status_code == 403
    own = cloud.call("GET", "/v3/auth/tokens", token=other, headers={"X-Subject-Token": other})
    assert own.status_code == 200
    assert cloud.call("DELETE", "/v3/auth/tokens", headers={"X-Subject-Token": other}).status_code == 204
    gone = cloud.call("GET", "/v3/auth/tokens", headers={"X-Subject-Token": other})
    assert gone.status_code == 404 and gone.json()["error"]["code"] == 404
    assert cloud.call("GET", "/v3/auth/tokens").status_code == 400


def test_catalog_projects_accounts_and_who_calls(cloud: Cloud) -> None:
    assert {each["type"] for each in cloud.call("GET", "/v3/auth/catalog").json()["catalog"]} >= {
        "drs",
        "workspace",
    }
    (project,) = cloud.call("GET", "/v3/auth/projects").json()["projects"]
    assert (project["id"], project["name"]) == (cloud.project, cloud.credentials.project_name)
    (domain,) = cloud.call("GET", "/v3/auth/domains").json()["domains"]
    assert domain["id"] == cloud.account_id
    told = cloud.call("GET", "/v5/caller-identity").json()
    assert told["account_id"] == cloud.account_id and told["principal_urn"].endswith(":user:admin")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", 1),
        ("?name=local-1", 1),
        ("?name=x", 0),
        ("?name=%00", 0),
        ("?enabled=false", 0),
        ("?is_domain=true", 0),
        ("?domain_id=x", 0),
        ("?page=2", 0),
        ("?page=1&per_page=1", 1),
    ],
)
def test_projects_are_filtered(cloud: Cloud, query: str, found: int) -> None:
    answer = cloud.call("GET", f"/v3/projects{query}").json()
    assert len(answer["projects"]) == found and set(answer["links"]) == {"self", "previous", "next"}


@pytest.mark.parametrize("query", ["page=0", "per_page=5001", "per_page=x", "enabled=maybe"])
def test_queries_that_cannot_be_are_refused_by_name(cloud: Cloud, query: str) -> None:
    answer = cloud.call("GET", f"/v3/projects?{query}")
    assert answer.status_code == 400 and answer.json()["error"]["message"].startswith(query.partition("=")[0])


def test_version_discovery(cloud: Cloud) -> None:
    listed = cloud.http.get("/")
    assert listed.status_code == 300 and listed.json()["versions"]["values"][0]["id"] == "v3.6"
    assert cloud.http.get("/v3").json()["version"]["links"][0]["href"] == f"{cloud.url}/v3/"


def test_an_address_that_is_none_does_not_get_into_a_catalog(cloud: Cloud) -> None:
    for host in ("evil.example/x", "a b", "x@y"):
        assert cloud.http.get("/", headers={"host": host}).status_code == 400, host


def test_calls_that_there_are_not_are_the_gateways_to_refuse(cloud: Cloud) -> None:
    for path in ("/v2/x", "/v3/nothing", "/v5/nothing", "/v3.0/nothing"):
        answer = cloud.call("GET", path)
        assert (answer.status_code, answer.json()["error_code"]) == (404, "APIGW.0101"), path
    assert cloud.http.get("/v2/x/workspaces").json()["error_code"] == "APIGW.0301"


def test_after_ten_wrong_passwords_a_user_is_closed_for_the_address_that_sent_them(cloud: Cloud) -> None:
    wrong = login("nina", "wrong", cloud.credentials.domain_name, None)
    statuses = [cloud.http.post("/v3/auth/tokens", json=wrong).status_code for _ in range(11)]
    assert statuses == [401] * 10 + [429]
    assert ask(cloud, None).status_code == 201


def test_temporary_keys_end_with_the_token_and_stand_in_the_trail(cloud: Cloud) -> None:
    token = cloud.token()
    cloud.db.run(
        lambda conn: conn.execute("update user_tokens set expires_at = now() + interval '20 minutes'")
    )
    cloud.parts.authenticator.forget_all()
    asked = {"methods": ["token"], "token": {"duration_seconds": 3600}}
    path = "/v3.0/OS-CREDENTIAL/securitytokens"
    made = cloud.call("POST", path, token=token, json={"auth": {"identity": asked}}).json()["credential"]
    ends = datetime.fromisoformat(made["expires_at"])
    assert ends < datetime.now(ends.tzinfo) + timedelta(minutes=21)
    assert ("huawei", "iam:temporaryKeys:create") in [(row.surface, row.action) for row in cloud.audit()]

"""Who may call the native API, and how refusals look there."""

from __future__ import annotations

import base64

import httpx
import pytest

from redrive.database import Database
from redrive.errors import ProblemCode
from redrive.identity.access import EVERYTHING, Action
from redrive.identity.builtin import key_policy
from redrive.identity.credentials import Credentials
from redrive.identity.keys import NewKeyPair, create_key, find_tenant
from redrive.identity.sealing import Sealer
from redrive.wire.native.problems import PROBLEM_RESPONSES


def member(db: Database, sealer: Sealer, credentials: Credentials) -> NewKeyPair:
    with db.transaction() as conn:
        tenant = find_tenant(conn, credentials.org_id)
        user = conn.execute("select id from users").fetchone()
        return create_key(
            conn,
            sealer,
            tenant_id=tenant.id,
            user_id=user.id,
            name="app",
            policy=key_policy({Action.READ: EVERYTHING}),
        )


def test_a_key_pair_is_known_by_basic_authentication(known: httpx.Client) -> None:
    got = known.get("/v1/me").json()
    assert (got["actor"], got["admin"]) == ("admin", True)


def test_a_token_is_known_and_is_the_same_while_it_lives(known: httpx.Client) -> None:
    first, second = known.post("/v1/tokens").json(), known.post("/v1/tokens").json()
    assert first["access_token"] == second["access_token"] and first["token_type"] == "bearer"
    assert 7190 <= first["expires_in"] <= 7200
    bearer = {"Authorization": f"Bearer {first['access_token']}"}
    assert known.get("/v1/me", headers=bearer, auth=None).json()["actor"] == "admin"


def test_a_token_cannot_prolong_itself(known: httpx.Client) -> None:
    bearer = {"Authorization": f"Bearer {known.post('/v1/tokens').json()['access_token']}"}
    assert known.post("/v1/tokens", headers=bearer, auth=None).status_code == 401


def test_who_is_not_known_gets_401_and_a_challenge(http: httpx.Client, credentials: Credentials) -> None:
    key, secret = credentials.access_key, credentials.secret_key

    def basic(text: str) -> str:
        return "Basic " + base64.b64encode(text.encode()).decode()

    for value in (
        None, "", "Basic", "Basic !!", basic("nocolon"), basic(":"), basic(f"{key}:"), basic(f"{key}:x"),
        basic(f"x:{secret}"), "Basic " + base64.b64encode(b"\xff:\xff").decode(), "Bearer", "Bearer nonsense",
        f"Bearer {secret}", "Digest x", key,
    ):  # fmt: skip
        got = http.get("/v1/me", headers={} if value is None else {"Authorization": value})
        assert got.status_code == 401, value
        assert got.headers["www-authenticate"].startswith("Basic realm=")
        assert got.headers["content-type"] == "application/problem+json"
        assert got.json()["type"] == "urn:redrive:problem:unauthenticated"


def test_a_member_is_told_that_the_server_is_for_admins(
    http: httpx.Client, db: Database, sealer: Sealer, credentials: Credentials
) -> None:
    made = member(db, sealer, credentials)
    auth = httpx.BasicAuth(made.access_key, made.secret_key)
    assert http.get("/v1/me", auth=auth).json()["actor"] == "app"
    got = http.get("/v1/server", auth=auth)
    assert got.status_code == 403 and got.json()["reason"] == "role"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("invalid", 422), ("unauthenticated", 401), ("forbidden", 403), ("not_found", 404), ("conflict", 409),
        ("too_large", 413), ("too_many", 429), ("unavailable", 503),
    ],
)  # fmt: skip
def test_every_problem_has_a_status_and_all_its_words(code: str, status: int, http: httpx.Client) -> None:
    got = http.get(f"/v1/problems/{code}")
    assert got.status_code == status
    body = got.json()
    assert body.pop("request_id") and body.pop("title")
    assert body == {
        "type": f"urn:redrive:problem:{code}",
        "status": status,
        "detail": "what is wrong",
        "hint": "do this",
        "reason": "why",
        "errors": [{"field": "f", "expected": "x", "got": "y"}],
    }
    assert ("retry-after" in got.headers) == (status in (429, 503))


def test_the_table_of_statuses_is_total() -> None:
    from redrive.wire.native.problems import _STATUS

    assert set(_STATUS) == set(ProblemCode)


def test_a_bad_body_names_its_fields(known: httpx.Client) -> None:
    got = known.post("/v1/notes", json={"times": "many"})
    assert got.status_code == 422
    errors = {item["field"]: item for item in got.json()["errors"]}
    assert set(errors) == {"text", "times"} and errors["times"]["got"] == "many"
    broken = known.post("/v1/notes", content=b"{", headers={"content-type": "application/json"})
    assert broken.status_code == 422 and broken.json()["errors"][0]["field"] == "body"


def test_a_bug_is_500_with_a_request_id_and_no_text(known: httpx.Client) -> None:
    got = known.post("/v1/notes", json={"text": "bug"})
    assert got.status_code == 500 and got.headers["content-type"] == "application/problem+json"
    assert "nobody" not in got.text and got.json()["request_id"] in got.json()["detail"]


def test_unknown_paths_answer_as_problems_and_elsewhere_in_the_vendors_way(http: httpx.Client) -> None:
    got = http.get("/v1/nothing")
    assert got.status_code == 404 and got.json()["type"] == "urn:redrive:problem:not_found"
    wrong_method = http.delete("/v1/me")
    assert wrong_method.status_code == 405 and wrong_method.headers["allow"] == "GET"
    assert http.get("/elsewhere/nothing").text == "theirs: not_found"


def test_the_database_away_is_503(known: httpx.Client, db: Database) -> None:
    known.get("/v1/me")
    db.wait_seconds = 0.1
    db.close()
    got = known.post("/v1/notes", json={"text": "x"})
    assert got.status_code == 503 and got.headers["retry-after"]


def test_the_description_of_a_refusal_is_a_schema_without_loose_ends() -> None:
    schema = PROBLEM_RESPONSES["default"]["content"]["application/problem+json"]["schema"]
    assert "$ref" not in str(schema)


def test_a_page_of_another_site_cannot_use_the_key_pair_of_a_browser(
    known: httpx.Client, db: Database
) -> None:
    here = str(known.base_url).rstrip("/")
    for headers, allowed in [
        ({}, True),
        ({"Origin": here}, True),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://behind-a-proxy"}, True),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site", "Origin": here}, False),
    ]:
        got = known.post("/v1/notes", json={"text": "a"}, headers=headers)
        assert got.status_code == (201 if allowed else 403), headers
        assert known.get("/v1/me", headers=headers).status_code == 200
    token = known.post("/v1/tokens").json()["access_token"]
    bearer = {"Authorization": f"Bearer {token}", "Origin": "https://app.example"}
    assert known.post("/v1/notes", json={"text": "a"}, headers=bearer, auth=None).status_code == 201

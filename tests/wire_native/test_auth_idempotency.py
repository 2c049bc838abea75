"""``Idempotency-Key``: the same request has its effect once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from redrive.database import Database
from redrive.identity.builtin import key_policy
from redrive.identity.credentials import Credentials
from redrive.identity.keys import create_key
from redrive.identity.sealing import Sealer
from redrive.wire.native import idempotency
from tests.wire_native.conftest import Gate

KEY = {"Idempotency-Key": "4f0c"}


def notes(db: Database) -> list[str]:
    with db.transaction() as conn:
        return [row.text for row in conn.execute("select text from notes order by id")]


def test_a_request_without_a_key_is_done_each_time(known: httpx.Client, db: Database) -> None:
    for _ in range(2):
        assert known.post("/v1/notes", json={"text": "a"}).status_code == 201
    assert notes(db) == ["a", "a"]


def test_a_request_that_comes_again_gets_the_same_answer(known: httpx.Client, db: Database) -> None:
    first = known.post("/v1/notes", json={"text": "a"}, headers=KEY)
    again = known.post("/v1/notes", json={"text": "a"}, headers=KEY)
    assert (first.status_code, first.content) == (again.status_code, again.content) == (201, first.content)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert notes(db) == ["a"]


def test_the_key_with_another_request_is_refused(known: httpx.Client, db: Database) -> None:
    known.post("/v1/notes", json={"text": "a"}, headers=KEY)
    for again in (
        known.post("/v1/notes", json={"text": "b"}, headers=KEY),
        known.post("/v1/notes?x=1", json={"text": "a"}, headers=KEY),
    ):
        assert again.status_code == 422 and again.json()["reason"] == "idempotency_key_reused"
    assert notes(db) == ["a"]


@pytest.mark.parametrize("text", ["refused", "bug"])
def test_a_request_that_had_no_effect_leaves_its_key_free(
    known: httpx.Client, db: Database, text: str
) -> None:
    assert known.post("/v1/notes", json={"text": text}, headers=KEY).status_code in (409, 500)
    assert known.post("/v1/notes", json={"text": "a"}, headers=KEY).status_code == 201
    assert notes(db) == ["a"]


def test_requests_at_the_same_time_have_one_effect_and_one_answer(known: httpx.Client, db: Database) -> None:
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda _: known.post("/v1/notes", json={"text": "a"}, headers=KEY), range(8)))
    assert {(answer.status_code, answer.content) for answer in got} == {(201, got[0].content)}
    assert notes(db) == ["a"]


def test_a_second_request_waits_a_while_for_the_first_and_then_gets_409(
    known: httpx.Client, db: Database, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "WAIT_SECONDS", 0.2)
    gate.open.clear()
    answers: list[httpx.Response] = []
    first = threading.Thread(
        target=lambda: answers.append(known.post("/v1/notes", json={"text": "held"}, headers=KEY))
    )
    first.start()
    assert gate.reached.wait(10)
    second = known.post("/v1/notes", json={"text": "held"}, headers=KEY)
    assert second.status_code == 409 and second.json()["reason"] == "idempotency_key_busy"
    gate.open.set()
    first.join(10)
    assert answers[0].status_code == 201
    third = known.post("/v1/notes", json={"text": "held"}, headers=KEY)
    assert third.content == answers[0].content
    assert notes(db) == ["held"]


def test_keys_are_the_tenants_own(
    known: httpx.Client, db: Database, sealer: Sealer, credentials: Credentials
) -> None:
    with db.transaction() as conn:
        conn.execute(
            "insert into tenants (id, account_id, project_id, project_name, org_id, workspace_id)"
            " select 7, account_id, repeat('a', 32), 'other', 'o222', repeat('b', 32) from tenants"
        )
        user = conn.execute("select id from users").fetchone()
        other = create_key(conn, sealer, tenant_id=7, user_id=user.id, name="other", policy=key_policy({}))
    known.post("/v1/notes", json={"text": "mine"}, headers=KEY)
    auth = httpx.BasicAuth(other.access_key, other.secret_key)
    got = known.post("/v1/notes", json={"text": "theirs"}, headers=KEY, auth=auth)
    assert got.status_code == 201 and notes(db) == ["mine", "theirs"]


def test_a_key_is_free_again_after_a_day(known: httpx.Client, db: Database) -> None:
    known.post("/v1/notes", json={"text": "a"}, headers=KEY)
    with db.transaction() as conn:
        conn.execute("update idempotency_keys set created_at = now() - interval '25 hours'")
    assert known.post("/v1/notes", json={"text": "b"}, headers=KEY).status_code == 201
    assert notes(db) == ["a", "b"]


def test_a_key_that_is_no_key_is_refused(known: httpx.Client, db: Database) -> None:
    for key in (b"", b"x" * 256, b"\xe9", b"a\tb"):
        got = known.post("/v1/notes", json={"text": "a"}, headers=[(b"Idempotency-Key", key)])
        assert got.status_code == 422 and got.json()["errors"][0]["field"] == "Idempotency-Key"
    assert notes(db) == []

"""The token calls: bodies, replies and every documented status."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from redrive.database import Database
from redrive.identity import tokens
from redrive.identity.access import EVERYTHING, Action
from redrive.identity.authentication import Authenticator
from redrive.identity.keys import find_tenant, revoke_key
from redrive.identity.sealing import Sealer
from tests.wire_enos.gateway_caller import Gateway, new_caller

STRANGER = "11111111-2222-3333-4444-555555555555"


def test_a_token_reply_has_the_documented_form(gateway: Gateway) -> None:
    got = gateway.token_call(gateway.token_body())
    assert (got["status"], got["msg"]) == (0, "SUCCESS")
    assert set(got["data"]) == {"accessToken", "expire"}
    assert 7195 <= got["data"]["expire"] <= 7200


def test_the_timestamp_may_be_a_number_or_its_text(gateway: Gateway) -> None:
    assert gateway.token_call(gateway.token_body(timestamp=str(gateway.now_ms())))["status"] == 0


def test_asking_again_gives_the_same_token_with_its_remaining_life(gateway: Gateway, db: Database) -> None:
    first = gateway.token()
    with db.transaction() as conn:
        conn.execute("update access_tokens set expires_at = expires_at - interval '1 hour'")
    got = gateway.token_call(gateway.token_body())
    assert got["data"]["accessToken"] == first
    assert 3590 <= got["data"]["expire"] <= 3600


def test_first_calls_at_the_same_time_get_one_token(gateway: Gateway) -> None:
    bodies = [gateway.token_body(timestamp=gateway.now_ms() + number) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(gateway.token_call, bodies))
    assert {reply["status"] for reply in got} == {0}
    assert len({reply["data"]["accessToken"] for reply in got}) == 1


def test_the_database_holds_no_token_in_clear(gateway: Gateway, db: Database) -> None:
    token = gateway.token()
    with db.transaction() as conn:
        row = conn.execute("select hash, nonce from access_tokens").fetchone()
    assert bytes(row.hash) == hashlib.sha256(token.encode()).digest()
    assert token.encode() not in bytes(row.nonce)


def test_a_token_of_one_process_is_known_to_another(gateway: Gateway, db: Database, sealer: Sealer) -> None:
    token = gateway.token()
    assert Authenticator(db, sealer).by_token(token).principal.org_id == gateway.org_id


def test_an_expired_token_gives_way_to_a_new_one(gateway: Gateway, db: Database) -> None:
    first = gateway.token()
    with db.transaction() as conn:
        conn.execute("update access_tokens set expires_at = now()")
    assert gateway.token() != first


def test_a_refresh_gives_a_new_token_and_leaves_the_old_one_its_life(gateway: Gateway) -> None:
    old = gateway.token()
    got = gateway.token_call(gateway.token_body(accessToken=old), "refresh")
    new = got["data"]["accessToken"]
    assert got["status"] == 0 and new != old and got["data"]["expire"] >= 7195
    for token in (old, new):
        headers = {"Authorization": f"Bearer {token}"}
        assert (
            gateway.call("GET", "/tsdb-service/v2.1/echo", f"orgId={gateway.org_id}", headers=headers)["code"]
            == 0
        )
    assert gateway.token() == new


def test_an_encryption_counts_once(gateway: Gateway) -> None:
    body = gateway.token_body()
    assert gateway.token_call(body)["status"] == 0
    assert gateway.token_call(body)["status"] == 1001
    assert gateway.token_call(body | {"accessToken": gateway.token()}, "refresh")["status"] == 1001


def test_an_unknown_app_key_is_1002(gateway: Gateway) -> None:
    stranger = Gateway(gateway.http, gateway.org_id, STRANGER, gateway.secret_key)
    assert gateway.token_call(stranger.token_body())["status"] == 1002


def test_a_revoked_app_key_is_1002_also_where_it_is_still_kept(
    gateway: Gateway, db: Database, sealer: Sealer
) -> None:
    caller = new_caller(db, sealer, gateway, {Action.READ: EVERYTHING})
    token = caller.token()
    with db.transaction() as conn:
        revoke_key(conn, find_tenant(conn, caller.org_id).id, caller.access_key)
    assert caller.token_call(caller.token_body())["status"] == 1002
    assert caller.token_call(caller.token_body(accessToken=token), "refresh")["status"] == 1002


def test_a_wrong_encryption_is_1003(gateway: Gateway) -> None:
    for encryption in ("x", "0" * 64, "\N{SNOWMAN}", "A" * 10_000):
        assert gateway.token_call(gateway.token_body(encryption=encryption))["status"] == 1003


def test_an_encryption_in_capitals_is_1003(gateway: Gateway) -> None:
    body = gateway.token_body()
    assert gateway.token_call(body | {"encryption": body["encryption"].upper()})["status"] == 1003


def test_a_wrong_encryption_is_not_remembered(gateway: Gateway, db: Database) -> None:
    for _ in range(2):
        assert gateway.token_call(gateway.token_body(encryption="x"))["status"] == 1003
    with db.transaction() as conn:
        assert conn.execute("select count(*) as n from used_proofs").fetchone().n == 0


def test_a_body_that_is_not_the_documented_one_is_1004(gateway: Gateway) -> None:
    for body in ([], "text", 7, None, {"appKey": 7, "encryption": "x", "timestamp": 1}):
        assert gateway.token_call(body)["status"] == 1004


def test_a_timestamp_that_is_none_is_1004(gateway: Gateway) -> None:
    for timestamp in ("12.5", "soon", 1.5, True, -1, "1" * 17, [1], "\N{SUPERSCRIPT TWO}"):
        assert gateway.token_call(gateway.token_body(timestamp=timestamp))["status"] == 1004


def test_bytes_that_are_no_json_are_1004(gateway: Gateway) -> None:
    for raw in (b"", b"{", b"\xff\xfe", b"[" * 20_000, b" " * 1_000_000):
        response = gateway.http.post("/apim-token-service/v2.0/token/get", content=raw)
        assert (response.status_code, response.json()["status"]) == (200, 1004)


def test_a_timestamp_more_than_five_minutes_off_is_1004_and_says_by_how_much(gateway: Gateway) -> None:
    for minutes, words in ((-6, "behind"), (6, "ahead of"), (-60 * 24 * 365, "behind")):
        got = gateway.token_call(gateway.token_body(timestamp=gateway.now_ms() + minutes * 60_000))
        assert got["status"] == 1004 and words in got["msg"]


def test_a_timestamp_less_than_five_minutes_off_is_accepted(gateway: Gateway) -> None:
    for minutes in (-4, 4):
        timestamp = gateway.now_ms() + minutes * 60_000
        assert gateway.token_call(gateway.token_body(timestamp=timestamp))["status"] == 0


def test_an_empty_parameter_is_1202_and_named(gateway: Gateway) -> None:
    for name in ("appKey", "encryption", "timestamp", "accessToken"):
        whole = gateway.token_body(accessToken="x")
        without = {key: value for key, value in whole.items() if key != name}
        for body in (without, whole | {name: ""}, whole | {name: None}):
            got = gateway.token_call(body, "refresh")
            assert got["status"] == 1202 and name in got["msg"]


def test_refreshing_an_expired_token_is_1203(gateway: Gateway, db: Database) -> None:
    token = gateway.token()
    with db.transaction() as conn:
        conn.execute("update access_tokens set expires_at = now()")
    assert gateway.token_call(gateway.token_body(accessToken=token), "refresh")["status"] == 1203


def test_refreshing_what_is_no_token_of_this_key_is_1204(
    gateway: Gateway, db: Database, sealer: Sealer
) -> None:
    other = new_caller(db, sealer, gateway, {}).token()
    for token in ("nonsense", "\N{SNOWMAN}", other):
        assert gateway.token_call(gateway.token_body(accessToken=token), "refresh")["status"] == 1204


def test_a_key_pair_cannot_hoard_tokens(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MOST_LIVE_TOKENS", 2)
    token = gateway.token()
    start = gateway.now_ms()
    got = [
        gateway.token_call(gateway.token_body(accessToken=token, timestamp=start + number), "refresh")
        for number in range(2)
    ]
    assert [reply["status"] for reply in got] == [0, 1204]


def test_a_fault_of_the_service_is_1005_without_its_text(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a text that nobody may see")

    monkeypatch.setattr("redrive.wire.enos.token.use_proof", fail)
    got = gateway.token_call(gateway.token_body())
    assert got["status"] == 1005 and "nobody" not in got["msg"]


def test_what_is_past_is_swept_on_the_way(gateway: Gateway, db: Database) -> None:
    gateway.token()
    with db.transaction() as conn:
        conn.execute("update used_proofs set expires_at = now() - interval '1 minute'")
        conn.execute("update access_tokens set expires_at = now() - interval '2 days'")
    gateway.token()
    with db.transaction() as conn:
        assert conn.execute("select count(*) as n from used_proofs").fetchone().n == 1
        assert conn.execute("select count(*) as n from access_tokens").fetchone().n == 1


def test_a_proof_is_kept_as_long_as_the_clock_rule_accepts_it(gateway: Gateway, db: Database) -> None:
    timestamp = gateway.now_ms() + 4 * 60_000
    gateway.token_call(gateway.token_body(timestamp=timestamp))
    with db.transaction() as conn:
        row = conn.execute(
            "select expires_at - to_timestamp(%s::float8 / 1000) as rest from used_proofs", (timestamp,)
        ).fetchone()
    assert row.rest > tokens.CLOCK_SKEW > timedelta()

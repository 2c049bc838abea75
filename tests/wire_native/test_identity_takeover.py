"""Who manages users does not become one that may more: by no password, key pair, group, policy or name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from redrive.database.embedded import EmbeddedPostgres
from tests.wire_native.identity_scene import PASSWORD, Scene, allow, deny, identity_scene, policy
from tests.wire_native.jobs_scene import database_of_a_module

WHO = (
    "root",
    "directly",
    "by a group",
    "in another project",
    "all but one thing",
    "under a condition",
    "disabled",
)
MINE = "a password that only I know"


@pytest.fixture(scope="module")
def scene(
    postgres: EmbeddedPostgres, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    with database_of_a_module(postgres) as db, identity_scene(db, tmp_path_factory.mktemp("i")) as scene:
        yield scene


def stronger(scene: Scene, who: str) -> str:
    """A user that may more than an identity administrator."""
    if who == "root":
        return "admin"
    if who == "by a group":
        name = scene.user()
        scene.group("timeseries-reader", members=[name])
        return name
    if who == "in another project":
        name, (project, _, _) = scene.user(), scene.project()
        attachment = {"policy": "reader", "user": name, "project": project}
        assert scene.root.post("/v1/identity/attachments", json=attachment).status_code == 201
        return name
    documents: dict[str, Any] = {
        "directly": "administrator",
        "all but one thing": policy({"Effect": "Allow", "NotAction": ["iam:users:delete"]}),
        "under a condition": policy(
            allow("redrive:jobs:list", Condition={"IpAddress": {"g:SourceIp": ["10.0.0.0/8"]}})
        ),
        "disabled": "administrator",
    }
    name = scene.user(documents[who])
    if who == "disabled":
        assert scene.root.patch(f"/v1/identity/users/{name}", json={"enabled": False}).status_code == 200
    return name


def facts(scene: Scene, name: str) -> list[str]:
    """What is stored of a user: itself with the hash of its password, key pairs, attachments, groups."""
    with scene.db.transaction() as conn:
        (user,) = conn.execute("select id, t::text as told from users t where name = %s", (name,)).fetchall()
        found = [user.told]
        for table in ("key_pairs", "policy_attachments", "group_members"):
            rows = conn.execute(f"select t::text from {table} t where user_id = %s", (user.id,)).fetchall()
            found += sorted(str(row[0]) for row in rows)
    return found


@pytest.mark.parametrize("who", WHO)
def test_somebody_who_may_more_is_not_taken_over(scene: Scene, who: str) -> None:
    victim, me = stronger(scene, who), scene.user("identity-administrator")
    pair, client = scene.pair(victim), scene.calling(me)
    before = facts(scene, victim)
    keys, password = "/v1/identity/keys", f"/v1/identity/users/{victim}/password"
    more = [{"policy": each} for each in (policy(allow("*")), policy(allow("redrive:jobs:*", "enos:*")))]
    tries: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", password, {}),
        ("POST", password, {"password": MINE}),
        ("POST", password, {"password": MINE, "old_password": PASSWORD}),
        ("POST", keys, {"name": "mine", "user": victim}),
        *(("POST", keys, {"name": "mine", "user": victim, **each}) for each in more),
        ("POST", keys, {"name": "mine", "user": victim, "read": True, "write": True, "admin": True}),
        ("POST", f"{keys}/{pair.access_key}/rotate", {}),
        ("POST", f"{keys}/{pair.access_key}/rotate", {"keep_old": True}),
        ("POST", "/v1/identity/attachments", {"policy": "administrator", "user": me}),
        ("POST", "/v1/identity/attachments", {"policy": "administrator", "user": victim}),
    ]
    if who == "in another project":  # a pair with limits has nothing there
        tries = [each for each in tries if not {"policy", "read"} & set(each[2]) or each[1] != keys]
    for method, url, body in tries:
        answer = client.request(method, url, json=body)
        reason = "root" if who == "root" and body.get("user") != me else "escalation"
        assert (answer.status_code, answer.json().get("reason")) == (403, reason), (url, body, answer.text)
        assert "secret" not in answer.text and MINE not in answer.text
    assert facts(scene, victim) == before
    assert client.get("/v1/jobs").status_code == 403
    told = [row for row in scene.trail(outcome="refused") if row.actor == me]
    assert len(told) >= 4 and not any(MINE in str(row) for row in told)
    login = {"user_name": victim, "password": MINE, "domain_name": "redrive"}
    assert httpx.post(f"{scene.api.url}/v1/identity/tokens", json=login).status_code == 401
    expected = 401 if who == "disabled" else 201
    assert scene.client(pair).post("/v1/identity/temporary-keys", json={}).status_code == expected


def test_the_own_password_is_not_set_by_a_pair_of_the_user_without_the_old_one(scene: Scene) -> None:
    victim = scene.user("administrator", password="the old one of the victim")
    pair = scene.calling(victim, policy(allow("iam:*")))
    before = facts(scene, victim)
    for body in ({}, {"password": MINE}, {"password": MINE, "old_password": "not the old one"}):
        answer = pair.post(f"/v1/identity/users/{victim}/password", json=body)
        assert answer.status_code in (401, 422), answer.text
    assert facts(scene, victim) == before
    other = scene.user("administrator")
    answer = pair.post(f"/v1/identity/users/{other}/password", json={"password": MINE})
    assert (answer.status_code, answer.json()["reason"]) == (403, "escalation")


def test_a_user_that_may_more_can_be_shut_out_and_that_gives_nobody_its_rights(scene: Scene) -> None:
    client = scene.someone("identity-administrator")
    victim = scene.user("administrator")
    lost = scene.client(scene.pair(victim))
    assert lost.get("/v1/jobs").status_code == 200
    assert client.patch(f"/v1/identity/users/{victim}", json={"enabled": False}).status_code == 200
    assert lost.get("/v1/jobs").status_code == 401
    refused = client.post(f"/v1/identity/users/{victim}/password", json={"password": MINE})
    assert (refused.status_code, refused.json()["reason"]) == (403, "escalation")
    assert client.patch("/v1/identity/users/admin", json={"enabled": False}).json()["reason"] == "root"
    assert client.delete("/v1/identity/users/admin").status_code in (403, 409)
    assert scene.root.get("/v1/jobs").status_code == 200


def test_who_takes_the_name_of_a_deleted_user_does_not_get_its_rights(scene: Scene) -> None:
    client = scene.someone("identity-administrator")
    victim = scene.user("administrator")
    group = scene.group("administrator", members=[victim])
    token = scene.token(victim, "local-1")
    assert scene.bearing(token).get("/v1/jobs").status_code == 200
    assert client.delete(f"/v1/identity/users/{victim}").status_code == 204
    made = client.post("/v1/identity/users", json={"name": victim, "password": MINE})
    assert made.status_code == 201, made.text
    mine = scene.bearing(scene.token(victim, "local-1", MINE))
    assert mine.get("/v1/jobs").status_code == 403
    assert scene.bearing(token).get("/v1/jobs").status_code == 401
    assert client.get("/v1/identity/attachments", params={"user": victim}).json()["attachments"] == []
    refused = client.put(f"/v1/identity/groups/{group}/members/{victim}")
    assert (refused.status_code, refused.json()["reason"]) == (403, "escalation")


def test_a_denial_that_keeps_the_caller_down_is_not_gone_round_by_a_user_of_its_own(scene: Scene) -> None:
    me = scene.user("administrator", policy(deny("redrive:jobs:cancel")))
    client, other = scene.calling(me), scene.user()
    free = scene.user("operator", policy(allow("redrive:jobs:cancel")))
    for body in ({"policy": "administrator", "user": other}, {"policy": "operator", "user": other}):
        answer = client.post("/v1/identity/attachments", json=body)
        expected = 403 if body["policy"] == "administrator" else 201
        assert answer.status_code == expected, answer.text
    answer = client.post(f"/v1/identity/users/{free}/password", json={"password": MINE})
    assert (answer.status_code, answer.json()["reason"]) == (403, "escalation")
    assert client.post("/v1/identity/keys", json={"name": "x", "user": free}).status_code == 403


def test_a_key_pair_of_another_is_no_way_into_a_project_where_that_one_may_more(scene: Scene) -> None:
    project, _, _ = scene.project()
    me, victim = scene.user("identity-administrator"), scene.user("identity-administrator")
    there = {"policy": "administrator", "user": victim, "project": project}
    assert scene.root.post("/v1/identity/attachments", json=there).status_code == 201
    client, keys = scene.calling(me), "/v1/identity/keys"
    # Without limits it would be the user, also in the other project.
    refused = client.post(keys, json={"name": "mine", "user": victim})
    assert (refused.status_code, refused.json()["reason"]) == (403, "escalation")
    left = scene.pair(victim)
    refused = client.post(f"{keys}/{left.access_key}/rotate")
    assert (refused.status_code, refused.json()["reason"]) == (403, "escalation")
    # With limits it has nothing there: it makes no pair there, and gives nothing away.
    made = client.post(keys, json={"name": "mine", "user": victim, "policy": policy(allow("*"))})
    assert made.status_code == 201, made.text
    pair = scene.client((made.json()["access_key"], made.json()["secret_key"]))
    assert pair.post(keys, json={"name": "more", "project": project}).status_code == 403
    for attachment in ({**there, "user": me}, {"policy": "reader", "user": me, "project": project}):
        refused = pair.post("/v1/identity/attachments", json=attachment)
        assert (refused.status_code, refused.json()["reason"]) == (403, "escalation")
    # Who may the same in that project, too, can have one.
    assert scene.root.post("/v1/identity/attachments", json={**there, "user": me}).status_code == 201
    assert client.post(keys, json={"name": "mine", "user": victim}).status_code == 201

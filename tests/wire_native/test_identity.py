"""The calls about identities: users, groups, policies, key pairs, projects, tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from redrive.database.embedded import EmbeddedPostgres
from redrive.identity.builtin import DOCUMENTS
from redrive.identity.passwords import password_fits
from tests.wire_native.identity_scene import PASSWORD, Scene, allow, deny, identity_scene, policy
from tests.wire_native.jobs_scene import database_of_a_module

READS = policy(allow("enos:asset:read", Resource=["enos:*:*:asset:a1"]))


@pytest.fixture(scope="module")
def scene(
    postgres: EmbeddedPostgres, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    with database_of_a_module(postgres) as db, identity_scene(db, tmp_path_factory.mktemp("i")) as scene:
        yield scene


def made(answer: httpx.Response, status: int = 201) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


# -- users


def test_a_user_is_made_listed_shown_changed_and_deleted(scene: Scene) -> None:
    name = scene.name("anna")
    body = {"name": name, "password": PASSWORD, "description": "at night"}
    user = made(scene.root.post("/v1/identity/users", json=body))
    assert (user["name"], user["enabled"], user["root"], user["password"]) == (name, True, False, None)
    [listed] = [one for one in scene.root.get("/v1/identity/users").json()["users"] if one["name"] == name]
    for by in (name, user["id"]):
        assert made(scene.root.get(f"/v1/identity/users/{by}"), 200) == listed
    changed = made(scene.root.patch(f"/v1/identity/users/{name}", json={"enabled": False}), 200)
    assert (changed["enabled"], changed["description"]) == (False, "at night")
    changed = made(scene.root.patch(f"/v1/identity/users/{name}", json={"description": "no more"}), 200)
    assert (changed["enabled"], changed["description"]) == (False, "no more")
    assert scene.root.delete(f"/v1/identity/users/{name}").status_code == 204
    assert scene.root.get(f"/v1/identity/users/{name}").status_code == 404
    entries = [
        (row.action, row.actor, row.surface) for row in scene.trail("iam:users:%") if row.resource == name
    ]
    assert entries == [
        ("iam:users:create", "admin", "native"),
        ("iam:users:update", "admin", "native"),
        ("iam:users:update", "admin", "native"),
        ("iam:users:delete", "admin", "native"),
    ]


def test_a_password_that_is_not_given_is_made_and_shown_once(scene: Scene) -> None:
    name = scene.name("ben")
    user = made(scene.root.post("/v1/identity/users", json={"name": name}))
    assert len(user["password"]) >= 20
    assert scene.token(name, password=user["password"])
    assert "password" not in scene.root.get(f"/v1/identity/users/{name}").json()
    assert user["password"] not in json.dumps([row.detail for row in scene.trail()])


def test_users_come_in_pages(scene: Scene) -> None:
    names = sorted(scene.user(stem="paged") for _ in range(5))
    found, after = [], names[0][:5]
    while after:
        page = scene.root.get("/v1/identity/users", params={"after": after, "limit": 2}).json()
        found += [user["name"] for user in page["users"]]
        after = page["next"]
    assert [name for name in found if name.startswith("paged")] == names


def test_what_is_no_name_or_no_password_is_refused_and_the_password_is_not_repeated(scene: Scene) -> None:
    for name in ("", "-x", "a\0b", "a/b", "ä", "x" * 65, "f" * 32, "a\nb", "\ud800"):
        body = json.dumps({"name": name, "password": PASSWORD}).encode()
        kind = {"content-type": "application/json"}
        answer = scene.root.post("/v1/identity/users", content=body, headers=kind)
        assert answer.status_code == 422, name
        assert PASSWORD not in answer.text
    secret = "my-short"
    wrong: list[dict[str, Any]] = [
        {"password": secret},
        {"password": secret * 100},
        {"password": 12345678901234},
        {"password": [secret]},
        {"pasword": secret},
        {"passwort": secret, "password": PASSWORD},
    ]
    for more in wrong:
        answer = scene.root.post("/v1/identity/users", json={"name": scene.name("n"), **more})
        assert answer.status_code == 422
        assert secret not in answer.text and "12345678901234" not in answer.text


def test_the_same_name_is_taken_once(scene: Scene) -> None:
    name = scene.user()
    answer = scene.root.post("/v1/identity/users", json={"name": name})
    assert (answer.status_code, answer.json()["reason"]) == (409, "exists")


def test_the_root_user_cannot_be_disabled_or_deleted(scene: Scene) -> None:
    for answer in (
        scene.root.patch("/v1/identity/users/admin", json={"enabled": False}),
        scene.root.delete("/v1/identity/users/admin"),
    ):
        assert (answer.status_code, answer.json()["reason"]) == (409, "root")


def test_a_user_with_key_pairs_is_disabled_not_deleted(scene: Scene) -> None:
    user = scene.user("timeseries-reader")
    client = scene.calling(user)
    assert client.get("/v1/jobs").status_code == 200
    answer = scene.root.delete(f"/v1/identity/users/{user}")
    assert (answer.status_code, answer.json()["reason"]) == (409, "has_keys")
    scene.root.patch(f"/v1/identity/users/{user}", json={"enabled": False})
    assert client.get("/v1/jobs").status_code == 401
    scene.root.patch(f"/v1/identity/users/{user}", json={"enabled": True})
    assert client.get("/v1/jobs").status_code == 200


def test_ones_own_password_takes_the_old_one(scene: Scene) -> None:
    user = scene.user(password="the first password")
    client = scene.calling(user)
    path = f"/v1/identity/users/{user}/password"
    assert client.post(path, json={"password": PASSWORD}).status_code == 422
    answer = client.post(path, json={"password": PASSWORD, "old_password": "not this one"})
    assert answer.status_code == 401 and "not this one" not in answer.text
    token = scene.token(user, password="the first password")
    done = made(client.post(path, json={"password": PASSWORD, "old_password": "the first password"}), 200)
    assert done == {"user": user, "password": None}
    assert scene.bearing(token).get("/v1/identity/users").status_code == 401, "its tokens have ended"
    assert scene.token(user)


def test_a_password_is_stored_as_a_hash(scene: Scene) -> None:
    user = scene.user()
    answer = made(scene.root.post(f"/v1/identity/users/{user}/password", json={}), 200)
    with scene.db.transaction() as conn:
        [row] = conn.execute("select password_hash from users where name = %s", (user,)).fetchall()
    assert row.password_hash.startswith("$argon2id$") and answer["password"] not in row.password_hash
    assert password_fits(row.password_hash, answer["password"])


# -- groups, policies, attachments


def test_a_group_gives_its_members_what_is_attached_to_it(scene: Scene) -> None:
    user, group = scene.user(), scene.name("operators")
    client = scene.calling(user)
    body = made(scene.root.post("/v1/identity/groups", json={"name": group, "description": "nights"}))
    assert body["members"] == []
    attach = {"policy": "timeseries-operator", "group": group}
    made(scene.root.post("/v1/identity/attachments", json=attach))
    assert client.get("/v1/jobs").status_code == 403
    joined = made(scene.root.put(f"/v1/identity/groups/{group}/members/{user}"), 200)
    assert joined["members"] == [user]
    assert client.get("/v1/jobs").status_code == 200
    [through] = scene.root.get("/v1/identity/attachments", params={"user": user}).json()["attachments"]
    assert through == {"policy": "timeseries-operator", "builtin": True, "project": None, "group": group}
    left = made(scene.root.delete(f"/v1/identity/groups/{group}/members/{user}"), 200)
    assert left["members"] == []
    assert client.get("/v1/jobs").status_code == 403
    assert scene.root.delete(f"/v1/identity/groups/{group}").status_code == 204
    assert group not in [one["name"] for one in scene.root.get("/v1/identity/groups").json()["groups"]]
    actions = [row.action for row in scene.trail("iam:groups:%") if row.resource == group]
    assert actions == [
        "iam:groups:create",
        "iam:groups:addUser",
        "iam:groups:removeUser",
        "iam:groups:delete",
    ]


def test_a_policy_is_written_changed_attached_detached_and_deleted(scene: Scene) -> None:
    name, user = scene.name("mine"), scene.user()
    client = scene.calling(user)
    path = f"/v1/identity/policies/{name}"
    stored = made(scene.root.put(path, json={"document": READS, "description": "reads a1"}), 200)
    assert (stored["document"], stored["builtin"], stored["attachments"]) == (READS, False, 0)
    target = {"policy": name, "user": user, "project": scene.api.credentials.project_name}
    made(scene.root.post("/v1/identity/attachments", json=target))
    made(scene.root.post("/v1/identity/attachments", json=target))  # safe to repeat
    assert made(scene.root.get(path), 200)["attachments"] == 1
    assert client.get("/v1/timeseries/holds").status_code == 200
    none = policy(allow("enos:asset:write"))
    assert made(scene.root.put(path, json={"document": none}), 200)["description"] == "reads a1"
    assert client.get("/v1/timeseries/holds").status_code == 403, "at once"
    answer = scene.root.delete(path)
    assert (answer.status_code, answer.json()["reason"]) == (409, "attached")
    assert scene.root.delete("/v1/identity/attachments", params=target).status_code == 204
    assert scene.root.delete(path).status_code == 204
    rows = [row for row in scene.trail("iam:policies:%") if row.resource == name]
    assert [row.action for row in rows] == [
        f"iam:policies:{verb}" for verb in ("create", "attach", "update", "detach", "delete")
    ]
    assert rows[2].detail == {"document": none, "former": READS}


def test_an_attachment_in_one_project_is_not_one_in_all(scene: Scene) -> None:
    other, _, tenant_id = scene.project()
    user = scene.user()
    here, there = scene.calling(user), scene.client(scene.pair(user, tenant_id=tenant_id))
    made(
        scene.root.post("/v1/identity/attachments", json={"policy": "reader", "user": user, "project": other})
    )
    assert (here.get("/v1/jobs").status_code, there.get("/v1/jobs").status_code) == (403, 200)
    # a denial wins wherever it comes from, and only in its project
    denial = scene.written(policy(deny("redrive:jobs:*")))
    made(scene.root.post("/v1/identity/attachments", json={"policy": "reader", "user": user}))
    made(scene.root.post("/v1/identity/attachments", json={"policy": denial, "user": user, "project": other}))
    assert (here.get("/v1/jobs").status_code, there.get("/v1/jobs").status_code) == (200, 403)


def test_built_in_policies_are_listed_and_stay_as_they_are(scene: Scene) -> None:
    listed = scene.root.get("/v1/identity/policies").json()["policies"]
    assert {one["name"] for one in listed if one["builtin"]} == set(DOCUMENTS)
    assert made(scene.root.get("/v1/identity/policies/reader"), 200)["document"] == DOCUMENTS["reader"]
    put = scene.root.put("/v1/identity/policies/reader", json={"document": READS})
    assert (put.status_code, put.json()["reason"]) == (409, "builtin")
    assert scene.root.delete("/v1/identity/policies/reader").status_code == 409


def _nested(depth: int) -> Any:
    found: Any = []
    for _ in range(depth):
        found = [found]
    return found


@pytest.mark.parametrize(
    "document",
    [
        b"{}",
        b"[]",
        b'"text"',
        b"null",
        b'{"Version": "5.0", "Statement": []}',
        b'{"Version": 5.0, "Statement": [{"Effect": "Allow", "Action": "*"}]}',
        b'{"Version": "5.0", "Statement": [{"Effect": "Allow", "Action": "\\u0000"}]}',
        b'{"Version": "5.0", "Statement": [{"Effect": "Allow", "Action": "\\ud800"}]}',
        b'{"Version": "5.0", "Statement": [{"Effect": "Allow", "Action": "*", "Sid": "\\u0000"}]}',
        b'{"Version": "5.0", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "a\\u0000:b:c:d:e"}]}',
        b'{"Version": "5.0", "Statement": [{"Effect": "Allow", "Action": "*",'
        b' "Condition": {"StringEquals": {"k\\u0000": "v"}}}]}',
        b'{"Version": "5.0", "Statement": [{"Effect": "Allow", "Action": "*",'
        b' "Condition": {"StringEquals": {"k": "v\\u0000"}}}]}',
        b'{"Version": "5.0", "Statement": [{"Effect": "Allow", "Action": "*",'
        b' "Condition": {"StringEquals": {"k": "\\udfff"}}}]}',
        b'{"Version": "5.0", "Statement": [{"Effect": "Allow", "Action": "*",'
        b' "Condition": {"NumberEquals": {"k": 1' + b"0" * 400 + b"}}}]}",
        b'{"Version": "5.0", "Statement": [{"Effect": "Allow", "Action": "*",'
        b' "Condition": {"NumberEquals": {"k": NaN}}}]}',
        json.dumps({"Version": _nested(15), "Statement": []}).encode(),
        json.dumps({"Version": _nested(400), "Statement": []}).encode(),
        b'{"Version": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        json.dumps(policy(allow(*["a:b:c" * 30] * 5_000))).encode(),
    ],
)
def test_garbage_is_no_policy(scene: Scene, document: bytes) -> None:
    answer = scene.root.put(
        "/v1/identity/policies/garbage",
        content=b'{"document": ' + document + b"}",
        headers={"content-type": "application/json"},
    )
    assert answer.status_code in (400, 413, 422), answer.text
    assert len(answer.content) < 5_000
    assert scene.root.get("/v1/identity/policies/garbage").status_code == 404


@pytest.mark.parametrize(
    "path", ["users/%00", "users/%ff", "groups/%00/members/%00", "keys/%00", "policies/..%2f%2e"]
)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_garbage_in_a_path_names_nothing(scene: Scene, method: str, path: str) -> None:
    answer = scene.root.request(method, f"/v1/identity/{path}")
    assert answer.status_code in (404, 405, 422), answer.text


def test_a_call_that_deletes_refuses_what_it_does_not_understand(scene: Scene) -> None:
    params = {"policy": "reader", "user": "admin", "projekt": "x"}
    assert scene.root.delete("/v1/identity/attachments", params=params).status_code == 422
    both = {"policy": "reader", "user": "admin", "group": "x"}
    assert scene.root.delete("/v1/identity/attachments", params=both).status_code == 422


# -- key pairs


def test_a_key_pair_is_made_for_a_user_and_shows_its_secret_once(scene: Scene) -> None:
    user = scene.user("timeseries-operator")
    pair = made(scene.root.post("/v1/identity/keys", json={"name": "app", "user": user}))
    assert (pair["user"], pair["project"], pair["layers"]) == (user, scene.api.credentials.project_name, None)
    client = scene.client((pair["access_key"], pair["secret_key"]))
    assert client.get("/v1/jobs").status_code == 200
    listed = scene.root.get("/v1/identity/keys", params={"user": user})
    assert [key["access_key"] for key in listed.json()["keys"]] == [pair["access_key"]]
    assert pair["secret_key"] not in listed.text
    assert pair["secret_key"] not in json.dumps([row.detail for row in scene.trail()])
    revoked = scene.root.delete(f"/v1/identity/keys/{pair['access_key']}")
    assert revoked.json() == {"access_key": pair["access_key"], "revoked": True}
    assert client.get("/v1/jobs").status_code == 401
    assert scene.root.delete(f"/v1/identity/keys/{pair['access_key']}").json()["revoked"] is False
    actions = [row.action for row in scene.trail("iam:credentials:%") if row.resource == pair["access_key"]]
    assert actions == ["iam:credentials:create", "iam:credentials:delete"]


def test_the_short_form_is_that_of_the_command_line(scene: Scene) -> None:
    body = {"name": "scada", "read": True, "write": True, "scope": "a1,s-*"}
    pair = made(scene.root.post("/v1/identity/keys", json=body))
    client = scene.client((pair["access_key"], pair["secret_key"]))
    assert client.put("/v1/timeseries/holds/h", json={"assets": ["s-7"], "reason": "x"}).status_code == 200
    assert client.put("/v1/timeseries/holds/h", json={"assets": ["t-7"], "reason": "x"}).status_code == 403
    assert client.get("/v1/jobs").status_code == 403
    for wrong in (
        {"policy": READS, "read": True},
        {"scope": "a1"},
        {"admin": True, "scope": "a1"},
        {"read": True, "scope": "*a"},
    ):
        assert scene.root.post("/v1/identity/keys", json={"name": "x", **wrong}).status_code == 422


def test_a_key_pair_may_what_both_its_policy_and_its_users_policies_allow(scene: Scene) -> None:
    user = scene.user(policy(allow("enos:asset:*", Resource=["enos:*:*:asset:a*"]), deny("enos:asset:write")))
    for own, statuses in (
        (None, (200, 403)),
        (policy(allow("enos:asset:read")), (200, 403)),
        (policy(allow("enos:asset:write")), (403, 403)),
        (policy(allow("*")), (200, 403)),
    ):
        client = scene.calling(user, *([own] if own else []))
        hold = {"assets": ["a1"], "reason": "x"}
        got = (
            client.get("/v1/timeseries/holds").status_code,
            client.put("/v1/timeseries/holds/own", json=hold).status_code,
        )
        assert got == statuses, own
        assert client.get("/v1/identity/users").status_code == 403


@pytest.mark.parametrize("keep_old", [False, True])
def test_a_rotated_key_pair_has_a_successor_that_may_the_same(scene: Scene, keep_old: bool) -> None:
    user = scene.user("timeseries-operator")
    body = {"name": "app", "user": user, "policy": policy(allow("redrive:jobs:list"))}
    old = made(scene.root.post("/v1/identity/keys", json=body))
    path = f"/v1/identity/keys/{old['access_key']}/rotate"
    new = made(scene.root.post(path, json={"keep_old": keep_old}))
    assert new["access_key"] != old["access_key"]
    assert {name: new[name] for name in ("name", "user", "project", "layers")} == {
        name: old[name] for name in ("name", "user", "project", "layers")
    }
    clients = [scene.client((pair["access_key"], pair["secret_key"])) for pair in (old, new)]
    wanted = [200 if keep_old else 401, 200]
    assert [client.get("/v1/jobs").status_code for client in clients] == wanted
    if not keep_old:
        again = scene.root.post(path)
        assert (again.status_code, again.json()["reason"]) == (409, "revoked")


def test_a_key_pair_of_another_project_is_named_with_it(scene: Scene) -> None:
    name, project_id, _ = scene.project()
    pair = made(scene.root.post("/v1/identity/keys", json={"name": "there", "project": name}))
    path = f"/v1/identity/keys/{pair['access_key']}"
    assert scene.root.delete(path).status_code == 404, "not in the caller's project"
    for by in (name, project_id):
        keys = scene.root.get("/v1/identity/keys", params={"project": by}).json()["keys"]
        assert [key["access_key"] for key in keys] == [pair["access_key"]]
    assert scene.root.delete(path, params={"project": name}).json()["revoked"] is True


def test_an_answer_with_a_secret_is_kept_sealed_and_for_its_caller_alone(scene: Scene) -> None:
    key = {"Idempotency-Key": scene.name("once-")}
    body = {"name": scene.name("app")}
    first, again = (scene.root.post("/v1/identity/keys", json=body, headers=key) for _ in range(2))
    assert first.content == again.content and again.headers["idempotency-replayed"] == "true"
    with scene.db.transaction() as conn:
        [row] = conn.execute(
            "select body, request_hash from idempotency_keys where key = %s", (key["Idempotency-Key"],)
        ).fetchall()
    assert first.json()["secret_key"].encode() not in bytes(row.body)
    other = scene.someone("administrator").post("/v1/identity/keys", json=body, headers=key)
    assert (other.status_code, other.json()["reason"]) == (422, "idempotency_key_reused")
    assert "secret_key" not in other.text


def test_calls_for_the_account_alone_take_an_idempotency_key_too(scene: Scene) -> None:
    client = scene.bearing(scene.token(scene.user("administrator")))
    key = {"Idempotency-Key": scene.name("once-")}
    body = {"name": scene.name("group")}
    first, again = (client.post("/v1/identity/groups", json=body, headers=key) for _ in range(2))
    assert (first.status_code, first.content) == (201, again.content)


# -- temporary key pairs


def temporary(client: httpx.Client, **body: Any) -> dict[str, Any]:
    return made(client.post("/v1/identity/temporary-keys", json=body))


def test_a_temporary_key_pair_carries_the_limits_of_the_key_pair_that_asks(scene: Scene) -> None:
    limits, narrower = policy(allow("enos:asset:read")), policy(allow("*", Resource=["enos:*:*:asset:a1"]))
    client = scene.calling(scene.user("timeseries-administrator"), limits)
    found = temporary(client, duration_seconds=900, policy=narrower)
    left = datetime.fromisoformat(found["expires_at"]) - datetime.now(UTC)
    assert timedelta(seconds=880) < left <= timedelta(seconds=900)
    with scene.db.transaction() as conn:
        [row] = conn.execute(
            "select layers, token_hash, made_by from key_pairs where access_key = %s", (found["access_key"],)
        ).fetchall()
    assert row.layers == [limits, narrower] and row.made_by is not None
    assert found["security_token"].encode() not in bytes(row.token_hash)
    credential = scene.authenticator.by_signing_key(found["access_key"], found["security_token"])
    caller = credential.principal
    assert caller.may("read", ["a1"]) and not caller.may("read", ["a2"]) and not caller.may("write", ["a1"])
    for wrong in (None, "", "x", found["security_token"] + "x"):
        with pytest.raises(Exception, match="not known"):
            scene.authenticator.by_signing_key(found["access_key"], wrong)


def test_a_temporary_key_pair_is_no_good_for_basic_or_for_tokens(scene: Scene) -> None:
    found = temporary(scene.root)
    client = scene.client((found["access_key"], found["secret_key"]))
    for answer in (
        client.get("/v1/jobs"),
        client.post("/v1/tokens"),
        client.post("/v1/identity/temporary-keys", json={}),
    ):
        assert (answer.status_code, answer.json()["reason"]) == (401, "temporary_key")
    body = {"appKey": found["access_key"], "timestamp": 1, "encryption": "0" * 64}
    answer = scene.root.post("/apim-token-service/v2.0/token/get", json=body)
    assert answer.json()["status"] != 0 and answer.json()["data"] is None


def test_a_temporary_key_pair_ends_with_the_key_pair_that_made_it(scene: Scene) -> None:
    pair = made(scene.root.post("/v1/identity/keys", json={"name": "parent"}))
    found = temporary(scene.client((pair["access_key"], pair["secret_key"])))
    assert scene.authenticator.by_signing_key(found["access_key"], found["security_token"])
    scene.root.delete(f"/v1/identity/keys/{pair['access_key']}")
    with pytest.raises(Exception, match="not known"):
        scene.authenticator.by_signing_key(found["access_key"], found["security_token"])


def test_a_temporary_key_pair_of_a_user_ends_with_its_token_and_its_password(scene: Scene) -> None:
    user = scene.user("reader")
    token = scene.token(user, scene.api.credentials.project_id)
    with scene.db.transaction() as conn:
        conn.execute(
            "update user_tokens set expires_at = now() + interval '20 minutes' where user_id ="
            " (select id from users where name = %s)",
            (user,),
        )
    found = temporary(scene.bearing(token), duration_seconds=86_400)
    left = datetime.fromisoformat(found["expires_at"]) - datetime.now(UTC)
    assert left <= timedelta(minutes=20)
    made(scene.root.post(f"/v1/identity/users/{user}/password", json={}), 200)
    with pytest.raises(Exception, match="not known"):
        scene.authenticator.by_signing_key(found["access_key"], found["security_token"])


def test_a_bearer_token_cannot_prolong_itself_by_a_temporary_key_pair(scene: Scene) -> None:
    token = scene.root.post("/v1/tokens").json()["access_token"]
    answer = scene.bearing(token).post("/v1/identity/temporary-keys", json={})
    assert (answer.status_code, answer.json()["reason"]) == (403, "access_token")


def test_a_temporary_key_pair_is_for_a_project(scene: Scene) -> None:
    answer = scene.bearing(scene.token(scene.user("reader"))).post("/v1/identity/temporary-keys", json={})
    assert (answer.status_code, answer.json()["reason"]) == (403, "scope")


# -- projects


def test_a_project_is_made_with_an_organization_of_its_own(scene: Scene) -> None:
    name, project_id, tenant_id = scene.project("eu-west-9")
    with scene.db.transaction() as conn:
        [row] = conn.execute("select * from tenants where id = %s", (tenant_id,)).fetchall()
    assert (row.project_name, row.account_id) == (name, scene.account_id)
    assert len(project_id) == len(row.workspace_id) == 32 and row.org_id[0] == "o"
    listed = scene.root.get("/v1/identity/projects").json()["projects"]
    assert {"id": project_id, "name": name, "org_id": row.org_id} in listed
    again = scene.root.post("/v1/identity/projects", json={"name": name})
    assert (again.status_code, again.json()["reason"]) == (409, "exists")
    for wrong in ("", "Upper", "a_b", "x" * 65, "f" * 32, "ä"):
        assert scene.root.post("/v1/identity/projects", json={"name": wrong}).status_code == 422


# -- tokens


def test_a_user_gets_a_token_for_a_project_or_for_the_account(scene: Scene) -> None:
    user = scene.user("reader", "identity-reader")
    by_name = scene.bearing(scene.token(user, scene.api.credentials.project_name))
    assert by_name.get("/v1/jobs").status_code == 200
    of_account = scene.bearing(scene.token(user))
    assert of_account.get("/v1/identity/users").status_code == 200
    answer = of_account.get("/v1/jobs")
    assert (answer.status_code, answer.json()["reason"]) == (403, "scope")


def test_whatever_is_wrong_with_a_login_is_refused_in_the_same_words(scene: Scene) -> None:
    disabled = scene.user()
    scene.root.patch(f"/v1/identity/users/{disabled}", json={"enabled": False})
    right = {"user_name": scene.user(), "password": PASSWORD}
    said = set()
    for wrong in (
        {**right, "password": "not the password"},
        {**right, "user_name": "nobody"},
        {**right, "user_name": "\0"},
        {**right, "domain_name": "elsewhere"},
        {**right, "user_name": disabled},
    ):
        answer = httpx.post(f"{scene.api.url}/v1/identity/tokens", json=wrong)
        if "\0" in wrong["user_name"]:
            assert answer.status_code == 422
            continue
        assert answer.status_code == 401, answer.text
        said.add((answer.json()["detail"], answer.json()["reason"]))
    assert len(said) == 1


def test_a_login_is_a_small_body(scene: Scene) -> None:
    body = {"user_name": "x" * 20_000, "password": "p"}
    assert httpx.post(f"{scene.api.url}/v1/identity/tokens", json=body).status_code == 413
    deep = b'{"user_name": ' + b"[" * 8_000
    kind = {"content-type": "application/json"}
    assert httpx.post(f"{scene.api.url}/v1/identity/tokens", content=deep, headers=kind).status_code in (
        400,
        422,
    )


def test_a_token_that_is_shown_can_be_ended(scene: Scene) -> None:
    user = scene.user("identity-reader")
    ended, other = scene.bearing(scene.token(user)), scene.bearing(scene.token(user))
    assert ended.delete("/v1/identity/tokens").status_code == 204
    assert ended.get("/v1/identity/users").status_code == 401
    assert other.get("/v1/identity/users").status_code == 200
    assert scene.root.delete("/v1/identity/tokens").status_code == 422, "a key pair is no token"


def test_who_sends_many_wrong_passwords_waits_and_the_trail_shows_it(scene: Scene) -> None:
    user = scene.user()
    body = {"user_name": user, "password": "wrong, wrong, wrong"}
    url = f"{scene.api.url}/v1/identity/tokens"
    answers = [httpx.post(url, json=body).status_code for _ in range(11)]
    assert answers == [401] * 10 + [429]
    right = httpx.post(url, json={**body, "password": PASSWORD})
    assert (right.status_code, right.json()["reason"]) == (429, "too_many_logins")
    assert "try again in" in right.json()["hint"]
    scene.flush()
    rows = [row for row in scene.trail("POST /v1/identity/tokens", "refused") if user in row.resource]
    assert sum(row.times for row in rows) == 10
    assert {(row.actor, row.reason, row.account_id) for row in rows} == {
        ("unknown", "wrong_password", scene.account_id)
    }
    waits = [
        row for row in scene.trail("POST /v1/identity/tokens", "refused") if row.reason == "too_many_logins"
    ]
    assert sum(row.times for row in waits) == 2


# -- may X do Y?


def test_everybody_may_ask_what_it_may_and_others_by_right(scene: Scene) -> None:
    user = scene.user("timeseries-operator")
    client = scene.calling(user, policy(allow("redrive:jobs:get", "redrive:jobs:list")))
    asked = {"action": "redrive:jobs:retry", "resource": "redrive:local-1:x:job:timeseries.deletion"}
    own = made(client.post("/v1/identity/simulate", json=asked), 200)
    assert (own["allowed"], own["reason"]) == (False, "implicit deny by policy of the key pair")
    assert [(layer["name"], layer["allowed"]) for layer in own["layers"]] == [
        ("identity-based policy", True),
        ("policy of the key pair", False),
    ]
    as_user = made(client.post("/v1/identity/simulate", json={**asked, "user": user}), 200)
    assert as_user["allowed"]
    assert as_user["matched"] == {"policy": "timeseries-operator", "statement": "Statement[1]"}
    assert client.post("/v1/identity/simulate", json={**asked, "user": "admin"}).status_code == 403
    other = made(scene.root.post("/v1/identity/simulate", json={**asked, "user": user}), 200)
    assert other["layers"][0]["policies"] == ["timeseries-operator"]
    unknown = scene.root.post("/v1/identity/simulate", json={**asked, "user": "nobody"})
    assert unknown.status_code == 404


def test_a_simulation_takes_what_conditions_ask(scene: Scene) -> None:
    user = scene.user(policy(allow("a:b:c", Condition={"IpAddress": {"g:SourceIp": "10.0.0.0/8"}})))
    asked: dict[str, Any] = {"action": "a:b:c", "user": user}
    for context, allowed in (
        ({}, False),
        ({"g:SourceIp": "10.1.1.1"}, True),
        ({"G:SOURCEIP": ["11.1.1.1"]}, False),
    ):
        answer = scene.root.post("/v1/identity/simulate", json={**asked, "context": context})
        assert made(answer, 200)["allowed"] is allowed


def test_a_disabled_user_may_nothing(scene: Scene) -> None:
    user = scene.user("administrator")
    scene.root.patch(f"/v1/identity/users/{user}", json={"enabled": False})
    answer = made(scene.root.post("/v1/identity/simulate", json={"action": "a:b:c", "user": user}), 200)
    assert (answer["allowed"], answer["reason"]) == (False, "the user is disabled")

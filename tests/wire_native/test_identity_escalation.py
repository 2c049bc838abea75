"""Nobody gives away, or takes for itself, more than it has; and another account is not there at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from redrive.database.embedded import EmbeddedPostgres
from redrive.identity.builtin import key_policy
from redrive.wire.app import ROUTERS
from redrive.wire.native.identity.guard import ACTION
from tests.wire_native.identity_scene import Scene, allow, deny, identity_scene, policy
from tests.wire_native.jobs_scene import database_of_a_module

IAM = policy(allow("iam:*"))
READ_A = policy(allow("enos:asset:read", Resource=["enos:*:*:asset:a*"]))


@pytest.fixture(scope="module")
def scene(
    postgres: EmbeddedPostgres, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    with database_of_a_module(postgres) as db, identity_scene(db, tmp_path_factory.mktemp("i")) as scene:
        yield scene


def refused(answer: httpx.Response, reason: str = "escalation") -> None:
    assert (answer.status_code, answer.json().get("reason")) == (403, reason), answer.text


def attach(client: httpx.Client, policy: str, **to: Any) -> httpx.Response:
    return client.post("/v1/identity/attachments", json={"policy": policy, **to})


def detach(client: httpx.Client, policy: str, **to: Any) -> httpx.Response:
    return client.delete("/v1/identity/attachments", params={"policy": policy, **to})


# -- attaching and writing policies


def test_who_may_attach_cannot_attach_what_it_does_not_have(scene: Scene) -> None:
    me = scene.user("identity-administrator")
    client = scene.calling(me)
    for what in ("administrator", "timeseries-reader", "reader", scene.written(READ_A)):
        refused(attach(client, what, user=me))
        refused(attach(client, what, user=scene.user()))
        refused(attach(client, what, group=scene.group(members=[me])))
    assert attach(client, "identity-administrator", user=scene.user()).status_code == 201
    assert attach(client, "identity-reader", user=scene.user()).status_code == 201
    rows = [row for row in scene.trail("iam:policies:attach", "refused") if row.actor == me]
    assert rows and all("escalation" in row.reason for row in rows)
    with scene.db.transaction() as conn:
        held = conn.execute(
            "select builtin from policy_attachments a join users u on u.id = a.user_id where u.name = %s",
            (me,),
        ).fetchall()
    assert [row.builtin for row in held] == ["identity-administrator"]


def test_who_has_a_right_can_give_it_on_and_a_part_of_it(scene: Scene) -> None:
    client = scene.someone(IAM, "timeseries-operator", READ_A)
    other = scene.user()
    for what in (
        "timeseries-operator",
        "timeseries-reader",
        scene.written(READ_A),
        scene.written(policy(allow("enos:asset:read", Resource=["enos:local-1:*:asset:a1"]))),
        scene.written(policy(allow("redrive:jobs:retry", Resource=["redrive:*:*:job:timeseries.deletion"]))),
        scene.written(policy(deny("*"))),
    ):
        assert attach(client, what, user=other).status_code == 201, what
    for what in (
        policy(allow("enos:asset:read", Resource=["enos:*:*:asset:*"])),
        policy(allow("enos:asset:read", Resource=["enos:*:*:asset:?1"])),
        policy(allow("redrive:jobs:retry", Resource=["redrive:*:*:job:*"])),
        policy(allow("redrive:jobs:*")),
        policy({"Effect": "Allow", "NotAction": ["iam:*"]}),
    ):
        name = scene.written(what)
        # reading all assets came with timeseries-operator
        expected = 201 if "enos:asset:read" in str(what) else 403
        assert attach(client, name, user=other).status_code == expected, what


def test_a_condition_is_given_on_only_with_the_condition(scene: Scene) -> None:
    inside = {"IpAddress": {"g:SourceIp": ["127.0.0.0/8"]}}
    client = scene.someone(IAM, policy(allow("a:b:*", Condition=inside)))
    refused(attach(client, scene.written(policy(allow("a:b:c"))), user=scene.user()))
    given = scene.written(policy(allow("a:b:c", Condition={**inside, "Bool": {"g:MFAPresent": ["true"]}})))
    assert attach(client, given, user=scene.user()).status_code == 201


def test_what_is_denied_to_somebody_it_cannot_give(scene: Scene) -> None:
    client = scene.someone(policy(allow("*")), policy(deny("a:b:delete*")))
    for what in (
        allow("*"),
        allow("a:b:*"),
        allow("a:*:deleteAll"),
        {"Effect": "Allow", "NotAction": ["c:*"]},
    ):
        refused(attach(client, scene.written(policy(what)), user=scene.user()))
    assert (
        attach(client, scene.written(policy(allow("a:b:get", "c:*"))), user=scene.user()).status_code == 201
    )


def test_a_denial_is_taken_away_only_by_who_has_what_it_denies(scene: Scene) -> None:
    denial = scene.written(policy(deny("a:b:c", Condition={"Bool": {"g:MFAPresent": "false"}})))
    me = scene.user(IAM, denial)
    client = scene.calling(me)
    group = scene.group(denial, members=[me])
    refused(detach(client, denial, user=me))
    refused(client.delete(f"/v1/identity/groups/{group}/members/{me}"))
    refused(client.delete(f"/v1/identity/groups/{group}"))
    refused(client.put(f"/v1/identity/policies/{denial}", json={"document": policy(deny("x:y:z"))}))
    refused(client.put(f"/v1/identity/policies/{denial}", json={"document": policy(allow("iam:users:get"))}))
    has = scene.someone(IAM, policy(allow("a:b:*")))
    assert detach(has, denial, user=me).status_code == 204
    assert has.delete(f"/v1/identity/groups/{group}/members/{me}").status_code == 200


def test_a_policy_cannot_be_made_to_say_more_than_its_writer_has(scene: Scene) -> None:
    me = scene.user("identity-administrator", "timeseries-reader")
    client = scene.calling(me)
    own = scene.name("own")
    path = f"/v1/identity/policies/{own}"
    assert client.put(path, json={"document": policy(allow("enos:asset:write"))}).status_code == 403
    assert client.put(path, json={"document": policy(allow("iam:users:*"))}).status_code == 200
    assert attach(client, own, user=me).status_code == 201
    refused(client.put(path, json={"document": policy(allow("*"))}))
    # and where it is attached it is the rights there that count
    name, _, _ = scene.project()
    local = scene.user(IAM)
    wide = scene.written(policy(allow("iam:users:get")))
    assert attach(scene.root, wide, user=local, project=name).status_code == 201
    here = scene.user(stem="here")
    assert attach(scene.root, "identity-administrator", user=here, project="local-1").status_code == 201
    refused(
        scene.calling(here).put(f"/v1/identity/policies/{wide}", json={"document": policy(allow("iam:*"))})
    )


def test_rights_in_one_project_are_not_given_in_another_or_in_all(scene: Scene) -> None:
    name, _, _ = scene.project()
    me = scene.user()
    assert attach(scene.root, "administrator", user=me, project="local-1").status_code == 201
    client, other = scene.calling(me), scene.user()
    assert attach(client, "reader", user=other, project="local-1").status_code == 201
    refused(attach(client, "reader", user=other))
    refused(attach(client, "reader", user=other, project=name))
    assert client.post("/v1/identity/keys", json={"name": "k", "project": name}).status_code == 403
    assert client.get("/v1/identity/keys", params={"project": name}).status_code == 403
    assert client.get("/v1/identity/keys").status_code == 200


# -- groups


def test_a_group_that_may_more_cannot_be_joined(scene: Scene) -> None:
    me = scene.user("identity-administrator")
    client = scene.calling(me)
    for group in (scene.group("timeseries-reader"), scene.group("administrator")):
        refused(client.put(f"/v1/identity/groups/{group}/members/{me}"))
        refused(client.put(f"/v1/identity/groups/{group}/members/{scene.user()}"))
    same = scene.group("identity-reader", "identity-administrator")
    assert client.put(f"/v1/identity/groups/{same}/members/{me}").status_code == 200


# -- passwords


def test_the_password_of_somebody_who_may_more_cannot_be_set(scene: Scene) -> None:
    client = scene.someone("identity-administrator")
    for victim in (scene.user("timeseries-reader"), scene.user("administrator")):
        refused(client.post(f"/v1/identity/users/{victim}/password", json={}))
    name, _, _ = scene.project()
    elsewhere = scene.user()
    assert attach(scene.root, "reader", user=elsewhere, project=name).status_code == 201
    refused(client.post(f"/v1/identity/users/{elsewhere}/password", json={}))
    in_group = scene.user()
    scene.group("reader", members=[in_group])
    refused(client.post(f"/v1/identity/users/{in_group}/password", json={}))
    refused(client.post("/v1/identity/users/admin/password", json={}), "root")
    assert (
        client.post(f"/v1/identity/users/{scene.user('identity-reader')}/password", json={}).status_code
        == 200
    )


# -- key pairs


def key(client: httpx.Client, **body: Any) -> httpx.Response:
    return client.post("/v1/identity/keys", json={"name": "app", **body})


def test_a_key_pair_for_somebody_who_may_more_is_refused_or_limited(scene: Scene) -> None:
    client = scene.someone(IAM, READ_A)
    strong = scene.user("administrator")
    refused(key(client, user=strong))
    refused(key(client, user=strong, policy=policy(allow("*"))))
    refused(key(client, user=strong, read=True))
    limited = key(client, user=strong, read=True, scope="a1,a2*")
    # in short it also says something about jobs of time series only for all assets, so this is within what it has
    assert limited.status_code == 201, limited.text
    weak = scene.user(READ_A)
    assert key(client, user=weak).status_code == 201
    assert key(client, user=weak, policy=policy(allow("*"))).status_code == 201, "the user may no more"
    refused(client.post(f"/v1/identity/keys/{scene.pair(strong).access_key}/rotate"))


def test_what_concerns_the_root_user_only_the_root_user_does(scene: Scene) -> None:
    client = scene.someone("administrator")
    root_pair = scene.api.credentials.access_key
    refused(key(client, user="admin"), "root")
    refused(key(client, user="admin", read=True, scope="a1"), "root")
    refused(client.post(f"/v1/identity/keys/{root_pair}/rotate"), "root")
    refused(client.delete(f"/v1/identity/keys/{root_pair}"), "root")
    refused(attach(client, scene.written(policy(deny("*"))), user="admin"), "root")
    refused(detach(client, "reader", user="admin"), "root")
    refused(client.post("/v1/identity/users/admin/password", json={}), "root")
    refused(client.patch("/v1/identity/users/admin", json={"description": "x"}), "root")
    with_root = scene.group(members=["admin"])
    refused(attach(client, "reader", group=with_root), "root")
    refused(client.delete(f"/v1/identity/groups/{with_root}"), "root")
    refused(client.delete(f"/v1/identity/groups/{with_root}/members/admin"), "root")
    refused(client.put(f"/v1/identity/groups/{scene.group()}/members/admin"), "root")
    assert scene.root.get("/v1/jobs").status_code == 200
    assert key(scene.root).status_code == 201


def test_a_limited_key_pair_makes_only_such_as_are_limited_in_the_same_way(scene: Scene) -> None:
    limits = policy(allow("iam:credentials:*", "enos:asset:read"))
    client = scene.calling("admin", limits)
    for body in ({}, {"policy": policy(allow("*"))}, {"admin": True, "write": True}):
        made = key(client, **body)
        assert made.status_code == 201, made.text
        assert made.json()["layers"][0] == limits
        app = scene.client((made.json()["access_key"], made.json()["secret_key"]))
        assert app.put("/v1/timeseries/holds/x", json={"assets": ["a"], "reason": "x"}).status_code == 403
        assert app.get("/v1/identity/users").status_code == 403
    # the successor of another pair of its user has its limits and the caller's
    wide = scene.pair("admin", policy(allow("*")))
    rotated = client.post(f"/v1/identity/keys/{wide.access_key}/rotate")
    assert rotated.status_code == 201 and limits in rotated.json()["layers"]
    assert policy(allow("*")) in rotated.json()["layers"]


def test_a_limited_key_pair_has_nothing_outside_of_its_project(scene: Scene) -> None:
    name, _, _ = scene.project()
    client = scene.calling("admin", key_policy({}, admin=True))
    assert key(client, project=name).status_code == 403
    assert client.get("/v1/identity/keys", params={"project": name}).status_code == 403
    refused(attach(client, "identity-reader", user=scene.user()))
    refused(attach(client, "identity-reader", user=scene.user(), project=name))
    assert attach(client, "identity-reader", user=scene.user(), project="local-1").status_code == 201
    refused(attach(client, "reader", user=scene.user(), project="local-1"))


def test_the_password_of_the_root_user_is_not_set_by_a_limited_key_pair_of_it(scene: Scene) -> None:
    client = scene.calling("admin", key_policy({}, admin=True))
    assert client.post("/v1/identity/users/admin/password", json={}).status_code == 422, (
        "it takes the old one"
    )


# -- each call and its action

_CALLS: list[tuple[str, str, str]] = sorted(
    (method, route.path_format, route.openapi_extra[ACTION])
    for router in ROUTERS
    for route in router.routes
    if getattr(route, "openapi_extra", None) and ACTION in route.openapi_extra
    for method in route.methods
)
_BODIES: dict[str, Any] = {
    "/v1/identity/users": {"name": "x"},
    "/v1/identity/users/{user}": {"enabled": True},
    "/v1/identity/users/{user}/password": {},
    "/v1/identity/groups": {"name": "x"},
    "/v1/identity/policies/{policy}": {"document": policy(allow("iam:users:get"))},
    "/v1/identity/attachments": {"policy": "identity-reader", "user": "x"},
    "/v1/identity/keys": {"name": "x"},
    "/v1/identity/keys/{access_key}/rotate": {},
    "/v1/identity/projects": {"name": "x"},
    "/v1/identity/simulate": {"action": "a:b:c", "user": "admin"},
    "/v1/workspace": {"vpc_id": "x"},
    "/v1/workspace/lock": {"reason": "x"},
    "/v1/workspace/subnets/{subnet}": {"cidr": "10.0.0.0/8"},
}


@pytest.mark.parametrize(
    ("method", "path", "action"), _CALLS, ids=[f"{call[0]} {call[1]}" for call in _CALLS]
)
def test_each_call_is_refused_without_its_action_and_says_which(
    scene: Scene, method: str, path: str, action: str
) -> None:
    if ":" not in action:
        assert (method, path, action) in {
            ("POST", "/v1/identity/tokens", "open"),
            ("DELETE", "/v1/identity/tokens", "own"),
            ("POST", "/v1/identity/temporary-keys", "own"),
        }
        return
    every = [each for _, _, each in _CALLS if ":" in each and each != action]
    me = scene.user(policy(allow(*every), deny(action)))
    client = scene.calling(me)
    url = path.format(
        user="admin", group="nobody", policy="nothing", access_key="none", subnet="x", task_id="x"
    )
    params = _BODIES[path] if path == "/v1/identity/attachments" and method == "DELETE" else None
    if path == "/v1/identity/attachments" and method == "GET":
        params = {"user": me}
    body = _BODIES.get(path) if method in ("POST", "PUT", "PATCH") else None
    answer = client.request(method, url, params=params, json=body)
    assert answer.status_code == 403, answer.text
    assert answer.json()["reason"] == "permission"
    [row] = [row for row in scene.trail(action, "refused") if row.actor == me]
    assert row.access_key is not None and row.address == "127.0.0.1" and row.request_id


def test_every_call_about_identities_and_workspaces_is_known_to_the_table() -> None:
    served = {
        (method, route.path_format)
        for router in ROUTERS
        for route in router.routes
        if getattr(route, "path_format", "").startswith(("/v1/identity", "/v1/audit", "/v1/workspace"))
        for method in route.methods
    }
    assert served == {(method, path) for method, path, _ in _CALLS}
    assert len(served) > 25


# -- another account


def test_another_account_is_not_there(scene: Scene) -> None:
    account_id, theirs = scene.second_account()
    user, group, written = scene.user("reader"), scene.group(), scene.written(READ_A)
    pair = scene.pair(user)
    with scene.db.transaction() as conn:
        ids = {
            "user": conn.execute("select id from users where name = %s", (user,)).fetchone().id,
            "group": conn.execute("select id from groups where name = %s", (group,)).fetchone().id,
            "policy": conn.execute("select id from policies where name = %s", (written,)).fetchone().id,
        }
    project_id = scene.api.credentials.project_id
    calls: list[tuple[str, str, dict[str, Any]]] = []
    for wanted in (user, ids["user"]):
        calls += [
            ("GET", f"/v1/identity/users/{wanted}", {}),
            ("PATCH", f"/v1/identity/users/{wanted}", {"json": {"enabled": False}}),
            ("POST", f"/v1/identity/users/{wanted}/password", {"json": {}}),
            ("DELETE", f"/v1/identity/users/{wanted}", {}),
            ("GET", "/v1/identity/attachments", {"params": {"user": wanted}}),
            ("POST", "/v1/identity/attachments", {"json": {"policy": "reader", "user": wanted}}),
            ("DELETE", "/v1/identity/attachments", {"params": {"policy": "reader", "user": wanted}}),
            ("POST", "/v1/identity/keys", {"json": {"name": "x", "user": wanted}}),
            ("POST", "/v1/identity/simulate", {"json": {"action": "a:b:c", "user": wanted}}),
        ]
    for wanted in (group, ids["group"]):
        calls += [
            ("DELETE", f"/v1/identity/groups/{wanted}", {}),
            ("PUT", f"/v1/identity/groups/{wanted}/members/admin", {}),
            ("DELETE", f"/v1/identity/groups/{wanted}/members/admin", {}),
        ]
    for wanted in (written, ids["policy"]):
        calls += [
            ("GET", f"/v1/identity/policies/{wanted}", {}),
            ("DELETE", f"/v1/identity/policies/{wanted}", {}),
            ("POST", "/v1/identity/attachments", {"json": {"policy": wanted, "user": "admin"}}),
        ]
    calls += [
        ("GET", "/v1/identity/keys", {"params": {"project": project_id}}),
        ("POST", "/v1/identity/keys", {"json": {"name": "x", "project": project_id}}),
        ("DELETE", f"/v1/identity/keys/{pair.access_key}", {}),
        ("DELETE", f"/v1/identity/keys/{pair.access_key}", {"params": {"project": project_id}}),
        ("POST", f"/v1/identity/keys/{pair.access_key}/rotate", {}),
        ("POST", "/v1/identity/simulate", {"json": {"action": "a:b:c", "access_key": pair.access_key}}),
        (
            "POST",
            "/v1/identity/attachments",
            {"json": {"policy": "reader", "user": "admin", "project": project_id}},
        ),
    ]
    for method, url, more in calls:
        answer = theirs.request(method, url, **more)
        assert answer.status_code == 404, (method, url, more, answer.text)
    assert [one["name"] for one in theirs.get("/v1/identity/users").json()["users"]] == ["admin"]
    assert theirs.get("/v1/identity/groups").json()["groups"] == []
    assert all(one["builtin"] for one in theirs.get("/v1/identity/policies").json()["policies"])
    assert len(theirs.get("/v1/identity/projects").json()["projects"]) == 1
    scene.flush()
    entries = theirs.get("/v1/audit").json()["entries"]
    assert all(entry["actor"] == "theirs" for entry in entries)
    assert scene.calling(user).get("/v1/jobs").status_code == 200, "nothing of it had an effect"
    assert theirs.put("/v1/identity/policies/" + written, json={"document": READ_A}).status_code == 200
    with scene.db.transaction() as conn:
        same = conn.execute("select account_id from policies where name = %s", (written,)).fetchall()
    assert {row.account_id for row in same} == {scene.account_id, account_id}

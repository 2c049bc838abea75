"""Somebody who may manage identities tries at random to get more than it has, with all that it gets on the way."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from redrive.database.embedded import EmbeddedPostgres
from tests.wire_native.identity_scene import PASSWORD, Scene, allow, deny, identity_scene, policy
from tests.wire_native.jobs_scene import database_of_a_module

HAS = policy(allow("iam:*"), allow("enos:asset:read", Resource=["enos:*:*:asset:a*"]), allow("x:*:*"))
DENIED = policy(deny("x:secret:*"))
#: What nobody in the attacker's hands may ever be able to do.
NEVER = (
    ("enos:asset:write", "enos:local-1:{account}:asset:a1"),
    ("enos:asset:read", "enos:local-1:{account}:asset:b1"),
    ("redrive:jobs:retry", "redrive:local-1:{account}:job:timeseries.deletion"),
    ("redrive:server:admin", "*"),
    ("x:secret:open", "*"),
)
DOCUMENTS = (
    policy(allow("*")),
    policy(allow("iam:*")),
    policy(allow("enos:asset:*")),
    policy(allow("enos:asset:read", Resource=["enos:*:*:asset:a*"])),
    policy(allow("enos:asset:read", Resource=["enos:*:*:asset:?1"])),
    policy(allow("x:*:*")),
    policy(allow("x:open:*")),
    policy(deny("y:*")),
    policy({"Effect": "Allow", "NotAction": ["iam:*"]}),
)


@pytest.fixture(scope="module")
def scene(
    postgres: EmbeddedPostgres, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    with database_of_a_module(postgres) as db, identity_scene(db, tmp_path_factory.mktemp("i")) as scene:
        yield scene


@dataclass
class Attack:
    """What the attacker has in its hands, and what it can try next."""

    scene: Scene
    dice: random.Random
    hands: list[httpx.Client] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    policies: list[str] = field(default_factory=list)
    projects: list[str | None] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    got: int = 0

    def begin(self) -> None:
        scene = self.scene
        me = scene.user(HAS)
        strong, other = scene.user("administrator"), scene.user("timeseries-operator")
        held = scene.group(DENIED, members=[me])
        self.groups = [
            held,
            scene.group("administrator"),
            scene.group("reader", members=[other]),
            scene.group(),
        ]
        self.users = [me, strong, other, "admin", scene.user()]
        self.policies = [
            "administrator", "reader", "identity-administrator", "timeseries-operator",
            scene.written(HAS), scene.written(DENIED),
        ]  # fmt: skip
        self.projects = [None, "local-1", scene.project()[0]]
        self.keys = [
            scene.pair(strong).access_key,
            scene.pair(me).access_key,
            scene.api.credentials.access_key,
        ]
        self.hands = [
            scene.calling(me),
            scene.calling(me, policy(allow("iam:*"))),
            scene.bearing(scene.token(me)),
        ]

    def step(self) -> None:
        client, pick = self.dice.choice(self.hands), self.dice.choice
        tries: list[Callable[[], httpx.Response]] = [
            lambda: client.post("/v1/identity/attachments", json=self.attachment()),
            lambda: client.delete("/v1/identity/attachments", params=self.attachment()),
            lambda: client.put(f"/v1/identity/groups/{pick(self.groups)}/members/{pick(self.users)}"),
            lambda: client.delete(f"/v1/identity/groups/{pick(self.groups)}/members/{pick(self.users)}"),
            lambda: client.put(self.policy_path(), json={"document": pick(DOCUMENTS)}),
            lambda: client.delete(self.policy_path()),
            lambda: client.delete(f"/v1/identity/groups/{pick(self.groups)}"),
            lambda: self.new_user(client),
            lambda: self.new_password(client),
            lambda: self.new_key(client),
            lambda: self.rotated(client),
        ]
        answer = pick(tries)()
        assert answer.status_code < 500, answer.text
        self.got += answer.status_code < 300

    def attachment(self) -> dict[str, str]:
        pick = self.dice.choice
        found = {"policy": pick(self.policies)}
        found |= {"user": pick(self.users)} if self.dice.random() < 0.6 else {"group": pick(self.groups)}
        project = pick(self.projects)
        return found if project is None else {**found, "project": project}

    def policy_path(self) -> str:
        return f"/v1/identity/policies/{self.dice.choice(self.policies)}"

    def new_user(self, client: httpx.Client) -> httpx.Response:
        name = self.scene.name("puppet")
        answer = client.post("/v1/identity/users", json={"name": name, "password": PASSWORD})
        if answer.status_code == 201:
            self.users.append(name)
            self.log_in(name, PASSWORD)
        return answer

    def new_password(self, client: httpx.Client) -> httpx.Response:
        user = self.dice.choice(self.users)
        answer = client.post(f"/v1/identity/users/{user}/password", json={"password": PASSWORD})
        if answer.status_code == 200:
            self.log_in(user, PASSWORD)
        return answer

    def log_in(self, user: str, password: str) -> None:
        project = self.dice.choice(self.projects)
        self.hands.append(self.scene.bearing(self.scene.token(user, project, password)))

    def new_key(self, client: httpx.Client) -> httpx.Response:
        pick = self.dice.choice
        body: dict[str, Any] = {"name": "k", "user": pick(self.users), "policy": pick((None, *DOCUMENTS))}
        return self.keep(client.post("/v1/identity/keys", json={**body, "project": pick(self.projects)}))

    def rotated(self, client: httpx.Client) -> httpx.Response:
        path = f"/v1/identity/keys/{self.dice.choice(self.keys)}/rotate"
        return self.keep(client.post(path, json={"keep_old": True}))

    def keep(self, answer: httpx.Response) -> httpx.Response:
        if answer.status_code == 201:
            pair = answer.json()
            self.keys.append(pair["access_key"])
            self.hands.append(self.scene.client((pair["access_key"], pair["secret_key"])))
        return answer

    def check(self) -> None:
        """Ask the server, as each of those in the attacker's hands, what that one may."""
        for client in self.hands:
            for action, resource in NEVER:
                asked = {"action": action, "resource": resource.format(account=self.scene.account_id)}
                for project in self.projects:
                    answer = client.post("/v1/identity/simulate", json={**asked, "project": project})
                    if answer.status_code == 401:
                        break  # a token that has ended, a key pair that is revoked
                    if answer.status_code == 200:
                        assert not answer.json()["allowed"], (action, project, answer.json())


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(n, marks=pytest.mark.torture) for n in range(2, 20))])
def test_whatever_is_tried_nobody_gets_more_than_it_has(scene: Scene, seed: int) -> None:
    attack = Attack(scene, random.Random(seed))
    attack.begin()
    for _ in range(250):
        attack.step()
    attack.check()
    assert attack.got > 15 and len(attack.hands) > 5, "it did get something"

"""Users with policies, their key pairs, and a second account: callers of the calls about identities."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from redrive.database import Database
from redrive.engine.kinds import Kind
from redrive.identity import passwords, policy_store, users
from redrive.identity.audit import By
from redrive.identity.authentication import Authenticator
from redrive.identity.bootstrap import new_org_id
from redrive.identity.keys import NewKeyPair, create_key
from redrive.identity.master_key import open_sealer
from redrive.identity.policy_store import Target
from redrive.ids import new_id
from tests.wire_native.jobs_scene import Api, serving_api

TESTER = By("tester", "test")
PASSWORD = "a password that is long enough"
_HASH = passwords.hash_password(PASSWORD)
_names = itertools.count(1)


def policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "5.0", "Statement": list(statements)}


def allow(*actions: str, **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), **more}


def deny(*actions: str, **more: Any) -> dict[str, Any]:
    return {"Effect": "Deny", "Action": list(actions), **more}


@dataclass
class Scene:
    """An API and people who call it. ``root`` is the account's root user, with an unlimited key pair."""

    api: Api
    account_id: str
    clients: ExitStack = field(default_factory=ExitStack)

    @property
    def db(self) -> Database:
        return self.api.db

    @property
    def root(self) -> httpx.Client:
        return self.api.http

    @property
    def authenticator(self) -> Authenticator:
        """The server's own."""
        return self.api.parts.authenticator

    def flush(self) -> None:
        """Write the refusals that wait."""
        self.api.parts.refusals.flush()

    def name(self, stem: str) -> str:
        return f"{stem}{next(_names)}"

    def user(
        self, *attached: str | dict[str, Any], project: bool = False, stem: str = "user", password: str = ""
    ) -> str:
        """Make a user with these policies (names of built-in ones, or documents), in every project or in one."""
        name = self.name(stem)
        tenant_id = self.api.tenant_id if project else None
        with self.db.transaction() as conn:
            conn.execute(
                "insert into users (id, account_id, name, password_hash) values (%s, %s, %s, %s)",
                (
                    uuid.uuid4().hex,
                    self.account_id,
                    name,
                    passwords.hash_password(password) if password else _HASH,
                ),
            )
            for each in attached:
                known = each if isinstance(each, str) else self._written(conn, each)
                target = Target(user=name, tenant_id=tenant_id)
                policy_store.attach(conn, self.account_id, known, target, who=TESTER)
        return name

    def written(self, document: dict[str, Any]) -> str:
        with self.db.transaction() as conn:
            return self._written(conn, document)

    def _written(self, conn: Any, document: dict[str, Any]) -> str:
        name = self.name("policy")
        policy_store.put_policy(conn, self.account_id, name, document, who=TESTER)
        return name

    def group(self, *attached: str | dict[str, Any], members: Sequence[str] = ()) -> str:
        name = self.name("group")
        with self.db.transaction() as conn:
            users.create_group(conn, self.account_id, name, who=TESTER)
            for each in attached:
                known = each if isinstance(each, str) else self._written(conn, each)
                policy_store.attach(conn, self.account_id, known, Target(group=name), who=TESTER)
            for member in members:
                users.add_member(conn, self.account_id, group=name, user=member, who=TESTER)
        return name

    def pair(self, user: str, *layers: dict[str, Any], tenant_id: int = 0) -> NewKeyPair:
        with self.db.transaction() as conn:
            owner = users.get_user(conn, self.account_id, user)
            return create_key(
                conn,
                open_sealer(self.db, self.api.settings),
                tenant_id=tenant_id or self.api.tenant_id,
                user_id=owner.id,
                name=user,
                within=layers,
            )

    def client(self, pair: NewKeyPair | tuple[str, str]) -> httpx.Client:
        auth = (pair.access_key, pair.secret_key) if isinstance(pair, NewKeyPair) else pair
        return self.clients.enter_context(httpx.Client(base_url=self.api.url, auth=auth, timeout=20))

    def calling(self, user: str, *layers: dict[str, Any]) -> httpx.Client:
        """Return a client that calls as ``user``, limited by ``layers`` where there are any."""
        return self.client(self.pair(user, *layers))

    def someone(self, *attached: str | dict[str, Any]) -> httpx.Client:
        """Return a client of a new user with these policies and an unlimited key pair."""
        return self.calling(self.user(*attached))

    def token(self, user: str, project: str | None = None, password: str = PASSWORD) -> str:
        body = {"user_name": user, "password": password, "domain_name": "redrive"}
        answer = httpx.post(
            f"{self.api.url}/v1/identity/tokens", json={**body, **({"project": project} if project else {})}
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])

    def bearing(self, token: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"}
        return self.clients.enter_context(httpx.Client(base_url=self.api.url, headers=headers, timeout=20))

    def trail(self, action: str = "%", outcome: str = "%") -> list[Any]:
        """Return what the trail holds, oldest first; refusals that wait are written first."""
        self.flush()
        with self.db.transaction() as conn:
            return conn.execute(
                "select * from audit where action like %s and outcome like %s order by id", (action, outcome)
            ).fetchall()

    def project(self, name: str = "") -> tuple[str, str, int]:
        """Make another project of the account; its name, id and tenant."""
        answer = self.root.post("/v1/identity/projects", json={"name": name or self.name("region-")})
        assert answer.status_code == 201, answer.text
        made = answer.json()
        with self.db.transaction() as conn:
            [row] = conn.execute("select id from tenants where project_id = %s", (made["id"],)).fetchall()
        return made["name"], made["id"], row.id

    def second_account(self) -> tuple[str, httpx.Client]:
        """Make another account with a root user, a project and an unlimited key pair; a client of it."""
        account_id, user_id, tenant_id = uuid.uuid4().hex, uuid.uuid4().hex, new_id()
        with self.db.transaction() as conn:
            conn.execute(
                "insert into accounts (id, name) values (%s, %s)", (account_id, self.name("account"))
            )
            conn.execute(
                "insert into users (id, account_id, name, password_hash, root) values (%s, %s, 'admin', %s, true)",
                (user_id, account_id, _HASH),
            )
            conn.execute(
                """insert into tenants (id, account_id, project_id, project_name, org_id, workspace_id)
                   values (%s, %s, %s, 'local-1', %s, %s)""",
                (tenant_id, account_id, uuid.uuid4().hex, new_org_id(), uuid.uuid4().hex),
            )
            sealer = open_sealer(self.db, self.api.settings)
            pair = create_key(conn, sealer, tenant_id=tenant_id, user_id=user_id, name="theirs")
        return account_id, self.client(pair)


@contextmanager
def identity_scene(db: Database, folder: Path, kinds: Sequence[Kind] = ()) -> Iterator[Scene]:
    with serving_api(db, folder, kinds) as api:
        with db.transaction() as conn:
            [account] = conn.execute("select id from accounts").fetchall()
        scene = Scene(api, account.id)
        with scene.clients:
            yield scene


def secrets_in(*texts: str) -> str:
    """Return all texts as one, to look for secrets in."""
    return "\n".join(json.dumps(text) for text in texts)

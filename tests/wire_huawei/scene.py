"""A whole server in this process: the API on a real port, a worker beside it, and the vendor's clients."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ServiceResponseException
from huaweicloudsdkworkspace.v2 import WorkspaceClient

from redrive import kinds as kinds_module
from redrive.database import Database
from redrive.identity import policy_store, signatures, users
from redrive.identity.audit import By
from redrive.identity.bootstrap import bootstrap
from redrive.identity.credentials import Credentials, credentials_file, read_credentials
from redrive.identity.keys import NewKeyPair, create_key
from redrive.kinds import all_kinds
from redrive.parts import Parts, open_parts
from redrive.settings import Settings
from redrive.wire.app import create_app
from tests.engine.scene import until, working
from tests.wire_native.jobs_scene import listening

BY = By("tester", "test")


@dataclass
class Cloud:
    """The server, as its administrator and as others reach it."""

    url: str
    db: Database
    parts: Parts
    credentials: Credentials
    account_id: str
    tenant_id: int
    http: httpx.Client

    @property
    def project(self) -> str:
        return self.credentials.project_id

    def token(self, name: str = "", password: str = "", scope: Mapping[str, Any] | None = None) -> str:
        """A token of a user (the administrator's by default) for the project."""
        answer = self.http.post(
            "/v3/auth/tokens",
            json=login(
                name or self.credentials.user_name,
                password or self.credentials.password,
                self.credentials.domain_name,
                {"project": {"id": self.project}} if scope is None else scope,
            ),
        )
        assert answer.status_code == 201, answer.text
        return answer.headers["X-Subject-Token"]

    def call(self, method: str, path: str, *, token: str | None = None, **more: Any) -> httpx.Response:
        """Call with a token (the administrator's by default); ``{}`` in the path is the project."""
        headers = {"X-Auth-Token": token or self.token(), **more.pop("headers", {})}
        return self.http.request(method, path.replace("{}", self.project), headers=headers, **more)

    def user(self, name: str, *policies: str, password: str = "a-long-password") -> str:
        """Make a user with these policies; its token for the project."""
        with self.db.transaction() as conn:
            users.create_user(conn, self.account_id, name, password, who=BY)
            for policy in policies:
                policy_store.attach(conn, self.account_id, policy, policy_store.Target(user=name), who=BY)
        return self.token(name, password)

    def key(self, name: str = "app", policy: Mapping[str, Any] | None = None) -> NewKeyPair:
        with self.db.transaction() as conn:
            (user,) = conn.execute("select id from users where root").fetchall()
            return create_key(
                conn, self.parts.sealer, tenant_id=self.tenant_id, user_id=user.id, name=name, policy=policy
            )

    def workspaces(self, access_key: str = "", secret_key: str = "") -> WorkspaceClient:
        """The vendor's client."""
        pair = (access_key or self.credentials.access_key, secret_key or self.credentials.secret_key)
        credentials = BasicCredentials(*pair, self.project)
        return WorkspaceClient.new_builder().with_credentials(credentials).with_endpoint(self.url).build()

    def audit(self) -> list[Any]:
        self.parts.refusals.flush()
        with self.db.transaction() as conn:
            return conn.execute("select * from audit order by id").fetchall()


def login(name: str, password: str, domain: str, scope: Mapping[str, Any] | None) -> dict[str, Any]:
    user = {"name": name, "password": password, "domain": {"name": domain}}
    auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
    return {"auth": auth if scope is None else {**auth, "scope": dict(scope)}}


def refusal(call: Callable[[], object]) -> ServiceResponseException:
    """Return the vendor's exception for a call that is refused."""
    with pytest.raises(ServiceResponseException) as refused:
        call()
    return refused.value


def awaited(look: Callable[[], Any], good: Sequence[str], going: Sequence[str], seconds: float = 30) -> Any:
    """Poll as the vendor's own tools do: any word that is neither good nor known as going on is an error at once."""

    def word() -> Any:
        found = look()
        assert found.status in (*good, *going), f"an unknown word: {found.status}"
        return found if found.status in good else None

    return until(word, seconds)


@contextlib.contextmanager
def cloud_at(db: Database, folder: Path, monkeypatch: pytest.MonkeyPatch, **more: Any) -> Iterator[Cloud]:
    monkeypatch.setattr(kinds_module, "CACHE_SECONDS", 0.1)
    settings = Settings(data_dir=folder / "D", database_url=db.url, **more)
    bootstrap(db, settings)
    credentials = read_credentials(credentials_file(settings))
    assert credentials is not None
    with contextlib.closing(open_parts(settings)) as parts:
        kinds = [
            dataclasses.replace(kind, retry=dataclasses.replace(kind.retry, max_tries=1))
            if kind.name.startswith("workspace.")
            else kind
            for kind in all_kinds(parts)
        ]
        with (
            listening(create_app(parts, kinds)) as url,
            working(db, *kinds),
            httpx.Client(base_url=url) as http,
        ):
            with db.transaction() as conn:
                (tenant,) = conn.execute("select id, account_id from tenants").fetchall()
            yield Cloud(url, db, parts, credentials, tenant.account_id, tenant.id, http)


def signed(
    url: str,
    pair: tuple[str, str],
    method: str,
    target: str,
    body: bytes = b"",
    headers: Sequence[tuple[str, str]] = (),
    signing: Sequence[str] | None = None,
    at: datetime | None = None,
    sign_target: str | None = None,
    sign_body: bytes | None = None,
) -> list[tuple[str, str]]:
    """The headers of a call signed by hand, so that anything about it can be wrong."""
    sent = [
        ("host", urlsplit(url).netloc),
        ("x-sdk-date", f"{at or datetime.now(UTC):%Y%m%dT%H%M%SZ}"),
        *headers,
    ]
    path, _, query = (sign_target or target).partition("?")
    wire = signatures.Wire(
        method, path.encode(), query.encode(), [(name.encode(), value.encode()) for name, value in sent]
    )
    names = sorted(signing if signing is not None else {name for name, _ in sent})
    shown = signatures.Shown(signatures.PLAIN, pair[0], tuple(names), "")
    payload = hashlib.sha256(body if sign_body is None else sign_body).hexdigest()
    canonical = signatures.canonical_request(wire, names, payload)
    signature = signatures.sign(shown, sent[1][1], canonical, pair[1])
    value = f"{signatures.PLAIN} Access={pair[0]}, SignedHeaders={';'.join(names)}, Signature={signature}"
    return [*sent, ("authorization", value)]


def curl(*words: str) -> tuple[int, dict[str, Any]]:
    """Call with curl; status and JSON body."""
    told = subprocess.run(
        ["curl", "-s", "-w", "\n%{http_code}", *words], capture_output=True, text=True, check=True
    ).stdout
    body, _, status = told.rpartition("\n")
    return int(status), json.loads(body or "{}")


def wait(seconds: float) -> None:
    time.sleep(seconds)

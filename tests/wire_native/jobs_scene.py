"""A real API on loopback over a test's own database, callers of it, and jobs in every situation."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import uvicorn

from redrive.database import Database
from redrive.database.embedded import EmbeddedPostgres
from redrive.engine import claiming, jobs, recovery
from redrive.engine.kinds import Kind, Work
from redrive.engine.model import NewJob, NewUnit, UnitState
from redrive.engine.settling import Settlement, settle
from redrive.identity.access import EVERYTHING, Action
from redrive.identity.builtin import key_policy
from redrive.identity.credentials import Credentials, credentials_file, read_credentials
from redrive.identity.keys import create_key, find_tenant
from redrive.ids import new_id
from redrive.parts import Parts, open_parts
from redrive.settings import Settings
from redrive.wire.app import create_app
from tests.servers import first_start

FAILURE = {
    "code": "source_gone",
    "detail": "the table orders is gone",
    "hint": "Bring it back, then retry.",
    "class": "needs_input",
    "target": "orders",
    "fingerprint": "f" * 16,
}
_kinds = itertools.count(1)


@dataclass(frozen=True)
class Api:
    """The first tenant's admin calls through ``http``; ``stranger`` is another tenant's member."""

    db: Database
    http: httpx.Client
    stranger: httpx.Client
    credentials: Credentials
    tenant_id: int
    url: str
    settings: Settings
    parts: Parts

    def clear(self) -> None:
        """Forget all jobs: each test begins with none."""
        with self.db.transaction() as conn:
            conn.execute(
                "truncate jobs, units, attempts, events, failpoints, workers, idempotency_keys cascade"
            )

    def submit(self, units: int | Sequence[NewUnit] = 1, **more: Any) -> int:
        made = [NewUnit({"n": n}) for n in range(units)] if isinstance(units, int) else units
        values = {"kind": "test.kind", "tenant_id": self.tenant_id, "spec": {}, "actor": "tester", **more}
        return self.db.run(lambda conn: jobs.submit(conn, NewJob(units=made, **values)))

    def claim(self, kind: str = "test.kind", count: int = 1000) -> list[Work]:
        return claiming.claim(self.db, 1, [kind], count, 60)

    def settle(self, works: Sequence[Work], state: UnitState = UnitState.DONE, **more: Any) -> None:
        if state is UnitState.FAILED:
            more.setdefault("failure", FAILURE)
        else:
            more.setdefault("ledger", {"rows": 10})
        settle(
            self.db,
            [
                Settlement(work.unit_id, work.job_id, work.claim, work.attempt, state, **more)
                for work in works
            ],
        )

    def failed(self, count: int = 1, kind: str = "test.kind", **failure: Any) -> list[int]:
        ids = [self.submit(kind=kind) for _ in range(count)]
        self.settle(self.claim(kind), UnitState.FAILED, failure={**FAILURE, **failure})
        return ids

    def job_in(self, situation: str) -> int:
        """Make a job of one unit in ``situation``: a state, or ``pausing`` or ``cancelling``."""
        kind = f"test.{situation}{next(_kinds)}"
        job_id = self.submit(kind=kind)
        if situation in {"running", "pausing", "cancelling", "succeeded", "failed"}:
            works = self.claim(kind)
            if situation == "succeeded":
                self.settle(works)
            elif situation == "failed":
                self.settle(works, UnitState.FAILED)
        if situation in {"pausing", "paused"}:
            self.db.run(lambda conn: recovery.pause(conn, self.tenant_id, job_id, actor="tester"))
        if situation in {"cancelling", "cancelled"}:
            self.db.run(lambda conn: recovery.cancel(conn, self.tenant_id, job_id, actor="tester"))
        return job_id

    def job(self, job_id: int | str) -> dict[str, Any]:
        answer = self.http.get(f"/v1/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()


SITUATIONS = ("queued", "running", "pausing", "cancelling", "paused", "succeeded", "failed", "cancelled")


@contextlib.contextmanager
def database_of_a_module(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """A database that the tests of a module share."""
    name = f"module_{next(_kinds)}"
    with psycopg.connect(postgres.superuser_url(), autocommit=True) as conn:
        conn.execute(f"create database {name} template template_redrive owner redrive strategy file_copy")
        with Database(postgres.database_url(name), name="test") as db:
            yield db
        conn.execute(f"drop database {name} with (force)")


@contextlib.contextmanager
def serving_api(db: Database, folder: Path, kinds: Sequence[Kind] = (), **more: Any) -> Iterator[Api]:
    """Run the API for as long as the block runs; ``more`` are settings."""
    settings = Settings(data_dir=folder / "D", database_url=db.url, **more)
    sealer = first_start(db, settings)
    credentials = read_credentials(credentials_file(settings))
    assert credentials is not None
    with db.transaction() as conn:
        tenant = find_tenant(conn, credentials.project_id)
        conn.execute(
            """insert into tenants (id, account_id, project_id, project_name, org_id, workspace_id, open)
               select %s, account_id, %s, 'other', 'o424242', %s, true from tenants""",
            [(other := new_id()), "a" * 32, "a" * 32],
        )
        [user] = conn.execute("select id from users").fetchall()
        pair = create_key(
            conn,
            sealer,
            tenant_id=other,
            user_id=user.id,
            name="stranger",
            policy=for_test_kinds(key_policy({Action.READ: EVERYTHING, Action.WRITE: EVERYTHING})),
        )
    with contextlib.closing(open_parts(settings)) as parts, listening(create_app(parts, kinds)) as url:
        keys = (credentials.access_key, credentials.secret_key)
        with (
            httpx.Client(base_url=url, auth=keys, timeout=20) as http,
            httpx.Client(base_url=url, auth=(pair.access_key, pair.secret_key)) as stranger,
        ):
            yield Api(db, http, stranger, credentials, tenant.id, url, settings, parts)


def for_test_kinds(policy: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the policy with its rights on time-series jobs turned into rights on the tests' own kinds."""
    found: Mapping[str, Any] = json.loads(json.dumps(policy).replace("job:timeseries.*", "job:test.*"))
    return found


@contextlib.contextmanager
def listening(app: Any, **tls: Any) -> Iterator[str]:
    """Serve ``app`` on a free port of loopback; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(
            uvicorn.Config(app, log_config=None, lifespan="off", proxy_headers=False, **tls)
        )
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=10)

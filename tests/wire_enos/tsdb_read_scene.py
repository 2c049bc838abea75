"""Real samples behind the real read calls: accepted into the log, or moved into the tables, or both."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import psycopg
from fastapi import FastAPI
from psycopg import sql

from redrive.database import Database
from redrive.database.embedded import EmbeddedPostgres
from redrive.identity.access import EVERYTHING, Action, Principal, Scope
from redrive.identity.audit import Refusals
from redrive.identity.builtin import key_policy
from redrive.identity.principals import rights_from
from redrive.ids import new_id
from redrive.ingest import rows
from redrive.ingest.samples import with_place
from redrive.services.timeseries import registry
from redrive.services.timeseries.assets import Asset, Model, Point, StorageType
from redrive.services.timeseries.ingest import Ingest
from redrive.services.timeseries.reads.stored import Reads
from redrive.services.timeseries.storage import SampleStore
from redrive.wire.enos.auth import enos_principal
from redrive.wire.enos.tsdb.routes_read import reader_or_writer, router
from tests.wire_enos.gateway_caller import serving

BASE = "/tsdb-service/v2.1"


@dataclass
class House:
    """One server for many tests; each test has an organization of its own. Callers are whom the test says."""

    db: Database
    store: SampleStore
    ingest: Ingest
    reads: Reads
    http: httpx.Client
    clock: list[datetime]
    callers: dict[str, Principal]

    def site(self) -> Site:
        """A new organization, and a caller that may read and write all its assets."""
        tenant_id = new_id()
        org_id = f"o{tenant_id}"
        with self.db.transaction() as conn:
            conn.execute("insert into accounts (id, name) values (md5('a'), 'a') on conflict do nothing")
            conn.execute(
                "insert into tenants (id, account_id, project_id, project_name, org_id, workspace_id)"
                " values (%(id)s, md5('a'), md5(%(org)s), %(org)s, %(org)s, md5(%(org)s))",
                {"id": tenant_id, "org": org_id},
            )
        self.clock[0] = datetime(2026, 1, 1, tzinfo=UTC)
        site = Site(self, tenant_id, org_id)
        site.may(READ=EVERYTHING, WRITE=EVERYTHING)
        return site


@dataclass
class Site:
    """An organization with assets and samples, and a caller of it."""

    house: House
    tenant_id: int
    org_id: str

    @property
    def db(self) -> Database:
        return self.house.db

    @property
    def clock(self) -> list[datetime]:
        return self.house.clock

    def may(self, **scopes: Scope) -> None:
        """Give the caller exactly these permissions."""
        permissions = {Action[name]: scope for name, scope in scopes.items()}
        rights = rights_from([], layers=[key_policy(permissions)], root=True)
        self.house.callers[self.org_id] = Principal(
            self.tenant_id, "a", "p", self.org_id, "u", 1, "k", "tester", rights
        )

    def asset(self, *ids: str, zone: str = "Asia/Shanghai", model: str | None = None) -> None:
        with self.db.transaction() as conn:
            for asset_id in ids:
                registry.put_asset(conn, self.tenant_id, Asset(asset_id, model_id=model, time_zone=zone))

    def model(self, model_id: str, **points: set[StorageType]) -> None:
        """Make a model; each point has these storage types."""
        named = tuple(Point(name, storage_types=frozenset(types)) for name, types in points.items())
        with self.db.transaction() as conn:
            registry.put_model(conn, self.tenant_id, Model(model_id, points=named))

    def accept(self, *items: tuple[str, str, int, Any]) -> int:
        """Accept samples of (asset, point, time, value); a value may be ``{"value", "quality"}``."""
        return self.house.ingest.accept(self.tenant_id, batch(*items)).result(10)

    def move(self, *items: tuple[str, str, int, Any]) -> int:
        """Put samples into the tables as the mover does; the log still has them."""
        seq = self.accept(*items)
        table = self.house.store.table(self.org_id)
        samples = with_place(batch(*items), seq, 0)
        table.append(samples, app_id=f"move/{self.org_id}", claim=1, step=seq)
        return seq

    def put(self, where: str, *items: tuple[str, str, int, Any]) -> None:
        """Put samples into the ``log``, the ``tables``, or half of them into each."""
        if where == "log":
            self.accept(*items)
        elif where == "tables":
            self.move(*items)
        else:
            self.move(*items[::2])
            if items[1::2]:
                self.accept(*items[1::2])

    def call(self, path: str, body: Any, *, query: str = "") -> dict[str, Any]:
        """Return the whole answer; a text is sent as it is."""
        content = body if isinstance(body, str) else json.dumps(body)
        response = self.house.http.post(f"{BASE}{path}?orgId={self.org_id}{query}", content=content)
        assert response.status_code == 200, response.text
        return dict(json.loads(response.text))

    def items(self, path: str, body: Any) -> list[dict[str, Any]]:
        answer = self.call(path, body)
        assert answer["code"] == 0, answer
        assert set(answer) == {"code", "msg", "submsg", "data"}
        assert answer["msg"] == "OK" and answer["submsg"] is None
        return list(answer["data"]["items"])

    def refused(self, path: str, body: Any, *, query: str = "") -> str:
        """The message of a call that is refused for a parameter."""
        answer = self.call(path, body, query=query)
        assert answer["code"] == 80400, answer
        assert answer["data"] is None
        assert answer["msg"].startswith("Invalid param error: ")
        return str(answer["msg"].removeprefix("Invalid param error: "))


def batch(*items: tuple[str, str, int, Any]) -> Any:
    return rows.wide_batch(
        [asset for asset, _, _, _ in items],
        [time for _, _, time, _ in items],
        [{point: value} for _, point, _, value in items],
        lambda row, point: point,
    )


@contextlib.contextmanager
def open_house(postgres: EmbeddedPostgres, root: Path) -> Iterator[House]:
    """The read calls behind a real server on loopback, over a database of their own."""
    name = f"reads_{new_id()}"
    with psycopg.connect(postgres.superuser_url(), autocommit=True) as conn:
        statement = "CREATE DATABASE {} TEMPLATE template_redrive OWNER redrive STRATEGY file_copy"
        conn.execute(sql.SQL(statement).format(sql.Identifier(name)))
    clock, callers = [datetime(2026, 1, 1, tzinfo=UTC)], dict[str, Principal]()
    with Database(postgres.database_url(name), max_size=8, name="test") as db:
        store, ingest = SampleStore(str(root / "store"), None, db), Ingest(db)
        reads = Reads(db, store, ingest.tail, now=lambda: clock[0])
        app = FastAPI()
        app.state.parts = SimpleNamespace(
            db=db, refusals=Refusals(db), store=store, ingest=ingest, reads=reads
        )
        app.include_router(router)
        for dependency in (enos_principal, reader_or_writer):
            app.dependency_overrides[dependency] = lambda orgId: callers[orgId]  # noqa: N803
        with serving(app) as url, httpx.Client(base_url=url, timeout=30) as http:
            yield House(db, store, ingest, reads, http, clock, callers)
        ingest.close()
        store.close()
    with psycopg.connect(postgres.superuser_url(), autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

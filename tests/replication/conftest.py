"""A server with the users' databases per test process; a project of each test's own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from redrive.database import Database
from redrive.identity.bootstrap import bootstrap
from redrive.identity.data_keys import DataKeys
from redrive.settings import Settings
from tests.replication.scene import Moving, Server, users_server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with (
        tempfile.TemporaryDirectory(prefix="redrive-test-users-") as folder,
        users_server(Path(folder)) as made,
    ):
        yield made


@pytest.fixture
def moving(db: Database, settings: Settings, server: Server) -> Moving:
    sealer = bootstrap(db, settings)
    (tenant,) = db.run(lambda conn: conn.execute("select id from tenants").fetchall())
    db.run(lambda conn: DataKeys(sealer).make(conn, tenant.id))
    return Moving(db, sealer, tenant.id, server)

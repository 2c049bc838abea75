"""A server of the test's own, its workspace being registered or not; a server of users' databases, and a client."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from redrive.database import Database
from redrive.identity.data_keys import DataKeys
from redrive.services.workspaces import service
from redrive.services.workspaces.house import Secrets, load
from redrive.services.workspaces.model import Status, WorkspaceSettings
from tests.endpoints.openldap import free_port
from tests.engine.scene import until
from tests.replication.scene import Server, users_server
from tests.wire_huawei.drs_scene import Drs, drs_of
from tests.wire_huawei.scene import Cloud, cloud_at


@pytest.fixture
def unregistered(db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """A server whose project has no workspace; directories are looked for at a free port."""
    with cloud_at(
        db, tmp_path, monkeypatch, allow_loopback_endpoints=True, directory_ldap_port=free_port()
    ) as cloud:
        yield cloud


@pytest.fixture
def cloud(unregistered: Cloud) -> Cloud:
    """A server whose project has a workspace."""
    db, tenant_id = unregistered.db, unregistered.tenant_id
    db.run(
        lambda conn: service.register(
            conn,
            tenant_id,
            WorkspaceSettings(),
            actor="tester",
            secrets=Secrets(unregistered.parts.sealer, DataKeys(unregistered.parts.sealer)),
        )
    )
    until(lambda: service.status(db.run(lambda conn: load(conn, tenant_id))) is Status.REGISTERED, 20)
    return unregistered


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A PostgreSQL of the users'."""
    with (
        tempfile.TemporaryDirectory(prefix="redrive-test-users-") as folder,
        users_server(Path(folder)) as made,
    ):
        yield made


@pytest.fixture
def drs(cloud: Cloud, server: Server) -> Drs:
    """The vendor's client of replication."""
    return drs_of(cloud, server)

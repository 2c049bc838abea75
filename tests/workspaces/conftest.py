"""A project without a workspace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from redrive.database import Database
from redrive.identity.bootstrap import bootstrap
from redrive.services.timeseries.storage import SampleStore
from redrive.settings import Settings
from tests.workspaces.scene import Project


@pytest.fixture
def project(db: Database, settings: Settings, tmp_path: Path) -> Iterator[Project]:
    sealer = bootstrap(db, settings)
    (tenant,) = db.run(lambda conn: conn.execute("select id, org_id from tenants").fetchall())
    store = SampleStore(str(tmp_path / "samples"), None, db)
    yield Project(db, sealer, store, tenant.id, tenant.org_id)
    store.close()

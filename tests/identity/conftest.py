"""A first start in a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from redrive.database import Database
from redrive.identity.bootstrap import bootstrap
from redrive.identity.credentials import Credentials, credentials_file, read_credentials
from redrive.identity.sealing import Sealer
from redrive.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "D")


@pytest.fixture
def sealer(db: Database, settings: Settings) -> Sealer:
    return bootstrap(db, settings)


@pytest.fixture
def credentials(sealer: Sealer, settings: Settings) -> Credentials:
    found = read_credentials(credentials_file(settings))
    assert found is not None
    return found

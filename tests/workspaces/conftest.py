"""A project without a workspace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from redrive.database import Database
from redrive.settings import Settings
from tests.workspaces.scene import Project, new_project


@pytest.fixture
def project(db: Database, settings: Settings, tmp_path: Path) -> Iterator[Project]:
    with new_project(db, settings, tmp_path) as made:
        yield made

"""After every engine test, the counters of every job must equal what its units say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from redrive.database import Database
from tests.engine.scene import check_counts


@pytest.fixture(autouse=True)
def counts_stay_true(db: Database) -> Iterator[None]:
    yield
    check_counts(db)

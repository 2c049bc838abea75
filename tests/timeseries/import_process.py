"""A worker process that imports, for crash tests."""

from __future__ import annotations

from pathlib import Path

from redrive.database import Database
from redrive.engine import failpoints
from redrive.engine.worker import Worker
from redrive.services.timeseries import imports, sources
from redrive.services.timeseries.storage import SampleStore


def work(url: str, store: str, root: str, armed: str) -> None:
    """Work until killed."""
    failpoints.arm_all(armed)
    sources.UNIT_SAMPLES = sources.TABLE_SAMPLES = 100
    with Database(url, name="import-worker") as db:
        kind = imports.kind(SampleStore(store, None, db), [Path(root)])
        Worker(db, [kind], threads=2, lease_seconds=1.0).run()

"""A worker process with a mover, for crash tests."""

from __future__ import annotations

from redrive.database import Database
from redrive.engine import failpoints
from redrive.engine.worker import Worker
from redrive.services.timeseries import mover
from redrive.services.timeseries.storage import SampleStore


def work(url: str, store: str, armed: str) -> None:
    """Work until killed."""
    failpoints.arm_all(armed)
    mover.MOVE_SECONDS = 0.05
    with Database(url, name="mover-worker") as db:
        Worker(db, [mover.kind(SampleStore(store, None, db))], threads=2, lease_seconds=1.0).run()

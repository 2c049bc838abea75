"""A worker process for crash tests of deletions: ``python -m tests.timeseries.crash_worker URL ROOT``.

It runs deletions in many small units, the mover and compaction beside them.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from redrive.database import Database
from redrive.engine import claiming, failpoints
from redrive.engine.worker import Worker
from redrive.services.timeseries import compaction, deletion_job, mover
from redrive.services.timeseries.storage import SampleStore


def main() -> None:
    failpoints.arm_all(os.environ.get("REDRIVE_FAILPOINTS", ""))
    with Database(sys.argv[1], name="crash-worker", idle_seconds=claiming.IDLE_SECONDS) as db:
        options = json.loads(os.environ.get("STORAGE_OPTIONS", "null"))
        store = SampleStore(sys.argv[2], options, db)
        kinds = [deletion_job.kind(store, unit_rows=5), mover.kind(store), compaction.kind(store)]
        worker = Worker(db, kinds, threads=2, lease_seconds=float(os.environ.get("LEASE_SECONDS", "1")))
        signal.signal(signal.SIGTERM, lambda *_: worker.stop())
        worker.run()
        store.close()


if __name__ == "__main__":
    main()

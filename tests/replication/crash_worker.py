"""A worker process for crash tests of replication: ``python -m tests.replication.crash_worker URL DATA ROWS``."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from redrive.database import Database
from redrive.endpoints.guard import Guard
from redrive.engine import claiming, failpoints
from redrive.engine.worker import Worker
from redrive.identity.data_keys import DataKeys
from redrive.identity.master_key import open_sealer
from redrive.services.replication import job
from redrive.services.replication.task import Parts
from redrive.settings import Settings


def main() -> None:
    url, data_dir, chunk_rows = sys.argv[1:]
    failpoints.arm_all(os.environ.get("REDRIVE_FAILPOINTS", ""))
    with Database(url, name="crash-worker", idle_seconds=claiming.IDLE_SECONDS) as db:
        sealer = open_sealer(db, Settings(data_dir=Path(data_dir)))
        kinds = job.kinds(Parts(Guard(allow_loopback=True), DataKeys(sealer)), chunk_rows=int(chunk_rows))
        worker = Worker(db, kinds, threads=2, lease_seconds=1.0)
        signal.signal(signal.SIGTERM, lambda *_: worker.stop())
        worker.run()


if __name__ == "__main__":
    main()

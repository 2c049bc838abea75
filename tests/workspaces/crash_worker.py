"""A worker process for crash tests of workspaces: ``python -m tests.workspaces.crash_worker URL STORE DATA PORT``."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from redrive.database import Database
from redrive.endpoints.directory import Ports
from redrive.engine import claiming, failpoints
from redrive.engine.worker import Worker
from redrive.identity.master_key import open_sealer
from redrive.services.timeseries.storage import SampleStore
from redrive.settings import Settings
from tests.workspaces.scene import Project


def main() -> None:
    url, root, data_dir, port = sys.argv[1:]
    failpoints.arm_all(os.environ.get("REDRIVE_FAILPOINTS", ""))
    with Database(url, name="crash-worker", idle_seconds=claiming.IDLE_SECONDS) as db:
        store = SampleStore(root, None, db)
        sealer = open_sealer(db, Settings(data_dir=Path(data_dir)))
        project = Project(db, sealer, store, 0, "", Ports(int(port), 1, 1))
        worker = Worker(db, project.kinds(), threads=2, lease_seconds=1.0)
        signal.signal(signal.SIGTERM, lambda *_: worker.stop())
        worker.run()
        store.close()


if __name__ == "__main__":
    main()

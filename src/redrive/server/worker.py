"""The worker process: claims units and runs them until it is asked to stop."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

from redrive.engine import claiming
from redrive.engine.worker import Worker
from redrive.kinds import all_kinds
from redrive.parts import open_parts
from redrive.server import logs
from redrive.server.lifeline import Watch
from redrive.server.preparation import arm_failpoints
from redrive.settings import Settings

#: After SIGTERM; what does not reach a commit point by then (the database may be away) is left to its lease.
STOP_SECONDS = 8.0
#: After the supervisor's death units have this long to reach a commit point.
ORPHAN_SECONDS = 5.0


def run_worker(
    settings: Settings, *, name: str, ready: Callable[[], None], watch: Watch | None = None
) -> None:
    """Run units until SIGTERM or SIGINT; those that run then go on to their next commit point."""
    logs.configure(settings.log_level, part=name)
    arm_failpoints(settings)
    # Each runner, the settler, the heartbeat and the maintenance may want a connection at once.
    parts = open_parts(
        settings,
        name=f"redrive {name}",
        connections=settings.worker_threads + 4,
        idle_seconds=claiming.IDLE_SECONDS,
    )
    try:
        worker = Worker(
            parts.db,
            all_kinds(parts),
            threads=settings.worker_threads,
            allow_failpoints=settings.allow_failpoints,
        )

        def stop(*_: object) -> None:
            # A signal handler must not take locks that the interrupted thread may hold.
            threading.Thread(target=worker.stop, name="stop", daemon=True).start()
            threading.Thread(target=_end_after, args=(STOP_SECONDS,), name="patience", daemon=True).start()

        signal.signal(signal.SIGTERM, stop)
        if watch is None:
            signal.signal(signal.SIGINT, stop)
        else:
            watch(worker.stop, patience_seconds=ORPHAN_SECONDS)
        ready()
        worker.run()
    finally:
        parts.close()


def _end_after(seconds: float) -> None:
    time.sleep(seconds)
    os._exit(1)

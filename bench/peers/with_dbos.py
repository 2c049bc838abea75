"""Empty workflows on DBOS.

Settings: as many at once as its threads bear (one thread each), a short poll, since a worker takes at most its
free places per poll; its queues do not use LISTEN/NOTIFY. Synchronous workflows: asynchronous ones were slower.
"""

from __future__ import annotations

import os
import threading
import uuid
from typing import Any

import sqlalchemy
from dbos import DBOS, DBOSClient, DBOSConfig
from start import run

AT_ONCE = int(os.environ.get("DBOS_AT_ONCE", "50"))
POLL_SECONDS = float(os.environ.get("DBOS_POLL", "0.02"))
CONNECTIONS = int(os.environ.get("DBOS_CONNECTIONS", "20"))
VERSION = "bench"


@DBOS.workflow()
def empty() -> None:
    return None


def launch(url: str) -> None:
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": url,
        "sys_db_pool_size": CONNECTIONS,
        "max_executor_threads": AT_ONCE + 10,
        "application_version": VERSION,
        "executor_id": str(uuid.uuid4()),
        "log_level": "ERROR",
    }
    DBOS(config=config)
    DBOS.launch()


def fill(url: str, count: int) -> None:
    launch(url)
    DBOS.register_queue("bench", worker_concurrency=AT_ONCE, polling_interval_sec=POLL_SECONDS)
    DBOS.destroy()
    client = DBOSClient(system_database_url=url)
    options: Any = {"workflow_name": empty.__qualname__, "queue_name": "bench", "app_version": VERSION}
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    for begin in range(0, count, 1000):
        with engine.begin() as conn:
            for _ in range(min(1000, count - begin)):
                client.enqueue_in_transaction(conn, options)
    client.destroy()


def work(url: str) -> None:
    launch(url)
    threading.Event().wait()


if __name__ == "__main__":
    run(fill, work)

"""Empty jobs on procrastinate.

Settings: asynchronous tasks, many at once, a connection for each of them up to what helps (it claims and finishes
job by job, so it lives on parallel round trips), finished jobs kept, as ours are.
"""

from __future__ import annotations

import asyncio
import logging
import os

import procrastinate
import uvloop
from start import run

logging.disable(logging.WARNING)  # it dislikes an app that is made in a script

AT_ONCE = int(os.environ.get("PROCRASTINATE_AT_ONCE", "30"))
CONNECTIONS = int(os.environ.get("PROCRASTINATE_CONNECTIONS", "20"))


def app_on(url: str) -> procrastinate.App:
    connector = procrastinate.PsycopgConnector(conninfo=url, min_size=CONNECTIONS, max_size=CONNECTIONS)
    app = procrastinate.App(connector=connector)

    @app.task(name="empty")
    async def empty() -> None:
        return None

    return app


def fill(url: str, count: int) -> None:
    async def put() -> None:
        app = app_on(url)
        async with app.open_async():
            await app.schema_manager.apply_schema_async()
            for begin in range(0, count, 1000):
                jobs = [{} for _ in range(min(1000, count - begin))]
                await app.configure_task("empty").batch_defer_async(*jobs)

    asyncio.run(put())


def work(url: str) -> None:
    async def serve() -> None:
        app = app_on(url)
        async with app.open_async():
            await app.run_worker_async(concurrency=AT_ONCE, install_signal_handlers=False)

    uvloop.run(serve())


if __name__ == "__main__":
    run(fill, work)

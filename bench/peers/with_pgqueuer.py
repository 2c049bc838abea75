"""Empty jobs on pgqueuer.

Settings, after its performance guide: asyncpg on one connection, uvloop, `pgq autovac`, durable tables, and a
large batch, since jobs are short. A finished job leaves its queue table and stands in its log table.
"""

from __future__ import annotations

import asyncio
import os

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.models import Job
from pgqueuer.queries import Queries
from start import run

BATCH = int(os.environ.get("PGQUEUER_BATCH", "500"))


def fill(url: str, count: int) -> None:
    async def put() -> None:
        queries = Queries.from_asyncpg_connection(await asyncpg.connect(url))
        await queries.install()
        await queries.optimize_autovacuum()
        for begin in range(0, count, 5000):
            size = min(5000, count - begin)
            await queries.enqueue(["empty"] * size, [b""] * size, [0] * size)

    asyncio.run(put())


def work(url: str) -> None:
    async def serve() -> None:
        queuer = PgQueuer.from_asyncpg_connection(await asyncpg.connect(url))

        @queuer.entrypoint("empty")
        async def empty(job: Job) -> None:
            return None

        await queuer.run(batch_size=BATCH)

    uvloop.run(serve())


if __name__ == "__main__":
    run(fill, work)

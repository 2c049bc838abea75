"""How the queue stands, in a few numbers, for dashboards and alarms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from redrive.database import Database, Queries

queries = Queries.beside(__file__, "figures.sql")


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts over all tenants. ``jobs``: (kind, state, count); ``units``: (state, count) of those at work."""

    jobs: tuple[tuple[str, str, int], ...]
    units: tuple[tuple[str, int], ...]
    workers: int
    oldest_ready_seconds: float


def figures(db: Database) -> Figures:
    """Return how the queue stands now."""

    def read(conn: Connection[Any]) -> Figures:
        jobs = conn.execute(queries.jobs_by_state).fetchall()
        [units] = conn.execute(queries.units_at_work).fetchall()
        [workers] = conn.execute(queries.living_workers).fetchall()
        return Figures(
            jobs=tuple((row.kind, row.state, row.count) for row in jobs),
            units=(("running", units.running), ("unknown", units.unknown), ("ready", units.ready)),
            workers=workers.count,
            oldest_ready_seconds=float(units.oldest_seconds),
        )

    return db.run(read)

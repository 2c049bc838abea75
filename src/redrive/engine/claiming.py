"""Claims, leases, heartbeats and the fence. All times are the database's.

A lease lasts ``LEASE_SECONDS`` and is prolonged three times within that by a thread of its own, not by
the work; a dead worker's units are back within ``LEASE_SECONDS`` plus one round of maintenance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import Connection

from redrive.database import Database, Queries
from redrive.engine.jobs import dump
from redrive.engine.kinds import Work
from redrive.engine.model import Json

queries = Queries.beside(__file__, "claiming.sql")

LEASE_SECONDS = 6.0
#: A worker's transaction in which nothing happens for so long is ended by the database: a frozen worker must
#: not keep locks on units that others are to take. Work behind a fence does not pause longer than this.
IDLE_SECONDS = 3.0


class LeaseLostError(Exception):
    """The claim is stale: somebody else may hold the unit. The runner stops and writes nothing more."""


def claim(
    db: Database, worker_id: int, kinds: Sequence[str], count: int, lease_seconds: float = LEASE_SECONDS
) -> list[Work]:
    """Claim up to ``count`` units for a worker; empty where nothing is ready."""

    def take(conn: Connection[Any]) -> list[Any]:
        rows = conn.execute(
            queries.claim,
            {"kinds": list(kinds), "count": count, "worker_id": worker_id, "lease_seconds": lease_seconds},
        ).fetchall()
        unwanted = [row.id for row in rows if row.claim is None]
        if unwanted:
            conn.execute(queries.park, {"unit_ids": unwanted})
        return [row for row in rows if row.claim is not None]

    works = []
    for row in db.run(take):
        works.append(work := _work(db, row))
        if row.wanted is not None:
            # Claimed for its probe alone: it must not run once that has answered.
            work.request_stop()
    return works


def _work(db: Database, row: Any) -> Work:
    return Work(
        db=db,
        job_id=row.job_id,
        tenant_id=row.tenant_id,
        kind=row.kind,
        spec=row.job_spec,
        unit_id=row.id,
        phase=row.phase,
        label=row.label,
        unit_spec=row.spec,
        attempt=row.attempt,
        claim=row.claim,
        tries=row.tries,
        cursor=row.cursor,
        lapses=row.lapses,
        probing=row.was == "unknown",
    )


def heartbeat(
    db: Database, held: Sequence[tuple[int, int]], lease_seconds: float = LEASE_SECONDS
) -> dict[int, str | None]:
    """Prolong the leases of (unit, claim) pairs; return unit id -> what its job wants. Missing: lost."""
    rows = db.run(
        lambda conn: conn.execute(
            queries.heartbeat,
            {
                "unit_ids": [unit for unit, _ in held],
                "claims": [claim for _, claim in held],
                "lease_seconds": lease_seconds,
            },
        ).fetchall()
    )
    return {row.id: row.wanted for row in rows}


def fence(conn: Connection[Any], work: Work) -> None:
    """Hold the claim for the rest of the caller's transaction; LeaseLostError where it is stale.

    Whatever a runner writes into our PostgreSQL goes behind this call in one transaction: it then commits
    only while the claim is good.
    """
    row = conn.execute(
        queries.still_held, {"unit_id": work.unit_id, "attempt": work.attempt, "claim": work.claim}
    ).fetchone()
    if row is None:
        raise LeaseLostError(f"unit {work.unit_id}, claim {work.claim}")


def save_cursor(conn: Connection[Any], work: Work, cursor: Json) -> None:
    """Record a continuous unit's progress in the caller's transaction, fenced."""
    row = conn.execute(
        queries.save_cursor,
        {"unit_id": work.unit_id, "attempt": work.attempt, "claim": work.claim, "cursor": dump(cursor)},
    ).fetchone()
    if row is None:
        raise LeaseLostError(f"unit {work.unit_id}, claim {work.claim}")


def seconds_until_next(db: Database, kinds: Sequence[str]) -> float | None:
    """Return how long until some unit can be claimed, None where none is waiting for a time."""
    row = db.run(lambda conn: conn.execute(queries.next_ready, {"kinds": list(kinds)}).fetchone())
    return row.seconds if row is not None else None


def expire_worker(db: Database, host: str, pid: int) -> None:
    """End the leases of a process that is known to be dead: its units need not wait. Safe to repeat."""
    db.run(lambda conn: conn.execute(queries.expire_worker, {"host": host, "pid": pid}))

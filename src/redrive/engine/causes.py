"""What is broken, by cause: failed jobs grouped by the fingerprint of their failure.

A fingerprint belongs to one kind, step, code and target, so one job of a group speaks for all. Only jobs that
are failed now are counted: a retried job leaves its group at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import Connection

from redrive.database import Queries
from redrive.engine.model import Json

queries = Queries.beside(__file__, "causes.sql")


@dataclass(frozen=True, slots=True)
class Cause:
    """Failed jobs with one cause. ``failure`` is the one of the newest job, ``examples`` the newest five ids."""

    fingerprint: str
    kind: str
    jobs: int
    failure: Json
    first_seen: datetime
    last_seen: datetime
    examples: tuple[int, ...]


def causes(
    conn: Connection[Any], tenant_id: int, *, kinds: Sequence[str] | None = None, limit: int = 50
) -> list[Cause]:
    """Return the causes of the tenant's failed jobs (of some ``kinds``), the one with most jobs first."""
    named = {"tenant_id": tenant_id, "kinds": None if kinds is None else list(kinds), "limit": limit}
    rows = conn.execute(queries.failures, named).fetchall()
    return [
        Cause(
            row.fingerprint,
            row.kind,
            row.jobs,
            row.failure,
            row.first_seen,
            row.last_seen,
            tuple(row.examples),
        )
        for row in rows
    ]

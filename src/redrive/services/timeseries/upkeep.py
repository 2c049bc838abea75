"""The continuous jobs of a tenant's tables: made once, with the tenant's first samples."""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from redrive.database import Queries
from redrive.engine import jobs
from redrive.engine.model import NewJob, NewUnit
from redrive.services.timeseries import compaction, retention

queries = Queries.beside(__file__, "upkeep.sql")

KINDS = (compaction.KIND, retention.KIND)


def ensure(conn: Connection[Any], tenant_id: int, org_id: str) -> None:
    """Submit the continuous jobs that the tenant does not have yet. Safe to repeat and to race."""
    for kind in KINDS:
        named = {"tenant_id": tenant_id, "kind": kind}
        if conn.execute(queries.claim_upkeep, named).fetchone() is None:
            continue
        new = NewJob(
            kind,
            tenant_id,
            {"org_id": org_id},
            "redrive",
            units=(NewUnit({}, label="continuous"),),
            subject=f"samples:{org_id}",
            lanes=1,
        )
        conn.execute(queries.set_upkeep_job, {**named, "job_id": jobs.submit(conn, new)})

"""What every worker does once a second, so that no crash leaves work behind: lapsed leases, held jobs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from psycopg import Connection

from redrive.database import Database, Queries
from redrive.engine.admission import try_to_admit
from redrive.engine.claiming import LEASE_SECONDS
from redrive.engine.settling import stop_where_wanted

queries = Queries.beside(__file__, "maintenance.sql")


def put_back_lapsed(
    db: Database, kinds: Sequence[str], probed: Sequence[str], lease_seconds: float = LEASE_SECONDS
) -> int:
    """Take units away from workers whose lease ran out; return how many jobs were touched. Safe to repeat."""

    def lapse(conn: Connection[Any]) -> int:
        rows = conn.execute(
            queries.lapse, {"kinds": list(kinds), "probed": list(probed), "lease_seconds": lease_seconds}
        ).fetchall()
        if rows:
            stop_where_wanted(conn, [row.id for row in rows])
            conn.execute("select pg_notify('redrive_ready', '')")
        return len(rows)

    return db.run(lapse)


def admit_held(db: Database) -> None:
    """Let held jobs go whose time or turn has come."""
    tenants = db.run(lambda conn: conn.execute(queries.tenants_with_held).fetchall())
    for row in tenants:
        db.run(partial(try_to_admit, tenant_id=row.tenant_id))

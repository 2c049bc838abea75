"""Caps on active jobs: per subject (``subject_cap``) and per tenant (``tenant_caps``).

A capped job is *held* until its caps leave room. Admission runs under one lock per tenant: at submit, after
a capped job ended, and every few seconds by the workers, so that a crash only delays it.
"""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from redrive.database import Queries

queries = Queries.beside(__file__, "settling.sql")


def admit(conn: Connection[Any], tenant_id: int, subject: str | None = None) -> int:
    """Let held jobs go as far as the caps allow; return how many. Safe to repeat.

    ``subject``: only that subject got room, which saves looking at the others.
    """
    conn.execute(queries.lock_tenant_admission, {"tenant_id": tenant_id})
    return _admit(conn, tenant_id, subject)


def try_to_admit(conn: Connection[Any], tenant_id: int) -> int:
    """The same for all subjects, unless somebody else is at it."""
    (row,) = conn.execute(queries.try_tenant_admission, {"tenant_id": tenant_id}).fetchall()
    return _admit(conn, tenant_id, None) if row.locked else 0


def _admit(conn: Connection[Any], tenant_id: int, subject: str | None) -> int:
    admitted = conn.execute(queries.admit, {"tenant_id": tenant_id, "subject": subject}).fetchall()
    if admitted:
        conn.execute(
            queries.release,
            {"job_ids": [row.id for row in admitted], "counts": [row.lanes for row in admitted]},
        )
        conn.execute("select pg_notify('redrive_ready', '')")
    return len(admitted)

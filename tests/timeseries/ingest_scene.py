"""What ingest, mover and import tests share: a tenant, its store, and what a reader sees of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from redrive.database import Database
from redrive.engine import jobs
from redrive.engine.model import Job
from redrive.ingest import Tail, rows
from redrive.services.timeseries import latest, mover
from redrive.services.timeseries.boxes import Box, Points
from redrive.services.timeseries.ingest import Ingest
from redrive.services.timeseries.storage import SampleStore, newest

TENANT, ORG = 7, "o15443059442731"
EVER = (-(2**50), 2**50)


def add_tenant(db: Database) -> None:
    with db.transaction() as conn:
        conn.execute("insert into accounts (id, name) values (repeat('a', 32), 'account')")
        conn.execute(
            "insert into tenants (id, account_id, project_id, project_name, org_id, workspace_id)"
            " values (%s, repeat('a', 32), repeat('b', 32), 'project', %s, repeat('c', 32))",
            (TENANT, ORG),
        )


def batch(*items: tuple[str, str, int, Any]) -> pa.Table:
    """Return a batch of (asset, point, time, value)."""
    return rows.wide_batch(
        [asset for asset, _, _, _ in items],
        [time for _, _, time, _ in items],
        [{point: value} for _, point, _, value in items],
        lambda row, point: point,
    )


def value_of(row: dict[str, Any]) -> Any:
    return row["number"] if row["text"] is None else row["text"]


@dataclass
class Place:
    """A tenant with its store, its log, and a process that accepts samples for it."""

    db: Database
    root: Path
    store: SampleStore
    ingest: Ingest

    def accept(self, *items: tuple[str, str, int, Any]) -> int:
        return self.ingest.accept(TENANT, batch(*items)).result(10)

    def mover_job(self) -> Job:
        with self.db.transaction() as conn:
            row = conn.execute(
                "select job_id from timeseries_moves where tenant_id = %s", [TENANT]
            ).fetchone()
            assert row is not None
            return jobs.get(conn, TENANT, row.job_id)

    def drain(self) -> None:
        """Ask for everything that was accepted to be moved; a worker does it."""
        with self.db.transaction() as conn:
            through = conn.execute("select max(head_seq) as head from ingest_heads").fetchone().head
            mover.request_drain(conn, TENANT, through)

    def drained(self) -> bool:
        with self.db.transaction() as conn:
            head = conn.execute("select coalesce(max(head_seq), 0) as head from ingest_heads").fetchone().head
            mover.request_drain(conn, TENANT, head)
            return mover.drained(conn, TENANT, head)

    def everywhere(self) -> Box:
        with self.db.transaction() as conn:
            assets = [row.id for row in conn.execute("select id from timeseries_assets").fetchall()]
        return Box(frozenset(assets or ["none"]), Points.all(), *EVER)

    def in_tables(self) -> list[tuple[Any, ...]]:
        """Every stored row: asset, point, time, value, seq; also superseded ones."""
        if self.store.table(ORG).snapshot() is None:
            return []
        found = self.store.table(ORG).scan(self.everywhere()).to_pylist()
        return [(row["asset"], row["point"], row["time_ms"], value_of(row), row["seq"]) for row in found]

    def read(self) -> dict[tuple[str, str, int], Any]:
        """What a reader sees: the log first, then the tables."""
        with self.db.transaction() as conn:
            tail = Tail().read(conn, TENANT)
        if self.store.table(ORG).snapshot() is None:
            found = newest(tail)
        else:
            found = newest(
                pa.concat_tables(
                    [tail, self.store.table(ORG).scan(self.everywhere())], promote_options="default"
                )
            )
        return {(row["asset"], row["point"], row["time_ms"]): value_of(row) for row in found.to_pylist()}

    def latest(self, assets: list[str], points: list[str]) -> dict[tuple[str, str], tuple[int, Any]]:
        with self.db.transaction() as conn:
            found = latest.read(conn, TENANT, assets, points, Tail().read(conn, TENANT))
        return {(row["asset"], row["point"]): (row["time_ms"], value_of(row)) for row in found.to_pylist()}

    def log_rows(self) -> int:
        with self.db.transaction() as conn:
            return int(conn.execute("select count(*) as n from ingest_log").fetchone().n)

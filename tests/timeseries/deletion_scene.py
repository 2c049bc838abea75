"""What deletion tests share: a tenant with weather-like samples in a store, and jobs run to their end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from redrive.database import Database
from redrive.engine import jobs
from redrive.engine.model import Job, JobState, Unit
from redrive.ingest import log
from redrive.services.timeseries import deletion, registry
from redrive.services.timeseries.boxes import Box, Points
from redrive.services.timeseries.deletion import Request
from redrive.services.timeseries.storage import SampleStore
from tests.engine.scene import until
from tests.timeseries.samples import Row, rows_of, table_of

TENANT, ORG = 7, "o15443059442731"
HOUR = 3_600_000
START = 1_600_000_000_000
EVER = (-(2**50), 2**50)


@dataclass
class Place:
    """One tenant's store, and what was put into it."""

    db: Database
    root: Path
    store: SampleStore
    steps: int = 0

    def put(self, rows: list[Row]) -> int:
        """Store rows under a sequence of their own, directly in the tables; return the sequence."""
        with self.db.transaction() as conn:
            seq = log.take_seqs(conn, TENANT, 1).seq
            registry.add_seen(conn, TENANT, {row[0] for row in rows})
        rows = [(*row[:7], seq, *row[8:]) for row in rows]
        self.steps += 1
        self.store.table(ORG).append(table_of(rows), app_id="test/put", claim=1, step=self.steps)
        return seq

    def fill(self, assets: list[str], points: list[str], hours: int, *, value: float = 0.0) -> None:
        self.put(
            [
                (asset, point, START + hour * HOUR, value + hour + n / 1000, None, 0, None, 0, START)
                for n, asset in enumerate(assets)
                for point in points
                for hour in range(hours)
            ]
        )

    def stored(self) -> set[Row]:
        """Every stored row: asset, point, time, bits of the number, text, kind, quality, seq, stored."""
        snapshot = self.store.table(ORG).snapshot()
        if snapshot is None:
            return set()
        with self.db.transaction() as conn:
            assets = [asset.id for asset in registry.list_assets(conn, TENANT, limit=1000)]
        everything = Box(frozenset(assets), Points.all(), *EVER)
        return set(rows_of(self.store.table(ORG).scan([everything])))

    def submit(self, assets: list[str], point: str | None, start: int, end: int, model: str = "m") -> int:
        wanted = Request(model, point, assets, start, end)
        return deletion.submit(self.db, TENANT, ORG, wanted, actor="ann")

    def job(self, job_id: int) -> Job:
        return self.db.run(lambda conn: jobs.get(conn, TENANT, job_id))

    def units(self, job_id: int, phase: int | None = None) -> list[Unit]:
        with self.db.transaction() as conn:
            found = jobs.units(conn, jobs.get(conn, TENANT, job_id), limit=1000)
        return [unit for unit in found if phase is None or unit.phase == phase]

    def ended(self, job_id: int, seconds: float = 20.0) -> Job:
        final = {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}
        until(lambda: self.job(job_id).state in final, seconds)
        return self.job(job_id)

    def numbers_on_disk(self) -> set[float]:
        """Every number in every file below the root, live or not; and nothing may stand in the table's log."""
        found: set[float] = set()
        for path in self.root.rglob("*.parquet"):
            if "_delta_log" not in path.parts:
                table: pa.Table = pq.ParquetFile(path).read(columns=["number"])
                found.update(table["number"].to_pylist())
        return found


def expected(rows: set[Row], box: Box) -> set[Row]:
    return {row for row in rows if not box.contains(row[0], row[1], row[2])}


def deleted(place: Place, job_id: int) -> int:
    return sum(int((unit.ledger or {}).get("rows_deleted", 0)) for unit in place.units(job_id, 2))


def attempts(place: Place, job_id: int) -> list[Any]:
    with place.db.transaction() as conn:
        return jobs.attempts(conn, jobs.get(conn, TENANT, job_id))

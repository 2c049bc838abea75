"""Deletions as they are asked for and listed; how they run is in :mod:`.deletion_job`.

A deletion is a job and a row of what was asked. The range is inclusive at both ends. Resubmitting gives a
*failed* job another attempt; what it has erased stays erased.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import Connection

from redrive.database import Database, Queries
from redrive.engine import jobs
from redrive.engine.model import JobState, NewJob
from redrive.engine.recovery import SENTENCES, retry_each, why_not_retry
from redrive.errors import Problem, ProblemCode, invalid
from redrive.services.timeseries import registry
from redrive.services.timeseries.scopes import Patterns, scope_parameters

queries = Queries.beside(__file__, "deletion.sql")

KIND = "timeseries.deletion"
ASSETS_LIMIT = 10_000
LANES = 4


@dataclass(frozen=True, slots=True)
class Request:
    """What to delete: every sample of ``assets`` at ``point_id`` (None: all points) in [start_ms, end_ms]."""

    model_id: str
    point_id: str | None
    asset_ids: Sequence[str]
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Deletion:
    """A deletion as listed. ``launched_at`` is the first launch, ``ended_at`` the end of the last attempt."""

    job_id: int
    model_id: str
    point_id: str | None
    asset_ids: Sequence[str]
    start_ms: int
    end_ms: int
    actor: str
    state: JobState
    launched_at: datetime | None
    ended_at: datetime | None


def submit(db: Database, tenant_id: int, org_id: str, wanted: Request, *, actor: str) -> int:
    """Check the request, store it and its job; return the job's id. Nothing is deleted yet."""
    return db.run(lambda conn: _submit(conn, tenant_id, org_id, wanted, actor))


def _submit(conn: Connection[Any], tenant_id: int, org_id: str, wanted: Request, actor: str) -> int:
    _check(conn, tenant_id, wanted)
    job_id = jobs.submit(
        conn,
        NewJob(KIND, tenant_id, {"org_id": org_id}, actor, subject=f"samples:{org_id}", lanes=LANES),
    )
    conn.execute(
        queries.insert_deletion,
        {
            "job_id": job_id,
            "tenant_id": tenant_id,
            "model_id": wanted.model_id,
            "point_id": wanted.point_id,
            "asset_ids": list(wanted.asset_ids),
            "start_ms": wanted.start_ms,
            "end_ms": wanted.end_ms,
            "actor": actor,
        },
    )
    return job_id


def _check(conn: Connection[Any], tenant_id: int, wanted: Request) -> None:
    if not 1 <= len(wanted.asset_ids) <= ASSETS_LIMIT:
        raise invalid("assetIds", f"1 to {ASSETS_LIMIT} asset ids", len(wanted.asset_ids))
    if wanted.start_ms > wanted.end_ms:
        raise invalid("endTime", "a time not before startTime", wanted.end_ms)
    assets = registry.assets(conn, tenant_id, wanted.asset_ids)
    for asset_id in wanted.asset_ids:
        asset = assets.get(asset_id)
        if asset is None:
            raise invalid("assetIds", "assets that are known", asset_id)
        if asset.model_id is not None and asset.model_id != wanted.model_id:
            raise invalid("modelId", f"the model of asset {asset_id}", wanted.model_id)
    points = registry.points_of(conn, tenant_id, wanted.model_id)
    bound = any(asset.model_id is not None for asset in assets.values())
    if wanted.point_id is not None and bound and wanted.point_id not in points:
        raise invalid("pointId", f"a point of model {wanted.model_id}", wanted.point_id)


def resubmit(db: Database, tenant_id: int, job_id: int, *, actor: str) -> None:
    """Start a new attempt of a *failed* deletion: what is erased stays erased, the rest is tried again.

    Safe to repeat: the second call finds the job queued and is refused with the reason.
    """

    def again(conn: Connection[Any]) -> None:
        job = jobs.get(conn, tenant_id, job_id)
        refusal = why_not_retry(job)
        if refusal is None and job.state is not JobState.FAILED:
            raise Problem(
                ProblemCode.CONFLICT,
                f"job {job_id} was cancelled, only a failed job can be resubmitted",
                reason="is_cancelled",
            )
        if refusal is None:
            refusal = retry_each(conn, tenant_id, [job_id], actor=actor, reason="resubmit")[job_id]
        if refusal is not None:
            raise Problem(ProblemCode.CONFLICT, f"job {job_id}: {SENTENCES[refusal]}", reason=refusal.value)

    db.run(again)


def assets_of(db: Database, tenant_id: int, job_id: int) -> list[str]:
    """Return the assets of a deletion job; a Problem (not found) where there is no such deletion."""
    with db.transaction() as conn:
        row = conn.execute(
            "select asset_ids from timeseries_deletions where job_id = %s and tenant_id = %s",
            [job_id, tenant_id],
        ).fetchone()
    if row is None:
        raise Problem(ProblemCode.NOT_FOUND, f"there is no deletion job {job_id}", reason="not_found")
    return list(row.asset_ids)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of deletions, newest first, and how many there are in all."""

    total: int
    items: list[Deletion]


def listing(
    conn: Connection[Any],
    tenant_id: int,
    *,
    query: str | None = None,
    scope: Sequence[Patterns] = (),
    page: int = 1,
    page_size: int = 10,
) -> Page:
    """Return deletions whose model, point or job id is ``query``; all of its assets in ``scope``."""
    parameters = {
        "tenant_id": tenant_id,
        "query": query,
        "query_job": _job_number(query or ""),
        "every": not scope,
        **scope_parameters(scope),
        "limit": page_size,
        "offset": (page - 1) * page_size,
    }
    counted = conn.execute(queries.count_deletions, parameters).fetchone()
    rows = conn.execute(queries.list_deletions, parameters).fetchall()
    return Page(int(counted.total) if counted is not None else 0, [_from_row(row) for row in rows])


def _job_number(text: str) -> int | None:
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 19 else 0
    return number if 0 < number < 1 << 63 else None


def _from_row(row: Any) -> Deletion:
    return Deletion(
        row.job_id,
        row.model_id,
        row.point_id,
        row.asset_ids,
        row.start_ms,
        row.end_ms,
        row.actor,
        JobState(row.state),
        row.launched_at,
        row.ended_at,
    )

"""Retention: samples that were *stored* longer ago than their policy says are erased, once a day.

The age counts from the moment of storage, not from the sample's time. Legal holds are respected. The job is
continuous: one unit that comes back every hour and works once per day. What it is about to erase stands in
its cursor first, so that the probe of a vanished claim knows which effect to fence.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from psycopg import Connection

from redrive.clock import now, to_ms
from redrive.database import Queries
from redrive.engine import claiming
from redrive.engine.kinds import Again, Done, Kind, Outcome, Work
from redrive.services.timeseries import holds
from redrive.services.timeseries.boxes import Box, Points, subtract_all
from redrive.services.timeseries.storage import SampleStore

queries = Queries.beside(__file__, "retention.sql")

KIND = "timeseries.retention"
CHECK_SECONDS = 3600.0
DAY_MS = 86_400_000
#: Samples of every time: retention does not look at it.
_EARLIEST_MS, _LATEST_MS = -62_135_596_800_000, 253_402_300_800_000


def kind(store: SampleStore, *, check_seconds: float = CHECK_SECONDS) -> Kind:
    """Return the job kind over an open store."""
    return Kind(
        name=KIND,
        title="retention of samples",
        run=partial(_run, store, check_seconds),
        probe=partial(_probe, store),
        endless=True,
    )


def _app_id(work: Work, day: int, days: int) -> str:
    return f"retention/{work.unit_id}/{day}/{days}"


def _run(store: SampleStore, check_seconds: float, work: Work) -> Outcome:
    now_ms = to_ms(now())
    day = now_ms // DAY_MS
    cursor = dict(work.cursor or {})
    if cursor.get("done_day") == day:
        return Again(cursor, after_seconds=check_seconds)
    with work.db.transaction() as conn:
        policies = boxes_by_days(conn, work.tenant_id)
    table = store.table(work.spec["org_id"])
    deleted = 0
    for days, boxes in sorted(policies.items()):
        with work.db.transaction() as conn:
            claiming.save_cursor(conn, work, {**cursor, "day": day, "days": days})
            kept = [hold.box for hold in holds.live(conn, work.tenant_id)]
        free = subtract_all(boxes, kept)
        if free:
            erased = table.erase(
                free,
                app_id=_app_id(work, day, days),
                claim=work.claim,
                stored_before_ms=now_ms - days * DAY_MS,
            )
            deleted += erased.rows_deleted
        if work.stop_requested():
            return Again(cursor, after_seconds=0.0)
    total = int(cursor.get("rows_deleted", 0)) + deleted
    return Again({"done_day": day, "rows_deleted": total}, after_seconds=check_seconds)


def _probe(store: SampleStore, work: Work) -> Done | None:
    """Fence what the vanished claim may still commit; then the day's work runs again, once per effect."""
    cursor: Mapping[str, Any] = work.cursor or {}
    if "day" in cursor:
        app_id = _app_id(work, int(cursor["day"]), int(cursor["days"]))
        store.table(work.spec["org_id"]).settle_claim(app_id, work.claim)
    return None


def boxes_by_days(conn: Connection[Any], tenant_id: int) -> dict[int, list[Box]]:
    """Return what is kept how long: days to boxes. What has no retention is in none."""
    found: dict[int, list[Box]] = {}
    for model in conn.execute(queries.kept_points, {"tenant_id": tenant_id}).fetchall():
        named = {"tenant_id": tenant_id, "model_id": model.model_id}
        assets = frozenset(row.id for row in conn.execute(queries.assets_of_model, named).fetchall())
        if not assets:
            continue
        for days, points in _points_by_days(model.model_days, model.point_days).items():
            found.setdefault(days, []).append(Box(assets, points, _EARLIEST_MS, _LATEST_MS))
    return found


def _points_by_days(model_days: int | None, point_days: Mapping[str, int | None]) -> dict[int, Points]:
    """Return days to points; the model's own days hold for every point that it does not name, too."""
    days_of = {point: days for point, days in point_days.items() if days is not None}
    by_days = {
        days: Points.only(point for point, own in days_of.items() if own == days)
        for days in set(days_of.values())
    }
    if model_days is not None:
        by_days[model_days] = Points.but(point for point, own in point_days.items() if own != model_days)
    return by_days

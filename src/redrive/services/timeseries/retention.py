"""Retention: samples that were *stored* longer ago than their policy says are erased, once a day.

The age counts from the moment of storage, not from the sample's time. Legal holds are respected. The job is
continuous: one unit that comes back every hour and makes one pass per day. A pass goes policy by policy and bucket
by bucket, one commit each; its place stands in the cursor, so it goes on there after a crash. Each commit is a
step of the unit's fence: what a vanished claim has done is counted, not done again.

A damaged file stops only its own bucket: the pass goes on with the others, and says at its end, until the next
day's pass begins, what could not be erased.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from psycopg import Connection

from redrive.clock import now, to_ms
from redrive.database import Queries
from redrive.engine.kinds import Again, Done, Kind, Outcome, Work
from redrive.errors import Failure, FailureClass
from redrive.services.timeseries import holds
from redrive.services.timeseries.assets import LONGEST_RETENTION_DAYS
from redrive.services.timeseries.boxes import Box, Points, subtract_all
from redrive.services.timeseries.storage import BUCKETS, OrgTable, SampleStore, bucket_of

queries = Queries.beside(__file__, "retention.sql")

KIND = "timeseries.retention"
CHECK_SECONDS = 3600.0
#: Between two buckets the unit is nobody's for a moment: a hold that is being placed waits for no more than one.
BETWEEN_SECONDS = 0.1
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


def _app_id(work: Work) -> str:
    return f"retention/{work.unit_id}"


def _run(store: SampleStore, check_seconds: float, work: Work) -> Outcome:
    """Do the next bucket of the day's pass that has something to erase."""
    now_ms = to_ms(now())
    cursor = dict(work.cursor or {})
    # A pass that takes longer than a day is finished before the next one begins.
    day = cursor.get("day", now_ms // DAY_MS)
    if cursor.get("done_day") == day:
        return Again(cursor, after_seconds=check_seconds)
    with work.db.transaction() as conn:
        policies = boxes_by_days(conn, work.tenant_id)
        kept = [hold.box for hold in holds.live(conn, work.tenant_id)]
    table = store.table(work.spec["org_id"])
    _count_standing(table, work, cursor)
    failure = _failure_from(cursor.get("failure"))
    for step, days, boxes in _steps(day, policies):
        if step <= cursor.get("step", -1):
            continue
        before_ms = now_ms - days * DAY_MS
        free = subtract_all(boxes, kept)
        if not free or not table.rows_near(free, stored_before_ms=before_ms):
            continue
        app_id, claim = _app_id(work), work.claim
        try:
            erased = table.erase(free, app_id=app_id, claim=claim, step=step, stored_before_ms=before_ms)
        except Failure as error:
            if error.kind is not FailureClass.PERMANENT:
                raise  # the store's trouble, not a file's
            failure = failure or error
            continue
        total = cursor.get("rows_deleted", 0) + erased.rows_deleted
        cursor |= {"day": day, "step": step, "rows_deleted": total}
        if failure is not None:
            cursor["failure"] = _failure_to(failure)
        return Again(cursor, after_seconds=BETWEEN_SECONDS)
    if failure is not None and day == now_ms // DAY_MS:
        raise failure
    cursor.pop("day", None)
    cursor.pop("failure", None)
    return Again({"rows_deleted": 0, **cursor, "done_day": day}, after_seconds=check_seconds)


def _failure_to(failure: Failure) -> dict[str, str]:
    return {name: str(getattr(failure, name)) for name in ("code", "detail", "hint", "kind", "target")}


def _failure_from(told: Mapping[str, str] | None) -> Failure | None:
    return Failure(**told) if told else None


def _count_standing(table: OrgTable, work: Work, cursor: dict[str, Any]) -> None:
    """Take over the step that a vanished claim has committed."""
    standing = table.step(_app_id(work))
    if standing is not None and standing > cursor.get("step", -1):
        done = table.effect(_app_id(work)) or {}
        cursor["step"] = standing
        cursor["rows_deleted"] = cursor.get("rows_deleted", 0) + int(done.get("rows_deleted", 0))


def _steps(day: int, policies: Mapping[int, list[Box]]) -> Iterator[tuple[int, int, list[Box]]]:
    """Yield number, days and boxes of what a pass does; the numbers grow, also from day to day."""
    for days, boxes in sorted(policies.items()):
        by_bucket: dict[int, list[Box]] = {}
        for box in boxes:
            for bucket, assets in _by_bucket(box.assets).items():
                part = Box(frozenset(assets), box.points, box.start_ms, box.end_ms)
                by_bucket.setdefault(bucket, []).append(part)
        for bucket, parts in sorted(by_bucket.items()):
            yield (day * (LONGEST_RETENTION_DAYS + 1) + days) * BUCKETS + bucket, days, parts


def _by_bucket(assets: frozenset[str]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for asset in assets:
        found.setdefault(bucket_of(asset), []).append(asset)
    return found


def _probe(store: SampleStore, work: Work) -> Done | None:
    """Fence the vanished claim; then the pass goes on at its place."""
    store.table(work.spec["org_id"]).fence(_app_id(work), work.claim)
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

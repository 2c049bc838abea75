"""Deleting samples for good: the job kind ``timeseries.deletion``.

::

    phase 0  launch   fix the cut-off: the ingest sequence now; plan the ranges          (once, never moved)
    phase 1  drain    wait until everything up to the cut-off lies in the tables
    phase 2  erase    one unit = assets of one bucket x points x time = one Delta commit
    phase 3  sweep    remove superseded and orphaned files, shorten the table's log

What was stored before the first launch is deleted, wherever it lay; later data for the same range is kept,
also after a resubmit. The range is inclusive at both ends. A legal hold keeps its part: the unit is split,
the rest is erased, the held part fails with ``needs_input`` until the hold is lifted.

Not touched: the latest and last-changed stores (they have their own deletion), stage state, and what the
administrator keeps of the database (WAL archives, backups).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from psycopg import Connection

from redrive import ingest
from redrive.database import Database
from redrive.engine import claiming, failpoints
from redrive.engine.kinds import Again, Done, Kind, Outcome, Planned, Replaced, Stopped, Work
from redrive.engine.model import JobState, Json, NewUnit
from redrive.errors import Failure, FailureClass
from redrive.services.timeseries import holds, mover, registry
from redrive.services.timeseries.boxes import Box, Points
from redrive.services.timeseries.deletion import KIND, queries
from redrive.services.timeseries.storage import OrgTable, SampleStore, bucket_of

#: About how many stored rows one unit looks at; more assets make more units.
UNIT_ROWS = 4_000_000
#: How long a drain may take before the job fails and says what it waits for.
DRAIN_SECONDS = 600.0

DRAIN, ERASE, SWEEP = 1, 2, 3


def kind(store: SampleStore, *, unit_rows: int = UNIT_ROWS) -> Kind:
    """Return the job kind over an open store."""
    return Kind(
        name=KIND,
        title="deletion of samples",
        run=partial(_run, store, unit_rows),
        probe=partial(_probe, store),
        verify=partial(_verify, store),
        adopt=_adopt,
    )


def _adopt(conn: Connection[Any], job_id: int) -> None:
    """Give a rerun the row of what its origin was asked for; its cut-off is fixed when it is launched."""
    conn.execute(queries.take_over, {"job_id": job_id})


def _run(store: SampleStore, unit_rows: int, work: Work) -> Outcome:
    table = store.table(work.spec["org_id"])
    match work.phase:
        case 0:
            return _launch(table, unit_rows, work)
        case 1:
            return _drain(work)
        case 2:
            return _erase(table, work)
        case _:
            return Done(table.sweep(int(work.unit_spec["cutoff_seq"])).as_ledger())


def _launch(table: OrgTable, unit_rows: int, work: Work) -> Outcome:
    """Fix the cut-off and plan the ranges. The lock on the ingest head makes the cut-off exact."""
    with work.db.transaction() as conn:
        claiming.fence(conn, work)
        head = ingest.head(conn, work.tenant_id, lock=True)
        (wanted,) = conn.execute(queries.set_cutoff, {"job_id": work.job_id, "cutoff_seq": head}).fetchall()
        groups = _groups(conn, work.tenant_id, wanted)
        cutoff = wanted.cutoff_seq
        mover.request_drain(conn, work.tenant_id, cutoff)
    boxes = [
        box
        for points, asset_ids in groups
        for box in plan(table, asset_ids, points, wanted.start_ms, wanted.end_ms + 1, unit_rows)
    ]
    units = [NewUnit({"cutoff_seq": cutoff}, DRAIN, "drain the log")]
    units += [NewUnit({"box": box.to_json(), "cutoff_seq": cutoff}, ERASE, _label(box)) for box in boxes]
    units.append(NewUnit({"cutoff_seq": cutoff}, SWEEP, "sweep files"))
    return Planned(units, {"cutoff_seq": cutoff, "ranges": len(boxes)})


def _label(box: Box) -> str:
    first = min(box.assets)
    more = f" +{len(box.assets) - 1}" if len(box.assets) > 1 else ""
    return f"erase {first[:40]}{more}"


def _groups(conn: Connection[Any], tenant_id: int, wanted: Any) -> list[tuple[Points, list[str]]]:
    """Return assets that share the set of points to delete: the model's, or every one without a model."""
    if wanted.point_id is not None:
        return [(Points.only([wanted.point_id]), list(wanted.asset_ids))]
    assets = registry.assets(conn, tenant_id, wanted.asset_ids)
    points = registry.points_of(conn, tenant_id, wanted.model_id)

    def is_free(asset_id: str) -> bool:
        # One that was taken out of the registry meanwhile may have had the model: its points, and no more.
        asset = assets.get(asset_id)
        return asset.model_id is None if asset is not None else not points

    free = [asset_id for asset_id in wanted.asset_ids if is_free(asset_id)]
    modelled = [asset_id for asset_id in wanted.asset_ids if not is_free(asset_id)]
    groups = [(Points.all(), free), (Points.only(points), modelled)]
    return [(points, asset_ids) for points, asset_ids in groups if asset_ids and not points.is_none]


def plan(
    table: OrgTable, asset_ids: Iterable[str], points: Points, start_ms: int, end_ms: int, unit_rows: int
) -> list[Box]:
    """Cut a range into boxes, each of assets of one bucket and of about ``unit_rows`` rows to look at.

    Ranges are logical, so that a plan stays right whatever happens to the files afterwards.
    """
    buckets: dict[int, list[str]] = {}
    for asset_id in sorted(set(asset_ids)):
        buckets.setdefault(bucket_of(asset_id), []).append(asset_id)
    boxes: list[Box] = []
    for _, members in sorted(buckets.items()):
        whole = Box(frozenset(members), points, start_ms, end_ms)
        parts = min(len(members), max(1, -(-table.rows_near(whole) // unit_rows)))
        size = -(-len(members) // parts)
        boxes += [
            Box(frozenset(members[at : at + size]), points, start_ms, end_ms)
            for at in range(0, len(members), size)
        ]
    return boxes


def _drain(work: Work) -> Outcome:
    """Wait until everything up to the cut-off lies in the tables; gives its thread back every second."""
    cutoff = int(work.unit_spec["cutoff_seq"])
    cursor = work.cursor or {}
    begun = cursor["begun"] if cursor.get("attempt") == work.attempt else time.time()
    until = time.monotonic() + 1.0
    work.db.run(lambda conn: mover.request_drain(conn, work.tenant_id, cutoff))
    while not work.db.run(lambda conn: mover.drained(conn, work.tenant_id, cutoff)):
        if time.time() - begun > DRAIN_SECONDS:
            raise Failure(
                "drain",
                "what was accepted before the deletion was not in the tables in time"
                + work.db.run(lambda conn: mover.what_is_wrong(conn, work.tenant_id)),
                hint="look at the jobs timeseries.move and timeseries.import; resubmit when they work again",
                kind=FailureClass.NEEDS_INPUT,
                target="ingest log",
            )
        if time.monotonic() > until or work.wait(0.005):
            break
    else:
        failpoints.hit("timeseries.deletion.drained")
        return Done({"through_seq": cutoff})
    if work.stop_requested():
        return Stopped({})
    return Again({"begun": begun, "attempt": work.attempt}, after_seconds=0.1)


def _app_id(work: Work) -> str:
    return f"deletion/{work.unit_id}"


def _erase(table: OrgTable, work: Work) -> Outcome:
    box = Box.from_json(work.unit_spec["box"])
    with work.db.transaction() as conn:
        in_force = holds.live(conn, work.tenant_id)
    free, kept = holds.split(box, in_force)
    if kept and free:
        return Replaced([_part(work, piece) for piece in [*free, *(piece for piece, _ in kept)]])
    if kept:
        raise _held(kept)
    failpoints.hit("timeseries.deletion.checked")
    cutoff = int(work.unit_spec["cutoff_seq"])
    erased = table.erase(box, seq_max=cutoff, app_id=_app_id(work), claim=work.claim)
    return Done(erased.as_ledger())


def _part(work: Work, box: Box) -> NewUnit:
    return NewUnit({**work.unit_spec, "box": box.to_json()}, ERASE, _label(box))


def _held(kept: Sequence[tuple[Box, holds.Hold]]) -> Failure:
    names = sorted({hold.name for _, hold in kept})
    reasons = "; ".join(sorted({f"{hold.name}: {hold.reason}" for _, hold in kept}))
    return Failure(
        "hold",
        f"the data is under legal hold ({reasons})",
        hint=f"lift the hold ({', '.join(names)}) when it may be deleted, then resubmit the job",
        kind=FailureClass.NEEDS_INPUT,
        target=f"hold {','.join(names)}",
    )


def _probe(store: SampleStore, work: Work) -> Done | None:
    """Fence every older claim of an erasing unit, then look whether one of them had its effect.

    The other phases have no effect outside of our database and are safe to run again.
    """
    if work.phase != ERASE:
        return None
    ledger = store.table(work.spec["org_id"]).settle_claim(_app_id(work), work.claim)
    return Done(ledger) if ledger is not None else None


def _verify(store: SampleStore, db: Database, job_id: int) -> Json:
    """Check the ledger of a deletion against the tables: no row of an erased range may be left."""
    with db.transaction() as conn:
        (job,) = conn.execute("select spec, state from jobs where id = %s", [job_id]).fetchall()
        units = conn.execute(
            "select spec, ledger, label from units where job_id = %s and phase = %s and state = 'done'",
            [job_id, ERASE],
        ).fetchall()
    table = store.table(job.spec["org_id"])
    left: dict[str, int] = {}
    for unit in units:
        rows = table.count(Box.from_json(unit.spec["box"]), int(unit.spec["cutoff_seq"]))
        if rows:
            left[unit.label] = rows
    return {
        "verified": not left and job.state == JobState.SUCCEEDED,
        "ranges_checked": len(units),
        "rows_deleted": sum(int((unit.ledger or {}).get("rows_deleted", 0)) for unit in units),
        "rows_left": left,
        "not_covered": [
            "database WAL archives and backups",
            "uploaded files of imports that did not succeed (for 14 days)",
            "latest and last-changed stores",
            "stage state",
        ],
    }

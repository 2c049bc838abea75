"""Legal holds: boxes of samples that no deletion and no retention may remove.

``place`` answers only when no unit that erases in the box can still be between its check of the holds and
its commit: from then on the hold binds. A unit reads the holds after its claim is committed, and ``place``
looks for claimed units after its hold is committed; so one of the two sees the other. A unit that vanished
in between is waited for until its probe has fenced it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import Connection

from redrive.database import Database, Queries
from redrive.engine.jobs import dump
from redrive.errors import Problem, ProblemCode, invalid
from redrive.ids import new_id
from redrive.services.timeseries.boxes import Box

queries = Queries.beside(__file__, "holds.sql")

NAME_LIMIT = 128
REASON_LIMIT = 1000
HOLDS_LIMIT = 1000
#: How long ``place`` waits for units that were already erasing.
PATIENCE_SECONDS = 30.0
#: The kinds whose units erase samples; their units carry the box that they erase as ``spec["box"]``.
ERASING_KINDS = ("timeseries.deletion", "timeseries.retention")


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold, live while ``lifted_at`` is None. ``name`` is the owner's, one live hold per name."""

    id: int
    name: str
    reason: str
    box: Box
    actor: str
    created_at: datetime
    lifted_at: datetime | None = None
    lifted_by: str | None = None


def _from_row(row: Any) -> Hold:
    return Hold(
        row.id,
        row.name,
        row.reason,
        Box.from_json(row.box),
        row.actor,
        row.created_at,
        row.lifted_at,
        row.lifted_by,
    )


def live(conn: Connection[Any], tenant_id: int) -> list[Hold]:
    """Return the holds in force."""
    return [_from_row(row) for row in conn.execute(queries.live_holds, {"tenant_id": tenant_id}).fetchall()]


def history(conn: Connection[Any], tenant_id: int) -> list[Hold]:
    """Return all holds, live and lifted, newest first."""
    rows = conn.execute(queries.all_holds, {"tenant_id": tenant_id, "limit": HOLDS_LIMIT}).fetchall()
    return [_from_row(row) for row in rows]


def get(conn: Connection[Any], tenant_id: int, name: str) -> Hold:
    """Return a live hold; a Problem where there is none of that name."""
    row = conn.execute(queries.live_hold, {"tenant_id": tenant_id, "name": name}).fetchone()
    if row is None:
        raise unknown(name)
    return _from_row(row)


def unknown(name: str) -> Problem:
    """Return the problem of a hold that is not there."""
    return Problem(ProblemCode.NOT_FOUND, f"there is no live hold {name[:NAME_LIMIT]!r}")


def place(
    db: Database,
    tenant_id: int,
    name: str,
    box: Box,
    reason: str,
    *,
    actor: str,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Hold:
    """Place a hold and wait until it binds. Safe to repeat: the same name and box is the same hold.

    A Problem (conflict) where the name holds another box; (unavailable) where units that were erasing did
    not end in time: the hold stands and binds every other unit, repeat to learn when it binds all.
    """
    if not 1 <= len(name) <= NAME_LIMIT:
        raise invalid("name", f"1 to {NAME_LIMIT} characters", name)
    if not 1 <= len(reason) <= REASON_LIMIT:
        raise invalid("reason", f"1 to {REASON_LIMIT} characters: why the data must be kept", reason)
    hold = db.run(lambda conn: _insert(conn, tenant_id, name, box, reason, actor))
    _wait_for_units(db, tenant_id, box, patience_seconds)
    return hold


def _insert(conn: Connection[Any], tenant_id: int, name: str, box: Box, reason: str, actor: str) -> Hold:
    if len(live(conn, tenant_id)) >= HOLDS_LIMIT:
        raise Problem(ProblemCode.TOO_MANY, f"a tenant can have {HOLDS_LIMIT} live holds")
    new = {"id": new_id(), "tenant_id": tenant_id, "name": name, "reason": reason, "actor": actor}
    conn.execute(queries.insert_hold, {**new, "box": dump(box.to_json())})
    hold = get(conn, tenant_id, name)
    if hold.box != box:
        raise Problem(
            ProblemCode.CONFLICT,
            f"hold {name!r} is in force with another box",
            hint="lift it first, or choose another name",
        )
    return hold


def _wait_for_units(db: Database, tenant_id: int, box: Box, patience_seconds: float) -> None:
    ids = [
        unit_id for unit_id, reach in _erasing(db, tenant_id, None) if reach is None or reach.intersects(box)
    ]
    deadline = time.monotonic() + patience_seconds
    while ids:
        left = {unit_id for unit_id, _ in _erasing(db, tenant_id, ids)}
        ids = [unit_id for unit_id in ids if unit_id in left]
        if ids and time.monotonic() > deadline:
            raise Problem(
                ProblemCode.UNAVAILABLE,
                f"the hold is recorded, but {len(ids)} units that erase in its range are not at an end yet",
                hint="repeat the request: it answers when the hold binds everything",
            )
        time.sleep(0.02 if ids else 0.0)


def _erasing(db: Database, tenant_id: int, ids: Sequence[int] | None) -> list[tuple[int, Box | None]]:
    """Return units at work with the box that they erase, None: it may be any. Planning units erase nothing."""
    parameters = {"tenant_id": tenant_id, "kinds": list(ERASING_KINDS), "ids": ids}
    rows = db.run(lambda conn: conn.execute(queries.erasing_units, parameters).fetchall())
    return [
        (row.id, Box.from_json(row.spec["box"]) if "box" in row.spec else None)
        for row in rows
        if "box" in row.spec or row.kind == "timeseries.retention"
    ]


def lift(db: Database, tenant_id: int, name: str, *, actor: str) -> Hold:
    """Lift a hold; it stays in the history. What it made fail can be retried."""
    row = db.run(
        lambda conn: conn.execute(
            queries.lift_hold, {"tenant_id": tenant_id, "name": name, "actor": actor}
        ).fetchone()
    )
    if row is None:
        raise unknown(name)
    return _from_row(row)


def split(box: Box, holds: Sequence[Hold]) -> tuple[list[Box], list[tuple[Box, Hold]]]:
    """Return the parts of ``box`` that are free and those that a hold keeps; together they are ``box``."""
    free = [box]
    kept: list[tuple[Box, Hold]] = []
    for hold in holds:
        rest: list[Box] = []
        for piece in free:
            common = piece.intersection(hold.box)
            if common is not None:
                kept.append((common, hold))
            rest.extend(piece.subtract(hold.box))
        free = rest
    return free, kept

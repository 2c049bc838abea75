"""Settling: the outcomes of units become state, in sets, fenced by (attempt, claim).

::

    outcomes ─► settle (units, counters, jobs that are done) ─► added units
                  └─► per job that is left: stop (wanted) │ fail │ advance to the next phase │ release a lane

All of it is one transaction. A stale outcome changes nothing and adds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from psycopg import Connection

from redrive.database import Database, Queries
from redrive.engine import failpoints
from redrive.engine.admission import admit
from redrive.engine.jobs import dump, insert_with_ids
from redrive.engine.model import Json, NewUnit, UnitState

queries = Queries.beside(__file__, "settling.sql")

#: A unit and the number of a claim of it: one unit may be claimed again by the worker that held it before.
Hold = tuple[int, int]

#: Where a cap got room: a tenant, and the subject of the job that ended.
Room = tuple[int, str | None]


@dataclass(frozen=True, slots=True)
class Settlement:
    """What becomes of one claimed unit.

    ``state`` done, failed, skipped (replaced by ``added``), waiting (again after ``delay_seconds``) or unknown
    (its probe could not tell; probed again after ``delay_seconds``).
    ``note`` is an event worth keeping, such as a transient failure that will be tried again.
    ``ran`` is false where the unit was only handed back: what its last claim left behind is still unknown.
    """

    unit_id: int
    job_id: int
    claim: int
    attempt: int
    state: UnitState
    delay_seconds: float = 0.0
    tries: int = 0
    ledger: Json | None = None
    failure: Json | None = None
    cursor: Json | None = None
    redone: bool = False
    added: Sequence[NewUnit] = ()
    phase: int = 0
    note: tuple[str, Json] | None = None
    ran: bool = True

    @property
    def hold(self) -> Hold:
        """The claim that this is the outcome of."""
        return (self.unit_id, self.claim)


def settle(db: Database, settlements: Sequence[Settlement]) -> set[Hold]:
    """Write ``settlements``; return the claims that were ours to settle. Safe to repeat.

    A repeated call after a lost connection finds its claims stale where the first one got through.
    """
    failpoints.hit("engine.settle.before")
    ours, freed = db.run(lambda conn: _settle(conn, settlements))
    for tenant_id, subject in freed:
        db.run(partial(admit, tenant_id=tenant_id, subject=subject))
    failpoints.hit("engine.settle.after")
    return ours


def _settle(conn: Connection[Any], settlements: Sequence[Settlement]) -> tuple[set[Hold], set[Room]]:
    moved = conn.execute(queries.settle, _arrays(settlements)).fetchall()
    ours = {hold for row in moved for hold in zip(row.unit_ids, row.claims, strict=True)}
    landed = [item for item in settlements if item.hold in ours]
    _insert_added(conn, landed)
    _log_notes(conn, landed)
    freed = {(row.tenant_id, row.subject) for row in moved if row.capped and row.state == "succeeded"}
    open_jobs = [row for row in moved if row.state != "succeeded"]
    if open_jobs:
        freed |= _go_on(conn, open_jobs)
    return ours, freed


def _arrays(settlements: Sequence[Settlement]) -> dict[str, list[Any]]:
    return {
        "unit_ids": [item.unit_id for item in settlements],
        "job_ids": [item.job_id for item in settlements],
        "claims": [item.claim for item in settlements],
        "attempts": [item.attempt for item in settlements],
        "states": [item.state.value for item in settlements],
        "delays": [item.delay_seconds for item in settlements],
        "tries": [item.tries for item in settlements],
        "ledgers": [dump(item.ledger) if item.ledger is not None else None for item in settlements],
        "failures": [dump(item.failure) if item.failure is not None else None for item in settlements],
        "cursors": [dump(item.cursor) if item.cursor is not None else None for item in settlements],
        "redone": [item.redone for item in settlements],
        "ran": [item.ran for item in settlements],
        "added": [len(item.added) for item in settlements],
        "added_here": [sum(unit.phase == item.phase for unit in item.added) for item in settlements],
    }


def _insert_added(conn: Connection[Any], landed: Sequence[Settlement]) -> None:
    added = [(item.job_id, unit) for item in landed for unit in item.added]
    if not added:
        return
    insert_with_ids(
        conn,
        queries.insert_added_units,
        {
            "job_ids": [job_id for job_id, _ in added],
            "phases": [unit.phase for _, unit in added],
            "labels": [unit.label for _, unit in added],
            "specs": [dump(unit.spec) for _, unit in added],
        },
        len(added),
    )


def _log_notes(conn: Connection[Any], landed: Sequence[Settlement]) -> None:
    noted = [(item, item.note) for item in landed if item.note is not None]
    if noted:
        conn.execute(
            queries.log_retried_units,
            {
                "job_ids": [item.job_id for item, _ in noted],
                "attempts": [item.attempt for item, _ in noted],
                "names": [name for _, (name, _) in noted],
                "data": [dump({"unit": str(item.unit_id), **data}) for item, (_, data) in noted],
            },
        )


def _go_on(conn: Connection[Any], rows: Sequence[Any]) -> set[Room]:
    """Fail, advance, stop or refill the jobs in ``rows``; return where caps got room.

    A closed phase is left before a wish is fulfilled, so that no job ever waits with nothing open.
    """
    freed: set[Room] = set()
    closed = [row for row in rows if row.open_units == 0]
    failing = [row.id for row in closed if row.failed_units > 0 and row.wanted != "cancel"]
    if failing:
        failed = conn.execute(queries.fail_closed, {"job_ids": failing}).fetchall()
        freed |= {(row.tenant_id, row.subject) for row in failed if row.capped}
    advancing = [row.id for row in closed if row.failed_units == 0]
    if advancing:
        conn.execute(queries.advance, {"job_ids": advancing})
    stopping = [row.id for row in rows if row.wanted is not None and row.live_units == 0]
    if stopping:
        stopped = conn.execute(queries.stop_wanted, {"job_ids": stopping}).fetchall()
        freed |= {(row.tenant_id, row.subject) for row in stopped if row.capped}
    _release(conn, [row for row in rows if row.wanted is None], advancing)
    return freed


def _release(conn: Connection[Any], running: Sequence[Any], advanced: Sequence[int]) -> None:
    room = {row.id: row.closed for row in running if row.closed and row.open_units > 0}
    room |= {row.id: row.lanes for row in running if row.id in set(advanced)}
    grown = [row.id for row in running if row.grown and row.id not in set(advanced)]
    if grown:
        counted = conn.execute(queries.free_lanes, {"job_ids": grown}).fetchall()
        room |= {row.job_id: row.free for row in counted}
    if not room:
        return
    released = conn.execute(
        queries.release, {"job_ids": list(room), "counts": list(room.values())}
    ).fetchall()
    if len(released) > 1:
        conn.execute("select pg_notify('redrive_ready', '')")


def stop_where_wanted(conn: Connection[Any], job_ids: Sequence[int]) -> None:
    """Pause or cancel those of the jobs that want it and have no live unit."""
    conn.execute(queries.stop_wanted, {"job_ids": list(job_ids)})

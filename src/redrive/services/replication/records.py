"""What the target itself keeps of a task: which unit's effect it has, and of which snapshot a table's rows are.

A unit's effect and its record are one transaction in the target, behind a lock on the record that names the claim.
A new claim first moves the number there, in a transaction of its own: whoever comes late with an older one finds
another number, and changes nothing. The tables lie in a schema ``redrive`` and go when the task is released.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from psycopg import Connection, errors

from redrive.database import Queries
from redrive.engine.claiming import LeaseLostError
from redrive.engine.jobs import dump
from redrive.engine.kinds import Work
from redrive.engine.model import Json
from redrive.errors import Failure, FailureClass

queries = Queries.beside(__file__, "records.sql")

#: So often the record is asked for, a second each, before the unit is given back.
_TAKES = 10


@dataclass(frozen=True, slots=True)
class Record:
    """A unit's record behind its lock; ``ledger`` where its effect is there already."""

    conn: Connection[Any]
    task: str
    unit_id: int
    claim: int
    ledger: Json | None

    def put(self, ledger: Json) -> None:
        """Record the effect, in the transaction that makes it."""
        named = {"task": self.task, "unit": self.unit_id, "ledger": dump(ledger)}
        self.conn.execute(queries.put_ledger, named)


def prepare(conn: Connection[Any]) -> None:
    """Make the tables. Safe to repeat, and at once."""
    with conn.transaction():
        conn.execute(queries.lock_making)
        conn.execute(queries.prepare)


def take(conn: Connection[Any], task: str, work: Work) -> Json | None:
    """Move the claim's number in the target; return the ledger of the unit's effect where it is there already.

    A former claim that still holds its record (its worker is frozen, or cut off) has its session ended there.
    """
    named = {"task": task, "unit": work.unit_id, "claim": work.claim}
    for _ in range(_TAKES):
        try:
            with conn.transaction():
                conn.execute(queries.wait_a_while)
                row = conn.execute(queries.take, named).fetchone()
        except errors.LockNotAvailable:
            conn.execute(queries.end_former, named)
            continue
        if row is None:
            raise LeaseLostError(f"unit {work.unit_id}, claim {work.claim}: the target knows a newer one")
        return dict(row.ledger) if row.ledger is not None else None
    raise Failure(
        "busy",
        f"{work.label}: a former session holds its record in the target",
        hint="it is tried again by itself",
        kind=FailureClass.TRANSIENT,
    )


@contextlib.contextmanager
def recording(conn: Connection[Any], task: str, work: Work) -> Iterator[Record]:
    """A transaction in the target for the effect of one unit; its record is locked from the beginning on."""
    with conn.transaction():
        row = conn.execute(queries.held, {"task": task, "unit": work.unit_id}).fetchone()
        if row is None or row.claim != work.claim:
            raise LeaseLostError(f"unit {work.unit_id}, claim {work.claim}: the target knows another one")
        ledger = dict(row.ledger) if row.ledger is not None else None
        yield Record(conn, task, work.unit_id, work.claim, ledger)


@dataclass(frozen=True, slots=True)
class Generation:
    """Of a table's rows in the target: how often they were begun, from which snapshot, and by which unit anew."""

    number: int
    snapshot: str
    begun_by: int


def generation(conn: Connection[Any], task: str, table: str, first: Generation) -> Generation:
    """Return how the rows of a table stand, locked for this transaction; ``first`` where nothing is there yet."""
    named = {
        "task": task,
        "name": table,
        "number": first.number,
        "snapshot": first.snapshot,
        "unit": first.begun_by,
    }
    conn.execute(queries.begin_table, named)
    row = conn.execute(queries.table_begun, named).fetchone()
    if row is None:
        raise Failure("internal", "a row that was just written is not there")
    return Generation(row.generation, row.snapshot, row.begun_by)


def lock_table(conn: Connection[Any], task: str, table: str) -> None:
    """Keep everybody else from a table's rows for the rest of this transaction."""
    conn.execute(queries.lock_table, {"task": task, "name": table})


def begin_anew(conn: Connection[Any], task: str, table: str, as_of: Generation) -> None:
    """Say that a table's rows are begun anew, in the transaction that removes them."""
    named = {
        "task": task,
        "name": table,
        "number": as_of.number,
        "snapshot": as_of.snapshot,
        "unit": as_of.begun_by,
    }
    conn.execute(queries.begin_table_anew, named)


def forget(conn: Connection[Any], task: str) -> None:
    """Drop what the target keeps of a task, and the schema with the last one. Safe to repeat."""
    with conn.transaction():
        conn.execute(queries.lock_making)
        row = conn.execute(queries.is_prepared).fetchone()
        if row is None or not row.there:
            return
        conn.execute(queries.forget_units, {"task": task})
        conn.execute(queries.forget_tables, {"task": task})
        left = conn.execute(queries.anything_left).fetchone()
        if left is not None and not left.there:
            conn.execute(queries.drop)

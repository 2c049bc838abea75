"""The journal in PostgreSQL: which files are about to be written or removed, and what each commit is to do.

::

    plan ─► (files written) ─► ledger ─► Delta commit ─► old files removed ─► close

Guarantees: a file of a table that is neither live nor named here belongs to nobody; a ledger is durable before
the commit that it tells of. It never says that a commit happened: only the Delta log does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from psycopg.types.json import Jsonb

from redrive.database import Database, Queries

queries = Queries.beside(__file__, "journal.sql")

Purpose = Literal["append", "erase", "compact"]


@dataclass(frozen=True, slots=True)
class Write:
    """A change of a table that is not over: the files it makes and those it may replace.

    ``seq_min`` is the least ingest sequence in the new files; None where their rows come from ``inputs``.
    """

    id: int
    kind: Purpose
    app_id: str
    claim: int
    seq_min: int | None = None
    outputs: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    age_seconds: float = 0.0


class Journal:
    """The journal of one organization's table. Each call is one transaction."""

    def __init__(self, db: Database, org_id: str) -> None:
        self._db = db
        self._org_id = org_id

    def plan(self, write: Write) -> None:
        """Record files of a change before any of them is touched; those planned before stay planned."""
        row = {
            "id": write.id,
            "org_id": self._org_id,
            "kind": write.kind,
            "app_id": write.app_id,
            "claim": write.claim,
            "seq_min": write.seq_min,
            "outputs": list(write.outputs),
            "inputs": list(write.inputs),
        }
        self._execute(queries.plan_write, row)

    def touch(self, write_id: int) -> None:
        """Say that a change is alive; safe to repeat, and of one that is over."""
        self._execute(queries.touch_write, {"id": write_id})

    def close(self, write_id: int) -> None:
        """Drop a change whose files are settled; safe to repeat."""
        self._execute(queries.close_write, {"id": write_id})

    def planned(self, write_id: int) -> list[Write]:
        """Return one change with all its files; nothing where it is over or was never planned."""
        return self._select(queries.write, {"org_id": self._org_id, "id": write_id})

    def writes(self) -> list[Write]:
        """Return what is open, oldest first."""
        return self._select(queries.writes, {"org_id": self._org_id})

    def lapsed(self, app_id: str, claim: int) -> list[Write]:
        """Return what claims of ``app_id`` before ``claim`` left open."""
        return self._select(queries.lapsed_writes, {"org_id": self._org_id, "app_id": app_id, "claim": claim})

    def put_ledger(self, app_id: str, number: int, ledger: Mapping[str, Any]) -> None:
        """Record what the commit that comes next will have done."""
        row = {"org_id": self._org_id, "app_id": app_id, "number": number, "ledger": Jsonb(dict(ledger))}
        self._execute(queries.put_ledger, row)

    def ledger(self, app_id: str, number: int) -> dict[str, Any]:
        """Return the ledger of a commit that the Delta log says has happened; empty where it had none."""
        keys = {"org_id": self._org_id, "app_id": app_id, "number": number}
        row = self._db.run(lambda conn: conn.execute(queries.ledger, keys).fetchone())
        return dict(row.ledger) if row else {}

    def forget_ledgers(self, older_than_seconds: float) -> None:
        """Drop ledgers that nobody can ask for any more."""
        self._execute(queries.forget_ledgers, {"org_id": self._org_id, "seconds": older_than_seconds})

    def _execute(self, statement: str, row: Mapping[str, Any]) -> None:
        self._db.run(lambda conn: conn.execute(statement, row))

    def _select(self, statement: str, row: Mapping[str, Any]) -> list[Write]:
        found = self._db.run(lambda conn: conn.execute(statement, row).fetchall())
        return [
            Write(
                each.id,
                each.kind,
                each.app_id,
                each.claim,
                each.seq_min,
                tuple(each.outputs),
                tuple(each.inputs),
                each.age_seconds,
            )
            for each in found
        ]

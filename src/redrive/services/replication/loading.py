"""A chunk's rows in the target: copied in the transaction that records them, or, of another snapshot, begun anew.

The rows of a table in the target are a *generation*, of one snapshot. A chunk adds to its own generation only. Where
the snapshot is another one, the table is emptied and its next generation begun, by one chunk; the others of the old
one have nothing left to do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from psycopg import Connection, sql

from redrive.engine import failpoints
from redrive.engine.jobs import dump
from redrive.engine.kinds import Done, Outcome, Stopped, Work
from redrive.services.replication import copying, records
from redrive.services.replication.records import Generation


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk between its source, which reads a snapshot, and its target, where its claim has been announced."""

    task: str
    work: Work
    source: Connection[Any]
    target: Connection[Any]
    generation: Generation

    @property
    def label(self) -> str:
        """The table's name for people."""
        return f"{self.work.unit_spec['schema']}.{self.work.unit_spec['table']}"

    @property
    def table(self) -> str:
        """The table's name in the records: names may hold dots, so two tables can have one label."""
        return dump([self.work.unit_spec["schema"], self.work.unit_spec["table"]])

    def load(self) -> Outcome | None:
        """Copy the rows; None where the table's rows are not of this chunk's generation and snapshot."""
        try:
            with records.recording(self.target, self.task, self.work) as record:
                found = records.generation(self.target, self.task, self.table, self.generation)
                mine = self.generation
                if (found.number, found.snapshot) != (mine.number, mine.snapshot):
                    return None
                copied = copying.copy_rows(
                    self.source, self.target, self.work.unit_spec, self.work.stop_requested
                )
                ledger = {
                    "table": self.label,
                    "rows": copied.rows,
                    "bytes": copied.bytes,
                    "snapshot": mine.snapshot,
                }
                record.put(ledger)
                failpoints.hit("replication.recorded")
        except copying.Stopped:
            return Stopped()
        failpoints.hit("replication.committed")
        return Done(ledger)

    def begin_anew(self) -> Generation | None:
        """Empty the table and return the generation that begins; None where another chunk has done so already.

        Safe to repeat: the unit that has begun a generation may not have come to name its chunks.
        """
        following = replace(self.generation, number=self.generation.number + 1)
        with records.recording(self.target, self.task, self.work) as record:
            records.lock_table(self.target, self.task, self.table)
            found = records.generation(self.target, self.task, self.table, self.generation)
            if found.number > self.generation.number and found.begun_by != self.work.unit_id:
                record.put(self.nothing_left)
                return None
            spec = self.work.unit_spec
            there = sql.Identifier(spec["to_schema"], spec["to_table"])
            self.target.execute(sql.SQL("truncate only {}").format(there))
            records.begin_anew(self.target, self.task, self.table, following)
        failpoints.hit("replication.anew")
        return following

    @property
    def nothing_left(self) -> dict[str, Any]:
        """The ledger of a chunk whose table was begun anew."""
        return {"table": self.label, "rows": 0, "begun_anew": True}

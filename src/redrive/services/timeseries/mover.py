"""The mover: takes accepted batches out of the log and into the tables, exactly once. One job per tenant.

::

    begin ──► read the log ──► append to the table ──► finish
    fence+1    behind the       one Delta commit,       latest values, the reader's place, log rows:
    open=true  reader's place   step = last sequence    one transaction, open=false

Guarantees: whatever moment it is killed at, each batch is in the table once, the latest values hold it, and
its log row is gone only then. A move that is found open may have committed: the next one fences it off, asks
the table for the last step that stands, and goes on from there. Readers look at the log first and the table
after, so they miss nothing.

``request_drain`` asks for everything up to a sequence at once, ``drained`` tells when it is in the tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
from psycopg import Connection

from redrive.database import Queries
from redrive.engine import claiming, failpoints, jobs
from redrive.engine.kinds import Again, Kind, Outcome, RetryPolicy, Stopped, Work
from redrive.engine.model import NewJob, NewUnit
from redrive.errors import Failure, FailureClass
from redrive.ingest import arrow, log
from redrive.ingest.log import TIMESERIES, Entry
from redrive.ingest.samples import SAMPLES, joined, with_place
from redrive.services.timeseries import latest, upkeep
from redrive.services.timeseries.storage import OrgTable, SampleStore

queries = Queries.beside(__file__, "mover.sql")

KIND = "timeseries.move"

#: A move takes this much at once; more stays for the next.
MOVE_ROWS = 1_000_000
MOVE_BYTES = 96 * 1024 * 1024
#: Batches gather this long, so that the tables get fewer and larger files.
MOVE_SECONDS = 3.0
#: The mover looks this often by itself where nobody told it of new batches.
IDLE_SECONDS = 60.0
_MOVES_AT_ONCE = 8


def ensure(conn: Connection[Any], tenant_id: int) -> None:
    """Make the tenant's mover where there is none; safe to repeat."""
    named = {"tenant_id": tenant_id}
    if conn.execute(queries.find, named).fetchone() is not None:
        return
    conn.execute(queries.lock_tenant, named)
    if conn.execute(queries.find, named).fetchone() is not None:
        return
    (tenant,) = conn.execute(queries.org_id, named).fetchall()
    new = NewJob(
        KIND,
        tenant_id,
        {"org_id": tenant.org_id},
        "redrive",
        units=[NewUnit(label="move")],
        lanes=1,
        priority=10,
    )
    conn.execute(queries.add, {**named, "job_id": jobs.submit(conn, new)})
    upkeep.ensure(conn, tenant_id, tenant.org_id)
    log.add_reader(conn, tenant_id, TIMESERIES, 0)


def poke(conn: Connection[Any], tenant_id: int) -> None:
    """Let the tenant's mover run now where it waits; safe to repeat."""
    row = conn.execute(queries.find, {"tenant_id": tenant_id}).fetchone()
    if row is not None:
        jobs.poke(conn, row.job_id)


def request_drain(conn: Connection[Any], tenant_id: int, through_seq: int) -> None:
    """Ask that everything up to ``through_seq`` be moved without waiting for more; safe to repeat.

    A mover that is at work just now goes on by itself; ask again while ``drained`` says no.
    """
    row = conn.execute(queries.request_drain, {"tenant_id": tenant_id, "through_seq": through_seq}).fetchone()
    if row is not None:
        jobs.poke(conn, row.job_id)


def drained(conn: Connection[Any], tenant_id: int, through_seq: int) -> bool:
    """Return whether every sample with a sequence up to there is in the tables: batches and imports."""
    (row,) = conn.execute(queries.waiting, {"tenant_id": tenant_id, "through_seq": through_seq}).fetchall()
    return not row.waiting


def what_is_wrong(conn: Connection[Any], tenant_id: int) -> str:
    """Return what keeps samples from the tables now, as the tail of a sentence; empty where nothing is known."""
    row = conn.execute(queries.what_is_wrong, {"tenant_id": tenant_id}).fetchone()
    return f": job {row.job_id} ({row.kind}) says: {row.detail}" if row is not None else ""


def kind(store: SampleStore) -> Kind:
    """Return the job kind over an open store."""
    policy = RetryPolicy(longest_delay_seconds=15.0)
    return Kind(
        KIND, "moving accepted samples into the tables", run=partial(_run, store), retry=policy, endless=True
    )


@dataclass(frozen=True, slots=True)
class _Move:
    """What one move takes: batches behind ``after_seq``, in order."""

    fence: int
    after_seq: int
    entries: Sequence[Entry]
    was_open: bool

    @property
    def through_seq(self) -> int:
        return self.entries[-1].seq if self.entries else self.after_seq

    @property
    def is_full(self) -> bool:
        rows, size = (
            sum(entry.rows for entry in self.entries),
            sum(entry.memory for entry in self.entries),
        )
        return rows >= MOVE_ROWS // 2 or size >= MOVE_BYTES // 2

    def samples(self) -> pa.Table:
        tables = [with_place(arrow.decode(entry.batch), entry.seq, entry.stored_ms) for entry in self.entries]
        return joined(tables) if tables else SAMPLES.empty_table()


def _run(store: SampleStore, work: Work) -> Outcome:
    table, app_id = store.table(work.spec["org_id"]), f"move/{work.spec['org_id']}"
    _check_age(table, app_id, work)
    through, moved = 0, False
    for _ in range(_MOVES_AT_ONCE):
        if work.stop_requested():
            return Stopped({"through_seq": through} if through else None)
        move = _begin(work)
        if move is None:
            return Again({"through_seq": through}, after_seconds=MOVE_SECONDS if moved else IDLE_SECONDS)
        moved = moved or bool(move.entries)
        if move.was_open:
            through, _ = _recover(table, app_id, work, move)
            continue
        through, drain_through = _move(table, app_id, work, move)
        if not move.is_full and through >= drain_through:
            return Again({"through_seq": through}, after_seconds=MOVE_SECONDS)
    return Again({"through_seq": through}, after_seconds=0.0)


def _begin(work: Work) -> _Move | None:
    """Record that a move begins, and read what it takes, in one transaction that the claim fences.

    None where there is nothing to move.
    """

    def begin(conn: Connection[Any]) -> _Move | None:
        claiming.fence(conn, work)
        after = log.place(conn, work.tenant_id, TIMESERIES)
        entries = log.read(conn, work.tenant_id, after, MOVE_BYTES, MOVE_ROWS)
        named = {"tenant_id": work.tenant_id}
        (found,) = conn.execute(queries.find, named).fetchall()
        if not entries and not found.open:
            return None
        (row,) = conn.execute(queries.begin, named).fetchall()
        return _Move(row.fence, after, entries, found.open)

    move = work.db.run(begin)
    failpoints.hit("timeseries.move.read")
    return move


def _move(table: OrgTable, app_id: str, work: Work, move: _Move) -> tuple[int, int]:
    """Append to the table and finish; return how far the mover has got, and how far it is wanted."""
    samples = move.samples()
    told = {"through_seq": move.through_seq, "batches": len(move.entries)}
    table.append(samples, app_id=app_id, claim=move.fence, step=move.through_seq, ledger=told)
    failpoints.hit("timeseries.move.committed")
    return move.through_seq, _finish(work, move, samples, move.through_seq)


def _check_age(table: OrgTable, app_id: str, work: Work) -> None:
    """Refuse to work where the database is older than the tables: it would take new samples for moved ones.

    What the tables have can be ahead of the reader's place only by a move that is open, and never of the head.
    """
    with work.db.transaction() as conn:
        (found,) = conn.execute(queries.find, {"tenant_id": work.tenant_id}).fetchall()
        most = (log.head if found.open else partial(log.place, reader=TIMESERIES))(conn, work.tenant_id)
    step = table.step(app_id) or 0
    if step > most:
        raise Failure(
            "database_older_than_store",
            f"the tables hold samples up to sequence {step}, the database has given out {most}: "
            "it was restored from a copy that is older than the sample store",
            hint="restore both from the same moment; what was accepted since waits in the log",
            kind=FailureClass.NEEDS_INPUT,
            target="sample store",
        )


def _recover(table: OrgTable, app_id: str, work: Work, move: _Move) -> tuple[int, int]:
    """Finish a move that was found open, as far as its commit stands; nothing is appended here."""
    table.fence(app_id, move.fence)
    through = max(move.after_seq, table.step(app_id) or 0)
    entries = [entry for entry in move.entries if entry.seq <= through]
    if entries and entries[-1].seq < through:
        # The open move took more than one read gives: finish in parts, the rest is found open again.
        return entries[-1].seq, _finish(work, move, _part(move, entries), entries[-1].seq, open_still=True)
    return through, _finish(work, move, _part(move, entries), through)


def _part(move: _Move, entries: Sequence[Entry]) -> pa.Table:
    return _Move(move.fence, move.after_seq, entries, move.was_open).samples()


def _finish(work: Work, move: _Move, samples: pa.Table, through: int, *, open_still: bool = False) -> int:
    """Take moved samples into the latest values and out of the log, in one transaction behind the claim."""

    def finish(conn: Connection[Any]) -> int:
        claiming.fence(conn, work)
        latest.write(conn, work.tenant_id, samples)
        log.advance(conn, work.tenant_id, TIMESERIES, through)
        named = {"tenant_id": work.tenant_id, "through_seq": through}
        (settled,) = conn.execute(queries.settled_through, named).fetchall()
        latest.drop_empty(conn, work.tenant_id, settled.seq)
        counted = {"moves": min(1, samples.num_rows), "rows": samples.num_rows, "open": open_still}
        row = conn.execute(
            queries.finish, {"tenant_id": work.tenant_id, "fence": move.fence, **counted}
        ).fetchone()
        if row is None:
            raise claiming.LeaseLostError(f"move {move.fence} of tenant {work.tenant_id}")
        return int(row.drain_through)

    return work.db.run(finish)

"""The log itself: append, read, readers' places. Plain functions in the caller's transaction."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from psycopg import Connection

from redrive.database import Queries
from redrive.errors import Problem, ProblemCode
from redrive.ingest import arrow

queries = Queries.beside(__file__, "log.sql")

#: The reader that moves batches into the tables.
TIMESERIES = "timeseries"
_READ_BATCHES = 20_000


class Channel(StrEnum):
    """How a batch came: as it happened, or later (backfill, which streams do not see)."""

    REALTIME = "realtime"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class Appended:
    """A batch's place. ``epoch`` counts changes that writers must notice (see ``move_epoch``)."""

    seq: int
    stored_ms: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A batch of the log, not yet decoded; ``memory`` is how many bytes it is when it is."""

    seq: int
    channel: Channel
    rows: int
    memory: int
    min_ms: int
    max_ms: int
    stored_ms: int
    batch: bytes


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a reader has not got to yet."""

    batches: int
    rows: int
    bytes: int
    oldest_ms: int | None


def append(conn: Connection[Any], tenant_id: int, samples: pa.Table, channel: Channel) -> int:
    """Append a batch and return its sequence. The tenant's head is locked until the caller's commit."""
    return append_encoded(conn, tenant_id, Encoded.of(samples), channel).seq


@dataclass(frozen=True, slots=True)
class Encoded:
    """A batch in the form in which it is stored; ``memory`` is its size in bytes before."""

    rows: int
    memory: int
    min_ms: int
    max_ms: int
    batch: pa.Buffer

    @classmethod
    def of(cls, samples: pa.Table) -> Encoded:
        """Encode a batch of at least one row (one chunk)."""
        span = pc.min_max(samples["time_ms"])
        times = span["min"].as_py(), span["max"].as_py()
        return cls(samples.num_rows, samples.nbytes, *times, arrow.encode(samples))


def append_encoded(conn: Connection[Any], tenant_id: int, encoded: Encoded, channel: Channel) -> Appended:
    """Append a batch and return its place."""
    row = {
        "tenant_id": tenant_id,
        "channel": channel.value,
        "rows": encoded.rows,
        "bytes": encoded.batch.size,
        "memory": encoded.memory,
        "min_ms": encoded.min_ms,
        "max_ms": encoded.max_ms,
        "batch": memoryview(encoded.batch),
    }
    return _placed(conn, tenant_id, queries.append, row)


def take_seqs(conn: Connection[Any], tenant_id: int, count: int) -> Appended:
    """Take ``count`` sequences in a row for samples that do not go through the log; return the first."""
    return _placed(conn, tenant_id, queries.take_seq, {"tenant_id": tenant_id, "count": count})


def _placed(conn: Connection[Any], tenant_id: int, query: str, row: dict[str, Any]) -> Appended:
    found = conn.execute(query, row, binary=True).fetchone()
    if found is None:
        add_tenant(conn, tenant_id)
        found = conn.execute(query, row, binary=True).fetchone()
    if found is None:
        raise Problem(
            ProblemCode.FORBIDDEN,
            "the project's workspace is closed: it takes no samples",
            hint="register the workspace, then send again",
            reason="workspace",
        )
    return Appended(found.seq, found.stored_ms, found.epoch)


def add_tenant(conn: Connection[Any], tenant_id: int) -> bool:
    """Make the tenant's head; return whether this call did. Safe to repeat."""
    return conn.execute(queries.add_head, {"tenant_id": tenant_id}).fetchone() is not None


def set_closed(conn: Connection[Any], tenant_id: int, closed: bool) -> None:
    """Take no more batches of a tenant, whoever still holds some, or take them again. Safe to repeat."""
    add_tenant(conn, tenant_id)
    conn.execute(queries.set_closed, {"tenant_id": tenant_id, "closed": closed})


def head(conn: Connection[Any], tenant_id: int, *, lock: bool = False) -> int:
    """Return the last committed sequence, 0 before the first; ``lock``: none is added before my commit."""
    if lock:
        add_tenant(conn, tenant_id)
    query = queries.head_locked if lock else queries.head
    row = conn.execute(query, {"tenant_id": tenant_id}).fetchone()
    return row.head_seq if row is not None else 0


def epoch(conn: Connection[Any], tenant_id: int) -> int:
    """Return the tenant's epoch, 0 before the first batch."""
    row = conn.execute(queries.head, {"tenant_id": tenant_id}).fetchone()
    return row.epoch if row is not None else 0


def move_epoch(conn: Connection[Any], tenant_id: int) -> None:
    """Make writers in all processes notice a change that this transaction makes."""
    add_tenant(conn, tenant_id)
    conn.execute(queries.move_epoch, {"tenant_id": tenant_id})


def read(
    conn: Connection[Any], tenant_id: int, after_seq: int, limit_bytes: int, limit_rows: int = 2**31 - 1
) -> list[Entry]:
    """Return the batches behind ``after_seq`` in order, at least one where there is one.

    ``limit_bytes`` is of what they decode to.
    """
    limits = {"limit": _READ_BATCHES, "limit_bytes": limit_bytes, "limit_rows": limit_rows}
    rows = conn.execute(
        queries.read, {"tenant_id": tenant_id, "after_seq": after_seq, **limits}, binary=True
    ).fetchall()
    return [
        Entry(
            row.seq,
            Channel(row.channel),
            row.rows,
            row.memory,
            row.min_ms,
            row.max_ms,
            row.stored_ms,
            row.batch,
        )
        for row in rows
    ]


def add_reader(conn: Connection[Any], tenant_id: int, reader: str, through_seq: int) -> None:
    """Let ``reader`` hold batches behind ``through_seq`` from now on. Safe to repeat: the first place stays."""
    conn.execute(queries.add_reader, {"tenant_id": tenant_id, "reader": reader, "through_seq": through_seq})


def place(conn: Connection[Any], tenant_id: int, reader: str) -> int:
    """Return how far ``reader`` has got."""
    row = conn.execute(queries.place, {"tenant_id": tenant_id, "reader": reader}).fetchone()
    return row.through_seq if row is not None else 0


def advance(conn: Connection[Any], tenant_id: int, reader: str, through_seq: int) -> None:
    """Move a reader's place forward and drop what every reader is past. Safe to repeat."""
    conn.execute(queries.advance, {"tenant_id": tenant_id, "reader": reader, "through_seq": through_seq})
    drop(conn, tenant_id, through_seq)


def drop(conn: Connection[Any], tenant_id: int, through_seq: int) -> None:
    """Delete batches up to ``through_seq`` that every reader is past."""
    conn.execute(queries.drop, {"tenant_id": tenant_id, "through_seq": through_seq})


def backlog(conn: Connection[Any], tenant_id: int, reader: str = TIMESERIES) -> Backlog:
    """Return what lies behind a reader's place."""
    (row,) = conn.execute(queries.backlog, {"tenant_id": tenant_id, "reader": reader}).fetchall()
    return Backlog(row.batches, row.rows, row.bytes, row.oldest_ms)

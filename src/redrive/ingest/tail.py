"""What is accepted and not in the tables yet, decoded and kept in the process.

``Tail.read(conn, tenant_id)`` returns every sample whose batch was committed before the call and which the
reader (the mover) has not got past, in order of sequence. A sample is in the tail, in the tables, or in both
with the same sequence, when a reader asks the tail first and the tables after.

Each batch is fetched and decoded once per process; small ones are put together, so that a read of the tail
costs the same however small the requests were that filled it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from psycopg import Connection

from redrive.errors import Problem, ProblemCode
from redrive.ingest import arrow
from redrive.ingest.log import TIMESERIES, queries
from redrive.ingest.samples import SAMPLES, Array, joined, with_place

#: A tenant's tail that is larger is not read: the mover has stood still for long.
TAIL_BYTES = 1024 * 1024 * 1024
_JOIN_ROWS = 1_000_000
_FORGET_SECONDS = 60.0


@dataclass(slots=True)
class _Block:
    """Samples of batches that follow each other, one chunk."""

    last_seq: int
    table: pa.Table


@dataclass(slots=True)
class _Tenant:
    known_seq: int = 0
    blocks: list[_Block] = field(default_factory=list)
    used_at: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Tail:
    """The tails of all tenants in this process. Safe to share between threads."""

    def __init__(self, reader: str = TIMESERIES) -> None:
        self._reader = reader
        self._tenants: dict[int, _Tenant] = {}
        self._lock = threading.Lock()

    def read(
        self,
        conn: Connection[Any],
        tenant_id: int,
        assets: Collection[str] | None = None,
        points: Collection[str] | None = None,
    ) -> pa.Table:
        """Return the tail, or only its rows of ``assets`` and ``points``; a sample table in chunks."""
        tenant = self._tenant(tenant_id)
        with tenant.lock:
            self._refresh(conn, tenant_id, tenant)
            tables = [block.table for block in tenant.blocks]
        if assets is not None or points is not None:
            tables = [_only(table, assets, points) for table in tables]
        tables = [table for table in tables if table.num_rows]
        return pa.concat_tables(tables) if tables else SAMPLES.empty_table()

    def _tenant(self, tenant_id: int) -> _Tenant:
        now = time.monotonic()
        with self._lock:
            for other in [key for key, old in self._tenants.items() if now - old.used_at > _FORGET_SECONDS]:
                if other != tenant_id:
                    del self._tenants[other]
            tenant = self._tenants.setdefault(tenant_id, _Tenant())
            tenant.used_at = now
            return tenant

    def _refresh(self, conn: Connection[Any], tenant_id: int, tenant: _Tenant) -> None:
        """Take over what is new. What would not fit is not even fetched: what is held stays, and is shown later."""
        wanted = {"tenant_id": tenant_id, "reader": self._reader}
        while True:
            room = TAIL_BYTES - _held(tenant)
            known = {**wanted, "known_seq": tenant.known_seq, "room": room}
            rows = conn.execute(queries.tail, known, binary=True).fetchall()
            _drop(tenant, rows[0].through_seq)
            if rows[0].memory <= room:
                break
            # What the mover has got past meanwhile may have made room.
            total = rows[0].memory + _held(tenant)
            if total > TAIL_BYTES:
                raise _too_large(total)
        fresh = [row for row in rows if row.seq is not None]
        _add(
            tenant,
            [_Block(row.seq, with_place(arrow.decode(row.batch), row.seq, row.stored_ms)) for row in fresh],
        )


def _held(tenant: _Tenant) -> int:
    return sum(block.table.nbytes for block in tenant.blocks)


def _too_large(size: int) -> Problem:
    return Problem(
        ProblemCode.UNAVAILABLE,
        f"{size} bytes of accepted samples wait to be moved into the tables, {TAIL_BYTES} are read",
        hint="see why the job timeseries.move stands still: redrive jobs list --kind timeseries.move",
        reason="tail_too_large",
    )


def _drop(tenant: _Tenant, through_seq: int) -> None:
    kept: list[_Block] = []
    for block in tenant.blocks:
        if block.last_seq <= through_seq:
            continue
        seqs = block.table["seq"].chunk(0).to_numpy()
        gone = int(np.searchsorted(seqs, through_seq, side="right"))
        kept.append(_Block(block.last_seq, block.table.slice(gone)) if gone else block)
    tenant.blocks = kept


def _add(tenant: _Tenant, fresh: list[_Block]) -> None:
    """Add blocks, put together so that their number grows with the logarithm of the rows."""
    if not fresh:
        return
    tenant.known_seq = fresh[-1].last_seq
    blocks = [*tenant.blocks, _together(fresh)]
    while len(blocks) > 1 and _worth_joining(blocks[-2], blocks[-1]):
        blocks[-2:] = [_together(blocks[-2:])]
    tenant.blocks = blocks


def _worth_joining(older: _Block, newer: _Block) -> bool:
    return int(older.table.num_rows) <= min(2 * int(newer.table.num_rows), _JOIN_ROWS)


def _together(blocks: list[_Block]) -> _Block:
    return _Block(blocks[-1].last_seq, joined([block.table for block in blocks]))


def _only(table: pa.Table, assets: Collection[str] | None, points: Collection[str] | None) -> pa.Table:
    mask: Array | None = None
    for name, wanted in (("asset", assets), ("point", points)):
        if wanted is None:
            continue
        column = table[name].chunk(0)
        chosen = set(wanted)
        held = np.array([word in chosen for word in column.dictionary.to_pylist()], dtype=bool)
        if not held.any():
            return table.slice(0, 0)
        if not held.all():
            found = held[column.indices.to_numpy()]
            mask = found if mask is None else mask & found
    return table if mask is None else table.filter(pa.array(mask))

"""Appending samples: split by bucket, sorted, written in parallel, one fenced commit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from redrive.errors import Failure, FailureClass
from redrive.ids import new_id
from redrive.services.timeseries.storage import columns, files
from redrive.services.timeseries.storage.change import Change, Parts, changing
from redrive.services.timeseries.storage.fencing import Fence, GivenUp
from redrive.services.timeseries.storage.files import NewFile
from redrive.services.timeseries.storage.parallel import each

#: Files are cut at about this many rows, where an asset ends if possible.
FILE_ROWS = 524_288
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Appended:
    """What an append did. ``repeated``: it had been done before this call, nothing was added now."""

    rows: int
    files: int
    size: int
    repeated: bool = False
    ledger: Mapping[str, Any] | None = None


def append(
    parts: Parts,
    pool: Executor,
    samples: pa.Table | Iterable[pa.Table],
    fence: Fence,
    ledger: Mapping[str, Any],
    *,
    checked: bool,
) -> Appended:
    """Append sample tables in one commit; ``checked``: files are read back before it.

    An iterable is read once, table by table, and ``ledger`` after it: who yields the tables may fill it. Where a
    sweep gave the change up, only a table can be repeated.
    """
    standing = parts.log.check(fence, parts.log.open())
    if standing is not None:
        return Appended(0, 0, 0, True, parts.journal.ledger(fence.app_id, standing.number))
    tables = [samples] if isinstance(samples, pa.Table) else samples
    for tries in range(1, _TRIES + 1):
        try:
            return _append(parts, pool, tables, fence, ledger, checked)
        except GivenUp as given_up:
            if not isinstance(samples, pa.Table) or tries == _TRIES:
                raise Failure(
                    "storage",
                    f"a sweep gave the change up: {given_up}",
                    hint="it is tried again",
                    kind=FailureClass.TRANSIENT,
                    target=parts.folder.uri,
                ) from given_up
    raise AssertionError("the loop above returns or raises")


def _append(
    parts: Parts,
    pool: Executor,
    tables: Iterable[pa.Table],
    fence: Fence,
    ledger: Mapping[str, Any],
    checked: bool,
) -> Appended:
    with changing(parts, "append", fence) as change:
        new = [file for table in tables if table.num_rows for file in _write(change, pool, table, checked)]
        rows, size = sum(file.rows for file in new), sum(file.size for file in new)
        told = {**ledger, "rows": rows}
        commit = change.commit(new, (), told)
    if commit.repeated:
        return Appended(0, 0, 0, True, parts.journal.ledger(fence.app_id, commit.number))
    return Appended(rows, len(new), size, False, told)


def _write(change: Change, pool: Executor, table: pa.Table, checked: bool) -> list[NewFile]:
    table = columns.to_disk(columns.with_names(table))
    series, count = columns.series_of(table, by_bucket=True)
    order = columns.ordering(series, count, columns.numbers(table["time"]))
    run = new_id()
    pieces = list(_pieces(table, order))
    paths = [change.new_path(bucket, run) for bucket, _ in pieces]
    change.plan(paths, seq_min=int(columns.numbers(table["seq"]).min()))

    def one(piece: tuple[int, pa.Array | slice], path: str) -> NewFile:
        bucket, rows = piece
        part = (
            table.slice(rows.start, rows.stop - rows.start) if isinstance(rows, slice) else table.take(rows)
        )
        return files.write(change.parts.folder, path, bucket, columns.with_names(part), checked=checked)

    return each(pool, one, pieces, paths)


def _pieces(table: pa.Table, order: columns.Array | None) -> Iterator[tuple[int, pa.Array | slice]]:
    """Yield (bucket, rows) per file: a slice where rows lie in order already, indices else."""
    asset_codes, assets = columns.codes(table["asset"])
    if order is not None:
        asset_codes = asset_codes[order]
    starts = np.flatnonzero(np.diff(asset_codes, prepend=-1))
    ends = np.append(starts[1:], len(asset_codes))
    buckets = [columns.bucket_of(assets[code]) for code in asset_codes[starts]]
    first = 0
    while first < len(starts):
        last = first
        while last + 1 < len(starts) and buckets[last + 1] == buckets[first]:
            last += 1
        borders = [int(end) for end in ends[first : last + 1]]
        for low, high in columns.cut(int(starts[first]), borders, FILE_ROWS):
            yield buckets[first], slice(low, high) if order is None else pa.array(order[low:high])
        first = last + 1

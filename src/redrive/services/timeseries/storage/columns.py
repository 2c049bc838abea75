"""The sample table in memory and on disk, and what can be done to whole columns of it.

In memory (the currency between ingest, storage and reads)::

    asset string | point string | time_ms int64 | number float64? | text string? | kind int8 | quality int32? |
    seq int64 | stored_ms int64            (asset and point may be dictionary<int32, string>)

On disk the same, with ``time`` and ``stored`` as timestamp[us, UTC] so that other engines read them, and the
partition column ``bucket`` in the Delta log. Everything here is vectorised and keeps values bit for bit.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from redrive.services.timeseries.boxes import Box

BUCKETS = 16

NAME = pa.dictionary(pa.int32(), pa.string())
_INSTANT = pa.timestamp("us", "UTC")

#: As ``scan`` returns it and ``append`` takes it (there asset and point may also be plain strings).
MEMORY = pa.schema(
    [
        pa.field("asset", NAME, nullable=False),
        pa.field("point", NAME, nullable=False),
        pa.field("time_ms", pa.int64(), nullable=False),
        pa.field("number", pa.float64()),
        pa.field("text", pa.string()),
        pa.field("kind", pa.int8(), nullable=False),
        pa.field("quality", pa.int32()),
        pa.field("seq", pa.int64(), nullable=False),
        pa.field("stored_ms", pa.int64(), nullable=False),
    ]
)

#: Of one Parquet file. Asset and point are plain strings there, encoded as dictionaries.
DISK = pa.schema(
    [
        pa.field("asset", pa.string()),
        pa.field("point", pa.string()),
        pa.field("time", _INSTANT),
        pa.field("number", pa.float64()),
        pa.field("text", pa.string()),
        pa.field("kind", pa.int8()),
        pa.field("quality", pa.int32()),
        pa.field("seq", pa.int64()),
        pa.field("stored", _INSTANT),
    ]
)

#: Of the Delta table.
TABLE = DISK.append(pa.field("bucket", pa.int32()))

#: Name in memory to name on disk, in order.
DISK_NAMES = dict(zip(MEMORY.names, DISK.names, strict=True))

#: What a deletion must know of a row to decide on it.
KEY = ("asset", "point", "time", "seq")

#: What statistics tell of: never a value.
BOUNDED = (*KEY, "stored")

#: Instants that Delta's statistics can say (years 1 to 9999).
EARLIEST_MS = -62_135_596_800_000
LATEST_MS = 253_402_300_799_999

Array = np.ndarray[Any, np.dtype[Any]]


def bucket_of(asset: str) -> int:
    """Return the bucket that an asset's samples lie in, for ever the same."""
    return zlib.crc32(asset.encode()) % BUCKETS


def empty() -> pa.Table:
    """Return a sample table (in memory) without rows."""
    return MEMORY.empty_table()


def with_names(table: pa.Table) -> pa.Table:
    """Return ``table`` in one chunk per column, asset and point as dictionaries, one for all rows."""
    arrays = []
    for name in table.column_names:
        column = table[name]
        if name in ("asset", "point") and not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        if column.num_chunks != 1:
            column = pa.chunked_array([_joined(column)])
        arrays.append(column)
    fields = [pa.field(name, array.type) for name, array in zip(table.column_names, arrays, strict=True)]
    return pa.table(arrays, schema=pa.schema(fields))


def _joined(column: pa.ChunkedArray) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
    return column.combine_chunks() if column.num_chunks else pa.array([], column.type)


def to_disk(table: pa.Table) -> pa.Table:
    """Return a sample table (in memory form, one chunk) in the form of the files."""
    columns = []
    for field, name in zip(MEMORY, DISK.names, strict=True):
        column = table[field.name].chunk(0)
        if name in ("time", "stored"):
            micros = numbers(column) * np.int64(1000)
            column = pa.array(micros).view(_INSTANT)
        elif name not in ("asset", "point") and column.type != field.type:
            column = column.cast(field.type)
        columns.append(column)
    return pa.table(columns, names=DISK.names)


def to_memory(table: pa.Table) -> pa.Table:
    """Return a table in the form of the files (any of its columns) in the form in memory."""
    arrays, names = [], []
    for name, disk_name in DISK_NAMES.items():
        if disk_name not in table.column_names:
            continue
        column = table[disk_name]
        if disk_name in ("time", "stored"):
            column = pa.chunked_array(
                [pa.array(numbers(chunk) // 1000) for chunk in column.chunks], pa.int64()
            )
        arrays.append(column)
        names.append(name)
    return pa.table(arrays, names=names)


def numbers(array: pa.Array | pa.ChunkedArray) -> Array:
    """Return the values of a column without nulls as numpy integers or floats; instants as microseconds."""
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks == 1 else _joined(array)
    if pa.types.is_timestamp(array.type):
        array = array.view(pa.int64())
    values: Array = array.to_numpy(zero_copy_only=False)
    return values


def codes(array: pa.Array | pa.ChunkedArray) -> tuple[Array, list[str]]:
    """Return the codes of a dictionary column and the names that they stand for."""
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks == 1 else _joined(array)
    return array.indices.to_numpy(zero_copy_only=False), array.dictionary.to_pylist()


def used_names(column: pa.ChunkedArray) -> list[str]:
    """Return the names that rows of a dictionary column really have."""
    indices, names = codes(column)
    return [names[code] for code in np.flatnonzero(np.bincount(indices, minlength=len(names)))]


def _rank(names: Sequence[str]) -> Array:
    """Return for each code the place of its name in order; names that stand twice share one."""
    order = {name: place for place, name in enumerate(sorted(set(names)))}
    return np.array([order[name] for name in names], dtype=np.int64)


def series_of(table: pa.Table, *, by_bucket: bool = False) -> tuple[Array, int]:
    """Return one number per row that orders rows by (bucket,) asset, point; and how many there can be."""
    asset_codes, assets = codes(table["asset"])
    point_codes, points = codes(table["point"])
    asset_rank, point_rank = _rank(assets), _rank(points)
    if by_bucket and assets:
        width = int(asset_rank.max()) + 1
        places = np.array([bucket_of(name) for name in assets], dtype=np.int64) * width + asset_rank
        _, asset_rank = np.unique(places, return_inverse=True)
    if not assets or not points:
        return np.zeros(len(asset_codes), dtype=np.int64), 1
    width = int(point_rank.max()) + 1
    series = asset_rank[asset_codes] * width + point_rank[point_codes]
    return series, (int(asset_rank.max()) + 1) * width


def ordering(series: Array, count: int, time: Array) -> Array | None:
    """Return the stable order of rows by series and time; None where they lie so already."""
    if len(series) < 2:
        return None
    same = series[1:] == series[:-1]
    if bool(np.all((series[1:] > series[:-1]) | (same & (time[1:] >= time[:-1])))):
        return None
    if bool(np.all(time[1:] >= time[:-1])) and count <= 65536:
        return np.argsort(series.astype(np.uint16), kind="stable")
    low = int(time.min())
    span = int(time.max()) - low + 1
    if count * span < 2**62:
        return np.argsort(series * np.int64(span) + (time - low), kind="stable")
    return np.lexsort((time, series))


def newest(table: pa.Table) -> pa.Table:
    """Return the row of the highest seq per (asset, point, time), sorted; of equal seqs the last.

    ``table`` is in memory form or in that of the files. One of several equal rows is kept, none is changed.
    """
    if table.num_rows < 2:
        return table
    table = with_names(table)
    time = numbers(table["time_ms" if "time_ms" in table.column_names else "time"])
    series, count = series_of(table)
    seq = numbers(table["seq"])
    order = ordering(series, count, time)
    if order is not None:
        table, series, time, seq = table.take(pa.array(order)), series[order], time[order], seq[order]
    same = (series[1:] == series[:-1]) & (time[1:] == time[:-1])
    if not same.any():
        return table
    if bool(np.any(same & (seq[1:] < seq[:-1]))):
        order = np.lexsort((seq, time, series))
        table = table.take(pa.array(order))
    last = np.append(~same, True)
    return table.filter(pa.array(last))


def in_order(table: pa.Table) -> pa.Table:
    """Return the rows (files' form) sorted by asset, point, time, seq, in one chunk per column."""
    table = with_names(table)
    series, count = series_of(table)
    time, seq = numbers(table["time"]), numbers(table["seq"])
    order = ordering(series, count, time)
    if order is not None:
        table, series, time, seq = table.take(pa.array(order)), series[order], time[order], seq[order]
    same = (series[1:] == series[:-1]) & (time[1:] == time[:-1])
    if bool(np.any(same & (seq[1:] < seq[:-1]))):
        table = table.take(pa.array(np.lexsort((seq, time, series))))
    return table


def matches(table: pa.Table, box: Box, seq_max: int | None, stored_before_ms: int | None = None) -> Array:
    """Return a mask of the rows (files' form, one chunk) that lie in ``box``, with ``seq <= seq_max``."""
    mask = _in_names(table["asset"], box.assets, False)
    if not box.points.is_all:
        mask &= _in_names(table["point"], box.points.names, box.points.excluded)
    if not mask.any():
        return mask
    time = numbers(table["time"])
    mask &= time >= micros(box.start_ms)
    mask &= time < micros(box.end_ms)
    if seq_max is not None:
        mask &= numbers(table["seq"]) <= seq_max
    if stored_before_ms is not None:
        mask &= numbers(table["stored"]) < micros(stored_before_ms)
    return mask


def micros(milliseconds: int) -> int:
    """Return microseconds, cut to what a file can hold."""
    return max(-(2**63), min(2**63 - 1, milliseconds * 1000))


def _in_names(column: pa.ChunkedArray, names: frozenset[str], excluded: bool) -> Array:
    indices, dictionary = codes(column)
    held = np.array([(name in names) != excluded for name in dictionary], dtype=bool)
    if held.all() or not held.any():
        return np.full(len(indices), bool(len(held)) and bool(held[0]))
    return held[indices]


def cut(start: int, borders: Sequence[int], rows: int) -> Iterator[tuple[int, int]]:
    """Yield consecutive spans of about ``rows`` from ``start`` to the last border, cut at borders if possible."""
    end = borders[-1]
    while end - start > rows * 5 // 4:
        place = int(np.searchsorted(borders, start + rows, side="right")) - 1
        stop = borders[place] if place >= 0 and borders[place] >= start + rows // 2 else start + rows
        yield start, stop
        start = stop
    if end > start:
        yield start, end

"""Parquet files of samples: laid out by time, asset and point, with statistics of keys only.

Guarantees: the statistics of a file and of its row groups hold minimum and maximum of asset, point, time, seq
and the instant of storage, never of a value, so a value stands nowhere but in its data page. What ``write``
returned from was read back where ``checked`` asks for it. Values keep their bits (NaN payloads, -0.0, nulls).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake.transaction import AddAction

from redrive.clock import now, to_ms
from redrive.errors import Failure, FailureClass
from redrive.services.timeseries.storage import checksums, columns
from redrive.services.timeseries.storage.folder import Folder

GROUP_ROWS = 65_536
_SAMPLE_ROWS = 4_096
NAMES = ["asset", "point"]
#: No name is greater.
LAST_NAME = "\U0010ffff"
#: Bounds of numbers that nobody has told.
LEAST, GREATEST = -(2**63), 2**63 - 1
_ENCODINGS = {"time": "DELTA_BINARY_PACKED", "seq": "DELTA_BINARY_PACKED", "stored": "DELTA_BINARY_PACKED"}
_DICTIONARIES = ["asset", "point", "text", "kind", "quality"]


@dataclass(frozen=True, slots=True)
class Extent:
    """From the least to the greatest of some rows; instants (``times``, ``stored``) in microseconds."""

    assets: tuple[str, str]
    points: tuple[str, str]
    times: tuple[int, int]
    seqs: tuple[int, int]
    stored: tuple[int, int]


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that was written and waits for its commit."""

    path: str
    bucket: int
    rows: int
    size: int
    extent: Extent

    def action(self) -> AddAction:
        """Return what the Delta log says of it."""
        low = _statistics(self.extent, 0)
        high = _statistics(self.extent, 1)
        statistics = {
            "numRecords": self.rows,
            "minValues": low,
            "maxValues": high,
            "nullCount": dict.fromkeys(columns.BOUNDED, 0),
        }
        partition: dict[str, str | None] = {"bucket": str(self.bucket)}
        return AddAction(self.path, self.size, partition, to_ms(now()), True, json.dumps(statistics))


def _statistics(extent: Extent, side: int) -> dict[str, object]:
    told: dict[str, object] = {
        "asset": extent.assets[side],
        "point": extent.points[side],
        "seq": extent.seqs[side],
    }
    for name, micros in (("time", extent.times[side]), ("stored", extent.stored[side])):
        # Row groups that another program wrote may not tell: then the log does not either.
        if micros not in (LEAST, GREATEST):
            told[name] = f"{np.datetime64(micros, 'us').astype('datetime64[ms]')}Z"
    return told


def extent_of(table: pa.Table) -> Extent:
    """Return the extent of a table (files' form, one chunk, at least one row)."""
    return Extent(
        _first_and_last(table["asset"]),
        _first_and_last(table["point"]),
        _least_and_greatest(table["time"]),
        _least_and_greatest(table["seq"]),
        _least_and_greatest(table["stored"]),
    )


def _first_and_last(column: pa.ChunkedArray) -> tuple[str, str]:
    used = columns.used_names(column)
    return min(used), max(used)


def _least_and_greatest(column: pa.ChunkedArray) -> tuple[int, int]:
    numbers = columns.numbers(column)
    return int(numbers.min()), int(numbers.max())


def union(extents: Sequence[Extent]) -> Extent:
    """Return the extent of rows that lie in any of some extents."""
    return Extent(
        (min(each.assets[0] for each in extents), max(each.assets[1] for each in extents)),
        (min(each.points[0] for each in extents), max(each.points[1] for each in extents)),
        (min(each.times[0] for each in extents), max(each.times[1] for each in extents)),
        (min(each.seqs[0] for each in extents), max(each.seqs[1] for each in extents)),
        (min(each.stored[0] for each in extents), max(each.stored[1] for each in extents)),
    )


def write(folder: Folder, path: str, bucket: int, table: pa.Table, *, checked: bool) -> NewFile:
    """Write a sorted table (files' form, one chunk, at least one row) and return it for the commit.

    The rows are laid out in windows of time, sorted by asset, point, time within each; row groups end where a
    window or (if possible) an asset ends. So an erasure by asset or by time touches few row groups.
    ``checked``: the file is read back, and a ``Failure`` raised where a bit differs.
    """
    table, spans = _arranged(table)
    with folder.create(path) as sink:
        encode(sink, table, spans)
        size = sink.tell()
    if checked:
        with folder.open(path) as source:
            found = columns.with_names(pq.ParquetFile(source, read_dictionary=NAMES).read(use_threads=False))
        if not checksums.same_rows(found, table):
            raise differs(folder)
    return NewFile(path, bucket, table.num_rows, size, extent_of(table))


def encode(sink: Any, table: pa.Table, spans: Sequence[tuple[int, int]]) -> None:
    """Write rows as Parquet, a row group per span."""
    table = with_used_names(table)
    dictionaries, encodings = list(_DICTIONARIES), dict(_ENCODINGS)
    if _repeats(table["number"].chunk(0)):
        dictionaries.append("number")
    else:
        encodings["number"] = "BYTE_STREAM_SPLIT"
    with pq.ParquetWriter(
        sink,
        table.schema,
        version="2.6",
        compression="zstd",
        compression_level=1,
        use_dictionary=dictionaries,
        column_encoding=encodings,
        write_statistics=list(columns.BOUNDED),
        store_schema=False,
    ) as writer:
        for start, end in spans:
            writer.write_table(table.slice(start, end - start), row_group_size=end - start)


def differs(folder: Folder) -> Failure:
    """Return the failure of a file that reads back as something else than what was written."""
    return Failure(
        "storage",
        "a file read back differs from what was written; it was not committed",
        hint="check the disk or the object store for damage, then retry",
        kind=FailureClass.TRANSIENT,
        target=folder.uri,
    )


def _arranged(table: pa.Table) -> tuple[pa.Table, list[tuple[int, int]]]:
    """Return the rows in windows of time and the spans of their row groups."""
    windows = max(1, round((table.num_rows / GROUP_ROWS) ** 0.5))
    asset = columns.codes(table["asset"])[0]
    window = np.zeros(table.num_rows, dtype=np.uint8)
    if windows > 1:
        time = columns.numbers(table["time"])
        sample = time[:: max(1, len(time) // _SAMPLE_ROWS)]
        borders = np.quantile(sample, [number / windows for number in range(1, windows)])
        window = np.searchsorted(borders, time, side="right").astype(np.uint8)
        order = np.argsort(window, kind="stable")
        table, asset, window = table.take(pa.array(order)), asset[order], window[order]
    changes = np.flatnonzero((asset[1:] != asset[:-1]) | (window[1:] != window[:-1])) + 1
    spans: list[tuple[int, int]] = []
    for number in range(windows):
        start, end = (int(np.searchsorted(window, each)) for each in (number, number + 1))
        if start < end:
            inside = changes[(changes > start) & (changes < end)].tolist()
            spans += columns.cut(start, [*inside, end], GROUP_ROWS)
    return table, spans


def with_used_names(table: pa.Table) -> pa.Table:
    """Return the table with dictionaries that hold only names in use: a file lists them all in its pages."""
    for place, name in enumerate(NAMES):
        indices, names = columns.codes(table[name])
        used = np.bincount(indices, minlength=len(names)) > 0
        if used.all():
            continue
        codes = (np.cumsum(used) - 1).astype(np.int32)[indices]
        kept = pa.array([names[code] for code in np.flatnonzero(used)], pa.string())
        column = pa.DictionaryArray.from_arrays(pa.array(codes), kept)
        table = table.set_column(place, name, column)
    return table


def _repeats(array: pa.Array) -> bool:
    """Return whether a dictionary pays for these numbers: most of a sample of one row group stands twice."""
    values = array[:GROUP_ROWS].drop_null().to_numpy(zero_copy_only=False).view(np.uint64)
    if len(values) <= 64:
        return True
    sample = values[:: max(1, len(values) // _SAMPLE_ROWS)]
    # Seen k times in a sample of s out of n rows: with few repeats in the sample the group has many more.
    return bool(len(np.unique(sample)) < 0.9 * len(sample))

"""One version of a table: its live files with their extents, and the transaction numbers it has seen."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import pyarrow as pa

from redrive.services.timeseries.boxes import Box
from redrive.services.timeseries.storage import columns
from redrive.services.timeseries.storage.files import GREATEST, LAST_NAME, LEAST, Extent

_RUN = re.compile(r"/(\d+)-\d+-\d+\.parquet$")


@dataclass(frozen=True, slots=True)
class LiveFile:
    """A file of a snapshot. Its extent bounds its rows, it may be wider. Files of one run do not overlap."""

    path: str
    bucket: int
    rows: int
    size: int
    extent: Extent
    run: int


def may_hold(extent: Extent, box: Box) -> bool:
    """Return whether a row within ``extent`` may lie in ``box``."""
    return (
        extent.times[0] < columns.micros(box.end_ms)
        and extent.times[1] >= columns.micros(box.start_ms)
        and _has_between(in_order(box.assets), extent.assets)
        and (box.points.excluded or _has_between(in_order(box.points.names), extent.points))
    )


def is_old(extent: Extent, seq_max: int | None, stored_before_ms: int | None) -> bool:
    """Return whether a row within ``extent`` may have ``seq <= seq_max`` and be stored before an instant."""
    return (seq_max is None or extent.seqs[0] <= seq_max) and (
        stored_before_ms is None or extent.stored[0] < columns.micros(stored_before_ms)
    )


@lru_cache(maxsize=256)
def in_order(names: frozenset[str]) -> tuple[str, ...]:
    """Return names in order; the same sets are asked for at every file and row group."""
    return tuple(sorted(names))


def _has_between(names: Sequence[str], bounds: tuple[str, str]) -> bool:
    place = bisect_left(names, bounds[0])
    return place < len(names) and names[place] <= bounds[1]


def path_of(bucket: int, run: int, write_id: int, number: int) -> str:
    """Return the path of a new file. A file that replaces another keeps its run."""
    return f"bucket={bucket}/{run}-{write_id}-{number:05d}.parquet"


@dataclass(frozen=True)
class Snapshot:
    """A version of a table; immutable."""

    version: int
    files: Mapping[str, LiveFile]
    transactions: Mapping[str, int]
    _by_bucket: Mapping[int, tuple[LiveFile, ...]] = field(repr=False)

    @classmethod
    def of(cls, version: int, files: Mapping[str, LiveFile], transactions: Mapping[str, int]) -> Snapshot:
        """Return the snapshot with its files sorted out by bucket."""
        buckets: dict[int, list[LiveFile]] = {}
        for file in files.values():
            buckets.setdefault(file.bucket, []).append(file)
        by_bucket = {bucket: tuple(sorted(held, key=_by_path)) for bucket, held in buckets.items()}
        return cls(version, files, transactions, by_bucket)

    @property
    def rows(self) -> int:
        """How many rows the table has, superseded ones included."""
        return sum(file.rows for file in self.files.values())

    @property
    def size(self) -> int:
        """How many bytes its live files have."""
        return sum(file.size for file in self.files.values())

    def bucket(self, bucket: int) -> tuple[LiveFile, ...]:
        """Return the live files of a bucket, in the order of their paths."""
        return self._by_bucket.get(bucket, ())

    def touching(
        self, boxes: Sequence[Box], seq_max: int | None = None, stored_before_ms: int | None = None
    ) -> list[LiveFile]:
        """Return the files that may hold rows of one of the boxes, up to a sequence and before an instant."""
        found: dict[str, LiveFile] = {}
        for box in boxes:
            for bucket in {columns.bucket_of(asset) for asset in box.assets}:
                for file in self.bucket(bucket):
                    if is_old(file.extent, seq_max, stored_before_ms) and may_hold(file.extent, box):
                        found[file.path] = file
        return list(found.values())


def _by_path(file: LiveFile) -> str:
    return file.path


def live_files(actions: pa.Table, known: Mapping[str, LiveFile]) -> dict[str, LiveFile]:
    """Return the files that ``get_add_actions(flatten=True)`` names; those known already are taken over."""
    paths = actions["path"].to_pylist()
    fresh = [place for place, path in enumerate(paths) if path not in known]
    made: dict[str, LiveFile] = {}
    if fresh:
        for row in _with_instants(actions.take(pa.array(fresh))).to_pylist():
            made[row["path"]] = _live_file(row)
    return {path: known.get(path) or made[path] for path in paths}


def _with_instants(actions: pa.Table) -> pa.Table:
    for name in ("min.time", "max.time", "min.stored", "max.stored"):
        if name in actions.column_names:
            place = actions.column_names.index(name)
            micros = actions[name].cast(pa.timestamp("us", "UTC")).cast(pa.int64())
            actions = actions.set_column(place, name, micros)
    return actions


def _live_file(row: Mapping[str, Any]) -> LiveFile:
    """Return a file; where another engine wrote it without statistics it may hold anything."""
    run = _RUN.search(row["path"])
    extent = Extent(
        _bounds(row, "asset", "", LAST_NAME),
        _bounds(row, "point", "", LAST_NAME),
        *(_bounds(row, name, LEAST, GREATEST) for name in ("time", "seq", "stored")),
    )
    bucket = int(row["partition.bucket"])
    return LiveFile(
        row["path"], bucket, row["num_records"] or 0, row["size_bytes"], extent, int(run[1]) if run else 0
    )


def _bounds(row: Mapping[str, Any], name: str, least: Any, greatest: Any) -> tuple[Any, Any]:
    low, high = row.get(f"min.{name}"), row.get(f"max.{name}")
    return (least if low is None else low, greatest if high is None else high)

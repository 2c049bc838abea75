"""Compaction: the files of several runs of a bucket become one run, sorted, without superseded rows.

A *run* is what one append or one merge wrote into a bucket: files that do not overlap (much). Runs of similar
size are merged when there are eight of them, so a row is rewritten about once per factor of eight in size, small
ingest never rewrites big files, and a run of n files has about an n-th of the bucket's assets in each: that is
what makes an erasure of a few assets cheap. Runs that are too big to merge within one commit stay; each then
covers a span of time of its own.

Guarantees: of several rows of one (asset, point, time) that are merged the one of the highest seq stays, every
other row stays bit for bit (checked before the commit). Memory is bounded: a merge goes series by series.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from redrive.ids import new_id
from redrive.services.timeseries.storage import columns, files
from redrive.services.timeseries.storage.appending import FILE_ROWS
from redrive.services.timeseries.storage.change import Change, Parts, changing
from redrive.services.timeseries.storage.fencing import Fence, Stale
from redrive.services.timeseries.storage.files import NewFile
from redrive.services.timeseries.storage.folder import Vanished
from redrive.services.timeseries.storage.parallel import each
from redrive.services.timeseries.storage.snapshot import LiveFile, Snapshot

FANOUT = 8
#: The most rows of one merge: some seconds of work.
MERGE_ROWS = 16_777_216
#: Small merges share a commit up to this many rows.
BUNDLE_ROWS = 1_048_576
_LEAST_ROWS = 256

#: Points by asset, in order.
_Names = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Merge:
    """Runs of one bucket that become one. Runs, not files: it stays valid when an erasure rewrites a file."""

    bucket: int
    runs: tuple[int, ...]
    rows: int


@dataclass(frozen=True, slots=True)
class Compaction:
    """Merges that are worth doing in one commit: one big one, or small ones of several buckets."""

    merges: tuple[Merge, ...]

    @property
    def rows(self) -> int:
        """How many rows are read."""
        return sum(merge.rows for merge in self.merges)


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a merge did; nothing where its runs had changed meanwhile."""

    rows_before: int = 0
    rows_after: int = 0
    files_removed: int = 0
    files_added: int = 0
    bytes_removed: int = 0
    bytes_added: int = 0

    def as_ledger(self) -> dict[str, int]:
        """Return the figures."""
        return {name: getattr(self, name) for name in Compacted.__slots__}


@dataclass(frozen=True, slots=True)
class _Slice:
    """One new file: some series (None: all) of some files, between two times (microseconds, end excluded)."""

    bucket: int
    inputs: Sequence[LiveFile]
    names: _Names | None = None
    start: int = -(2**63)
    end: int = 2**63 - 1


def plan(snapshot: Snapshot) -> list[Compaction]:
    """Return what is worth doing now, small rows first, at most one merge per bucket."""
    merges = [_merge_of(bucket, snapshot.bucket(bucket)) for bucket in range(columns.BUCKETS)]
    planned: list[list[Merge]] = []
    for merge in sorted(filter(None, merges), key=lambda merge: merge.rows):
        if planned and sum(other.rows for other in planned[-1]) + merge.rows <= BUNDLE_ROWS:
            planned[-1].append(merge)
        else:
            planned.append([merge])
    return [Compaction(tuple(bundle)) for bundle in planned]


def _merge_of(bucket: int, live: Sequence[LiveFile]) -> Merge | None:
    rows: dict[int, int] = {}
    for file in live:
        rows[file.run] = rows.get(file.run, 0) + file.rows
    tiers: dict[int, list[int]] = {}
    for run in sorted(rows):
        tiers.setdefault(tier(rows[run]), []).append(run)
    for _, runs in sorted(tiers.items()):
        if len(runs) < FANOUT:
            continue
        chosen: list[int] = []
        for run in runs:
            if sum(rows[other] for other in chosen) + rows[run] <= MERGE_ROWS:
                chosen.append(run)
        if len(chosen) >= FANOUT // 2:
            return Merge(bucket, tuple(chosen), sum(rows[run] for run in chosen))
    return None


def tier(rows: int) -> int:
    """Return the size class of a run."""
    return max(0, int(math.log(max(1, rows / _LEAST_ROWS), FANOUT)))


def compact(parts: Parts, pool: Executor, compaction: Compaction, fence: Fence) -> Compacted:
    """Merge; where an input is replaced meanwhile nothing is done, the next plan sees what is left."""
    snapshot = parts.log.open()
    inputs: list[LiveFile] = []
    slices: list[_Slice] = []
    try:
        for merge in compaction.merges:
            found = [file for file in snapshot.bucket(merge.bucket) if file.run in merge.runs]
            if len(found) > 1:
                inputs += found
                slices += _slices(parts, pool, merge.bucket, found)
        if not inputs:
            return Compacted()
        with changing(parts, "compact", fence) as change:
            new = _merge(change, pool, inputs, slices)
            done = Compacted(
                rows_before=sum(file.rows for file in inputs),
                rows_after=sum(file.rows for file in new),
                files_removed=len(inputs),
                files_added=len(new),
                bytes_removed=sum(file.size for file in inputs),
                bytes_added=sum(file.size for file in new),
            )
            change.commit(new, inputs, done.as_ledger())
    except (Stale, Vanished):
        return Compacted()
    return done


def _merge(
    change: Change, pool: Executor, inputs: Sequence[LiveFile], slices: Sequence[_Slice]
) -> list[NewFile]:
    runs = {part.bucket: new_id() for part in slices}
    paths = [change.new_path(part.bucket, runs[part.bucket]) for part in slices]
    change.plan(paths, inputs)

    def one(part: _Slice, path: str) -> NewFile | None:
        # Handed over without a name here, so that it can be freed as soon as it is laid out anew.
        merged = [_merged(change.parts, part)]
        if not merged[0].num_rows:
            return None
        written = files.write(change.parts.folder, path, part.bucket, merged.pop(), checked=True)
        change.touch()
        return written

    return [file for file in each(pool, one, slices, paths) if file is not None]


def _merged(parts: Parts, part: _Slice) -> pa.Table:
    tables = [table for table in (_read(parts, file, part) for file in part.inputs) if table.num_rows]
    if not tables:
        return columns.DISK.empty_table()
    return columns.newest(columns.with_names(pa.concat_tables(tables)))


def _slices(parts: Parts, pool: Executor, bucket: int, inputs: Sequence[LiveFile]) -> Iterator[_Slice]:
    """Yield slices of about the size of a file, in about as many windows of time as groups of assets.

    So an erasure by asset and one by time both leave most files alone.
    """
    if sum(file.rows for file in inputs) <= FILE_ROWS * 5 // 4:
        yield _Slice(bucket, inputs)
        return
    rows: dict[tuple[str, str], int] = {}
    for counts in each(pool, lambda file: _count(parts, file), inputs):
        for series, count in counts.items():
            rows[series] = rows.get(series, 0) + count
    total = sum(rows.values())
    windows = max(1, round((total / FILE_ROWS) ** 0.5))
    borders = [-(2**63), *_quantiles(parts, inputs, windows), 2**63 - 1]
    for start, end in pairwise(borders):
        for names in _by_series(rows, windows):
            yield _Slice(bucket, inputs, names, start, end)


def _by_series(rows: Mapping[tuple[str, str], int], windows: int) -> Iterator[_Names]:
    """Yield the series of each file of a window, cut where an asset ends if possible, a series never."""
    per_asset: dict[str, int] = {}
    for (asset, _), count in rows.items():
        per_asset[asset] = per_asset.get(asset, 0) + count // windows
    held: dict[str, list[str]] = {}
    total = 0
    for asset, point in sorted(rows):
        count = rows[asset, point] // windows
        begins = asset not in held
        ahead = per_asset[asset] if begins and per_asset[asset] <= FILE_ROWS else count
        if held and (total + ahead > FILE_ROWS * 5 // 4 or (begins and total >= FILE_ROWS)):
            yield held
            held, total = {}, 0
        held.setdefault(asset, []).append(point)
        total += count
    if held:
        yield held


def _quantiles(parts: Parts, inputs: Sequence[LiveFile], windows: int) -> list[int]:
    """Return times that split the rows into windows of about the same size, by the extents of row groups."""
    lows, highs, counts = [], [], []
    for file in inputs:
        for extent, count in zip(
            parts.reader.groups(file.path), parts.reader.group_rows(file.path), strict=True
        ):
            lows.append(extent.times[0])
            highs.append(extent.times[1])
            counts.append(count)
    middles = np.linspace(lows, highs, 9).ravel()
    order = np.argsort(middles)
    weights = np.cumsum(np.tile(counts, 9)[order])
    wanted = [weights[-1] * number / windows for number in range(1, windows)]
    found = middles[order][np.searchsorted(weights, wanted)]
    return sorted({int(time) for time in found})


def _count(parts: Parts, file: LiveFile) -> dict[tuple[str, str], int]:
    table = parts.reader.read(file.path, ["asset", "point"])
    asset_codes, assets = columns.codes(table["asset"])
    point_codes, points = columns.codes(table["point"])
    if not table.num_rows:
        return {}
    both = asset_codes.astype(np.int64) * len(points) + point_codes
    counts = np.bincount(both, minlength=len(assets) * len(points))
    found = np.flatnonzero(counts)
    return {
        (assets[code // len(points)], points[code % len(points)]): int(counts[code])
        for code in found.tolist()
    }


def _read(parts: Parts, file: LiveFile, part: _Slice) -> pa.Table:
    if part.names is None:
        return parts.reader.read(file.path, columns.DISK.names)
    first, last = min(part.names), max(part.names)
    groups = [
        number
        for number, extent in enumerate(parts.reader.groups(file.path))
        if extent.times[0] < part.end
        and extent.times[1] >= part.start
        and extent.assets[0] <= last
        and extent.assets[1] >= first
    ]
    if not groups:
        return columns.DISK.empty_table()
    table = parts.reader.read(file.path, columns.DISK.names, groups)
    mask = _of_series(table, part.names)
    time = columns.numbers(table["time"])
    mask &= (time >= part.start) & (time < part.end)
    return table if mask.all() else table.filter(pa.array(mask))


def _of_series(table: pa.Table, names: _Names) -> columns.Array:
    asset_codes, assets = columns.codes(table["asset"])
    point_codes, points = columns.codes(table["point"])
    held = np.zeros((len(assets), len(points)), dtype=bool)
    for code, asset in enumerate(assets):
        wanted = set(names.get(asset, ()))
        held[code] = [point in wanted for point in points]
    return held[asset_codes, point_codes]

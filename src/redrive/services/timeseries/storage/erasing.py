"""Erasing: the files that hold rows of some boxes are replaced by files without them, in one fenced commit.

Guarantees: every other row stays bit for bit (new files are read back and compared before the commit); on the
snapshot that the commit follows there is no row left to erase; the replaced files are removed from the store
before the call returns. A change that conflicts works again on the files that changed, not on all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from redrive.errors import Failure, FailureClass
from redrive.services.timeseries.boxes import Box
from redrive.services.timeseries.storage import checksums, columns, files, splicing
from redrive.services.timeseries.storage.change import Change, Guard, Parts, changing, settle
from redrive.services.timeseries.storage.fencing import Commit, Fence, GivenUp, Stale
from redrive.services.timeseries.storage.files import Extent, NewFile
from redrive.services.timeseries.storage.folder import Vanished
from redrive.services.timeseries.storage.parallel import each
from redrive.services.timeseries.storage.scanning import mask_of, matching_groups
from redrive.services.timeseries.storage.snapshot import LiveFile, Snapshot

_TRIES = 100


@dataclass(frozen=True, slots=True)
class Erasure:
    """What to erase: rows of the boxes, stored up to a sequence and (for retention) before an instant."""

    boxes: tuple[Box, ...]
    seq_max: int | None = None
    stored_before_ms: int | None = None

    def touched(self, snapshot: Snapshot) -> list[LiveFile]:
        """Return the files that may hold rows to erase."""
        return snapshot.touching(self.boxes, self.seq_max, self.stored_before_ms)

    def mask(self, table: pa.Table) -> columns.Array:
        """Return the mask of the rows to erase."""
        return mask_of(table, self.boxes, self.seq_max, self.stored_before_ms)


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure did; the same figures are its ledger.

    ``rows_kept`` are the rows that shared a file with erased ones. ``rows_carried`` of them shared no row group
    with any: those were carried over byte by byte. ``kept_checksum`` is of the others, which were written anew;
    see ``checksums.checksum``. ``repeated``: it had been done before this call.
    """

    rows_deleted: int = 0
    rows_kept: int = 0
    rows_carried: int = 0
    kept_checksum: int = 0
    files_removed: int = 0
    files_added: int = 0
    bytes_removed: int = 0
    bytes_added: int = 0
    repeated: bool = False

    def as_ledger(self) -> dict[str, Any]:
        """Return the ledger; the checksum as 16 hex digits, since JSON numbers lose bits."""
        return {
            "rows_deleted": self.rows_deleted,
            "rows_kept": self.rows_kept,
            "rows_carried": self.rows_carried,
            "kept_checksum": f"{self.kept_checksum:016x}",
            "files_removed": self.files_removed,
            "files_added": self.files_added,
            "bytes_removed": self.bytes_removed,
            "bytes_added": self.bytes_added,
        }

    @classmethod
    def from_ledger(cls, ledger: Mapping[str, Any]) -> Erased:
        """Return what ``as_ledger`` gave."""
        return cls(
            rows_deleted=int(ledger.get("rows_deleted", 0)),
            rows_kept=int(ledger.get("rows_kept", 0)),
            rows_carried=int(ledger.get("rows_carried", 0)),
            kept_checksum=int(ledger.get("kept_checksum", "0"), 16),
            files_removed=int(ledger.get("files_removed", 0)),
            files_added=int(ledger.get("files_added", 0)),
            bytes_removed=int(ledger.get("bytes_removed", 0)),
            bytes_added=int(ledger.get("bytes_added", 0)),
        )


@dataclass(frozen=True, slots=True)
class _Looked:
    """What became of one file: untouched where nothing is deleted, gone where nothing is kept."""

    file: LiveFile
    deleted: int = 0
    carried: int = 0
    checksum: int = 0
    new: NewFile | None = None


def erase(parts: Parts, pool: Executor, erasure: Erasure, fence: Fence, guard: Guard | None = None) -> Erased:
    """Erase and return what was done; what an earlier claim did is returned as ``repeated``."""
    snapshot = parts.log.open()
    standing = parts.log.check(fence, snapshot)
    if standing is not None:
        return _standing(parts, fence, standing)
    for _ in range(_TRIES):
        try:
            with changing(parts, "erase", fence) as change:
                erased, commit = _erase(change, pool, erasure, guard)
            return _standing(parts, fence, commit) if commit.repeated else erased
        except GivenUp:
            continue
    raise _outrun(parts)


def _standing(parts: Parts, fence: Fence, commit: Commit) -> Erased:
    settle(parts, parts.journal.lapsed(fence.app_id, fence.claim), give_up=False)
    ledger = parts.journal.ledger(fence.app_id, commit.number)
    return replace(Erased.from_ledger(ledger), repeated=True)


def _erase(change: Change, pool: Executor, erasure: Erasure, guard: Guard | None) -> tuple[Erased, Commit]:
    looked: dict[str, _Looked] = {}

    def agrees(snapshot: Snapshot) -> bool:
        if erasure.seq_max is None:
            return True
        return all(file.path in looked for file in erasure.touched(snapshot))

    for _ in range(_TRIES):
        snapshot = change.parts.log.open()
        stale = [path for path in looked if path not in snapshot.files]
        change.discard([new.path for path in stale if (new := looked.pop(path).new) is not None])
        fresh = [file for file in erasure.touched(snapshot) if file.path not in looked]
        try:
            for result in _look(change, pool, fresh, erasure):
                looked[result.file.path] = result
            removed = [result for result in looked.values() if result.deleted]
            added = [result.new for result in removed if result.new is not None]
            erased = _sum(removed, added)
            files_removed = [result.file for result in removed]
            commit = change.commit(added, files_removed, erased.as_ledger(), agrees=agrees, guard=guard)
        except GivenUp:
            raise
        except (Stale, Vanished):
            continue
        return erased, commit
    raise _outrun(change.parts)


def _look(change: Change, pool: Executor, fresh: Sequence[LiveFile], erasure: Erasure) -> list[_Looked]:
    if not fresh:
        return []
    paths = [change.new_path(file.bucket, file.run) for file in fresh]
    change.plan(paths, fresh)

    def one(file: LiveFile, path: str) -> _Looked:
        looked = _look_at(change.parts, file, path, erasure)
        change.touch()
        return looked

    return each(pool, one, fresh, paths)


def _look_at(parts: Parts, file: LiveFile, path: str, erasure: Erasure) -> _Looked:
    """Write what is left of a file to ``path``, if anything is erased and anything is left."""
    rows = parts.reader.group_rows(file.path)
    touched = matching_groups(parts, file, erasure.boxes, erasure.seq_max, erasure.stored_before_ms)
    gone = [number for number in touched if _goes_as_a_whole(parts, file, number, erasure)]
    mixed, fresh = _without(parts, file, [number for number in touched if number not in gone], erasure)
    if not gone and not mixed:
        return _Looked(file)
    carried = [number for number in range(len(rows)) if number not in gone and number not in mixed]
    kept = sum(rows[number] for number in carried)
    deleted = sum(rows) - kept - fresh.num_rows
    if not carried and not fresh.num_rows:
        return _Looked(file, deleted)
    new = _replacement(parts, file, path, carried, fresh)
    return _Looked(file, deleted, kept, checksums.checksum(fresh), new)


def _without(
    parts: Parts, file: LiveFile, touched: Sequence[int], erasure: Erasure
) -> tuple[list[int], pa.Table]:
    """Return the row groups that lose rows, and the rows that stay of them."""
    if erasure.stored_before_ms is not None:
        # Old rows of points that are kept for good lie beside: most groups that are looked at lose nothing.
        touched = [number for number in touched if _loses(parts, file, number, erasure)]
    if not touched:
        return [], columns.DISK.empty_table()
    table = parts.reader.read(file.path, columns.DISK.names, touched)
    erased = erasure.mask(table)
    rows = parts.reader.group_rows(file.path)
    ends = np.cumsum([rows[number] for number in touched])
    stays, mixed = [], []
    for number, mask in zip(touched, np.split(erased, ends[:-1]), strict=True):
        if mask.any():
            mixed.append(number)
        # A row group that loses nothing is carried over: its rows are not wanted here.
        stays.append(~mask if mask.any() else mask)
    return mixed, columns.with_names(table.filter(pa.array(np.concatenate(stays))))


def _loses(parts: Parts, file: LiveFile, number: int, erasure: Erasure) -> bool:
    return bool(erasure.mask(parts.reader.read(file.path, columns.BOUNDED, [number])).any())


def _replacement(parts: Parts, file: LiveFile, path: str, carried: Sequence[int], fresh: pa.Table) -> NewFile:
    if carried:
        try:
            return splicing.splice(parts.folder, file.path, path, file.bucket, carried, fresh)
        except splicing.Unfit:
            # Decode what would have been carried.
            whole = parts.reader.read(file.path, columns.DISK.names, carried)
            fresh = columns.in_order(pa.concat_tables([whole, fresh]))
    return files.write(parts.folder, path, file.bucket, fresh, checked=True)


def _goes_as_a_whole(parts: Parts, file: LiveFile, number: int, erasure: Erasure) -> bool:
    """Return whether every row of a row group is erased; at most its names are read to find out."""
    extent = parts.reader.groups(file.path)[number]
    before_ms = erasure.stored_before_ms
    if before_ms is not None and extent.stored[1] >= columns.micros(before_ms):
        return False
    if erasure.seq_max is not None and extent.seqs[1] > erasure.seq_max:
        return False
    return any(_covers(parts, file, number, extent, box) for box in erasure.boxes)


def _covers(parts: Parts, file: LiveFile, number: int, extent: Extent, box: Box) -> bool:
    if extent.times[0] < columns.micros(box.start_ms) or extent.times[1] >= columns.micros(box.end_ms):
        return False
    if not all(name in box.assets for name in extent.assets):
        return False
    if not all(name in box.points for name in extent.points):
        return False
    names = [] if extent.assets[0] == extent.assets[1] else ["asset"]
    if not box.points.is_all and extent.points[0] != extent.points[1]:
        names.append("point")
    if not names:
        return True
    table = parts.reader.read(file.path, names, [number])
    if "asset" in names and not all(name in box.assets for name in columns.used_names(table["asset"])):
        return False
    return "point" not in names or all(name in box.points for name in columns.used_names(table["point"]))


def _sum(removed: Sequence[_Looked], added: Sequence[NewFile]) -> Erased:
    return Erased(
        rows_deleted=sum(result.deleted for result in removed),
        rows_kept=sum(new.rows for new in added),
        rows_carried=sum(result.carried for result in removed),
        kept_checksum=checksums.add_checksums(*(result.checksum for result in removed)),
        files_removed=len(removed),
        files_added=len(added),
        bytes_removed=sum(result.file.size for result in removed),
        bytes_added=sum(new.size for new in added),
    )


def _outrun(parts: Parts) -> Failure:
    return Failure(
        "storage",
        "other changes of the same files were always first",
        hint="retry when fewer changes of this range are under way",
        kind=FailureClass.TRANSIENT,
        target=parts.folder.uri,
    )

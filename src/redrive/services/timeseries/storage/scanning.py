"""Reading boxes: prune files and row groups by their extents, decode what is left, filter exactly.

A file that is gone was replaced by another commit: the whole scan starts again on the newest snapshot, so that
an answer is always one version of the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor

import numpy as np
import pyarrow as pa

from redrive.errors import Failure, FailureClass
from redrive.services.timeseries.boxes import Box
from redrive.services.timeseries.storage import columns
from redrive.services.timeseries.storage.change import Parts
from redrive.services.timeseries.storage.folder import Vanished, told_as_failure
from redrive.services.timeseries.storage.parallel import each
from redrive.services.timeseries.storage.snapshot import LiveFile, Snapshot, is_old, may_hold

_TRIES = 50


def scan(
    parts: Parts,
    pool: Executor,
    boxes: Sequence[Box],
    names: Sequence[str] | None = None,
    seq_max: int | None = None,
) -> pa.Table:
    """Return the samples in any of the boxes, in memory form, sorted by asset, point, time, seq.

    ``names`` (memory names) limits the columns; asset, point, time_ms and seq always come. Every stored row
    comes, superseded ones included: see ``columns.newest``.
    """
    missing_at = None
    with told_as_failure(parts.folder.uri):
        for _ in range(_TRIES):
            snapshot = parts.log.refresh()
            try:
                return scan_at(parts, pool, snapshot, boxes, names, seq_max)
            except Vanished as vanished:
                version = snapshot.version if snapshot is not None else None
                if missing_at == version:
                    raise missing(parts, vanished) from None
                missing_at = version
    raise Failure(
        "storage",
        "files vanished under a read again and again",
        hint="the table changes faster than it can be read; try again",
        kind=FailureClass.TRANSIENT,
        target=parts.folder.uri,
    )


def scan_at(
    parts: Parts,
    pool: Executor,
    snapshot: Snapshot | None,
    boxes: Sequence[Box],
    names: Sequence[str] | None = None,
    seq_max: int | None = None,
) -> pa.Table:
    """Return what ``scan`` does, of one given snapshot; ``Vanished`` where a file of it is gone."""
    wanted = {*columns.KEY, *(columns.DISK_NAMES[name] for name in names or columns.DISK_NAMES)}
    disk_names = [name for name in columns.DISK.names if name in wanted]
    if snapshot is None or not boxes:
        return _empty(disk_names)
    found = _read(parts, pool, snapshot.touching(boxes, seq_max), boxes, disk_names, seq_max)
    return columns.to_memory(columns.in_order(pa.concat_tables(found))) if found else _empty(disk_names)


def missing(parts: Parts, vanished: Vanished) -> Failure:
    """Return the failure of a file that the newest snapshot names and that is not there."""
    return Failure(
        "storage",
        f"a live file is missing: {vanished}",
        hint="it was removed by something else than Redrive; restore it from a backup",
        kind=FailureClass.PERMANENT,
        target=parts.folder.uri,
    )


def _read(
    parts: Parts,
    pool: Executor,
    touched: Sequence[LiveFile],
    boxes: Sequence[Box],
    names: Sequence[str],
    seq_max: int | None,
) -> list[pa.Table]:
    def one(file: LiveFile) -> pa.Table:
        return read_matching(parts, file, boxes, names, seq_max)

    tables = map(one, touched) if len(touched) < 2 else each(pool, one, touched)
    return [table for table in tables if table.num_rows]


def read_matching(
    parts: Parts, file: LiveFile, boxes: Sequence[Box], names: Sequence[str], seq_max: int | None
) -> pa.Table:
    """Return the rows of a file that lie in any of the boxes."""
    groups = matching_groups(parts, file, boxes, seq_max)
    if not groups:
        return columns.DISK.empty_table().select(names)
    table = parts.reader.read(file.path, names, groups)
    mask = mask_of(table, boxes, seq_max)
    return table if mask.all() else table.filter(pa.array(mask))


def matching_groups(
    parts: Parts,
    file: LiveFile,
    boxes: Sequence[Box],
    seq_max: int | None = None,
    stored_before_ms: int | None = None,
) -> list[int]:
    """Return the row groups of a file that may hold rows of the boxes, up to a sequence and before an instant."""
    return [
        number
        for number, extent in enumerate(parts.reader.groups(file.path))
        if is_old(extent, seq_max, stored_before_ms) and any(may_hold(extent, box) for box in boxes)
    ]


def mask_of(
    table: pa.Table, boxes: Sequence[Box], seq_max: int | None, stored_before_ms: int | None = None
) -> columns.Array:
    """Return the mask of the rows in any of the boxes."""
    mask = np.zeros(table.num_rows, dtype=bool)
    for box in boxes:
        mask |= columns.matches(table, box, seq_max, stored_before_ms)
    return mask


def _empty(disk_names: Sequence[str]) -> pa.Table:
    names = [name for name, disk_name in columns.DISK_NAMES.items() if disk_name in disk_names]
    return columns.empty().select(names)

"""A file without some of its rows: row groups that keep all of theirs are carried over byte by byte.

Guarantees: the new file is read back before anything is committed: carried row groups equal the old bytes, new
ones decode to the rows that were to be kept, and the footer tells the same keys as before. A file that cannot be
taken apart (another program wrote it) is decoded and written anew by the caller.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from redrive.services.timeseries.storage import checksums, columns, files, footer
from redrive.services.timeseries.storage.files import Extent, NewFile
from redrive.services.timeseries.storage.folder import Folder
from redrive.services.timeseries.storage.reading import group_extents

_SCHEMA = 2


class Unfit(Exception):
    """The source cannot be taken apart: another program wrote it."""


def splice(
    folder: Folder, source: str, path: str, bucket: int, carried: Sequence[int], fresh: pa.Table
) -> NewFile:
    """Write ``path`` with the row groups ``carried`` of ``source``, and the rows ``fresh`` behind them.

    ``Unfit`` where the source cannot be taken apart.
    """
    with folder.open(source) as file:
        old = file.read_buffer()
    try:
        described = footer.read(memoryview(old))
        parts = [(old, footer.groups(described)[number]) for number in carried]
        for _, group in parts:
            footer.span(group)
    except (ValueError, LookupError) as error:
        raise Unfit(str(error)) from error
    spans: list[tuple[int, int]] = []
    if fresh.num_rows:
        sink = pa.BufferOutputStream()
        spans = list(columns.cut(0, [fresh.num_rows], files.GROUP_ROWS))
        files.encode(sink, fresh, spans)
        new = sink.getvalue()
        fresh_described = footer.read(memoryview(new))
        if fresh_described[_SCHEMA] != described[_SCHEMA]:
            raise Unfit("another schema")
        parts += [(new, group) for group in footer.groups(fresh_described)]
    placed, tail = _write(folder, path, described, parts)
    with folder.open(path) as file:
        written = file.read_buffer()
    if written[len(written) - len(tail) :].to_pybytes() != tail:
        raise files.differs(folder)
    extents = _check(folder, written, parts, placed, fresh, len(spans))
    rows = sum(group[footer.GROUP_ROWS][1] for group in placed)
    return NewFile(path, bucket, rows, len(written), files.union(extents))


def _write(
    folder: Folder, path: str, described: footer.Struct, parts: Sequence[tuple[pa.Buffer, footer.Struct]]
) -> tuple[list[footer.Struct], bytes]:
    """Write the row groups side by side, then the footer; return both as they lie there now."""
    placed = []
    with folder.create(path) as sink:
        sink.write(footer.MAGIC)
        at = len(footer.MAGIC)
        for ordinal, (buffer, group) in enumerate(parts):
            start, end = footer.span(group)
            sink.write(buffer.slice(start, end - start))
            placed.append(footer.moved(group, at - start, ordinal))
            at += end - start
        tail = footer.write(footer.with_groups(described, placed))
        sink.write(tail)
    return placed, tail


def _check(
    folder: Folder,
    written: pa.Buffer,
    parts: Sequence[tuple[pa.Buffer, footer.Struct]],
    placed: Sequence[footer.Struct],
    fresh: pa.Table,
    fresh_groups: int,
) -> Sequence[Extent]:
    for (buffer, group), there in zip(parts, placed, strict=True):
        start, end = footer.span(group)
        place, stop = footer.span(there)
        if not written.slice(place, stop - place).equals(buffer.slice(start, end - start)):
            raise files.differs(folder)
    try:
        return _decode(folder, written, placed, fresh, fresh_groups)
    except (pa.ArrowException, OSError) as error:
        raise files.differs(folder) from error


def _decode(
    folder: Folder, written: pa.Buffer, placed: Sequence[footer.Struct], fresh: pa.Table, fresh_groups: int
) -> Sequence[Extent]:
    file = pq.ParquetFile(pa.BufferReader(written), read_dictionary=files.NAMES)
    found = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
    if found != [group[footer.GROUP_ROWS][1] for group in placed]:
        raise files.differs(folder)
    if fresh_groups:
        places = list(range(len(placed) - fresh_groups, len(placed)))
        decoded = columns.with_names(file.read_row_groups(places, use_threads=False))
        if not checksums.same_rows(decoded, fresh):
            raise files.differs(folder)
    return group_extents(file.metadata)

"""Reading files of samples by row group; footers are kept, since files never change."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from redrive.services.timeseries.storage import columns
from redrive.services.timeseries.storage.files import GREATEST, LAST_NAME, LEAST, NAMES, Extent
from redrive.services.timeseries.storage.folder import Folder, Vanished, damaged

_FOOTERS = 4_096


@dataclass(frozen=True, slots=True)
class _Footer:
    metadata: pq.FileMetaData
    groups: tuple[Extent, ...]


class Reader:
    """Reads files of one table; thread-safe."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._footers: OrderedDict[str, _Footer] = OrderedDict()
        self._lock = threading.Lock()

    def groups(self, path: str) -> tuple[Extent, ...]:
        """Return the extent of each row group; ``Vanished`` where the file is gone."""
        return self._footer(path).groups

    def group_rows(self, path: str) -> tuple[int, ...]:
        """Return how many rows each row group has; ``Vanished`` where the file is gone."""
        metadata = self._footer(path).metadata
        return tuple(metadata.row_group(number).num_rows for number in range(metadata.num_row_groups))

    def read(self, path: str, names: Sequence[str], groups: Iterable[int] | None = None) -> pa.Table:
        """Return some columns (files' names and form) of some row groups, in one chunk."""
        metadata = self._footer(path).metadata
        wanted = range(metadata.num_row_groups) if groups is None else groups
        with self._opened(path) as source:
            file = self._file(source, metadata)
            # Callers work on several files at once: threads per column would only be in their way.
            table = file.read_row_groups(list(wanted), columns=list(names), use_threads=False)
            return columns.with_names(table.select(list(names)))

    def forget(self, paths: Iterable[str]) -> None:
        """Drop what is kept of files that are gone."""
        with self._lock:
            for path in paths:
                self._footers.pop(path, None)

    @contextlib.contextmanager
    def _opened(self, path: str) -> Iterator[Any]:
        try:
            with self._folder.open(path) as source:
                yield source
        except FileNotFoundError:
            raise Vanished(path) from None
        except (OSError, pa.ArrowException) as error:
            # Arrow says so of damaged pages without a number of the system; a network has none either.
            if isinstance(error, OSError) and not (self._folder.local and error.errno is None):
                raise
            raise damaged(path, error, self._folder.uri) from error

    def _file(self, source: Any, metadata: pq.FileMetaData | None) -> pq.ParquetFile:
        # Buffered ahead where a read is a request; a local file is mapped into memory.
        ahead = not self._folder.local
        return pq.ParquetFile(source, metadata=metadata, read_dictionary=NAMES, pre_buffer=ahead)

    def _footer(self, path: str) -> _Footer:
        with self._lock:
            footer = self._footers.get(path)
            if footer is not None:
                self._footers.move_to_end(path)
                return footer
        with self._opened(path) as source:
            metadata = self._file(source, None).metadata
        footer = _Footer(metadata, group_extents(metadata))
        with self._lock:
            self._footers[path] = footer
            while len(self._footers) > _FOOTERS:
                self._footers.popitem(last=False)
        return footer


def group_extents(metadata: pq.FileMetaData) -> tuple[Extent, ...]:
    """Return the extent of each row group, by its statistics."""
    places = {metadata.schema.column(place).name: place for place in range(metadata.num_columns)}
    extents = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        asset, point, time, seq, stored = (group.column(places[name]).statistics for name in columns.BOUNDED)
        # Another program may have left them out: then anything may be there.
        extents.append(
            Extent(
                _bounds(asset, False) or ("", LAST_NAME),
                _bounds(point, False) or ("", LAST_NAME),
                *(_bounds(column, True) or (LEAST, GREATEST) for column in (time, seq, stored)),
            )
        )
    return tuple(extents)


def _bounds(statistics: pq.Statistics | None, raw: bool) -> tuple[Any, Any] | None:
    if statistics is None or not statistics.has_min_max:
        return None
    return (statistics.min_raw, statistics.max_raw) if raw else (statistics.min, statistics.max)

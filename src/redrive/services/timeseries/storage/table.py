"""One organization's samples: the operations of the store, each a plain function elsewhere in this package."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

import pyarrow as pa

from redrive.services.timeseries.boxes import Box
from redrive.services.timeseries.storage import (
    appending,
    checksums,
    columns,
    compacting,
    erasing,
    scanning,
    sweeping,
)
from redrive.services.timeseries.storage.appending import Appended
from redrive.services.timeseries.storage.change import Guard, Parts, settle
from redrive.services.timeseries.storage.compacting import Compacted, Compaction
from redrive.services.timeseries.storage.erasing import Erased, Erasure
from redrive.services.timeseries.storage.fencing import Fence
from redrive.services.timeseries.storage.files import Extent
from redrive.services.timeseries.storage.folder import Folder, Vanished, told_as_failure
from redrive.services.timeseries.storage.journal import Journal
from redrive.services.timeseries.storage.log import Log
from redrive.services.timeseries.storage.reading import Reader
from redrive.services.timeseries.storage.snapshot import Snapshot
from redrive.services.timeseries.storage.sweeping import Swept

Boxes = Box | Sequence[Box]


class OrgTable:
    """The table of one organization. Thread-safe; several processes may work on one table."""

    def __init__(self, folder: Folder, journal: Journal, pool: Executor) -> None:
        self._parts = Parts(folder, Log(folder), Reader(folder), journal)
        self._pool = pool

    @property
    def folder(self) -> Folder:
        """Where the table lies."""
        return self._parts.folder

    def snapshot(self) -> Snapshot | None:
        """Return the newest snapshot, None where nothing was ever stored."""
        return self._parts.log.refresh()

    def append(
        self,
        samples: pa.Table | Iterable[pa.Table],
        *,
        app_id: str,
        claim: int,
        step: int | None = None,
        ledger: Mapping[str, Any] | None = None,
        checked: bool = True,
    ) -> Appended:
        """Add samples (memory form) in one commit, at most once per app id (or step).

        Tables of an iterable are sorted and written one by one. ``checked``: files are read back before the
        commit; leave it out only where the source stays.
        """
        fence = Fence(app_id, claim, step)
        told = {} if ledger is None else ledger
        return appending.append(self._parts, self._pool, samples, fence, told, checked=checked)

    def scan(
        self,
        boxes: Boxes,
        columns: Sequence[str] | None = None,
        seq_max: int | None = None,
        *,
        at: Snapshot | None = None,
    ) -> pa.Table:
        """Return every stored row of the boxes, sorted by asset, point, time, seq; one version of the table.

        ``columns`` limits them; asset, point, time_ms and seq always come. Superseded rows come too: see
        ``newest``. ``at``: of that snapshot, so that several scans show one version; ``Vanished`` where a
        file of it is gone by now.
        """
        if at is not None:
            with told_as_failure(self._parts.folder.uri):
                return scanning.scan_at(self._parts, self._pool, at, _boxes(boxes), columns, seq_max)
        return scanning.scan(self._parts, self._pool, _boxes(boxes), columns, seq_max)

    def groups(self, boxes: Boxes, *, at: Snapshot) -> list[tuple[int, Extent, int]]:
        """Return bucket, extent and rows of every row group of the files that may hold rows of the boxes.

        A reader of many boxes sees from them what a scan costs: a row group is decoded as a whole. ``Vanished``
        where a file of the snapshot is gone by now.
        """
        reader = self._parts.reader
        with told_as_failure(self._parts.folder.uri):
            return [
                (file.bucket, extent, rows)
                for file in at.touching(_boxes(boxes))
                for extent, rows in zip(reader.groups(file.path), reader.group_rows(file.path), strict=True)
            ]

    def assets(self, bucket: int) -> frozenset[str]:
        """Return the assets that have rows in a bucket, registered or not."""
        seen: Snapshot | None = None
        with told_as_failure(self._parts.folder.uri):
            while True:
                snapshot = self._parts.log.refresh()
                files = snapshot.bucket(bucket) if snapshot is not None else ()
                try:
                    return frozenset(name for file in files for name in self._assets_in(file.path))
                except Vanished as vanished:
                    if snapshot is seen:  # no other commit has replaced it
                        raise scanning.missing(self._parts, vanished) from vanished
                    seen = snapshot

    def _assets_in(self, path: str) -> Iterable[str]:
        found: Iterable[str] = self._parts.reader.read(path, ["asset"])["asset"].unique().to_pylist()
        return found

    def erase(
        self,
        boxes: Boxes,
        *,
        app_id: str,
        claim: int,
        step: int | None = None,
        seq_max: int | None = None,
        stored_before_ms: int | None = None,
        guard: Guard | None = None,
    ) -> Erased:
        """Erase the rows of the boxes with ``seq <= seq_max`` from table and store, once per app id (or step).

        ``guard`` is called before the commit and may raise; a context manager that it returns is left when the
        commit stands.
        """
        erasure = Erasure(_boxes(boxes), seq_max, stored_before_ms)
        return erasing.erase(self._parts, self._pool, erasure, Fence(app_id, claim, step), guard)

    def fence(self, app_id: str, claim: int) -> None:
        """Stop every earlier claim of an app id for good and remove what they left half-done."""
        self._parts.log.fence(Fence(app_id, claim))
        settle(self._parts, self._parts.journal.lapsed(app_id, claim), give_up=False)

    def effect(self, app_id: str) -> dict[str, Any] | None:
        """Return the ledger of the effect of an app id; None where none has happened.

        The answer is final only behind ``fence``: before, an earlier claim may still commit.
        """
        number = self.step(app_id)
        return None if number is None else self._parts.journal.ledger(app_id, number)

    def settle_claim(self, app_id: str, claim: int) -> dict[str, Any] | None:
        """Fence every earlier claim of an app id, then return the ledger of its effect, if it had one."""
        self.fence(app_id, claim)
        return self.effect(app_id)

    def step(self, app_id: str) -> int | None:
        """Return the number of the last effect of an app id: its claim, or its step."""
        snapshot = self._parts.log.refresh()
        return snapshot.transactions.get(Fence(app_id, 0).effect) if snapshot is not None else None

    def count(self, boxes: Boxes, seq_max: int | None = None) -> int:
        """Return how many rows of the boxes with ``seq <= seq_max`` the newest snapshot has."""
        found = scanning.scan(self._parts, self._pool, _boxes(boxes), ["seq"], seq_max)
        return int(found.num_rows)

    def rows_near(self, boxes: Boxes, *, stored_before_ms: int | None = None) -> int:
        """Return how many rows the files have that may hold rows of the boxes: the work of erasing them."""
        snapshot = self._parts.log.refresh()
        if snapshot is None:
            return 0
        touched = snapshot.touching(_boxes(boxes), stored_before_ms=stored_before_ms)
        return sum(file.rows for file in touched)

    def digest(self, boxes: Boxes, seq_max: int | None = None) -> tuple[int, int]:
        """Return count and checksum of the stored rows of the boxes; see ``checksums.checksum``."""
        found = scanning.scan(self._parts, self._pool, _boxes(boxes), None, seq_max)
        return found.num_rows, checksums.checksum(columns.to_disk(columns.with_names(found)))

    def compactions(self) -> list[Compaction]:
        """Return what is worth merging now, each in one commit of bounded size."""
        snapshot = self._parts.log.refresh()
        return compacting.plan(snapshot) if snapshot is not None else []

    def compact(self, compaction: Compaction, *, app_id: str, claim: int) -> Compacted:
        """Merge files into fewer, sorted ones without superseded rows; safe to repeat, fenced by the claim."""
        fence = Fence(app_id, claim, once=False)
        return compacting.compact(self._parts, self._pool, compaction, fence)

    def forget_log(self) -> None:
        """Drop every commit before the present state from the log, with the names and extents in them.

        For a table that nothing else is at work on: a process frozen in a commit could not tell its fate any more.
        """
        self._parts.log.checkpoint()
        self.sweep(log_seconds=0.0)

    def sweep(
        self,
        seq_max: int | None = None,
        patience_seconds: float = 2.0,
        log_seconds: float = sweeping.LOG_SECONDS,
    ) -> Swept:
        """Remove every file that is neither live nor of a change under way, and shorten the log.

        With ``seq_max`` the sweep also ends changes that may still write rows up to there (a deletion's
        cut-off) when they do not end within ``patience_seconds``; live ones start anew by themselves.
        Commits stay in the log for ``log_seconds``.
        """
        return sweeping.sweep(self._parts, seq_max, patience_seconds, log_seconds=log_seconds)


def _boxes(boxes: Boxes) -> tuple[Box, ...]:
    return (boxes,) if isinstance(boxes, Box) else tuple(boxes)

"""Sweeping: what no snapshot and no change under way needs goes from the store, and the log is shortened.

Files are listed first, then the journal is read, then the newest snapshot. A file that was listed was planned
before; where its plan is gone from the journal its change is over, and the snapshot that is read last says
whether it is live. So no file of a running change is ever taken for an orphan.

A change that was stopped in the middle (a dead process, a frozen one) may have written rows that a deletion has
erased meanwhile. Such changes are given up in the log, so that they can never commit, and their files go. What a
frozen process writes after it thaws is in nobody's journal any more: it fails to commit, removes its files
itself, and if it dies before that, the next sweep finds them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from deltalake.exceptions import DeltaError

from redrive.services.timeseries.storage.change import Parts, settle
from redrive.services.timeseries.storage.folder import Stored, told_as_failure
from redrive.services.timeseries.storage.journal import Write
from redrive.services.timeseries.storage.log import TRANSACTION_DAYS
from redrive.services.timeseries.storage.snapshot import Snapshot

#: A change that has neither planned nor finished a file for so long has lost its process.
ABANDONED_SECONDS = 1_800.0
#: Commits stay in the log for so long, for processes that were frozen in the middle of one of their own.
LOG_SECONDS = 3_600.0
_CHECKPOINT_AFTER = 20
_POLL_SECONDS = 0.02
_LOG = "_delta_log/"
_VERSION = re.compile(r"^_delta_log/(\d{20})\.(json|checkpoint.*\.parquet)$")
_LEFTOVER = re.compile(r"^_delta_log/[^/]*(\.tmp|#\d+)$")


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep removed: files of samples, their bytes, changes given up, entries of the log."""

    files_removed: int = 0
    bytes_removed: int = 0
    changes_ended: int = 0
    log_files_removed: int = 0

    def as_ledger(self) -> dict[str, int]:
        """Return the figures."""
        return {name: getattr(self, name) for name in Swept.__slots__}


def sweep(
    parts: Parts,
    seq_max: int | None,
    patience_seconds: float,
    *,
    log_seconds: float = LOG_SECONDS,
    abandoned_seconds: float = ABANDONED_SECONDS,
) -> Swept:
    """Sweep one table; safe to repeat and to run beside everything else."""
    if parts.log.refresh() is None:
        return Swept()
    ended, settled = _end_changes(parts, seq_max, patience_seconds, abandoned_seconds)
    with told_as_failure(parts.folder.uri):
        listed = parts.folder.list()
        planned = {path for write in parts.journal.writes() for path in (*write.outputs, *write.inputs)}
        snapshot = parts.log.open()
        orphans = [
            file
            for file in listed
            if not file.path.startswith(_LOG) and file.path not in planned and file.path not in snapshot.files
        ]
        parts.folder.remove(file.path for file in orphans)
        log_files = _shorten(parts, [file for file in listed if file.path.startswith(_LOG)], log_seconds)
    parts.journal.forget_ledgers(TRANSACTION_DAYS * 86_400.0)
    removed_bytes = sum(file.size for file in orphans)
    return Swept(len(orphans) + settled, removed_bytes, ended, log_files)


def _end_changes(
    parts: Parts, seq_max: int | None, patience_seconds: float, abandoned_seconds: float
) -> tuple[int, int]:
    """Wait for changes that must not go on, then end those that are left; return how many, and their files."""
    deadline = time.monotonic() + patience_seconds
    while True:
        writes = parts.journal.writes()
        snapshot = parts.log.open()
        concerned = [
            write
            for write in writes
            if write.age_seconds > abandoned_seconds or _may_hold_erased(write, snapshot, seq_max)
        ]
        if not concerned:
            return 0, 0
        if time.monotonic() >= deadline:
            return len(concerned), settle(parts, concerned, give_up=True)
        time.sleep(_POLL_SECONDS)


def _may_hold_erased(write: Write, snapshot: Snapshot, seq_max: int | None) -> bool:
    """Return whether new files of a change may hold rows that the newest snapshot has no more.

    A change whose inputs are all live copies nothing but what is live: then it may go on.
    """
    if write.seq_min is not None:
        return seq_max is not None and write.seq_min <= seq_max
    return any(path not in snapshot.files for path in write.inputs)


def _shorten(parts: Parts, listed: Sequence[Stored], log_seconds: float) -> int:
    """Drop commits before the newest checkpoint that are old enough, and leftovers of crashed commits."""
    now = time.time()
    entries = [(int(match[1]), file) for file in listed if (match := _VERSION.match(file.path))]
    checkpoints = [version for version, file in entries if "checkpoint" in file.path]
    newest = max(checkpoints, default=-1)
    if max((version for version, _ in entries), default=0) - newest >= _CHECKPOINT_AFTER:
        _checkpoint(parts)
    old = sorted(
        (version, file.path, file.modified_seconds < now - log_seconds)
        for version, file in entries
        if version < newest
    )
    dead: list[str] = []
    for _, path, is_old in old:
        if not is_old:
            # Only from the beginning: a log with a gap is no log.
            break
        dead.append(path)
    dead += [
        file.path
        for file in listed
        if _LEFTOVER.match(file.path) and file.modified_seconds < now - max(60.0, log_seconds)
    ]
    parts.folder.remove(dead)
    return len(dead)


def _checkpoint(parts: Parts) -> None:
    try:
        parts.log.checkpoint()
    except DeltaError:
        # Another process may have cleaned or written it at the same time; the next sweep does it again.
        parts.log.reload()

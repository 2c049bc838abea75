"""One change of a table, from its entry in the journal to the removal of the files that it replaced.

::

    plan (journal) ─► check the fence ─► write files ─► ledger ─► commit ─► remove old files ─► close the journal
         └───── anything that fails before the commit: remove the new files, close the journal

Guarantees: after an error nothing half-done is left, or it is still in the journal, where the next claim's fence
or a sweep finds it. A commit whose outcome is unclear is given up in the log before its files are removed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from redrive.engine.failpoints import hit
from redrive.errors import Failure, Problem
from redrive.ids import new_id
from redrive.services.timeseries.storage.fencing import Commit, Fence, Fenced, GivenUp, Stale
from redrive.services.timeseries.storage.files import NewFile
from redrive.services.timeseries.storage.folder import Folder, told_as_failure
from redrive.services.timeseries.storage.journal import Journal, Purpose, Write
from redrive.services.timeseries.storage.log import Log
from redrive.services.timeseries.storage.reading import Reader
from redrive.services.timeseries.storage.snapshot import LiveFile, Snapshot, path_of

#: How often a change under way says so in the journal.
TOUCH_SECONDS = 60.0

#: Called just before a commit; what it returns is held open until the commit stands (a lock, say).
Guard = Callable[[], contextlib.AbstractContextManager[Any] | None]
Agrees = Callable[[Snapshot], bool]


@dataclass(frozen=True)
class Parts:
    """What every change of one table works with."""

    folder: Folder
    log: Log
    reader: Reader
    journal: Journal


@dataclass
class Change:
    """A change under way."""

    parts: Parts
    fence: Fence
    kind: Purpose
    id: int = field(default_factory=new_id)
    committing: bool = False
    committed: Commit | None = None
    _files: int = 0
    _planned: bool = False
    _touched: float = field(default_factory=time.monotonic)

    def new_path(self, bucket: int, run: int) -> str:
        """Return a path that is in nobody's way; plan it before anything is written there."""
        self._files += 1
        return path_of(bucket, run, self.id, self._files)

    def plan(
        self, outputs: Sequence[str], inputs: Sequence[LiveFile] = (), seq_min: int | None = None
    ) -> None:
        """Record files in the journal before any of them is touched; may be called again for more.

        Raises ``Stale`` where an input is gone by then: a sweep that did not find this change in the journal
        relies on it that nothing of a replaced file is written any more. ``Fenced`` likewise.
        """
        paths = tuple(file.path for file in inputs)
        journal, fence = self.parts.journal, self.fence
        self._planned = True
        journal.plan(Write(self.id, self.kind, fence.app_id, fence.claim, seq_min, tuple(outputs), paths))
        hit("timeseries.storage.journaled")
        snapshot = self.parts.log.open()
        self.parts.log.check(fence, snapshot)
        if any(path not in snapshot.files for path in paths):
            raise Stale("a file to replace is gone")

    def touch(self) -> None:
        """Say, after each file, that this change is alive: a sweep gives up what has been silent for long."""
        if time.monotonic() - self._touched >= TOUCH_SECONDS:
            self._touched = time.monotonic()
            self.parts.journal.touch(self.id)

    def commit(
        self,
        add: Sequence[NewFile],
        remove: Sequence[LiveFile],
        ledger: Mapping[str, Any],
        *,
        agrees: Agrees | None = None,
        guard: Guard | None = None,
    ) -> Commit:
        """Commit, then remove the replaced files from the store. ``Stale``: look again at what changed.

        ``agrees`` says whether the change is still right on the snapshot that it is committed on.
        """
        try:
            self.parts.folder.sync(file.path for file in add)
        except FileNotFoundError:
            # Only a sweep that gave this change up removes its files; the log would say so next.
            raise GivenUp(f"change {self.id} lost its files") from None
        hit("timeseries.storage.written")
        if self.fence.once:
            self.parts.journal.put_ledger(self.fence.app_id, self.fence.number, ledger)
        held = guard() if guard is not None else None
        with held or contextlib.nullcontext():
            self.committing = True
            self.committed = self.parts.log.commit(
                self.fence,
                self.id,
                add=[file.action() for file in add],
                remove=remove,
                metadata={"ledger": dict(ledger)},
                agrees=agrees,
            )
        hit("timeseries.storage.after_commit")
        if not self.committed.repeated:
            hit("timeseries.storage.before_removal")
            self.discard([file.path for file in remove])
            hit("timeseries.storage.after_removal")
        return self.committed

    def discard(self, paths: Sequence[str]) -> None:
        """Remove files of this change that nobody needs: replaced ones, or new ones that became stale."""
        if paths:
            with told_as_failure(self.parts.folder.uri):
                self.parts.folder.remove(paths)
            self.parts.reader.forget(paths)

    def over(self, *, give_up: bool) -> None:
        """Leave the journal, once no file of this change is left that is not live."""
        if not self._planned:
            return
        if self.committed is not None and not self.committed.repeated and not give_up:
            self.parts.journal.close(self.id)
        else:
            settle(self.parts, self.parts.journal.planned(self.id), give_up=give_up)


@contextlib.contextmanager
def changing(parts: Parts, kind: Purpose, fence: Fence) -> Iterator[Change]:
    """A change that is settled when the block ends, however it ends."""
    change = Change(parts, fence, kind)
    try:
        with told_as_failure(parts.folder.uri):
            yield change
    except Exception as error:
        change_is_over = isinstance(error, (Fenced, Stale)) or not change.committing
        with contextlib.suppress(Failure, Problem, OSError, psycopg.Error):
            if change.committed is not None:
                settle(parts, parts.journal.planned(change.id), give_up=False)
            else:
                change.over(give_up=not change_is_over)
        raise
    change.over(give_up=False)


def settle(parts: Parts, writes: Sequence[Write], *, give_up: bool) -> int:
    """Remove the files of changes that are over or may never commit, close them; return how many files went.

    With ``give_up`` the log is told first that they never commit. Without, the caller knows that they are over
    (fenced, stale or committed).
    """
    if not writes:
        return 0
    if give_up:
        snapshot: Snapshot | None = parts.log.give_up([write.id for write in writes])
    else:
        snapshot = parts.log.refresh()
    live = snapshot.files if snapshot is not None else {}
    dead = [path for write in writes for path in (*write.outputs, *write.inputs) if path not in live]
    with told_as_failure(parts.folder.uri):
        parts.folder.remove(dead)
    parts.reader.forget(dead)
    for write in writes:
        parts.journal.close(write.id)
    return len(dead)

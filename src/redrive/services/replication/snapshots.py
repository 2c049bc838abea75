"""The snapshot that all chunks of a task read, for as long as the process that holds it lives.

The first chunk that finds none exports one: a transaction on the source that stays open and reads nothing. Its name
is in our database, so that chunks on other machines join it. When its holder is gone so is the snapshot, and the next
chunk makes another one. A holder lets go when the rows are moved, and ``GRACE_SECONDS`` after the job has stopped:
until then a retry finds what it had begun.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import Connection, errors, sql

from redrive.database import Database, Queries
from redrive.engine import claiming
from redrive.engine.kinds import Work
from redrive.services.replication.model import Phase

queries = Queries.beside(__file__, "snapshots.sql")

GRACE_SECONDS = 300.0
_LOOK_SECONDS = 2.0

#: Opens a connection to the source that the stack closes.
Opener = Callable[[contextlib.ExitStack], Connection[Any]]


@dataclass(slots=True)
class _Held:
    """A snapshot that this process holds open."""

    name: str
    closing: contextlib.ExitStack
    stopped_at: float | None = None


@dataclass(slots=True)
class Snapshots:
    """The snapshots that this process holds; one per process, safe to share between threads."""

    _held: dict[int, _Held] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _watcher: threading.Thread | None = None

    def join(self, work: Work, source: Connection[Any], opener: Opener) -> str:
        """Begin a transaction on ``source`` that reads the task's snapshot; return the snapshot's name.

        ``source`` is in autocommit; end its transaction with ``rollback``.
        """
        while True:
            name = self._known(work)
            if name is not None and _joined(source, name):
                return name
            self._hold(work, opener, former=name)

    def _known(self, work: Work) -> str | None:
        with work.db.transaction() as conn:
            row = conn.execute(queries.snapshot, {"job_id": work.job_id}).fetchone()
        return str(row.name) if row is not None else None

    def _hold(self, work: Work, opener: Opener, former: str | None) -> None:
        """Export a snapshot and make it the task's, unless another worker has been quicker."""
        with contextlib.ExitStack() as closing:
            conn = opener(closing)
            conn.execute("begin isolation level repeatable read read only")
            row = conn.execute("select pg_export_snapshot() as name").fetchone()
            name = str(row.name) if row is not None else ""
            named = {"job_id": work.job_id, "name": name, "former": former}
            with work.db.transaction() as ours:
                claiming.fence(ours, work)
                ours.execute(queries.add_snapshot if former is None else queries.replace_snapshot, named)
                taken = ours.execute(queries.snapshot, {"job_id": work.job_id}).fetchone()
            if taken is None or taken.name != name:
                return
            self._keep(work.db, work.job_id, _Held(name, closing.pop_all()))

    def _keep(self, db: Database, job_id: int, held: _Held) -> None:
        with self._lock:
            former = self._held.pop(job_id, None)
            self._held[job_id] = held
            if self._watcher is None or not self._watcher.is_alive():
                self._watcher = threading.Thread(
                    target=self._watch, args=(db,), name="snapshots", daemon=True
                )
                self._watcher.start()
        if former is not None:
            former.closing.close()

    def _watch(self, db: Database) -> None:
        while True:
            time.sleep(_LOOK_SECONDS)
            with contextlib.suppress(psycopg.Error):
                self._let_go(db)
            with self._lock:
                if not self._held:
                    self._watcher = None
                    return

    def _let_go(self, db: Database) -> None:
        with self._lock:
            ids = list(self._held)
        with db.transaction() as conn:
            rows = conn.execute(queries.standing, {"job_ids": ids}).fetchall()
        found = {row.id: row for row in rows}
        for job_id in ids:
            row = found.get(job_id)
            with self._lock:
                held = self._held.get(job_id)
                if held is None or (row is not None and _is_wanted(held, row)):
                    continue
                del self._held[job_id]
            held.closing.close()


def _is_wanted(held: _Held, row: Any) -> bool:
    if row.name != held.name or row.phase > Phase.ROWS:
        return False
    if row.active:
        held.stopped_at = None
        return True
    held.stopped_at = held.stopped_at or time.monotonic()
    return time.monotonic() < held.stopped_at + GRACE_SECONDS


def _joined(source: Connection[Any], name: str) -> bool:
    source.execute("begin isolation level repeatable read read only")
    try:
        source.execute(sql.SQL("set transaction snapshot {}").format(sql.Literal(name)))
    except (errors.InvalidParameterValue, errors.UndefinedObject, errors.ObjectNotInPrerequisiteState):
        source.execute("rollback")
        return False
    return True


def forget(conn: Connection[Any], work: Work) -> None:
    """Say that nobody needs the task's snapshot any more; its holder lets go by itself."""
    conn.execute(queries.forget_snapshot, {"job_id": work.job_id})

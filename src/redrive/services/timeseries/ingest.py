"""Accepting samples: from a checked batch to an acknowledged one.

::

    edge (JSON, NDJSON, Arrow) ─► accept ─► LogWriter ─► committed: answered, readable
                                              │ beside: assets seen for the first time are registered,
                                              │         the tenant's mover is made
                                              └ after: the mover is told, at most every few seconds

Guarantees: an acknowledged sample is durable and readable at once; its asset is in the registry.
Refuses: more while too much waits to be moved (the mover has stood still for long).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psycopg
import pyarrow as pa
import structlog
from psycopg import Connection

from redrive.database import Database
from redrive.errors import Problem, ProblemCode
from redrive.ingest import Channel, LogWriter, Tail, backlog
from redrive.ingest.log import Appended, Encoded, append_encoded
from redrive.ingest.samples import names, without_repeats
from redrive.services.timeseries import mover, registry

logger = structlog.get_logger(__name__)

#: So much of a tenant may wait to be moved.
BACKLOG_BYTES = 4 * 1024 * 1024 * 1024
_KNOWN_ASSETS = 2_000_000


@dataclass(slots=True)
class _Known:
    """What this process knows of a tenant's registry, as of an epoch."""

    epoch: int
    assets: set[str] = field(default_factory=set)


class Ingest:
    """Accepts samples; one per process, safe to share between threads. ``close()`` at the end."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._writer = LogWriter(db, self._beside)
        self.tail = Tail()
        self._known: dict[int, _Known] = {}
        self._teller = _Teller(db)

    def accept(self, tenant_id: int, batch: pa.Table, channel: Channel = Channel.REALTIME) -> Future[int]:
        """Hand over a checked batch; the future gives its sequence when it is durable."""
        self._refuse_when_full(tenant_id)
        return self._writer.submit(tenant_id, batch, channel)

    def append(
        self, conn: Connection[Any], tenant_id: int, batch: pa.Table, channel: Channel = Channel.REALTIME
    ) -> tuple[int, Callable[[], None]]:
        """Append a checked batch in the caller's transaction; call what this returns after its commit."""
        self._refuse_when_full(tenant_id)
        batch = without_repeats(batch)
        appended = append_encoded(conn, tenant_id, Encoded.of(batch), channel)
        return appended.seq, self._beside(conn, tenant_id, batch, appended)

    def close(self) -> None:
        """Write what waits and end; safe to repeat."""
        self._writer.close()
        self._teller.close()

    def _refuse_when_full(self, tenant_id: int) -> None:
        if tenant_id in self._teller.full:
            raise Problem(
                ProblemCode.UNAVAILABLE,
                f"more than {BACKLOG_BYTES} bytes of samples wait to be moved into the tables",
                hint="see why the job timeseries.move stands still, then send again",
                reason="backlog",
            )

    def _beside(
        self, conn: Connection[Any], tenant_id: int, batch: pa.Table, appended: Appended
    ) -> Callable[[], None]:
        known = self._known.get(tenant_id)
        if known is None:
            mover.ensure(conn, tenant_id)
        if known is None or known.epoch != appended.epoch or len(known.assets) > _KNOWN_ASSETS:
            known = _Known(appended.epoch)
        fresh = set(names(batch["asset"])) - known.assets
        if fresh:
            registry.add_seen(conn, tenant_id, fresh)

        def after_commit() -> None:
            known.assets.update(fresh)
            self._known[tenant_id] = known
            self._teller.tell(tenant_id)

        return after_commit


class _Teller:
    """Tells movers of new batches, each at most once in ``MOVE_SECONDS``, and looks how much waits."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._due: dict[int, float] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None
        #: Tenants with too large a backlog.
        self.full: frozenset[int] = frozenset()

    def tell(self, tenant_id: int) -> None:
        """Let the tenant's mover run within ``MOVE_SECONDS``."""
        if tenant_id in self._due:
            return
        with self._changed:
            if self._closed:
                return
            self._due.setdefault(tenant_id, time.monotonic() + mover.MOVE_SECONDS)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="mover-teller", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """End; a mover that was not told looks by itself."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while (tenants := self._wait()) is not None:
            for tenant_id in tenants:
                try:
                    self._db.run(partial(self._look, tenant_id))
                except psycopg.OperationalError as error:
                    logger.warning("mover.not_told", tenant=tenant_id, error=str(error))

    def _wait(self) -> list[int] | None:
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                due = [tenant_id for tenant_id, at in self._due.items() if at <= now]
                if due:
                    for tenant_id in due:
                        # Looked at again while it is full: nothing else would tell that it has room.
                        if tenant_id in self.full:
                            self._due[tenant_id] = now + mover.MOVE_SECONDS
                        else:
                            del self._due[tenant_id]
                    return due
                self._changed.wait(min(self._due.values()) - now if self._due else None)
            return None

    def _look(self, tenant_id: int, conn: Connection[Any]) -> None:
        mover.poke(conn, tenant_id)
        if backlog(conn, tenant_id).bytes > BACKLOG_BYTES:
            self.full |= {tenant_id}
            with self._changed:
                self._due.setdefault(tenant_id, time.monotonic() + mover.MOVE_SECONDS)
        elif tenant_id in self.full:
            self.full -= {tenant_id}

"""Group commit: many concurrent small requests of a tenant become one transaction.

::

    request ─► submit ─┐                       ┌─ merge, encode ─► one row in the log ─► COMMIT (fsync)
    request ─► submit ─┼─► what waits ─► thread┤                                            │
    request ─► submit ─┘   (per tenant)        └──────────── every future gets the sequence ┘

While a tenant's group is being committed, its next one gathers; so the cost of ``fsync`` is shared by as many
requests as arrive within it, and a lone request waits for nobody. Groups of other tenants are committed
meanwhile by other threads. Within a group requests keep their order.

Refuses more than ``WAITING_BYTES`` of batches that wait: the caller should slow down.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa
import structlog
from psycopg import Connection

from redrive.database import Database, is_outage
from redrive.errors import Problem, ProblemCode
from redrive.ingest import log
from redrive.ingest.log import Appended, Channel, Encoded
from redrive.ingest.samples import joined, without_repeats

logger = structlog.get_logger(__name__)

GROUP_ROWS = 250_000
GROUP_BYTES = 64 * 1024 * 1024
WAITING_BYTES = 512 * 1024 * 1024

#: Called in the transaction of each group, after its append. What it returns is called after the commit.
Beside = Callable[[Connection[Any], int, pa.Table, Appended], Callable[[], None]]


def nothing(conn: Connection[Any], tenant_id: int, batch: pa.Table, appended: Appended) -> Callable[[], None]:
    """Do nothing beside an append."""
    return lambda: None


_Key: TypeAlias = tuple[int, Channel]


@dataclass(frozen=True, slots=True)
class _Waiting:
    batch: pa.Table
    bytes: int
    future: Future[int]


class LogWriter:
    """Appends batches to the log, several requests to a transaction. Safe to share between threads.

    ``threads`` tenants are written at a time.
    """

    def __init__(self, db: Database, beside: Beside = nothing, *, threads: int = 2) -> None:
        self._db = db
        self._beside = beside
        self._waiting: dict[_Key, deque[_Waiting]] = {}
        self._waiting_bytes = 0
        #: Those that wait and are not being committed, in order.
        self._turn: deque[_Key] = deque()
        self._busy: set[_Key] = set()
        self._ready = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._write, name=f"log-writer-{number}", daemon=True)
            for number in range(threads)
        ]
        self._started = False

    def submit(self, tenant_id: int, batch: pa.Table, channel: Channel = Channel.REALTIME) -> Future[int]:
        """Hand a batch over; the future gives its sequence once it is committed, or the error."""
        waiting = _Waiting(batch, _size(batch), Future())
        with self._ready:
            if self._closed:
                raise Problem(ProblemCode.UNAVAILABLE, "the server is stopping", hint="send it again later")
            if self._waiting_bytes + waiting.bytes > WAITING_BYTES and self._waiting_bytes:
                raise Problem(
                    ProblemCode.TOO_MANY,
                    f"{self._waiting_bytes} bytes of samples wait to be written",
                    hint="send it again in a moment, with fewer requests at a time",
                )
            self._start()
            self._waiting_bytes += waiting.bytes
            key = (tenant_id, channel)
            if key in self._waiting:
                self._waiting[key].append(waiting)
            else:
                self._waiting[key] = deque([waiting])
                if key not in self._busy:
                    self._turn.append(key)
                    self._ready.notify()
        return waiting.future

    def append(self, tenant_id: int, batch: pa.Table, channel: Channel = Channel.REALTIME) -> int:
        """Return the sequence of a batch that is committed."""
        return self.submit(tenant_id, batch, channel).result()

    def close(self) -> None:
        """Write what waits, refuse anything new, and return. Safe to repeat."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()
        if self._started:
            for thread in self._threads:
                thread.join()

    def _start(self) -> None:
        # With the first batch: a process that never writes has no threads for it.
        if not self._started:
            self._started = True
            for thread in self._threads:
                thread.start()

    def _write(self) -> None:
        while (taken := self._take()) is not None:
            key, group = taken
            try:
                seq = self._commit(*key, [item.batch for item in group])
            except BaseException as error:
                if not isinstance(error, Problem) and not is_outage(error):
                    logger.exception("ingest.bug", tenant=key[0])
                self._done(key, group)
                for item in group:
                    item.future.set_exception(error)
                continue
            self._done(key, group)
            for item in group:
                item.future.set_result(seq)

    def _take(self) -> tuple[_Key, list[_Waiting]] | None:
        with self._ready:
            while not self._turn:
                if self._closed and not self._waiting:
                    return None
                self._ready.wait()
            key = self._turn.popleft()
            waiting = self._waiting[key]
            group = [waiting.popleft()]
            rows, size = group[0].batch.num_rows, group[0].bytes
            while waiting and rows <= GROUP_ROWS and size + waiting[0].bytes <= GROUP_BYTES:
                rows, size = rows + waiting[0].batch.num_rows, size + waiting[0].bytes
                group.append(waiting.popleft())
            if not waiting:
                del self._waiting[key]
            self._busy.add(key)
            return key, group

    def _done(self, key: _Key, group: Sequence[_Waiting]) -> None:
        with self._ready:
            self._waiting_bytes -= sum(item.bytes for item in group)
            self._busy.discard(key)
            if key in self._waiting:
                self._turn.append(key)
            # Where it is to close, every thread looks whether anything is left.
            if self._closed:
                self._ready.notify_all()
            elif key in self._waiting:
                self._ready.notify()

    def _commit(self, tenant_id: int, channel: Channel, batches: Sequence[pa.Table]) -> int:
        batch = without_repeats(joined(batches))
        encoded = Encoded.of(batch)

        def write(conn: Connection[Any]) -> tuple[int, Callable[[], None]]:
            appended = log.append_encoded(conn, tenant_id, encoded, channel)
            return appended.seq, self._beside(conn, tenant_id, batch, appended)

        # A commit whose answer was lost may have happened: appended again, the same samples win over
        # themselves, so repeating is safe.
        seq, after_commit = self._db.run(write)
        after_commit()
        return seq


def _size(batch: pa.Table) -> int:
    texts = batch["text"]
    # The sizes of the other columns follow from the rows; asking Arrow for each costs more than they do.
    return int(batch.num_rows * 48 + (texts.nbytes if texts.null_count < batch.num_rows else 0))

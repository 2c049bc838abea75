"""A pool of connections that gets over restarts of its database by itself.

Guarantees:

* ``transaction()`` is one transaction, READ COMMITTED; rows are named tuples.
* A connection that the server closed while it lay idle is never handed out: the check costs one ``poll`` of
  its socket, and a round trip only where something waits there or it lay for long.
* While the database is away, a caller waits up to ``wait_seconds`` for it and then gets
  ``DatabaseAway``, a ``Problem(unavailable)``; once it is back, a caller has a connection within about 1 s.
* A peer that vanishes without a word is noticed within about 10 s on both sides (keepalives), so that locks
  of a machine that is gone do not stay.

Refuses: nothing is retried behind the caller's back except in ``run``, whose function must bear it.
"""

from __future__ import annotations

import contextlib
import random
import select
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import psycopg
from psycopg import conninfo, errors
from psycopg.rows import namedtuple_row
from psycopg_pool import ConnectionPool, PoolTimeout

from redrive.errors import Problem, ProblemCode

Row = Any
T = TypeVar("T")

_TRIES = 5
#: Ask the server itself only if a connection lay idle for longer than this.
_TRUST_SECONDS = 30.0

#: Set for every session, also on a server that is not ours.
_SESSION = {
    "jit": "off",
    "default_transaction_isolation": r"read\ committed",
    "TimeZone": "UTC",
    "client_connection_check_interval": "5s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10s",
}

_CONFLICTS = (errors.SerializationFailure, errors.DeadlockDetected)
_SHUTDOWNS = (
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.IdleInTransactionSessionTimeout,
)


def is_retryable(error: BaseException) -> bool:
    """Return whether a transaction that ended so may simply be run again."""
    return isinstance(error, _CONFLICTS) or _is_lost(error)


def is_outage(error: BaseException) -> bool:
    """Return whether ``error`` says that the database is away (not that the statement is wrong)."""
    return _is_lost(error) or isinstance(error, (DatabaseAway, errors.TooManyConnections))


def _is_lost(error: BaseException) -> bool:
    if isinstance(error, _SHUTDOWNS):
        return True
    # Errors that libpq makes itself (a cut connection, a refused one) carry no SQLSTATE.
    return (
        isinstance(error, psycopg.OperationalError)
        and error.sqlstate is None
        and not isinstance(error, DatabaseAway)
    )


class DatabaseAway(Problem, psycopg.OperationalError):
    """No connection could be had: unavailable to callers of the API, an outage to loops that go on later."""


class _Connection(psycopg.Connection[Row]):
    """A connection that knows since when it lies idle."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.idle_since = time.monotonic()


class Database:
    """Connections to one PostgreSQL database. Open it once per process; ``close()`` at the end.

    ``idle_seconds``: a transaction in which nothing happens for so long is ended by the server, so that a
    frozen process does not keep its locks. A worker's must be shorter than what its successors may wait.
    """

    def __init__(
        self,
        url: str,
        *,
        min_size: int = 1,
        max_size: int = 8,
        name: str = "redrive",
        wait_seconds: float = 30.0,
        idle_seconds: float = 60.0,
    ) -> None:
        self.url = url
        self.name = name
        self.wait_seconds = wait_seconds
        session = {**_SESSION, "idle_in_transaction_session_timeout": f"{int(idle_seconds * 1000)}ms"}
        self._arguments: dict[str, Any] = {
            "autocommit": True,
            "row_factory": namedtuple_row,
            "application_name": name,
            "connect_timeout": 10,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
            # After the caller's own (such as a search path): what is said last counts.
            "options": " ".join([_options_of(url), *(f"-c {key}={value}" for key, value in session.items())]),
        }
        self._checking = threading.Lock()
        # The pool's own attempts back off to minutes; ended after a second, each waiting caller starts a
        # fresh one (see _take), so a database that is back is seen at once.
        self._pool: ConnectionPool[_Connection] = ConnectionPool(
            url,
            connection_class=_Connection,
            kwargs=self._arguments,
            min_size=min_size,
            max_size=max_size,
            name=name,
            open=True,
            check=self._check,
            reconnect_timeout=1.0,
            num_workers=2,
        )

    def close(self) -> None:
        """Close every idle connection; safe to repeat."""
        self._pool.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[psycopg.Connection[Row]]:
        """One transaction: committed at the end of the block, rolled back where it raises."""
        conn = self._take(self.wait_seconds)
        try:
            with conn.transaction():
                yield conn
                if conn.closed:
                    # psycopg would end the block in silence, as if it had committed.
                    raise psycopg.OperationalError("the connection was lost before the commit")
        finally:
            conn.idle_since = time.monotonic()
            self._pool.putconn(conn)

    def run(self, work: Callable[[psycopg.Connection[Row]], T], *, repeat_lost_commit: bool = True) -> T:
        """Return ``work(conn)`` of a committed transaction; again (5 times at most) after conflicts and cuts.

        A commit whose answer was lost may have happened: ``work`` must be safe to repeat, or say
        ``repeat_lost_commit=False`` and get the error then.
        """
        for tries in range(1, _TRIES + 1):
            returned = False
            try:
                with self.transaction() as conn:
                    result = work(conn)
                    returned = True
                return result
            except psycopg.Error as error:
                unsure = returned and _is_lost(error) and not repeat_lost_commit
                if tries == _TRIES or unsure or not is_retryable(error):
                    raise
            time.sleep(random.uniform(0.0, 0.02 * 2**tries))
        raise AssertionError("the loop above returns or raises")

    def connect(self) -> psycopg.Connection[Row]:
        """Return a connection of the caller's own, in autocommit (for LISTEN and session locks)."""
        return psycopg.connect(self.url, **self._arguments)

    def answers(self, *, within_seconds: float) -> bool:
        """Return whether the database answers a statement; for health checks."""
        try:
            conn = self._take(within_seconds)
        except DatabaseAway:
            return False
        try:
            conn.execute("SELECT 1")
        except psycopg.Error:
            return False
        finally:
            self._pool.putconn(conn)
        return True

    def _take(self, wait_seconds: float) -> _Connection:
        deadline = time.monotonic() + wait_seconds
        while True:
            left = deadline - time.monotonic()
            try:
                return self._pool.getconn(timeout=max(0.0, min(1.0, left)))
            except PoolTimeout:
                if left <= 1.0:
                    raise DatabaseAway(
                        ProblemCode.UNAVAILABLE,
                        f"no database connection within {wait_seconds:.0f} s",
                        hint="the database is away or all connections are busy; try again later",
                    ) from None

    def _check(self, conn: _Connection) -> None:
        idle_seconds = time.monotonic() - conn.idle_since
        if idle_seconds < _TRUST_SECONDS and not _something_waits(conn):
            return
        try:
            ConnectionPool.check_connection(conn)
        except psycopg.Error:
            # Where one connection is dead, the others mostly are: sort them out now, once, instead of
            # meeting them one by one with the pool's growing delays.
            if self._checking.acquire(blocking=False):
                try:
                    self._pool.check()
                finally:
                    self._checking.release()
            raise


def _options_of(url: str) -> str:
    return str(conninfo.conninfo_to_dict(url).get("options") or "")


def _something_waits(conn: psycopg.Connection[Row]) -> bool:
    """Return whether the socket of an idle connection is readable: a farewell of the server, or its end."""
    poll = select.poll()
    poll.register(conn.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))

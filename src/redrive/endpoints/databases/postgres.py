"""Connections to a user's PostgreSQL, through the guard; what its errors mean to an operator.

Guarantees: libpq connects to the very address that the guard has judged (``hostaddr``); password files and options
of the environment have no say; a connection has time limits, and TLS where the endpoint says so; what the account
may not see of a table is an error.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import errors
from psycopg.rows import namedtuple_row

from redrive.endpoints.databases.model import Endpoint
from redrive.endpoints.guard import Guard
from redrive.errors import Failure, FailureClass

Connection = psycopg.Connection[Any]

CONNECT_SECONDS = 10
#: Dead peers are noticed after about 20 + 3 x 5 seconds.
_KEEPALIVES = {"keepalives": 1, "keepalives_idle": 20, "keepalives_interval": 5, "keepalives_count": 3}
#: What a session of ours is like, whatever the account's defaults: values are read and written in one form.
_OPTIONS = (
    "-c datestyle=iso,ymd -c intervalstyle=postgres -c timezone=UTC -c extra_float_digits=3 -c statement_timeout=0 "
    "-c lock_timeout=0 -c idle_in_transaction_session_timeout=0 "
    # The server, too, notices within a minute that we are gone, and lets go of what we held.
    "-c tcp_keepalives_idle=20 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3 "
    # Rows that a policy hides are an error, and not passed over in silence.
    "-c row_security=off"
)


@contextlib.contextmanager
def connected(guard: Guard, endpoint: Endpoint, password: str, *, purpose: str) -> Iterator[Connection]:
    """A connection in autocommit, closed at the end. Errors of the database inside are raised as failures.

    ``purpose`` stands in the server's list of sessions. ``Failure`` as ``failure_of`` gives, and those of the guard.
    """
    with contextlib.ExitStack() as closing:
        try:
            yield open_connection(guard, endpoint, password, purpose=purpose, closing=closing)
        except psycopg.Error as error:
            raise failure_of(error, endpoint) from error


def open_connection(
    guard: Guard, endpoint: Endpoint, password: str, *, purpose: str, closing: contextlib.ExitStack
) -> Connection:
    """Return a connection that ``closing`` closes; errors as psycopg raises them."""
    address = guard.resolve(endpoint.host, endpoint.port)
    parameters: dict[str, Any] = {
        "host": address.host,
        "hostaddr": address.ip,
        "port": address.port,
        "user": endpoint.user,
        "password": password,
        "dbname": endpoint.database or "postgres",
        "application_name": f"redrive {purpose}"[:63],
        "connect_timeout": CONNECT_SECONDS,
        "options": _OPTIONS,
        "client_encoding": "utf8",
        "passfile": os.devnull,
        "sslmode": "prefer",
        "gssencmode": "disable",
        **_KEEPALIVES,
    }
    if endpoint.tls:
        parameters["sslmode"] = "verify-full"
        parameters["sslrootcert"] = (
            closing.enter_context(_file_of(endpoint.ca_pem)) if endpoint.ca_pem else "system"
        )
    connection: Connection = psycopg.connect(autocommit=True, row_factory=namedtuple_row, **parameters)
    closing.callback(connection.close)
    return connection


@contextlib.contextmanager
def _file_of(pem: str) -> Iterator[str]:
    with tempfile.NamedTemporaryFile("w", suffix=".pem", encoding="ascii", errors="replace") as file:
        file.write(pem)
        file.flush()
        yield file.name


def failure_of(error: psycopg.Error, endpoint: Endpoint) -> Failure:
    """Return what an error of the database means: a code, a sentence, what to do, and whether to try by itself."""
    said = _first_line(error)
    for sort, code, hint, kind in _SORTS:
        if isinstance(error, sort):
            return Failure(code, f"{endpoint}: {said}", hint=hint, kind=kind, target=str(endpoint))
    if isinstance(error, psycopg.OperationalError):
        return _of_connection(error, endpoint, said)
    return Failure(
        "database",
        f"{endpoint}: {said}",
        hint="see the database's own log",
        kind=FailureClass.UNCLASSIFIED,
        target=str(endpoint),
    )


_INPUT, _TRANSIENT = FailureClass.NEEDS_INPUT, FailureClass.TRANSIENT
_SORTS: tuple[tuple[type[psycopg.Error] | tuple[type[psycopg.Error], ...], str, str, FailureClass], ...] = (
    (
        (errors.InvalidPassword, errors.InvalidAuthorizationSpecification),
        "credentials",
        "correct the user or the password, then retry",
        _INPUT,
    ),
    (errors.InvalidCatalogName, "database_unknown", "correct the database's name, then retry", _INPUT),
    (errors.InsufficientPrivilege, "privilege", "grant the account what it lacks, then retry", _INPUT),
    (errors.DiskFull, "full", "make room on the database's disk, then retry", _INPUT),
    (
        errors.UniqueViolation,
        "conflict",
        "remove the row in the target, or choose another policy, then retry",
        _INPUT,
    ),
    (errors.ReadOnlySqlTransaction, "read_only", "make the database writable, then retry", _INPUT),
    (
        (errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow, errors.TooManyConnections),
        "away",
        "it goes on by itself when the database is back",
        _TRANSIENT,
    ),
    (
        (errors.DeadlockDetected, errors.SerializationFailure, errors.LockNotAvailable),
        "busy",
        "it is tried again by itself",
        _TRANSIENT,
    ),
    (errors.IntegrityError, "conflict", "remove what conflicts in the target, then retry", _INPUT),
)


def _of_connection(error: psycopg.OperationalError, endpoint: Endpoint, said: str) -> Failure:
    """Return the failure of a connection that was not made, or was lost: libpq has words for these, and no codes."""
    lower = said.lower()
    for words, code, hint in _WORDS:
        if any(word in lower for word in words):
            shown = "the user or the password is refused" if code == "credentials" else said
            return Failure(code, f"{endpoint}: {shown}", hint=hint, kind=_INPUT, target=str(endpoint))
    hint = "it goes on by itself when the database can be reached again"
    return Failure("away", f"{endpoint}: {said}", hint=hint, kind=_TRANSIENT, target=str(endpoint))


_WORDS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("password authentication failed", "no password supplied", "role"),
        "credentials",
        "correct the user or the password, then retry",
    ),
    (("does not exist",), "database_unknown", "correct the database's name, then retry"),
    (("no pg_hba.conf entry",), "not_admitted", "let the server's address in (pg_hba.conf), then retry"),
    (("certificate", "ssl"), "tls", "correct the certificate, or whether TLS is used, then retry"),
)


def _first_line(error: psycopg.Error) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no reason given"]
    return lines[-1] if lines[0].startswith("connection failed") else lines[0]

"""For commands that work on the database itself, without the HTTP API: its address, running or not.

An embedded PostgreSQL that runs is used as it is; one that does not is started for the time of the command.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from redrive.database import Database, postmaster
from redrive.database.embedded import EmbeddedPostgres
from redrive.errors import Problem, ProblemCode
from redrive.server.folder_lock import FolderLock
from redrive.settings import Settings

#: A server that is just starting has this long until its database runs.
_PATIENCE_SECONDS = 15.0


@contextlib.contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """The database of ``settings``; a Problem where no server was ever started on it."""
    with (
        _address(settings) as url,
        Database(url, max_size=2, name="redrive command", wait_seconds=10.0) as db,
    ):
        with db.transaction() as conn:
            found = conn.execute("select to_regclass('schema_migrations') as name").fetchone()
        if found is None or found.name is None:
            raise _never_started("this database holds no tables of Redrive")
        yield db


@contextlib.contextmanager
def _address(settings: Settings) -> Iterator[str]:
    if settings.database_url is not None:
        yield settings.database_url
        return
    server = EmbeddedPostgres(settings.data_dir)
    if not (server.cluster / "PG_VERSION").exists():
        raise _never_started(f"{server.data_dir} holds no database")
    with contextlib.ExitStack() as cleanup:
        if _lock(settings, cleanup):
            cleanup.callback(server.stop)
        else:
            _await_postmaster(server)
        yield server.start()


def _lock(settings: Settings, cleanup: contextlib.ExitStack) -> bool:
    try:
        cleanup.enter_context(FolderLock(settings.data_dir))
    except Problem as problem:
        if problem.reason != "folder_locked":
            raise
        return False
    return True


def _await_postmaster(server: EmbeddedPostgres) -> None:
    """Wait for the database of the server that holds the folder: starting one is that server's business."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while postmaster.find(server.cluster) is None:
        if time.monotonic() > deadline:
            raise Problem(ProblemCode.UNAVAILABLE, "the server in this folder has no database running yet")
        time.sleep(0.05)


def _never_started(what: str) -> Problem:
    return Problem(
        ProblemCode.NOT_FOUND, what, hint="start the server once (redrive up), or name its folder: --data-dir"
    )

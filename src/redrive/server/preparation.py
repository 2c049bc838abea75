"""What must be true before a part can work: the database runs, has this schema, and holds the first account."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import Any

import psycopg
import structlog

from redrive.database import Database, migrate
from redrive.engine import failpoints
from redrive.engine.claiming import expire_worker
from redrive.errors import Problem, ProblemCode
from redrive.identity import bootstrap
from redrive.identity.credentials import endpoint_of
from redrive.identity.data_keys import DataKeys
from redrive.identity.sealing import Sealer
from redrive.services.workspaces import service as workspaces
from redrive.services.workspaces.house import Secrets
from redrive.settings import Settings

__all__ = ["arm_failpoints", "endpoint_of", "prepare_database", "release_units_of"]

log = structlog.get_logger(__name__)

#: A first start waits this long for the first workspace; without it data calls are refused for a moment.
REGISTRATION_SECONDS = 10.0

_FAILPOINTS = "REDRIVE_FAILPOINTS"


def prepare_database(settings: Settings, *, create: bool = True, given_up: Callable[[], bool]) -> None:
    """Bring the database to this program's schema and make the first account. Safe to repeat, and at once.

    With ``create=False`` the account is waited for: a worker that started first must not make the master key
    that the machine of the API then lacks.
    """
    if settings.database_url is None:
        raise Problem(
            ProblemCode.INVALID,
            "there is no address of a database",
            hint="give --database-url or REDRIVE_DATABASE_URL, or use `redrive up`, which brings a database",
        )
    try:
        with Database(settings.database_url, name="redrive start", max_size=2) as db:
            for name in migrate(db):
                log.info("migrated", migration=name)
            if create:
                sealer = bootstrap.bootstrap(db, settings)
                db.run(lambda conn: _register_first(conn, sealer))
            else:
                _await_account(db, given_up)
    except psycopg.OperationalError as error:
        raise Problem(
            ProblemCode.UNAVAILABLE,
            f"the database cannot be used: {str(error).strip()}",
            hint="see --database-url: address, role, password, and whether the server runs",
        ) from error


def _register_first(conn: psycopg.Connection[Any], sealer: Sealer) -> None:
    first = conn.execute(bootstrap.queries.first_tenant).fetchone()
    secrets = Secrets(sealer, DataKeys(sealer))
    for job_id in workspaces.ensure_registered(conn, secrets, first.id if first is not None else None):
        log.info("workspace.registering", job=job_id)


def await_registration(settings: Settings, *, given_up: Callable[[], bool]) -> None:
    """Return when no registration is under way, at latest after ``REGISTRATION_SECONDS``."""
    deadline = time.monotonic() + REGISTRATION_SECONDS
    with Database(str(settings.database_url), name="redrive start", max_size=1) as db:
        while time.monotonic() < deadline and not given_up():
            if not db.run(workspaces.registering):
                return
            time.sleep(0.02)


def arm_failpoints(settings: Settings) -> None:
    """Arm what the environment names; a Problem where that is not allowed, so that nobody waits in vain."""
    wanted = os.environ.get(_FAILPOINTS, "")
    if wanted and not settings.allow_failpoints:
        raise Problem(
            ProblemCode.INVALID,
            f"{_FAILPOINTS} is set, but failpoints are not allowed",
            hint="start with --allow-failpoints, or unset it",
        )
    failpoints.arm_all(wanted)


def release_units_of(settings: Settings, pid: int) -> None:
    """End the leases of a worker process of this machine that is known to be dead, so that its units go on now.

    Best effort: without it they go on when their leases run out.
    """
    if settings.database_url is None:
        return
    try:
        with Database(settings.database_url, name="redrive supervisor", max_size=1, wait_seconds=5.0) as db:
            expire_worker(db, socket.gethostname(), pid)
    except psycopg.OperationalError as error:
        log.warning("release.failed", pid=pid, error=str(error))


def _await_account(db: Database, given_up: Callable[[], bool]) -> None:
    said = False
    while not given_up():
        if db.run(lambda conn: conn.execute(bootstrap.queries.first_tenant).fetchone()) is not None:
            return
        if not said:
            log.info("waiting", reason="no server has made the first account yet: start `redrive serve`")
            said = True
        time.sleep(0.5)

"""The database of the tests: a real embedded PostgreSQL per test process, a fresh copy of a migrated
database per test. ``launch`` starts whole servers.

``REDRIVE_TEST_POSTGRES_BIN=/usr/lib/postgresql/15/bin`` runs the tests on other programs. Tests marked ``root`` do
not run for other users; what did not run is said at the end.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from redrive.database import Database, migrate, postmaster
from redrive.database.embedded import EmbeddedPostgres
from redrive.identity.authentication import Authenticator
from redrive.identity.credentials import Credentials, credentials_file, read_credentials
from redrive.identity.sealing import Sealer
from redrive.settings import Settings
from tests.servers import Launch, first_start, launching

# Tests do not survive a power cut, their server need not either.
_FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "autovacuum": "off",
}
_PREFIX = "redrive-test-"
_numbers = count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """The server of this test process."""
    place = Path(_memory_folder() or tempfile.gettempdir())
    _clear_up_after_killed_tests(place)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=place))
    folder.chmod(0o711)  # programs before PostgreSQL 16 walk to their working folder by its path
    server = EmbeddedPostgres(folder, programs=os.environ.get("REDRIVE_TEST_POSTGRES_BIN"), settings=_FAST)
    try:
        server.start()
        yield server
    finally:
        server.stop(timeout_seconds=2.0)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def database_url(postgres: EmbeddedPostgres) -> str:
    """The address of a migrated database that all tests share: read it, do not write to it."""
    with psycopg.connect(postgres.superuser_url(), autocommit=True) as conn:
        conn.execute("CREATE DATABASE template_redrive OWNER redrive")
    url = postgres.database_url("template_redrive")
    with Database(url) as db:
        migrate(db)
    return url


@pytest.fixture
def fresh_url(postgres: EmbeddedPostgres, database_url: str) -> Iterator[str]:
    """The address of a fresh, migrated database of the test's own; dropped afterwards."""
    name = f"test_{next(_numbers)}"
    _copy_database(postgres, "template_redrive", name)
    yield postgres.database_url(name)
    _drop_database(postgres, name)


@pytest.fixture
def empty_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The address of an empty database without our schema; dropped afterwards."""
    name = f"empty_{next(_numbers)}"
    _copy_database(postgres, "template0", name)
    yield postgres.database_url(name)
    _drop_database(postgres, name)


@pytest.fixture
def db(fresh_url: str) -> Iterator[Database]:
    """A fresh, migrated database of the test's own."""
    with Database(fresh_url, max_size=16, name="test") as database:
        yield database


def _clear_up_after_killed_tests(place: Path) -> None:
    """Stop servers, and remove their folders, whose test process is gone: nobody else would."""
    for folder in place.glob(f"{_PREFIX}*"):
        owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if folder.stat().st_uid != os.geteuid() or not owner.isdigit() or postmaster.alive(int(owner)):
            continue
        pid = postmaster.find(folder / "postgres")
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)


def _memory_folder() -> str | None:
    """Return a folder in memory where there is one with room: copies of databases are files to write."""
    folder = Path("/dev/shm")
    return str(folder) if folder.is_dir() and shutil.disk_usage(folder).free > 2 * 2**30 else None


def _copy_database(postgres: EmbeddedPostgres, template: str, name: str) -> None:
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER redrive STRATEGY file_copy")
    with psycopg.connect(postgres.superuser_url(), autocommit=True) as conn:
        conn.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))


def _drop_database(postgres: EmbeddedPostgres, name: str) -> None:
    with psycopg.connect(postgres.superuser_url(), autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Start ``redrive up`` (or ``serve``, ``worker``) as a process: ``launch("up", "--workers", "1")``."""
    yield from launching(tmp_path)


#: Files whose tests start, kill and await processes: too slow for every day, so `make check` leaves them out.
SLOW = {
    "test_apart.py",
    "test_crash.py",
    "test_deletion_crash.py",
    "test_deletion_storms.py",
    "test_drs.py",
    "test_flow_with_poseidon_and_curl.py",
    "test_fuzz.py",
    "test_gateway_poseidon.py",
    "test_late_workers.py",
    "test_quickstart.py",
    "test_replication_page.py",
    "test_storage_concurrency.py",
    "test_storage_crash.py",
    "test_up.py",
    "test_up_workspaces.py",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow files; leave out what needs root where we are not."""
    for item in items:
        if item.path.name in SLOW:
            item.add_marker(pytest.mark.slow)
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="needs root"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what did not run for want of root: a green run without it proves less."""
    left_out = sorted(
        {
            report.nodeid
            for report in terminalreporter.getreports("skipped")
            if isinstance(report.longrepr, tuple) and "needs root" in report.longrepr[2]
        }
    )
    if left_out:
        terminalreporter.section("DID NOT RUN: these need root", sep="!", red=True, bold=True)
        for name in left_out:
            terminalreporter.line(name)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A data folder of its own, nothing in it yet."""
    return Settings(data_dir=tmp_path / "D")


@pytest.fixture
def sealer(db: Database, settings: Settings) -> Sealer:
    """The master key's sealer, after a first start."""
    return first_start(db, settings)


@pytest.fixture
def credentials(sealer: Sealer, settings: Settings) -> Credentials:
    """The administrator's, as the first start wrote them."""
    found = read_credentials(credentials_file(settings))
    assert found is not None
    return found


@pytest.fixture
def authenticator(db: Database, sealer: Sealer) -> Authenticator:
    """What tells callers apart."""
    return Authenticator(db, sealer)

"""Brings a database to the schema of this program: ``migrations/NNNN_name.sql``, forward only, in order.

Guarantees: one process migrates at a time (an advisory lock; the others wait and find the work done); each
file is applied in a transaction of its own, together with its record in ``schema_migrations``.

Refuses: a schema newer than the program, a file that was changed after it was applied, PostgreSQL before 15.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import psycopg

from redrive.database.pool import Database, Row
from redrive.errors import Problem, ProblemCode

FOLDER = Path(__file__).parent / "migrations"
OLDEST_SERVER = 15

_NAME = re.compile(r"^(\d{4})_([a-z0-9_]+)\.sql$")
_LOCK = 0x7265_6472_6976_65  # "redrive": the same in every program version

_CREATE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of the sequence."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Of the file's text; tells a file that was edited after it was applied."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations(folder: Path = FOLDER) -> tuple[Migration, ...]:
    """Return all migrations of this program in their order; ValueError where two carry one number."""
    found: dict[int, Migration] = {}
    for path in sorted(folder.glob("*.sql")):
        match = _NAME.match(path.name)
        if match is None:
            raise ValueError(f"not a migration's file name: {path.name}")
        version = int(match[1])
        if version in found:
            raise ValueError(f"two migrations have number {match[1]}")
        found[version] = Migration(version, match[2], path.read_text(encoding="utf-8"))
    return tuple(found.values())


def migrate(db: Database, folder: Path = FOLDER) -> list[str]:
    """Apply what is missing and return its names; safe to repeat and to call from several processes."""
    wanted = migrations(folder)
    with db.connect() as conn:
        _refuse_old_server(conn)
        if not _missing(conn, wanted):
            return []
        conn.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        try:
            conn.execute(_CREATE)
            missing = _missing(conn, wanted)
            for migration in missing:
                _apply(conn, migration)
        finally:
            if not conn.broken:
                conn.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])
    return [f"{migration.version:04}_{migration.name}" for migration in missing]


def _missing(conn: psycopg.Connection[Row], wanted: tuple[Migration, ...]) -> list[Migration]:
    if conn.execute("SELECT 1 WHERE to_regclass('schema_migrations') IS NULL").fetchone():
        return list(wanted)
    applied = {
        row.version: row.checksum
        for row in conn.execute("SELECT version, checksum FROM schema_migrations ORDER BY version")
    }
    unknown = sorted(applied.keys() - {migration.version for migration in wanted})
    if unknown:
        raise Problem(
            ProblemCode.CONFLICT,
            f"the database's schema is newer than this program: it has migration {unknown[-1]:04}",
            hint="start the program version that wrote it, or a newer one; a schema never goes back",
            reason="schema_newer",
        )
    for migration in wanted:
        if applied.get(migration.version, migration.checksum) != migration.checksum:
            raise Problem(
                ProblemCode.CONFLICT,
                f"migration {migration.version:04}_{migration.name} was changed after it was applied here",
                hint="before the first release: start on an empty data folder or database",
                reason="schema_changed",
            )
    return [migration for migration in wanted if migration.version not in applied]


def _apply(conn: psycopg.Connection[Row], migration: Migration) -> None:
    with conn.transaction():
        conn.execute(migration.sql)
        conn.execute(
            "INSERT INTO schema_migrations (version, name, checksum) VALUES (%s, %s, %s)",
            [migration.version, migration.name, migration.checksum],
        )


def _refuse_old_server(conn: psycopg.Connection[Row]) -> None:
    major = conn.info.server_version // 10_000
    if major < OLDEST_SERVER:
        raise Problem(
            ProblemCode.INVALID,
            f"PostgreSQL {major} is too old: {OLDEST_SERVER} or newer is needed",
            hint="upgrade the server behind --database-url, or start without it to use the embedded one",
            reason="server_too_old",
        )

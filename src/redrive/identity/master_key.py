"""The master key and its database: made together, checked at every start, rotated.

``open_sealer`` is the only way in: on an empty database it makes the key (or takes the file that is there)
and stores a canary; later it refuses a key that does not open the canary, and a missing file. It is safe
when several processes start at once.

``rotate`` puts a new key in front of the file and seals everything again with it; the old key stays in the
file, so that other machines can take over the file in peace, until ``prune`` seals again what they still
sealed with the old one and drops it. Both are safe to repeat after a crash.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from redrive.database import Database
from redrive.errors import Problem, ProblemCode
from redrive.identity import sealing
from redrive.identity.sealing import SealBroken, Sealer
from redrive.settings import Settings

#: Held while the key file or the first account is made ("redrive" and the purpose, as a number).
START_LOCK = 0x72656472_00000002
_CANARY_PLACE = "master_key_canary.sealed/canary"
_CANARY = b"this database belongs to this master key"
_BATCH_ROWS = 500


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A column of sealed values; ``row`` is the key column whose text ends each value's place."""

    table: str
    row: str
    column: str

    def place(self, row: object) -> str:
        """Return the place of the value in the row named ``row``."""
        return f"{self.table}.{self.column}/{row}"


KEY_SECRETS = SealedColumn("key_pairs", "id", "secret")
SERVER_KEYS = SealedColumn("server_keys", "name", "private_key")
DATA_KEYS = SealedColumn("tenant_keys", "tenant_id", "sealed")
_CANARIES = SealedColumn("master_key_canary", "name", "sealed")

#: What identity seals. A rotation takes the whole list of the program (see ``redrive keys rotate``).
SEALED_COLUMNS = (KEY_SECRETS, SERVER_KEYS, DATA_KEYS, _CANARIES)


def key_file(settings: Settings) -> Path:
    """Return where the master key is: the named file, or ``master.key`` in the data folder."""
    return Path(settings.master_key_file or Path(settings.data_dir) / "master.key")


def open_sealer(db: Database, settings: Settings) -> Sealer:
    """Return the sealer of this database; make key and canary where both are missing.

    Raises ``Problem`` (reason ``master_key_missing`` or ``master_key_mismatch``) where the key does not fit.
    """
    path = key_file(settings)
    with db.transaction() as conn:
        conn.execute("select pg_advisory_xact_lock(%s)", (START_LOCK,))
        found = conn.execute("select sealed from master_key_canary").fetchone()
        if not path.exists():
            if found is not None:
                raise _missing(path)
            sealing.write_key_file(path, [sealing.new_key()])
        if settings.master_key_file is None:
            sealing.read_key_file(path, private=True)
        sealer = Sealer.from_file(path)
        if found is None:
            sealed = sealer.seal(_CANARY, _CANARY_PLACE)
            conn.execute("insert into master_key_canary (name, sealed) values ('canary', %s)", (sealed,))
        else:
            _check(sealer, found.sealed, path)
    return sealer


def rotate(db: Database, settings: Settings, columns: Sequence[SealedColumn] = SEALED_COLUMNS) -> int:
    """Make a new master key, seal everything with it and return the number of values sealed again."""
    path = key_file(settings)
    open_sealer(db, settings)
    with db.transaction() as conn:
        conn.execute("select pg_advisory_xact_lock(%s)", (START_LOCK,))
        sealing.write_key_file(path, [sealing.new_key(), *sealing.read_key_file(path)])
        return _seal_again(conn, Sealer.from_file(path), columns)


def prune(db: Database, settings: Settings, columns: Sequence[SealedColumn] = SEALED_COLUMNS) -> int:
    """Seal again what older keys sealed, drop those keys from the file and return the number of values."""
    path = key_file(settings)
    sealer = open_sealer(db, settings)
    with db.transaction() as conn:
        conn.execute("select pg_advisory_xact_lock(%s)", (START_LOCK,))
        count = _seal_again(conn, sealer, columns)
    # Only after the commit: a crash in between leaves a file that opens everything.
    sealing.write_key_file(path, sealing.read_key_file(path)[:1])
    return count


def _seal_again(conn: psycopg.Connection[Any], sealer: Sealer, columns: Sequence[SealedColumn]) -> int:
    return sum(_seal_column(conn, sealer, column) for column in columns)


def _seal_column(conn: psycopg.Connection[Any], sealer: Sealer, column: SealedColumn) -> int:
    names = {
        "table": sql.Identifier(column.table),
        "row": sql.Identifier(column.row),
        "column": sql.Identifier(column.column),
    }
    old = sql.SQL(
        "select {row} as row, {column} as sealed from {table}"
        " where substr({column}, 2, 8) <> %s order by {row} limit %s for update"
    ).format(**names)
    new = sql.SQL("update {table} set {column} = %s where {row} = %s").format(**names)
    count = 0
    while rows := conn.execute(old, (sealer.key_id, _BATCH_ROWS)).fetchall():
        for row in rows:
            place = column.place(row.row)
            conn.execute(new, (sealer.seal(sealer.open(row.sealed, place), place), row.row))
        count += len(rows)
    return count


def _check(sealer: Sealer, canary: bytes, path: Path) -> None:
    try:
        fits = sealer.open(canary, _CANARY_PLACE) == _CANARY
    except SealBroken:
        fits = False
    if not fits:
        raise Problem(
            ProblemCode.UNAVAILABLE,
            f"the master key in {path} does not fit this database, which needs key"
            f" {sealing.sealed_with(canary).hex()}",
            hint="use the key file that was made with this database (also after restoring a backup)",
            reason="master_key_mismatch",
        )


def _missing(path: Path) -> Problem:
    return Problem(
        ProblemCode.UNAVAILABLE,
        f"the master key file {path} is missing, but this database holds values sealed with a master key",
        hint="put the file back, or name it with --master-key-file; all machines need the same one",
        reason="master_key_missing",
    )

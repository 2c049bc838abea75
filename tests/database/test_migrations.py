"""The schema: brought up to date once, whoever does it, and never backwards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from redrive.database import Database, migrate, migrations
from redrive.errors import Problem


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0001_notes.sql").write_text("CREATE TABLE notes (text text); CREATE INDEX ON notes (text);")
    (tmp_path / "0002_more.sql").write_text("ALTER TABLE notes ADD n int;")
    return tmp_path


def test_all_is_applied_in_order_and_only_once(empty_url: str, folder: Path) -> None:
    with Database(empty_url) as db:
        assert migrate(db, folder) == ["0001_notes", "0002_more"]
        assert migrate(db, folder) == []
        (folder / "0003_last.sql").write_text("INSERT INTO notes VALUES ('a', 1);")
        assert migrate(db, folder) == ["0003_last"]
        assert db.run(lambda conn: conn.execute("SELECT text, n FROM notes").fetchall()) == [("a", 1)]


def test_a_migration_that_fails_leaves_nothing_of_itself(empty_url: str, folder: Path) -> None:
    (folder / "0002_more.sql").write_text("ALTER TABLE notes ADD n int; SELECT nothing;")
    with Database(empty_url) as db:
        with pytest.raises(psycopg.errors.UndefinedColumn):
            migrate(db, folder)
        (folder / "0002_more.sql").write_text("ALTER TABLE notes ADD n int;")
        assert migrate(db, folder) == ["0002_more"]


def test_a_newer_schema_is_refused(empty_url: str, folder: Path) -> None:
    with Database(empty_url) as db:
        migrate(db, folder)
        (folder / "0002_more.sql").unlink()
        with pytest.raises(Problem, match="newer than this program: it has migration 0002") as refused:
            migrate(db, folder)
    assert refused.value.reason == "schema_newer"


def test_a_migration_that_was_edited_after_it_ran_is_refused(empty_url: str, folder: Path) -> None:
    with Database(empty_url) as db:
        migrate(db, folder)
        (folder / "0001_notes.sql").write_text("CREATE TABLE notes (text bytea);")
        with pytest.raises(Problem, match="0001_notes was changed"):
            migrate(db, folder)


def test_two_files_with_one_number_are_a_mistake(folder: Path) -> None:
    (folder / "0002_other.sql").write_text("SELECT 1;")
    with pytest.raises(ValueError, match="two migrations have number 0002"):
        migrations.migrations(folder)


def test_processes_that_start_at_once_migrate_once(empty_url: str) -> None:
    script = (
        "import sys; from redrive.database import Database, migrate\n"
        "with Database(sys.argv[1]) as db: print(len(migrate(db)))"
    )
    run = [sys.executable, "-c", script, empty_url]
    children = [subprocess.Popen(run, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    applied = sorted(int(child.communicate()[0]) for child in children)
    assert [child.returncode for child in children] == [0] * 4
    assert applied == [0, 0, 0, len(migrations.migrations())]

"""The loader of named SQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from redrive.database import Queries

TEXT = """-- All about notes.

-- name: find_note
-- Finds one.
-- By its id.
SELECT text FROM notes
-- a reason stays
WHERE id = %(id)s;

-- name: drop_notes
DROP TABLE notes
"""


def test_each_block_is_a_statement() -> None:
    queries = Queries(TEXT)
    assert queries.names == ("find_note", "drop_notes")
    assert queries.find_note == "SELECT text FROM notes\n-- a reason stays\nWHERE id = %(id)s"
    assert queries.drop_notes == "DROP TABLE notes"


def test_a_file_lies_beside_its_module(tmp_path: Path) -> None:
    (tmp_path / "queries.sql").write_text(TEXT)
    assert Queries.beside(str(tmp_path / "module.py")).drop_notes == "DROP TABLE notes"


def test_an_unknown_name_is_named() -> None:
    with pytest.raises(AttributeError, match="no query 'find_notes' in x"):
        _ = Queries(TEXT, "x").find_notes


@pytest.mark.parametrize(
    "text", ["-- name: a\n-- name: b\nSELECT 1", "-- name: a\nSELECT 1\n-- name: a\nSELECT 2"]
)
def test_an_empty_or_repeated_block_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="query 'a'"):
        Queries(text)

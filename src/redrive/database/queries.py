"""Named SQL: ``queries.sql`` beside the code, read once.

A file is blocks of::

    -- name: claim_units
    -- What it does, in a line or two.
    SELECT ...

and ``queries.claim_units`` is the statement, without its comments at the top and the last semicolon.
Parameters are psycopg's ``%(name)s``; a literal percent sign is written ``%%`` in a statement that has any.
"""

from __future__ import annotations

import re
from pathlib import Path

_NAME = re.compile(r"^--\s*name:\s*([a-z][a-z0-9_]*)\s*$", re.MULTILINE)


class Queries:
    """The named statements of one file, as attributes."""

    def __init__(self, text: str, source: str = "queries") -> None:
        self._source = source
        self._statements = _parse(text, source)

    @classmethod
    def beside(cls, module_file: str, name: str = "queries.sql") -> Queries:
        """Load ``name`` from the folder of ``module_file`` (pass ``__file__``)."""
        path = Path(module_file).parent / name
        return cls(path.read_text(encoding="utf-8"), str(path))

    @property
    def names(self) -> tuple[str, ...]:
        """The names in the order of the file."""
        return tuple(self._statements)

    def __getattr__(self, name: str) -> str:
        try:
            return self.__dict__["_statements"][name]  # type: ignore[no-any-return]
        except KeyError:
            raise AttributeError(f"no query {name!r} in {self.__dict__.get('_source')}") from None


def _parse(text: str, source: str) -> dict[str, str]:
    pieces = _NAME.split(text)
    statements: dict[str, str] = {}
    for name, body in zip(pieces[1::2], pieces[2::2], strict=True):
        lines = body.strip().splitlines()
        while lines and (not lines[0].strip() or lines[0].lstrip().startswith("--")):
            lines.pop(0)
        statement = "\n".join(lines).strip().removesuffix(";").rstrip()
        if not statement:
            raise ValueError(f"query {name!r} in {source} is empty")
        if name in statements:
            raise ValueError(f"query {name!r} stands twice in {source}")
        statements[name] = statement
    return statements

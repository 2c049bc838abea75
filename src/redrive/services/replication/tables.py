"""What there is to move: the tables of a PostgreSQL source, their columns, their keys, and ranges of these.

A chunk is a range of a table's key, ``from`` included, ``to`` not; the first and the last are open, so that together
they cover every row there is, or will be. A table without a key is one chunk. Bounds are texts, cast by the server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection, sql

from redrive.database import Queries
from redrive.services.replication.model import Chosen

queries = Queries.beside(__file__, "tables.sql")

#: Rows of a chunk. Smaller ones cost a round trip more each; larger ones are more to do again after a kill.
CHUNK_ROWS = 500_000


@dataclass(frozen=True, slots=True)
class Table:
    """A table to move. ``key``: names and types of the columns of its key; ``plain``: the binary format is safe."""

    schema: str
    name: str
    columns: tuple[str, ...]
    key: tuple[tuple[str, str], ...]
    plain: bool
    rows: int

    @property
    def label(self) -> str:
        """Return its name for people."""
        return f"{self.schema}.{self.name}"

    @property
    def named(self) -> sql.Identifier:
        """Return its name for SQL."""
        return sql.Identifier(self.schema, self.name)


def tables(conn: Connection[Any], objects: Sequence[Chosen] | None) -> list[Table]:
    """Return the ordinary tables of a database, or those chosen, largest first."""
    chosen = (
        None if objects is None else [f"{each.schema}\0{each.name}".replace("\0", chr(1)) for each in objects]
    )
    return [
        Table(
            row.schema,
            row.name,
            tuple(row.columns),
            tuple(zip(row.key_columns or (), row.key_types or (), strict=True)),
            bool(row.plain),
            int(row.rows),
        )
        for row in conn.execute(queries.tables, {"chosen": chosen}).fetchall()
    ]


def bounds(conn: Connection[Any], table: Table, chunk_rows: int) -> list[list[str]]:
    """Return the bounds between the chunks of a table, in order: the key of every ``chunk_rows``-th row, as texts."""
    if not table.key:
        return []
    names = [sql.Identifier(name) for name, _ in table.key]
    texts = sql.SQL(", ").join(sql.SQL("{}::text").format(name) for name in names)
    query = sql.SQL(
        "select array[{texts}] as bound from (select {names}, row_number() over (order by {names}) as place "
        "from only {table}) as numbered where place > 1 and (place - 1) %% {rows} = 0 order by place"
    ).format(texts=texts, names=sql.SQL(", ").join(names), table=table.named, rows=sql.Literal(chunk_rows))
    return [list(row.bound) for row in conn.execute(query, ()).fetchall()]


def chunks(found: Sequence[list[str]]) -> list[tuple[list[str] | None, list[str] | None]]:
    """Return the ranges between bounds; one that is open at both sides where there are none."""
    return list(zip([None, *found], [*found, None], strict=True))


def rows_of(spec: Mapping[str, Any]) -> sql.Composable:
    """Return the SELECT of a chunk's rows."""
    where = [
        sql.SQL("({names}) {sign} ({values})").format(
            names=sql.SQL(", ").join(sql.Identifier(name) for name, _ in spec["key"]),
            sign=sql.SQL(sign),
            values=sql.SQL(", ").join(
                sql.SQL("{}::").format(sql.Literal(text)) + sql.SQL(type_)
                for text, (_, type_) in zip(bound, spec["key"], strict=True)
            ),
        )
        for sign, bound in ((">=", spec["from"]), ("<", spec["to"]))
        if bound is not None
    ]
    select = sql.SQL("select {columns} from only {table}").format(
        columns=columns_of(spec), table=sql.Identifier(spec["schema"], spec["table"])
    )
    return select + sql.SQL(" where ") + sql.SQL(" and ").join(where) if where else select


def columns_of(spec: Mapping[str, Any]) -> sql.Composable:
    """Return the columns of a table, in order."""
    return sql.SQL(", ").join(sql.Identifier(name) for name in spec["columns"])

"""Rows from one PostgreSQL to another: COPY to COPY, in the binary format, never parsed here.

The driver hands over one message for each row; they are joined into pieces of ``PIECE_BYTES``, since a write for each
row would cost more than everything else together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import Connection, sql

from redrive.services.replication.tables import columns_of, rows_of

PIECE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy moved."""

    rows: int
    bytes: int


class Stopped(Exception):
    """A copy was asked to stop; its transaction is to be rolled back."""


def copy_rows(
    source: Connection[Any], target: Connection[Any], spec: Mapping[str, Any], stop: Callable[[], bool]
) -> Copied:
    """Copy a chunk, in the transactions that both connections are in; ``stop`` is asked now and then."""
    format_ = sql.SQL("(format binary)" if spec["plain"] else "(format text)")
    read = sql.SQL("copy ({rows}) to stdout {format}").format(rows=rows_of(spec), format=format_)
    # A table may have no columns, or generated ones only: then none are named.
    named = sql.SQL(" ({})").format(columns_of(spec)) if spec["columns"] else sql.SQL("")
    write = sql.SQL("copy {table}{columns} from stdin {format}").format(
        table=sql.Identifier(spec["to_schema"], spec["to_table"]), columns=named, format=format_
    )
    moved = 0
    piece: list[bytes | bytearray | memoryview] = []
    size = 0
    with source.cursor() as reader, target.cursor() as writer:
        with reader.copy(read) as rows, writer.copy(write) as sink:
            for row in rows:
                piece.append(row)  # each has memory of its own, which libpq gave it
                size += len(row)
                if size >= PIECE_BYTES:
                    sink.write(b"".join(piece))
                    moved, size = moved + size, 0
                    piece.clear()
                    if stop():
                        raise Stopped
            sink.write(b"".join(piece))
        return Copied(writer.rowcount, moved + size)

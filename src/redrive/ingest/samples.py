"""The sample table: the one form in which samples travel between ingest, storage and reads.

::

    asset | point | time_ms | number? | text? | kind | quality? | seq | stored_ms

``kind`` says what a value is. A double is in ``number``; an integer too, unless it is beyond 2**53, then its
digits are in ``text``; a boolean is 0 or 1 in ``number``; a string and any other JSON are in ``text``. A batch
in the log has all columns but ``seq`` and ``stored_ms``, which its row tells.

Everything here works on whole columns. Names are checked once per distinct name, not per row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Any

import numpy as np
import pyarrow as pa

from redrive.errors import FieldProblem, Problem, ProblemCode, invalid

Array = np.ndarray[Any, np.dtype[Any]]


class ValueKind(IntEnum):
    """What a value is."""

    DOUBLE = 0
    INTEGER = 1
    BOOLEAN = 2
    STRING = 3
    JSON = 4


NAME = pa.dictionary(pa.int32(), pa.string())

#: What a batch in the log holds.
BATCH = pa.schema(
    [
        pa.field("asset", NAME, nullable=False),
        pa.field("point", NAME, nullable=False),
        pa.field("time_ms", pa.int64(), nullable=False),
        pa.field("number", pa.float64()),
        pa.field("text", pa.string()),
        pa.field("kind", pa.int8(), nullable=False),
        pa.field("quality", pa.int32()),
    ]
)

#: What readers get.
SAMPLES = BATCH.append(pa.field("seq", pa.int64(), nullable=False)).append(
    pa.field("stored_ms", pa.int64(), nullable=False)
)

#: 1900-01-01 to 2262-01-01, in epoch milliseconds, the end excluded.
EARLIEST_MS = -2_208_988_800_000
END_MS = 9_214_646_400_000

NAME_LENGTH = 128
TEXT_LENGTH = 65_536
#: Integers up to here are exact as doubles.
EXACT = 2**53

_ASSET = re.compile(r"[^,\s\x00-\x1f\x7f](?:[^,\x00-\x1f\x7f]{0,126}[^,\s\x00-\x1f\x7f])?")
_POINT = re.compile(r"[^,()\s\x00-\x1f\x7f](?:[^,()\x00-\x1f\x7f]{0,126}[^,()\s\x00-\x1f\x7f])?")
_RULE = f"1 to {NAME_LENGTH} characters without commas, control characters and blanks at the ends"

_SEEN_LIMIT = 200_000
_seen_assets: set[str] = set()
_seen_points: set[str] = set()


def check_assets(names: Iterable[str], field: str = "asset") -> None:
    """Refuse asset ids that could not be named in a comma-separated list; remembers the good ones."""
    _check_names(names, _seen_assets, _ASSET, field, _RULE)


def check_points(names: Iterable[str], field: str = "point") -> None:
    """Refuse point ids; they also stand in expressions such as ``avg(temp)``, so no parentheses."""
    _check_names(names, _seen_points, _POINT, field, f"{_RULE}, and without parentheses")


def _check_names(
    names: Iterable[str], seen: set[str], rule: re.Pattern[str], field: str, expected: str
) -> None:
    fresh = set(names) - seen
    if not fresh:
        return
    for name in sorted(fresh):
        if rule.fullmatch(name) is None or not _is_unicode(name):
            raise invalid(field, expected, ascii(name))
    if len(seen) > _SEEN_LIMIT:
        seen.clear()
    seen.update(fresh)


def _is_unicode(name: str) -> bool:
    return name.isascii() or not any("\ud800" <= character <= "\udfff" for character in name)


def check_times(times: Array, field: str = "time") -> None:
    """Refuse instants outside what can be stored."""
    if len(times) and (int(times.min()) < EARLIEST_MS or int(times.max()) >= END_MS):
        bad = times[(times < EARLIEST_MS) | (times >= END_MS)][0]
        raise invalid(field, "epoch milliseconds from 1900 to 2262", int(bad))


def check_numbers(numbers: pa.Array, field: str = "value") -> None:
    """Refuse numbers that are not finite."""
    values = (
        numbers.fill_null(0.0).to_numpy(zero_copy_only=False) if numbers.null_count else numbers.to_numpy()
    )
    if not np.isfinite(values).all():
        raise invalid(field, "a finite number", float(values[~np.isfinite(values)][0]))


def check_texts(texts: pa.Array, field: str = "value") -> None:
    """Refuse texts that are too long, or hold a NUL character, which the latest store cannot keep."""
    if texts.null_count == len(texts):
        return
    ends = np.frombuffer(texts.buffers()[1], dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]
    longest = int(np.diff(ends).max())
    if longest > TEXT_LENGTH:
        raise Problem(
            ProblemCode.TOO_LARGE,
            f"{field}: a text of {longest} bytes; {TEXT_LENGTH} are allowed",
            fields=(FieldProblem(field, f"at most {TEXT_LENGTH} bytes", f"{longest} bytes"),),
        )
    if not np.frombuffer(texts.buffers()[2], dtype=np.uint8)[ends[0] : ends[-1]].all():
        raise invalid(field, "a text without NUL characters")


def names(column: pa.ChunkedArray | pa.Array) -> list[str]:
    """Return the distinct names that a dictionary column can hold."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    if len(chunks) == 1:
        found: list[str] = chunks[0].dictionary.to_pylist()
        return found
    return list(dict.fromkeys(name for chunk in chunks for name in chunk.dictionary.to_pylist()))


def encode_names(items: Sequence[str]) -> pa.DictionaryArray:
    """Return a dictionary array of ``items``, without going through a text per row."""
    index: dict[str, int] = {name: code for code, name in enumerate(dict.fromkeys(items))}
    codes = np.fromiter(map(index.__getitem__, items), np.int32, len(items))
    return dictionary_array(codes, list(index))


def dictionary_array(codes: Array, words: Sequence[str]) -> pa.DictionaryArray:
    """Return the dictionary array of ``codes`` into ``words``."""
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(words, pa.string()))


def codes_of(column: pa.ChunkedArray | pa.Array) -> tuple[Array, list[str]]:
    """Return the codes of a dictionary column of one chunk, and its words."""
    array = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    return array.indices.to_numpy(zero_copy_only=False), array.dictionary.to_pylist()


def joined(tables: Sequence[pa.Table]) -> pa.Table:
    """Return the rows of all ``tables`` in order, in one chunk per column, with one dictionary per name column."""
    if len(tables) == 1 and all(column.num_chunks == 1 for column in tables[0].columns):
        return tables[0]
    table = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
    if table.num_rows == 0:
        return pa.table([pa.array([], field.type) for field in table.schema], schema=table.schema)
    return table


def without_repeats(table: pa.Table) -> pa.Table:
    """Return ``table`` (one chunk) with only the last row of each (asset, point, time), in order."""
    rows = table.num_rows
    if rows < 2:
        return table
    series = series_codes(table)
    time = table["time_ms"].chunk(0).to_numpy()
    low = int(time.min())
    span = int(time.max()) - low + 1
    if (int(series.max()) + 1) * span < 2**62:
        key = series * np.int64(span) + (time - low)
        # Sorting alone is ten times as fast as an argsort, and repeats are rare.
        ordered = np.sort(key)
        if not (ordered[1:] == ordered[:-1]).any():
            return table
        order = np.argsort(key, kind="stable")
        same = key[order][1:] == key[order][:-1]
    else:
        order = np.lexsort((time, series))
        same = (series[order][1:] == series[order][:-1]) & (time[order][1:] == time[order][:-1])
        if not same.any():
            return table
    kept = np.sort(order[np.append(~same, True)])
    return table.take(pa.array(kept))


def series_codes(table: pa.Table) -> Array:
    """Return one number per row (one chunk) that tells (asset, point) pairs apart."""
    assets, _ = codes_of(table["asset"])
    points, words = codes_of(table["point"])
    return assets.astype(np.int64) * max(1, len(words)) + points


def with_place(batch: pa.Table, seq: int, stored_ms: int) -> pa.Table:
    """Return a batch as samples: all its rows carry ``seq`` and ``stored_ms``."""
    rows = batch.num_rows
    columns = [*batch.columns, pa.array(np.full(rows, seq)), pa.array(np.full(rows, stored_ms))]
    return pa.table(columns, schema=SAMPLES)

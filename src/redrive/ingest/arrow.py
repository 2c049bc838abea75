"""Arrow IPC: batches into and out of the log, and streams that clients send.

A client's stream has the columns ``asset``, ``point``, ``time`` and ``value`` (any number, boolean or text), or
instead of ``value`` the three ``number``, ``text``, ``kind`` of a sample table; and perhaps ``quality``. It is
not trusted: sizes are looked at before anything is decompressed, and what was read is validated in full.
"""

from __future__ import annotations

import struct

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redrive.errors import FieldProblem, Problem, ProblemCode, invalid
from redrive.ingest.rows import check_rows
from redrive.ingest.samples import (
    BATCH,
    EXACT,
    NAME,
    ValueKind,
    check_assets,
    check_numbers,
    check_points,
    check_texts,
    check_times,
    joined,
)
from redrive.ingest.untrusted import memory_of

#: The most memory that one request's stream may need.
STREAM_BYTES = 128 * 1024 * 1024

_LZ4 = pa.ipc.IpcWriteOptions(compression="lz4")
_FORM = "asset, point, time, value and perhaps quality; or number, text, kind instead of value"


def encode(batch: pa.Table) -> pa.Buffer:
    """Return a batch (one chunk) as it is stored."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=_LZ4) as writer:
        writer.write_table(batch)
    return sink.getvalue()


def decode(stored: bytes | memoryview) -> pa.Table:
    """Return a stored batch."""
    table: pa.Table = pa.ipc.open_stream(pa.py_buffer(stored)).read_all()
    return table


def stream_batch(body: bytes) -> pa.Table:
    """Return the batch in a client's Arrow IPC stream, checked; a Problem says what is wrong."""
    table = _read(body)
    if table.num_rows == 0:
        raise invalid("body", "at least one sample")
    return batch_of(table)


def batch_of(table: pa.Table, *, floor_times: bool = False) -> pa.Table:
    """Return a table with a client's columns as a checked batch. ``floor_times`` drops parts of milliseconds."""
    try:
        return _batch_of(table, floor_times)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise invalid("columns", "values that fit a sample", str(error).partition("\n")[0]) from None


def _batch_of(table: pa.Table, floor_times: bool) -> pa.Table:
    given = set(table.column_names)
    known = given - {"quality"}
    if known not in (
        {"asset", "point", "time", "value"},
        {"asset", "point", "time", "number", "text", "kind"},
    ):
        raise invalid("columns", _FORM, ", ".join(table.column_names))
    if len(given) != table.num_columns:
        raise invalid("columns", "each name once", ", ".join(table.column_names))
    asset, point = _names(table, "asset"), _names(table, "point")
    time = _times(table, floor_times)
    number, text, kind = _values(table) if "value" in given else _given_values(table)
    check_assets(asset.dictionary.to_pylist())
    check_points(point.dictionary.to_pylist())
    check_times(time.to_numpy())
    check_numbers(number)
    check_texts(text)
    quality = _quality(table) if "quality" in given else pa.nulls(table.num_rows, pa.int32())
    return pa.table([asset, point, time, number, text, kind, quality], schema=BATCH)


def _read(body: bytes) -> pa.Table:
    try:
        needed = memory_of(body)
        if needed > STREAM_BYTES:
            raise _too_large(needed)
        with pa.ipc.open_stream(pa.py_buffer(body)) as reader:
            batches, rows = [], 0
            for batch in reader:
                rows += batch.num_rows
                check_rows(rows)
                batch.validate(full=True)
                batches.append(batch)
            return pa.Table.from_batches(batches, reader.schema)
    except (pa.ArrowException, OSError, struct.error, IndexError, UnicodeDecodeError) as error:
        raise invalid("body", "an Arrow IPC stream", str(error).partition("\n")[0]) from None


def _too_large(needed: int) -> Problem:
    return Problem(
        ProblemCode.TOO_LARGE,
        f"the stream needs {needed} bytes of memory; {STREAM_BYTES} are allowed",
        hint="send several requests, or import a file",
        fields=(FieldProblem("body", f"at most {STREAM_BYTES} bytes", f"{needed} bytes"),),
    )


def _names(table: pa.Table, name: str) -> pa.DictionaryArray:
    column = table[name]
    if column.null_count:
        raise invalid(name, "a name in every row", "null")
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not _is_text(kind):
        raise invalid(name, "a column of texts", column.type)
    if not pa.types.is_dictionary(column.type):
        column = column.cast(pa.string()).dictionary_encode()
    elif column.type != NAME:
        column = pa.chunked_array([_plain_dictionary(chunk) for chunk in column.chunks], NAME)
    return _one(column)


def _plain_dictionary(chunk: pa.DictionaryArray) -> pa.DictionaryArray:
    words = chunk.dictionary.cast(pa.string())
    if words.null_count:
        raise invalid("dictionary", "names", "null")
    return pa.DictionaryArray.from_arrays(chunk.indices.cast(pa.int32()), words)


def _times(table: pa.Table, floor: bool) -> pa.Array:
    column = _one(table["time"])
    if column.null_count:
        raise invalid("time", "an instant in every row", "null")
    kind = column.type
    if pa.types.is_integer(kind):
        return column.cast(pa.int64())
    if pa.types.is_date32(kind):
        return column.cast(pa.date64()).view(pa.int64())
    if not pa.types.is_timestamp(kind):
        raise invalid("time", "epoch milliseconds or timestamps", kind)
    ticks = column.view(pa.int64())
    per_ms = {"us": 1000, "ns": 1_000_000}.get(kind.unit)
    if per_ms is None:
        return pc.multiply_checked(ticks, 1000 if kind.unit == "s" else 1)
    values = ticks.to_numpy()
    if not floor and (values % per_ms).any():
        raise invalid("time", "whole milliseconds", f"parts of milliseconds in a column of {kind}")
    return pa.array(values // per_ms)


def _values(table: pa.Table) -> tuple[pa.Array, pa.Array, pa.Array]:
    column = _one(table["value"])
    if column.null_count:
        raise invalid("value", "a value in every row", "null")
    rows, kind = len(column), column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    no_text = pa.nulls(rows, pa.string())
    if pa.types.is_floating(kind):
        return column.cast(pa.float64()), no_text, _all(rows, ValueKind.DOUBLE)
    if pa.types.is_decimal(kind):
        return column.cast(pa.float64()), no_text, _all(rows, ValueKind.DOUBLE)
    if pa.types.is_boolean(kind):
        return column.cast(pa.int8()).cast(pa.float64()), no_text, _all(rows, ValueKind.BOOLEAN)
    if pa.types.is_integer(kind):
        return *integer_columns(column), _all(rows, ValueKind.INTEGER)
    if _is_text(kind):
        return pa.nulls(rows, pa.float64()), column.cast(pa.string()), _all(rows, ValueKind.STRING)
    raise invalid("value", "numbers, booleans or texts", kind)


def integer_columns(column: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return number and text of integers: those beyond 2**53 as digits."""
    if column.type.bit_width < 64 or len(column) == 0:
        return column.cast(pa.float64()), pa.nulls(len(column), pa.string())
    span = pc.min_max(column)
    if span["min"].as_py() >= -EXACT and span["max"].as_py() <= EXACT:
        return column.cast(pa.float64()), pa.nulls(len(column), pa.string())
    exact = pc.less_equal(column, pa.scalar(EXACT, column.type))
    if pa.types.is_signed_integer(column.type):
        exact = pc.and_(exact, pc.greater_equal(column, pa.scalar(-EXACT, column.type)))
    number = pc.if_else(exact, column, pa.scalar(None, column.type)).cast(pa.float64())
    text = pc.if_else(exact, pa.scalar(None, pa.string()), column.cast(pa.string()))
    return number, text


def _given_values(table: pa.Table) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Return number, text, kind as they came, checked to be a value that ingest could have made."""
    try:
        number = _one(table["number"]).cast(pa.float64())
        text = _one(table["text"]).cast(pa.string())
        kind = _one(table["kind"]).cast(pa.int8())
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise invalid("columns", "number: doubles, text: texts, kind: integers", error) from None
    if kind.null_count:
        raise invalid("kind", "0 to 4", "null")
    kinds = kind.to_numpy()
    has_number = number.is_valid().to_numpy(zero_copy_only=False)
    has_text = text.is_valid().to_numpy(zero_copy_only=False)
    numeric = kinds <= ValueKind.BOOLEAN
    digits = kinds == ValueKind.INTEGER
    good = (kinds >= 0) & (kinds <= ValueKind.JSON) & (has_number != has_text)
    good &= (has_number == numeric) | (digits & has_text)
    if not good.all():
        raise invalid("kind", "number for 0 to 2, text for 3 and 4 (and for integers beyond 2**53)")
    _check_given(number, text, digits & has_text, digits & has_number, kinds)
    return number, text, kind


def _check_given(
    number: pa.Array, text: pa.Array, large: np.ndarray, whole: np.ndarray, kinds: np.ndarray
) -> None:
    numbers = number.fill_null(0.0).to_numpy(zero_copy_only=False)
    if (numbers[whole] % 1 != 0).any() or (np.abs(numbers[whole]) > EXACT).any():
        raise invalid("number", "a whole number up to 2**53 for kind 1")
    if not np.isin(numbers[kinds == ValueKind.BOOLEAN], (0.0, 1.0)).all():
        raise invalid("number", "0 or 1 for kind 2")
    if (
        large.any()
        and not pc.all(pc.match_substring_regex(text.filter(pa.array(large)), "^-?[0-9]{16,400}$")).as_py()
    ):
        raise invalid("text", "the digits of an integer for kind 1")


def _quality(table: pa.Table) -> pa.Array:
    column = _one(table["quality"])
    if not pa.types.is_integer(column.type) and not pa.types.is_null(column.type):
        raise invalid("quality", "a column of integers", column.type)
    try:
        quality = column.cast(pa.int32())
    except pa.ArrowException:
        quality = pa.array([-1], pa.int32())
    if (pc.min(quality).as_py() or 0) < 0:
        raise invalid("quality", "0 to 2147483647")
    return quality


def _all(rows: int, kind: ValueKind) -> pa.Array:
    return pa.array(np.full(rows, kind.value, np.int8))


def _is_text(kind: pa.DataType) -> bool:
    found: bool = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return found


def _one(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    return joined([pa.table({"column": column})])["column"].chunk(0)

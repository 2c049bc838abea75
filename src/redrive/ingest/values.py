"""From parsed JSON to a batch: values of any type become columns.

A value is a number, a boolean, a text, or any other JSON; or an object ``{"value": ..., "quality": n}`` and
nothing else in it. Integers stay exact at any size (see ``parse``). ``null`` is no value.

The way through is by column; only where something is wrong are rows looked at one by one, to name the first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from redrive.errors import Problem, invalid
from redrive.ingest.samples import (
    BATCH,
    EXACT,
    Array,
    ValueKind,
    check_assets,
    check_points,
    check_texts,
    check_times,
)

#: The most digits of an integer.
DIGITS = 400
#: Every digit becomes 0, so that a run of digits is found by a search for zeros, far faster than by a pattern.
_AS_ZEROS = bytes(48 if chr(code).isdigit() and code < 128 else 32 for code in range(256))
_LONG_RUN = b"0" * 18
_VALUE_KEYS = ({"value"}, {"value", "quality"})
_QUALITY_END = 2**31

Where = Callable[[int], str]


def parse(text: bytes) -> Any:
    """Return the JSON value of ``text``; a Problem where it is none. Integers are exact at any size."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise invalid("body", "valid JSON", str(error)) from None
    # The fast parser turns integers beyond 64 bits into doubles; only then is the slow one asked.
    if has_long_number(text):
        return json.loads(text, parse_int=_integer, parse_constant=_refuse_constant)
    return value


def has_long_number(text: bytes) -> bool:
    """Return whether ``text`` may hold an integer that the fast parser would round."""
    return _LONG_RUN in text.translate(_AS_ZEROS)


def _integer(digits: str) -> int:
    if len(digits) > DIGITS:
        raise invalid("value", f"an integer of at most {DIGITS} digits", f"{len(digits)} digits")
    return int(digits)


def _refuse_constant(word: str) -> float:
    raise invalid("value", "a finite number", word)


def batch(
    assets: pa.DictionaryArray,
    points: pa.DictionaryArray,
    times: Array,
    values: Sequence[Any],
    qualities: Sequence[Any] | None,
    where: Where,
) -> pa.Table:
    """Return the batch of parallel columns, checked. ``where(row)`` names a row in a refusal."""
    check_assets(assets.dictionary.to_pylist())
    check_points(points.dictionary.to_pylist())
    check_times(times)
    number, text, kind, quality = value_columns(values, qualities, where)
    return pa.table([assets, points, pa.array(times, pa.int64()), number, text, kind, quality], schema=BATCH)


def value_columns(
    values: Sequence[Any], qualities: Sequence[Any] | None, where: Where
) -> tuple[pa.Array, pa.Array, pa.Array, pa.Array]:
    """Return number, text, kind and quality of ``values``."""
    count = len(values)
    kinds_seen = set(map(type, values))
    if dict in kinds_seen:
        values, qualities = _opened(values, qualities)
        kinds_seen = set(map(type, values))
    quality = _quality_column(qualities, count, where)
    if kinds_seen <= {float}:
        number = pa.array(np.array(values, dtype=np.float64))
        return number, pa.nulls(count, pa.string()), pa.array(np.zeros(count, np.int8)), quality
    if kinds_seen <= {float, int}:
        columns = _numbers(values)
        if columns is not None:
            return *columns, quality
    return *_mixed(values, where), quality


def _opened(values: Sequence[Any], qualities: Sequence[Any] | None) -> tuple[list[Any], list[Any] | None]:
    """Take values and qualities out of value objects; other objects stay what they are."""
    opened = list(values)
    found: list[Any] | None = list(qualities) if qualities is not None else None
    for row, value in enumerate(values):
        if type(value) is dict and value.keys() in _VALUE_KEYS:
            opened[row] = value["value"]
            if "quality" in value:
                found = found if found is not None else [None] * len(opened)
                found[row] = value["quality"]
    return opened, found


def _quality_column(qualities: Sequence[Any] | None, count: int, where: Where) -> pa.Array:
    if qualities is None:
        return pa.nulls(count, pa.int32())
    for row, quality in enumerate(qualities):
        if quality is not None and (type(quality) is not int or not 0 <= quality < _QUALITY_END):
            raise invalid(f"{where(row)}.quality", "an integer from 0 to 2147483647", quality)
    return pa.array(qualities, pa.int32())


def _numbers(values: Sequence[Any]) -> tuple[pa.Array, pa.Array, pa.Array] | None:
    """Return the columns of floats and integers; None where an integer is too large to be exact."""
    count = len(values)
    whole = np.fromiter((type(value) is int for value in values), np.bool_, count)
    try:
        number = np.array(values, dtype=np.float64)
    except OverflowError:
        return None
    if bool((np.abs(number[whole]) >= EXACT).any()):
        return None
    return pa.array(number), pa.nulls(count, pa.string()), pa.array(whole.astype(np.int8))


def _mixed(values: Sequence[Any], where: Where) -> tuple[pa.Array, pa.Array, pa.Array]:
    count = len(values)
    number: list[float | None] = [None] * count
    text: list[str | None] = [None] * count
    kind = np.zeros(count, np.int8)
    for row, value in enumerate(values):
        sort = type(value)
        if sort is float:
            number[row] = value
        elif sort is int:
            kind[row] = ValueKind.INTEGER
            if -EXACT <= value <= EXACT:
                number[row] = float(value)
            else:
                text[row] = _digits(value, where(row))
        elif sort is bool:
            kind[row] = ValueKind.BOOLEAN
            number[row] = 1.0 if value else 0.0
        elif sort is str:
            kind[row] = ValueKind.STRING
            text[row] = value
        elif value is None:
            raise invalid(where(row), "a value", "null")
        else:
            kind[row] = ValueKind.JSON
            text[row] = _json(value)
    texts = _text_column(text, where)
    return pa.array(number, pa.float64()), texts, pa.array(kind)


def _digits(value: int, where: str) -> str:
    if abs(value) >= 10**DIGITS:
        raise invalid(where, f"an integer of at most {DIGITS} digits")
    return str(value)


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        # Integers beyond 64 bits, and lone surrogates, which then are refused with the column.
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _text_column(text: list[str | None], where: Where) -> pa.Array:
    try:
        column = pa.array(text, pa.string())
    except UnicodeEncodeError:
        row = next(row for row, item in enumerate(text) if item is not None and not _encodes(item))
        raise invalid(where(row), "a text without lone surrogates") from None
    try:
        check_texts(column)
    except Problem as problem:
        sizes = [len(item.encode()) if item is not None else 0 for item in text]
        row = int(np.argmax(sizes))
        raise Problem(problem.code, f"{where(row)}: {problem.detail}", fields=problem.fields) from None
    return column


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

"""From JSON rows to a batch: wide rows (one asset and instant, many points) and lines of NDJSON.

A line is ``{"asset", "point", "time", "value", "quality"?}`` or ``{"asset", "time", "values": {point: value}}``.
``time`` is epoch milliseconds, or a text with a zone such as ``2026-01-31T06:00:00Z``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from redrive.clock import to_ms
from redrive.errors import FieldProblem, Problem, ProblemCode, invalid
from redrive.ingest import values
from redrive.ingest.samples import Array, dictionary_array, encode_names

#: The most samples in one request.
ROWS = 1_000_000

_LONG_KEYS = itemgetter("asset", "point", "time", "value")
_WIDE_KEYS = {"asset", "time", "values"}
_LINE_FORM = "asset, point, time, value and perhaps quality; or asset, time, values"


def check_rows(count: int) -> None:
    """Refuse more samples than one request may hold."""
    if count > ROWS:
        raise Problem(
            ProblemCode.TOO_LARGE,
            f"{count} samples in one request; {ROWS} are allowed",
            hint="send several requests, or import a file",
            fields=(FieldProblem("body", f"at most {ROWS} samples", str(count)),),
        )


def wide_batch(
    assets: Sequence[str],
    times: Sequence[Any],
    groups: Sequence[Mapping[str, Any]],
    where: Callable[[int, str], str],
) -> pa.Table:
    """Return the batch of wide rows. ``where(row, point)`` names a value in a refusal."""
    sizes = np.fromiter(map(len, groups), np.int64, len(groups))
    check_rows(int(sizes.sum()))
    points = list(chain.from_iterable(groups))
    found = list(chain.from_iterable(group.values() for group in groups))
    index = {name: code for code, name in enumerate(dict.fromkeys(assets))}
    codes = np.fromiter(map(index.__getitem__, assets), np.int32, len(assets))
    owners = np.repeat(np.arange(len(groups)), sizes)
    instants = _instants(times, lambda row: where(row, ""))
    return values.batch(
        dictionary_array(codes[owners], list(index)),
        encode_names(points),
        instants[owners],
        found,
        None,
        lambda row: where(int(owners[row]), points[row]),
    )


def ndjson_batch(body: bytes) -> pa.Table:
    """Return the batch of lines; a Problem names the first bad line, counted from 1."""
    lines = body.splitlines()
    numbers: Sequence[int] = range(1, len(lines) + 1)
    if not all(lines):
        numbers = [number for number, line in zip(numbers, lines, strict=True) if line.strip()]
        lines = [line for line in lines if line.strip()]
    if not lines:
        raise invalid("body", "at least one line of JSON")
    check_rows(len(lines))
    records = _records(body, lines, numbers)
    batch = _long_batch(records, numbers)
    return batch if batch is not None else _any_batch(records, numbers)


def _records(body: bytes, lines: Sequence[bytes], numbers: Sequence[int]) -> list[Any]:
    loads = values.parse if values.has_long_number(body) else orjson.loads
    try:
        return [loads(line) for line in lines]
    except (orjson.JSONDecodeError, Problem):
        for number, line in zip(numbers, lines, strict=True):
            try:
                values.parse(line)
            except Problem as problem:
                raise Problem(
                    problem.code, f"line {number}: {problem.detail}", fields=problem.fields
                ) from None
        raise


def _long_batch(records: list[Any], numbers: Sequence[int]) -> pa.Table | None:
    """Return the batch where every line is of the long form, None where one is not."""
    try:
        sizes = set(map(len, records))
        assets, points, times, found = zip(*map(_LONG_KEYS, records), strict=True)
        qualities = None
        if sizes != {4}:
            qualities = [record["quality"] if len(record) == 5 else None for record in records]
    except (TypeError, KeyError):
        return None
    if not sizes <= {4, 5} or set(map(type, assets)) != {str} or set(map(type, points)) != {str}:
        return None

    def where(row: int) -> str:
        return f"line {numbers[row]}"

    return values.batch(
        encode_names(assets), encode_names(points), _instants(times, where), found, qualities, where
    )


def _any_batch(records: list[Any], numbers: Sequence[int]) -> pa.Table:
    """Return the batch of lines of both forms."""
    groups = [_group(record, number) for record, number in zip(records, numbers, strict=True)]
    return wide_batch(
        [record["asset"] for record in records],
        [record["time"] for record in records],
        groups,
        lambda row, point: f"line {numbers[row]}" + (f".values.{point}" if point else ""),
    )


def _group(record: Any, number: int) -> Mapping[str, Any]:
    if not isinstance(record, dict):
        raise invalid(f"line {number}", "a JSON object", record)
    names = record.keys()
    if "values" in names:
        fitting = names == _WIDE_KEYS and isinstance(record["values"], dict)
    else:
        fitting = len(record) - ("quality" in names) == 4 and {"asset", "point", "time", "value"} <= names
        fitting = fitting and isinstance(record["point"], str)
    if not fitting or not isinstance(record["asset"], str):
        raise invalid(f"line {number}", _LINE_FORM, sorted(names))
    if "values" in names:
        group: Mapping[str, Any] = record["values"]
        return group
    return {record["point"]: {"value": record["value"], "quality": record.get("quality")}}


def _instants(times: Sequence[Any], where: Callable[[int], str]) -> Array:
    """Return epoch milliseconds of numbers and texts."""
    if set(map(type, times)) <= {int}:
        try:
            return np.array(times, dtype=np.int64)
        except OverflowError:
            pass
    return np.fromiter((_instant(time, where(row)) for row, time in enumerate(times)), np.int64, len(times))


def _instant(time: Any, where: str) -> int:
    expected = "epoch milliseconds, or a text such as 2026-01-31T06:00:00Z"
    if type(time) is int and abs(time) < 2**62:
        return time
    if isinstance(time, str):
        try:
            instant = datetime.fromisoformat(time)
        except ValueError:
            instant = None
        if instant is not None and instant.tzinfo is not None:
            if instant.microsecond % 1000:
                raise invalid(f"{where}.time", "whole milliseconds", time)
            return to_ms(instant)
    raise invalid(f"{where}.time", expected, time)

"""How the columns of a file become samples. No database, no files: tables in, batches out.

Long form: a row is one sample, with columns for asset, point, time and value (and perhaps quality). Wide form:
a row is one asset and instant, and each of several columns is a point. ``fit`` looks at the names of a file's
columns and fills in what the caller left open; it refuses what it would have to guess.

A null and a NaN are no value: such samples are counted and left out. Everything else is stored or refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redrive.errors import FieldProblem, Problem, ProblemCode, invalid
from redrive.ingest import arrow
from redrive.ingest.samples import BATCH, dictionary_array, joined

#: How a number in the time column is read.
TIME_UNITS = ("s", "ms", "us", "ns")
_NUMBER = r"^\s*[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]+)?\s*$"
_TICKS = {
    "s": pa.timestamp("s"),
    "ms": pa.timestamp("ms"),
    "us": pa.timestamp("us"),
    "ns": pa.timestamp("ns"),
}


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column is what. ``points`` (wide form): column to point id; None: the long form.

    ``asset_id`` stands for the asset column where all samples are of one asset. ``time_unit`` is that of
    numbers; texts and timestamps without a zone are UTC. ``floor_times`` drops parts of milliseconds, which
    are refused otherwise.
    """

    asset: str = "asset"
    asset_id: str | None = None
    time: str = "time"
    point: str | None = "point"
    value: str | None = "value"
    quality: str | None = None
    points: Mapping[str, str] | None = None
    time_unit: str = "ms"
    floor_times: bool = False

    @property
    def names(self) -> list[str]:
        """The columns of the file that are read."""
        keys = [self.time] if self.asset_id is not None else [self.asset, self.time]
        if self.points is not None:
            return [*keys, *self.points]
        return [*keys, *(name for name in (self.point, self.value, self.quality) if name is not None)]

    @property
    def per_row(self) -> int:
        """How many samples a row can give."""
        return 1 if self.points is None else len(self.points)

    def to_json(self) -> dict[str, Any]:
        """Return what ``from_json`` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Columns:
        """Return what ``to_json`` gave."""
        return cls(**data)


def wanted_columns(given: Mapping[str, Any]) -> Columns:
    """Return the mapping that a caller sent; ``points`` may be a list of columns, an object, or ``"*"``."""
    known = {field.name for field in fields(Columns)}
    for name in given:
        if name not in known:
            raise invalid(f"mapping.{name}", f"one of {', '.join(sorted(known))}")
    values = dict(given)
    points = values.get("points")
    if points == "*":
        values["points"] = {}
    elif isinstance(points, list) and all(isinstance(name, str) for name in points) and points:
        values["points"] = {name: name for name in points}
    elif points is not None and not (isinstance(points, dict) and points):
        raise invalid("mapping.points", 'columns to point ids, a list of columns, or "*"', points)
    for name, value in values.items():
        if name == "floor_times":
            fitting = isinstance(value, bool)
        elif name == "points":
            fitting = value is None or all(isinstance(item, str) for item in value.values())
        else:
            fitting = isinstance(value, str) or (value is None and name in ("asset_id", "quality"))
        if not fitting:
            raise invalid(f"mapping.{name}", "true or false" if name == "floor_times" else "a text", value)
    if values.get("time_unit", "ms") not in TIME_UNITS:
        raise invalid("mapping.time_unit", f"one of {', '.join(TIME_UNITS)}", values["time_unit"])
    return Columns(**values)


def fit(wanted: Columns, present: Sequence[str]) -> Columns:
    """Return ``wanted`` for a file with the columns ``present``; a Problem says what is missing.

    Where the file has neither a point nor a value column, it is read as wide: every other column is a point.
    """
    found = wanted
    if found.points is None and found.point not in present and found.value not in present:
        found = replace(found, points={})
    if found.points is not None and not found.points:
        keys = {found.asset, found.time} if found.asset_id is None else {found.time}
        found = replace(found, points={name: name for name in present if name not in keys})
    if found.quality is None and found.points is None and "quality" in present:
        found = replace(found, quality="quality")
    missing = [name for name in found.names if name not in present]
    if missing or not found.per_row:
        shown = ", ".join(present[:50])
        raise Problem(
            ProblemCode.INVALID,
            f"the file has no column {', '.join(missing) or 'for a point'}; its columns are {shown}",
            hint="say which column is what: asset (or asset_id), time, point and value; or points",
            fields=[FieldProblem(f"mapping.{name}", "a column of the file") for name in missing],
        )
    if len(present) != len(set(present)):
        raise invalid("columns", "each name once", ", ".join(present[:50]))
    return found


@dataclass(frozen=True, slots=True)
class Mapped:
    """A batch of samples, and how many were left out as they had no value."""

    batch: pa.Table
    skipped: int


def batches_of(table: pa.Table, columns: Columns, *, texts_only: bool = False) -> Iterator[Mapped]:
    """Yield the batches of some rows of a file: one in the long form, one a point in the wide form.

    ``texts_only``: the file has no types (CSV). A value is then a double where it reads as a number and a text
    otherwise, each by itself, so that it does not matter how the file is cut; an empty one is no value.
    """
    if table.num_rows == 0:
        return
    keys = {"asset": _asset(table, columns), "time": _time(table[columns.time], columns.time_unit)}
    if columns.points is None:
        assert columns.point is not None and columns.value is not None
        if columns.quality is not None:
            keys["quality"] = _quality(table[columns.quality])
        rows = pa.table({**keys, "point": table[columns.point]})
        yield _mapped(rows, table[columns.value], columns, texts_only)
        return
    for name, point in columns.points.items():
        rows = pa.table({**keys, "point": _constant(point, table.num_rows)})
        try:
            yield _mapped(rows, table[name], columns, texts_only)
        except Problem as problem:
            raise Problem(problem.code, f"column {name}: {problem.detail}", fields=problem.fields) from None


def _mapped(rows: pa.Table, values: pa.ChunkedArray, columns: Columns, texts_only: bool) -> Mapped:
    parts = _by_type(values) if texts_only else [(values, _present(values))]
    batches = []
    for found, chosen in parts:
        table = rows if chosen is None else rows.filter(chosen)
        if table.num_rows:
            table = table.append_column("value", found if chosen is None else found.filter(chosen))
            batches.append(arrow.batch_of(table, floor_times=columns.floor_times))
    batch = joined(batches) if batches else BATCH.empty_table()
    return Mapped(batch, rows.num_rows - batch.num_rows)


def _present(values: pa.ChunkedArray) -> Any:
    """Return which values are there, None where all are."""
    if pa.types.is_floating(values.type):
        if not values.null_count and not pc.any(pc.is_nan(values)).as_py():
            return None
        return pc.invert(pc.is_null(values, nan_is_null=True))
    return pc.is_valid(values) if values.null_count else None


def _by_type(texts: pa.ChunkedArray) -> list[tuple[pa.ChunkedArray, Any]]:
    """Return texts as (values, which rows): doubles, and what reads as none."""
    present = pc.fill_null(pc.not_equal(texts, ""), False)
    numeric = pc.and_(present, pc.fill_null(pc.match_substring_regex(texts, _NUMBER), False))
    trimmed = pc.utf8_trim_whitespace(pc.if_else(numeric, texts, pa.scalar(None, pa.string())))
    others = pc.and_(present, pc.invert(numeric))
    found = [(trimmed.cast(pa.float64()), numeric)]
    if pc.any(others).as_py():
        found.append((texts, others))
    return found


def _constant(name: str, rows: int) -> pa.DictionaryArray:
    return dictionary_array(np.zeros(rows, np.int32), [name])


def _quality(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_string(column.type):
        return column
    try:
        return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column).cast(pa.int32())
    except pa.ArrowInvalid as error:
        raise invalid("quality", "whole numbers", error) from None


def _asset(table: pa.Table, columns: Columns) -> Any:
    if columns.asset_id is not None:
        return _constant(columns.asset_id, table.num_rows)
    column = table[columns.asset]
    # Numbers that name assets (a station, a meter) are names here.
    return column.cast(pa.string()) if pa.types.is_integer(column.type) else column


def _time(column: pa.ChunkedArray, unit: str) -> pa.ChunkedArray:
    """Return instants as timestamps or epoch milliseconds; numbers in ``unit``, texts in ISO 8601."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return _parsed_time(column.cast(pa.string()), unit)
    if pa.types.is_floating(column.type):
        column = _whole(column)
    if pa.types.is_integer(column.type) and unit != "ms":
        return column.cast(pa.int64()).cast(_TICKS[unit])
    return column


def _whole(column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:
        raise invalid("time", "whole numbers, timestamps or texts", column.type) from None


def _parsed_time(column: pa.ChunkedArray, unit: str) -> pa.ChunkedArray:
    if pc.all(pc.match_substring_regex(column, r"^-?[0-9]{1,18}$")).as_py():
        return _time(column.cast(pa.int64()), unit)
    for kind in (pa.timestamp("us", "UTC"), pa.timestamp("us")):
        try:
            return column.cast(kind)
        except pa.ArrowInvalid:
            continue
    texts = [text for text in column.to_pylist() if text is not None]
    odd = next((text for text in texts if not _is_instant(text)), texts[0] if texts else "null")
    raise invalid("time", "all numbers, or all ISO 8601 texts with a zone, or all without", odd)


def _is_instant(text: str) -> bool:
    try:
        return text.lstrip("-").isdigit() or datetime.fromisoformat(text) is not None
    except ValueError:
        return False

"""Samples of a known list of series as sorted columns: what every computation on reads works on.

A frame is sorted by series, then time, and holds at most one row per series and time (the one with the
highest seq). Series are numbers: places in the request's list of series. Values are never converted: the
number, the text and the kind stand side by side, as stored, until ``values_of`` makes them Python values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from redrive.errors import Problem
from redrive.ingest.samples import ValueKind
from redrive.ingest.values import parse

I64: TypeAlias = npt.NDArray[np.int64]
F64: TypeAlias = npt.NDArray[np.float64]
Mask: TypeAlias = npt.NDArray[np.bool_]

DOUBLE = int(ValueKind.DOUBLE)
INTEGER = int(ValueKind.INTEGER)
BOOLEAN = int(ValueKind.BOOLEAN)
STRING = int(ValueKind.STRING)
JSON = int(ValueKind.JSON)


class Series(NamedTuple):
    """One point of one asset."""

    asset: str
    point: str


@dataclass(frozen=True, slots=True)
class Frame:
    """Columns of equal length, sorted by (series, time). ``text`` is None where no row has any."""

    series: I64
    time: I64
    number: F64
    text: pa.Array | None
    kind: npt.NDArray[np.int8]
    quality: F64
    seq: I64

    def __len__(self) -> int:
        return len(self.time)

    def starts(self, count: int) -> I64:
        """Return where each of ``count`` series begins, and the length at the end."""
        return np.searchsorted(self.series, np.arange(count + 1)).astype(np.int64)


def empty_frame() -> Frame:
    """Return a frame without rows."""
    nothing = np.zeros(0, dtype=np.int64)
    numbers = np.zeros(0, dtype=np.float64)
    return Frame(nothing, nothing, numbers, None, np.zeros(0, dtype=np.int8), numbers, nothing)


def frame_of(table: pa.Table, series: Sequence[Series]) -> Frame:
    """Return the rows of a sample table (any order, any duplicates) that belong to ``series``."""
    if table.num_rows == 0 or not series:
        return empty_frame()
    place = _places(table, series)
    text = _one(table["text"])
    frame = Frame(
        series=place,
        time=_one(table["time_ms"]).to_numpy(zero_copy_only=False).astype(np.int64, copy=False),
        number=_one(table["number"]).to_numpy(zero_copy_only=False).astype(np.float64, copy=False),
        text=None if text.null_count == len(text) else text,
        kind=_one(table["kind"]).to_numpy(zero_copy_only=False).astype(np.int8, copy=False),
        quality=_one(table["quality"]).cast(pa.float64()).to_numpy(zero_copy_only=False),
        seq=_one(table["seq"]).to_numpy(zero_copy_only=False).astype(np.int64, copy=False),
    )
    if (place < 0).any():
        frame = take(frame, np.flatnonzero(place >= 0))
    return sort_and_deduplicate(frame)


def sort_and_deduplicate(frame: Frame) -> Frame:
    """Return the rows sorted, of several at one time the one with the highest seq; of equal seqs the last."""
    if len(frame) < 2:
        return frame
    step = np.diff(frame.series)
    same = step == 0
    ordered = (step > 0) | (same & (np.diff(frame.time) > 0))
    if ordered.all():
        return frame
    order = np.lexsort((frame.seq, frame.time, frame.series))
    sorted_series, sorted_time = frame.series[order], frame.time[order]
    last = np.ones(len(order), dtype=bool)
    last[:-1] = (np.diff(sorted_series) != 0) | (np.diff(sorted_time) != 0)
    return take(frame, order[last])


def take(frame: Frame, rows: npt.NDArray[Any]) -> Frame:
    """Return ``rows`` of the frame in that order; the caller keeps them sorted."""
    text = frame.text.take(pa.array(rows)) if frame.text is not None else None
    if text is not None and text.null_count == len(text):
        text = None
    return Frame(
        frame.series[rows],
        frame.time[rows],
        frame.number[rows],
        text,
        frame.kind[rows],
        frame.quality[rows],
        frame.seq[rows],
    )


def concatenate(frames: Sequence[Frame]) -> Frame:
    """Return all rows together, sorted again."""
    parts = [frame for frame in frames if len(frame)]
    if len(parts) < 2:
        return parts[0] if parts else empty_frame()
    return sort_and_deduplicate(
        Frame(
            np.concatenate([part.series for part in parts]),
            np.concatenate([part.time for part in parts]),
            np.concatenate([part.number for part in parts]),
            _concatenated_text(parts),
            np.concatenate([part.kind for part in parts]),
            np.concatenate([part.quality for part in parts]),
            np.concatenate([part.seq for part in parts]),
        )
    )


def at_times(frame: Frame, time: I64) -> Frame:
    """Return the frame with other times; the caller keeps it sorted or sorts it again."""
    return Frame(frame.series, time, frame.number, frame.text, frame.kind, frame.quality, frame.seq)


def first_rows(frame: Frame, count: int, most: int, *, descending: bool = False) -> I64:
    """Return the rows of the first (or last) ``most`` samples of each of ``count`` series, in stored order."""
    starts = frame.starts(count)
    lengths = np.diff(starts)
    if not (lengths > most).any():
        return np.arange(len(frame), dtype=np.int64)
    rank = np.arange(len(frame)) - np.repeat(starts[:-1], lengths)
    if descending:
        rank = np.repeat(lengths, lengths) - 1 - rank
    return np.flatnonzero(rank < most).astype(np.int64)


def reversed_in_series(frame: Frame, count: int) -> I64:
    """Return the rows so that each series runs from its last sample to its first."""
    starts = frame.starts(count)
    lengths = np.diff(starts)
    mirrored = np.repeat(starts[:-1] + starts[1:] - 1, lengths) - np.arange(len(frame))
    return mirrored.astype(np.int64)


def values_of(frame: Frame) -> list[Any]:
    """Return the values as JSON knows them: floats, exact integers, booleans, texts, other JSON as it came."""
    kinds = np.unique(frame.kind)
    if len(kinds) == 1:
        return _values_of_kind(frame, int(kinds[0]))
    values = np.empty(len(frame), dtype=object)
    for kind in kinds:
        rows = np.flatnonzero(frame.kind == kind)
        # One by one into the slots: numpy would spread a list that lies in a list.
        for row, value in zip(rows.tolist(), _values_of_kind(take(frame, rows), int(kind)), strict=True):
            values[row] = value
    return list(values)


def numeric(frame: Frame) -> tuple[F64, Mask]:
    """Return all values as doubles, and where that is what they are: strings and other JSON are not."""
    held = frame.kind <= BOOLEAN
    number = frame.number
    missing = held & np.isnan(number)
    if frame.text is not None and missing.any():
        number = number.copy()
        rows = np.flatnonzero(missing)
        number[rows] = [_as_float(text) for text in frame.text.take(pa.array(rows)).to_pylist()]
    return number, held & ~np.isnan(number)


def same_as_before(frame: Frame) -> Mask:
    """Return where a row has the value of the row before it in the same series; 1, 1.0 and true are the same."""
    same = np.zeros(len(frame), dtype=bool)
    if len(frame) < 2:
        return same
    number, is_number = numeric(frame)
    neighbours = frame.series[1:] == frame.series[:-1]
    equal = is_number[1:] & is_number[:-1] & (number[1:] == number[:-1])
    if frame.text is not None:
        equal = np.where(is_number[1:] & is_number[:-1], equal & _same_digits(frame), _same_text(frame))
    same[1:] = neighbours & equal
    return same


def _same_digits(frame: Frame) -> Mask:
    """Large integers are equal as doubles before they are equal: compare their digits too."""
    assert frame.text is not None
    codes = frame.text.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return np.asarray(codes[1:] == codes[:-1])


def _same_text(frame: Frame) -> Mask:
    assert frame.text is not None
    codes = frame.text.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False)
    texts = (frame.kind[1:] == frame.kind[:-1]) & (frame.kind[1:] >= STRING)
    return np.asarray(texts & (codes[1:] == codes[:-1]))


def _values_of_kind(frame: Frame, kind: int) -> list[Any]:
    if kind == DOUBLE:
        return _without_nan(frame.number)
    if kind == BOOLEAN:
        return list((frame.number != 0).tolist())
    texts: list[str | None] = frame.text.to_pylist() if frame.text is not None else [None] * len(frame)
    if kind == INTEGER:
        if frame.text is None and not np.isnan(frame.number).any():
            return list(frame.number.astype(np.int64).tolist())
        return [_integer(text, n) for text, n in zip(texts, frame.number.tolist(), strict=True)]
    if kind == JSON:
        return [_json(text) for text in texts]
    return list(texts)


def _without_nan(number: F64) -> list[Any]:
    """NaN and infinities are not JSON: null."""
    if np.isfinite(number).all():
        return list(number.tolist())
    return [value if np.isfinite(value) else None for value in number.tolist()]


def _integer(text: str | None, number: float) -> int | None:
    if text is not None:
        return int(text)
    return None if math.isnan(number) else int(number)


def _json(text: str | None) -> Any:
    try:
        return None if text is None else parse(text.encode())
    except Problem:
        # Another writer's table may hold anything: then the text is the value.
        return text


def _as_float(text: str | None) -> float:
    try:
        return float("nan") if text is None else float(text)
    except (ValueError, OverflowError):
        return float("nan")


def _places(table: pa.Table, series: Sequence[Series]) -> I64:
    """Return for each row the place of its series, -1 where it is none of them."""
    assets = list(dict.fromkeys(one.asset for one in series))
    points = list(dict.fromkeys(one.point for one in series))
    asset_code = {name: code for code, name in enumerate(assets)}
    point_code = {name: code for code, name in enumerate(points)}
    grid = np.full((len(assets) + 1, len(points) + 1), -1, dtype=np.int64)
    for place, one in enumerate(series):
        grid[asset_code[one.asset], point_code[one.point]] = place
    # The last row and column stay -1: that is where -1 (an unknown name) points.
    return grid[_codes(table["asset"], assets), _codes(table["point"], points)]


def _codes(column: Any, names: list[str]) -> I64:
    array = _one(column)
    wanted = pa.array(names, pa.string())
    if pa.types.is_dictionary(array.type):
        known = pc.index_in(array.dictionary.cast(pa.string()), value_set=wanted).fill_null(-1)
        known = known.to_numpy(zero_copy_only=False)
        return np.asarray(known[array.indices.to_numpy(zero_copy_only=False)], dtype=np.int64)
    found = pc.index_in(array, value_set=wanted).fill_null(-1)
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.int64)


def _one(column: Any) -> Any:
    """Return a column as one array, one dictionary for all its rows."""
    if isinstance(column, pa.ChunkedArray):
        if column.num_chunks == 1:
            return column.chunk(0)
        if pa.types.is_dictionary(column.type):
            column = column.unify_dictionaries()
        return column.combine_chunks()
    return column


def _concatenated_text(parts: Sequence[Frame]) -> pa.Array | None:
    if all(part.text is None for part in parts):
        return None
    return pa.concat_arrays(
        [part.text if part.text is not None else pa.nulls(len(part), pa.string()) for part in parts]
    )

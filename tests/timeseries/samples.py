"""Sample tables for tests, and a store that is only a Python dictionary to compare with."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from redrive.services.timeseries.boxes import Box
from redrive.services.timeseries.storage import MEMORY

#: asset, point, time_ms, number, text, kind, quality, seq, stored_ms
Row = tuple[Any, ...]


def table_of(rows: Sequence[Row]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [[] for _ in MEMORY]
    return pa.table(
        [pa.array(list(column), field.type) for column, field in zip(columns, MEMORY, strict=True)],
        schema=MEMORY,
    )


def rows_of(table: pa.Table) -> list[Row]:
    """Rows with the bits of their numbers, so that NaN and -0.0 compare."""
    lists = [table[name].to_pylist() for name in table.column_names]
    if "number" in table.column_names:
        place = table.column_names.index("number")
        lists[place] = [None if number is None else struct.pack("<d", number) for number in lists[place]]
    return list(zip(*lists, strict=True))


def walk(
    assets: Iterable[str],
    points: Iterable[str],
    times_ms: Sequence[int],
    *,
    seq: int = 1,
    seed: int = 0,
    stored_ms: int = 1_700_000_000_000,
) -> pa.Table:
    """Sensor-like values: a random walk of two decimals per series, sorted by asset, point, time."""
    assets, points = sorted(assets), sorted(points)
    count, series = len(times_ms), len(assets) * len(points)
    steps = np.random.default_rng(seed).normal(0, 0.05, (series, count))
    numbers = np.round(np.cumsum(steps, axis=1) + 20, 2).ravel()
    total = series * count
    asset = np.repeat(np.arange(len(assets), dtype=np.int32), len(points) * count)
    point = np.tile(np.repeat(np.arange(len(points), dtype=np.int32), count), len(assets))
    return pa.table(
        [
            pa.DictionaryArray.from_arrays(pa.array(asset), pa.array(assets, pa.string())),
            pa.DictionaryArray.from_arrays(pa.array(point), pa.array(points, pa.string())),
            pa.array(np.tile(np.asarray(times_ms, dtype=np.int64), series)),
            pa.array(numbers),
            pa.nulls(total, pa.string()),
            pa.array(np.zeros(total, np.int8)),
            pa.nulls(total, pa.int32()),
            pa.array(np.full(total, seq, np.int64)),
            pa.array(np.full(total, stored_ms, np.int64)),
        ],
        schema=MEMORY,
    )


class Dictionary:
    """The reference: every stored row, erased by looking at each."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def append(self, rows: Iterable[Row]) -> None:
        self.rows.extend(rows)

    def erase(self, boxes: Sequence[Box], seq_max: int = 2**62, stored_before_ms: int = 2**62) -> int:
        kept = [
            row
            for row in self.rows
            if row[7] > seq_max
            or row[8] >= stored_before_ms
            or not any(box.contains(row[0], row[1], row[2]) for box in boxes)
        ]
        erased = len(self.rows) - len(kept)
        self.rows = kept
        return erased

    def newest(self) -> dict[tuple[str, str, int], Row]:
        found: dict[tuple[str, str, int], Row] = {}
        for row in self.rows:
            key = (row[0], row[1], row[2])
            if key not in found or found[key][7] <= row[7]:
                found[key] = row
        return found

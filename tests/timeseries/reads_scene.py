"""Samples in a plain table and a registry in a dictionary, so that reads can be computed without a store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from redrive.errors import invalid
from redrive.ingest.samples import EXACT, SAMPLES, ValueKind
from redrive.services.timeseries.assets import EVERY_TYPE, StorageType
from redrive.services.timeseries.boxes import Box
from redrive.services.timeseries.reads.answer import Answer
from redrive.services.timeseries.reads.frame import Series
from redrive.services.timeseries.reads.selection import Reader


@dataclass(frozen=True)
class Sample:
    """One sample; ``seq`` is the order in which it arrived."""

    asset: str
    point: str
    time: int
    value: Any
    quality: int | None = None
    seq: int = 1


def columns_of(value: Any) -> tuple[float | None, str | None, int]:
    """Number, text and kind of a value."""
    if isinstance(value, bool):
        return float(value), None, ValueKind.BOOLEAN
    if isinstance(value, float):
        return value, None, ValueKind.DOUBLE
    if isinstance(value, int):
        if abs(value) <= EXACT:
            return float(value), None, ValueKind.INTEGER
        return None, str(value), ValueKind.INTEGER
    if isinstance(value, str):
        return None, value, ValueKind.STRING
    return None, json.dumps(value), ValueKind.JSON


def table_of(samples: Sequence[Sample]) -> pa.Table:
    parts = [columns_of(sample.value) for sample in samples]
    return pa.table(
        {
            "asset": pa.array([one.asset for one in samples], pa.string()).dictionary_encode(),
            "point": pa.array([one.point for one in samples], pa.string()).dictionary_encode(),
            "time_ms": pa.array([one.time for one in samples], pa.int64()),
            "number": pa.array([part[0] for part in parts], pa.float64()),
            "text": pa.array([part[1] for part in parts], pa.string()),
            "kind": pa.array([int(part[2]) for part in parts], pa.int8()),
            "quality": pa.array([one.quality for one in samples], pa.int32()),
            "seq": pa.array([one.seq for one in samples], pa.int64()),
            "stored_ms": pa.array([0] * len(samples), pa.int64()),
        },
        schema=SAMPLES,
    )


@dataclass
class PlainSource:
    """Samples of a table; counts how much was asked."""

    table: pa.Table
    rows_read: int = 0
    calls: int = 0

    @cached_property
    def keys(self) -> list[tuple[str, str, int]]:
        return [tuple(row.values()) for row in self.table.select(["asset", "point", "time_ms"]).to_pylist()]

    def places(self, boxes: Sequence[Box]) -> list[int]:
        return [place for place, key in enumerate(self.keys) if any(box.contains(*key) for box in boxes)]

    def samples(self, boxes: Sequence[Box]) -> pa.Table:
        places = self.places(boxes)
        self.calls += 1
        self.rows_read += len(places)
        return self.table.take(pa.array(places, pa.int64()))

    def cost(self, boxes: Sequence[Box]) -> int:
        return len(self.places(boxes))

    def extent(self, assets: Sequence[str], points: Sequence[str]) -> tuple[int, int] | None:
        times = [time for asset, point, time in self.keys if asset in assets and point in points]
        return (min(times), max(times)) if times else None

    def latest(self, series: Sequence[Series]) -> pa.Table:
        places = [place for place, key in enumerate(self.keys) if Series(*key[:2]) in set(series)]
        return self.table.take(pa.array(places, pa.int64()))

    def last_changed(self, series: Sequence[Series]) -> pa.Table:
        return self.latest(series)


@dataclass
class PlainCatalog:
    """Zones and types in dictionaries; UTC and every type where nothing is said."""

    zones: dict[str, str] = field(default_factory=dict)
    types: dict[str, frozenset[StorageType]] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)

    def zones_of(self, assets: Sequence[str]) -> Mapping[str, str]:
        return {asset: self.zones.get(asset, "UTC") for asset in assets}

    def types_of(self, series: Sequence[Series]) -> Mapping[Series, frozenset[StorageType]]:
        return {one: self.types.get(one.point, EVERY_TYPE) for one in series}

    def check_model(self, assets: Sequence[str], model: str) -> None:
        for asset in assets:
            if self.models.get(asset, model) != model:
                raise invalid("modelId", f"the model of asset {asset}", model)


def reader_of(samples: Sequence[Sample], *, now: int = 2_000_000_000_000, **catalog: Any) -> Reader:
    instant = datetime.fromtimestamp(now / 1000, UTC)
    return Reader(PlainSource(table_of(samples)), PlainCatalog(**catalog), now=lambda: instant)


def records_of(answer: Answer) -> dict[tuple[str, str], list[tuple[int, Any]]]:
    """The records of each series that has any."""
    found = {}
    for place, one in enumerate(answer.series):
        rows = slice(int(answer.starts[place]), int(answer.starts[place + 1]))
        if answer.time[rows].size:
            found[tuple(one)] = list(zip(answer.time[rows].tolist(), answer.values[rows], strict=True))
    return found


def instant(text: str) -> int:
    """Epoch milliseconds of an ISO text."""
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def spread(
    asset: str, point: str, values: Sequence[Any], *, start: int = 0, step: int = 1000
) -> list[Sample]:
    """Samples at equal distances."""
    times = np.arange(len(values)) * step + start
    return [Sample(asset, point, int(time), value) for time, value in zip(times, values, strict=True)]

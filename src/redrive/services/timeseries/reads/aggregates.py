"""Reads of buckets: minute-normalized data reduced by functions, or as it is; power since midnight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from redrive.services.timeseries.assets import StorageType
from redrive.services.timeseries.reads.aggregation import Function, Reduced, reduce_buckets
from redrive.services.timeseries.reads.answer import Answer, answer_of_lists
from redrive.services.timeseries.reads.buckets import MINUTE_MS, Grid, by_minute, grid_of, whole_minutes
from redrive.services.timeseries.reads.frame import I64, Frame, Mask, Series, take
from redrive.services.timeseries.reads.selection import Chosen, Reader, Selection, check_model, choose
from redrive.services.timeseries.reads.spans import Span
from redrive.services.timeseries.reads.walking import walk
from redrive.services.timeseries.reads.zones import midnight_before


@dataclass(frozen=True, slots=True)
class Expression:
    """A function of a point, and the text that stands for it in the answer."""

    function: Function
    point: str
    label: str


@dataclass(frozen=True, slots=True)
class AggregateQuery:
    """A read of buckets of ``minutes``. The selection holds the points of the expressions, each once."""

    selection: Selection
    types: frozenset[StorageType]
    span: Span
    expressions: tuple[Expression, ...]
    minutes: int
    most: int


def read_aggregates(reader: Reader, query: AggregateQuery) -> Answer:
    """Return one record per asset, expression and bucket that holds something, stamped with its begin.

    Samples are normalized to minutes first. At most ``most`` records per asset and expression.
    """
    chosen = choose(reader, query.selection, query.types, query.span, minutes=True)
    step_ms = query.minutes * MINUTE_MS
    grids = {zone: grid_of(query.span, zone, step_ms) for zone in set(chosen.zones.values())}
    return _reduce(reader, chosen, [grids[chosen.zones[one.asset]] for one in chosen.series], query)


def read_current_day(reader: Reader, selection: Selection) -> Answer:
    """Return the sum of each power point since the last local midnight of its device, stamped with that."""
    check_model(reader, selection)
    now = reader.now_ms
    zones = reader.catalog.zones_of(selection.assets)
    parts: dict[Series, tuple[Series, list[int], list[Any], list[int | None]]] = {}
    for midnight, assets in _by_midnight(zones, selection.assets, now).items():
        query = AggregateQuery(
            Selection(tuple(assets), selection.points),
            frozenset({StorageType.PI}),
            Span(midnight, now + 1),
            tuple(Expression(Function.SUM, point, f"sum({point})") for point in selection.points),
            2 * 1440,
            1,
        )
        one_day = read_aggregates(reader, query)
        for place, one in enumerate(one_day.series):
            rows = slice(int(one_day.starts[place]), int(one_day.starts[place + 1]))
            times = one_day.time[rows].tolist()
            parts[one] = (one, times, one_day.values[rows], [None] * len(times))
    rank = {asset: place for place, asset in enumerate(selection.assets)}
    ordered = sorted(parts.values(), key=lambda part: rank[part[0].asset])
    return answer_of_lists(ordered, zones)


def _by_midnight(zones: Mapping[str, str], assets: Sequence[str], now: int) -> dict[int, list[str]]:
    midnights = {zone: midnight_before(zone, now) for zone in set(zones.values())}
    groups: dict[int, list[str]] = {}
    for asset in assets:
        groups.setdefault(midnights[zones[asset]], []).append(asset)
    return groups


@dataclass(slots=True)
class _Records:
    """What was found for one expression, slice by slice: series, begins of buckets, values."""

    parts: list[Reduced]
    counts: I64


def _reduce(reader: Reader, chosen: Chosen, grids: Sequence[Grid], query: AggregateQuery) -> Answer:
    count = len(chosen.series)
    of_point = {point: np.zeros(count, dtype=bool) for point in query.selection.points}
    for place, one in enumerate(chosen.series):
        of_point[one.point][place] = True
    found = [_Records([], np.zeros(count, dtype=np.int64)) for _ in query.expressions]

    def consume(frame: Frame, _low: I64, _high: I64) -> Mask:
        frame = by_minute(frame)
        begins = _begins_of(frame, grids)
        wanted = np.zeros(count, dtype=bool)
        for expression, records in zip(query.expressions, found, strict=True):
            mine = of_point[expression.point]
            rows = np.flatnonzero(mine[frame.series])
            reduced = reduce_buckets(take(frame, rows), begins[rows], expression.function)
            records.parts.append(reduced)
            records.counts += np.bincount(reduced.series, minlength=count)
            wanted |= mine & (records.counts < query.most)
        return wanted

    @cache
    def edge_of(grid: Grid, instant: int) -> int:
        return whole_minutes(grid.next_edge(instant), 0)[0]

    walk(
        reader.source,
        chosen.series,
        chosen.starts,
        chosen.ends,
        consume,
        align=lambda place, instant: edge_of(grids[place], instant),
    )
    return _assembled(chosen, query, found)


def _begins_of(frame: Frame, grids: Sequence[Grid]) -> I64:
    """Return for each row the instant at which its bucket begins."""
    begins = np.zeros(len(frame), dtype=np.int64)
    starts = frame.starts(len(grids))
    for place in np.flatnonzero(np.diff(starts)).tolist():
        rows = slice(int(starts[place]), int(starts[place + 1]))
        begins[rows] = grids[place].begin_of(frame.time[rows])
    return begins


def _assembled(chosen: Chosen, query: AggregateQuery, found: Sequence[_Records]) -> Answer:
    """Return the records by asset, then expression, the first ``most`` of each."""
    lines: dict[Series, tuple[list[int], list[Any]]] = {}
    for expression, records in zip(query.expressions, found, strict=True):
        for part in records.parts:
            edges = np.searchsorted(part.series, np.arange(len(chosen.series) + 1)).tolist()
            for place in np.unique(part.series).tolist():
                rows = slice(edges[place], edges[place + 1])
                key = Series(chosen.series[place].asset, expression.label)
                times, values = lines.setdefault(key, ([], []))
                times.extend(part.bucket[rows].tolist())
                values.extend(part.values[rows])
    parts = []
    for asset in query.selection.assets:
        for expression in query.expressions:
            key = Series(asset, expression.label)
            times, values = lines.get(key, ([], []))
            times, values = times[: query.most], values[: query.most]
            parts.append((key, times, values, [None] * len(times)))
    return answer_of_lists(parts, chosen.zones)

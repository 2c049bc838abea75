"""Reads of the latest and last-changed stores: latest values, filtered ones, last changes, dead points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from redrive.services.timeseries.reads.answer import Answer, answer_of
from redrive.services.timeseries.reads.buckets import MINUTE_MS
from redrive.services.timeseries.reads.filters import Comparison, holds
from redrive.services.timeseries.reads.frame import Frame, Series, frame_of, take, values_of
from redrive.services.timeseries.reads.selection import Reader, Selection, check_model
from redrive.services.timeseries.reads.source import every_series


@dataclass(frozen=True, slots=True)
class Condition:
    """What a latest value must meet."""

    how: Comparison
    operands: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Watch:
    """A series that is dead when its value has not changed for longer than ``interval_ms``."""

    series: Series
    interval_ms: int


@dataclass(frozen=True, slots=True)
class Liveness:
    """How long a value has been what it is."""

    series: Series
    duration_ms: int
    dead: bool
    value: Any
    changed_ms: int


def read_latest(
    reader: Reader,
    selection: Selection,
    *,
    window_minutes: int | None = None,
    condition: Condition | None = None,
) -> Answer:
    """Return the latest sample of each series: not older than the window, meeting the condition."""
    check_model(reader, selection)
    series = every_series(selection.assets, selection.points)
    frame = frame_of(reader.source.latest(series), series)
    if window_minutes is not None:
        frame = take(frame, np.flatnonzero(frame.time >= reader.now_ms - window_minutes * MINUTE_MS))
    if condition is not None:
        frame = _meeting(frame, condition)
    return answer_of(frame, series, reader.catalog.zones_of(selection.assets))


def read_last_changed(reader: Reader, selection: Selection) -> Answer:
    """Return for each series the sample with which its value last became another one."""
    check_model(reader, selection)
    series = every_series(selection.assets, selection.points)
    frame = frame_of(reader.source.last_changed(series), series)
    return answer_of(frame, series, reader.catalog.zones_of(selection.assets))


def check_dead(reader: Reader, watches: Sequence[Watch]) -> list[Liveness]:
    """Return for each watch, in order, whether its point is dead; nothing for a point without data."""
    series = list(dict.fromkeys(watch.series for watch in watches))
    frame = frame_of(reader.source.last_changed(series), series)
    values = values_of(frame)
    row_of = {series[place]: row for row, place in enumerate(frame.series.tolist())}
    now = reader.now_ms
    found = []
    for watch in watches:
        row = row_of.get(watch.series)
        if row is not None:
            changed = int(frame.time[row])
            age = now - changed
            found.append(Liveness(watch.series, age, age > watch.interval_ms, values[row], changed))
    return found


def _meeting(frame: Frame, condition: Condition) -> Frame:
    kept = [holds(value, condition.how, condition.operands) for value in values_of(frame)]
    return take(frame, np.flatnonzero(np.array(kept, dtype=bool)))

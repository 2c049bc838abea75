"""Samples of a span of time, as stored or minute by minute, with what the caller wants at both ends.

::

    inside        the samples of the span (its end is not in it)
    outside       also the last one before it and the first one at or after its end
    interpolated  also a value at its start and at its end, where no sample lies exactly there
    sample        values on a grid from its start, every interval, instead of the samples

At most ``most`` records per series: the first ones, or the last ones when descending; what was added at the
ends counts. A series that has nothing inside and nothing beside gives no records at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from redrive.services.timeseries.assets import StorageType
from redrive.services.timeseries.reads.answer import Answer, answer_of, answer_of_lists, qualities_of
from redrive.services.timeseries.reads.buckets import by_minute
from redrive.services.timeseries.reads.frame import (
    Frame,
    Mask,
    concatenate,
    first_rows,
    reversed_in_series,
    take,
    values_of,
)
from redrive.services.timeseries.reads.interpolation import Interpolation, interpolate
from redrive.services.timeseries.reads.neighbours import samples_after, samples_before
from redrive.services.timeseries.reads.resampling import resample
from redrive.services.timeseries.reads.selection import STANDARD, Chosen, Reader, Selection, choose
from redrive.services.timeseries.reads.spans import Span
from redrive.services.timeseries.reads.walking import first_samples


class Boundary(StrEnum):
    """What is returned at, or beyond, the ends of the span."""

    INSIDE = "inside"
    OUTSIDE = "outside"
    INTERPOLATED = "interpolated"
    SAMPLE = "sample"


@dataclass(frozen=True, slots=True)
class SampleQuery:
    """A read of samples. ``step_ms`` is the interval of ``Boundary.SAMPLE``.

    ``by_minute``: minute-normalized or as they came; None: as the types of each point say.
    """

    selection: Selection
    types: frozenset[StorageType]
    span: Span
    most: int
    descending: bool = False
    with_quality: bool = False
    boundary: Boundary = Boundary.INSIDE
    step_ms: int = 0
    interpolation: Interpolation = Interpolation.LINEAR
    by_minute: bool | None = None


def read_samples(reader: Reader, query: SampleQuery) -> Answer:
    """Return the samples of every series that has one of the types. Boundaries serve standard data only."""
    chosen = choose(reader, query.selection, query.types, query.span, minutes=query.by_minute)
    if query.boundary is Boundary.INSIDE:
        return _inside(reader, query, chosen)
    standard = np.array([bool(types & STANDARD) for types in chosen.types], dtype=bool)
    if query.boundary is Boundary.SAMPLE:
        return _on_grid(reader, query, chosen, standard)
    frame = _samples(reader, query, chosen)
    return _with_neighbours(reader, query, chosen, frame, standard)


def _samples(reader: Reader, query: SampleQuery, chosen: Chosen) -> Frame:
    """Return the first (or last) samples of each series, ascending."""
    return first_samples(
        reader.source,
        chosen.series,
        chosen.starts,
        chosen.ends,
        query.most,
        descending=query.descending,
        prepare=lambda frame: cut_minutes(frame, chosen.minutes),
    )


def cut_minutes(frame: Frame, minutes: Mask) -> Frame:
    """Return the frame with those series normalized that are kept by the minute."""
    if not minutes.any():
        return frame
    if minutes.all():
        return by_minute(frame)
    cut = minutes[frame.series]
    return concatenate([by_minute(take(frame, np.flatnonzero(cut))), take(frame, np.flatnonzero(~cut))])


def _inside(reader: Reader, query: SampleQuery, chosen: Chosen) -> Answer:
    frame = _samples(reader, query, chosen)
    if query.descending:
        frame = take(frame, reversed_in_series(frame, len(chosen.series)))
    return answer_of(frame, chosen.series, chosen.zones, quality=query.with_quality)


def _with_neighbours(
    reader: Reader, query: SampleQuery, chosen: Chosen, frame: Frame, standard: Mask
) -> Answer:
    before, after = _neighbours(reader, chosen, standard)
    if query.boundary is Boundary.OUTSIDE:
        frame = concatenate([before, frame, after])
        frame = take(frame, first_rows(frame, len(chosen.series), query.most, descending=query.descending))
        if query.descending:
            frame = take(frame, reversed_in_series(frame, len(chosen.series)))
        return answer_of(frame, chosen.series, chosen.zones, quality=query.with_quality)
    around = concatenate([before, frame, after])
    starts = frame.starts(len(chosen.series))
    held = np.diff(around.starts(len(chosen.series))) > 0
    values, grades = values_of(frame), qualities_of(frame)
    parts = []
    for place, one in enumerate(chosen.series):
        rows = slice(int(starts[place]), int(starts[place + 1]))
        times, own, quality = frame.time[rows].tolist(), values[rows], grades[rows]
        if held[place] and standard[place]:
            ends = _ends(query, around, place, int(chosen.starts[place]), int(chosen.ends[place]), times)
            for instant, value in ends:
                at = 0 if instant < (times[0] if times else instant + 1) else len(times)
                times.insert(at, instant)
                own.insert(at, value)
                quality.insert(at, None)
        if query.descending:
            times, own, quality = times[::-1], own[::-1], quality[::-1]
        parts.append((one, times[: query.most], own[: query.most], quality[: query.most]))
    return answer_of_lists(parts, chosen.zones, quality=query.with_quality)


def _neighbours(reader: Reader, chosen: Chosen, standard: Mask) -> tuple[Frame, Frame]:
    before, after = [], []
    for minutes in (False, True):
        wanted = standard & (chosen.minutes == minutes)
        if wanted.any():
            source, series = reader.source, chosen.series
            before.append(samples_before(source, series, chosen.starts, wanted=wanted, minutes=minutes))
            after.append(samples_after(source, series, chosen.ends, wanted=wanted, minutes=minutes))
    return concatenate(before), concatenate(after)


def _ends(
    query: SampleQuery, around: Frame, place: int, start: int, end: int, times: list[int]
) -> list[tuple[int, Any]]:
    """Return the values to add at the start and the end of one series.

    An end that the answer does not reach, because it is full before, is left out: a value there would
    look like the next one.
    """
    full = len(times) >= query.most
    wanted = []
    if not (times and times[0] == start) and not (full and query.descending):
        wanted.append(start)
    if not (full and not query.descending):
        wanted.append(end)
    instants = np.array(wanted, dtype=np.int64)
    return list(zip(wanted, interpolate(around, place, instants, query.interpolation), strict=True))


def _on_grid(reader: Reader, query: SampleQuery, chosen: Chosen, standard: Mask) -> Answer:
    grid = resample(
        reader,
        chosen,
        standard,
        step_ms=query.step_ms,
        most=query.most,
        method=query.interpolation,
        descending=query.descending,
        prepare=lambda frame: cut_minutes(frame, chosen.minutes),
    )
    if not standard.all():
        plain = _inside(reader, query, chosen)
        for place in np.flatnonzero(~standard).tolist():
            rows = slice(int(plain.starts[place]), int(plain.starts[place + 1]))
            grid[place] = (plain.time[rows].tolist(), plain.values[rows])
    parts = [
        (one, times, values, [None] * len(times))
        for one, (times, values) in zip(chosen.series, grid, strict=True)
    ]
    return answer_of_lists(parts, chosen.zones, quality=query.with_quality)

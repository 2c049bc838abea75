"""The sample next to a span: the last one before it, the first one at or after its end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from redrive.services.timeseries.reads.buckets import MINUTE_MS, by_minute
from redrive.services.timeseries.reads.frame import I64, Frame, Mask, Series, concatenate, frame_of
from redrive.services.timeseries.reads.source import SampleSource, boxes_of
from redrive.services.timeseries.reads.walking import first_samples

_LONG_AGO, _FAR_AHEAD = -(2**62), 2**62


def samples_before(
    source: SampleSource,
    series: Sequence[Series],
    before: I64,
    *,
    reach_ms: int | None = None,
    wanted: Mask | None = None,
    minutes: bool = False,
) -> Frame:
    """Return for each series its last sample before an instant, not further back than ``reach_ms``.

    ``minutes``: of minute-normalized data; ``before`` is then a whole minute.
    """
    earliest = np.full(len(series), _LONG_AGO) if reach_ms is None else before - reach_ms
    ends = before if wanted is None else np.where(wanted, before, earliest)
    found = first_samples(source, series, earliest, ends, 1, descending=True)
    return _whole_minutes_of(source, series, found) if minutes else found


def samples_after(
    source: SampleSource,
    series: Sequence[Series],
    since: I64,
    *,
    wanted: Mask | None = None,
    minutes: bool = False,
) -> Frame:
    """Return for each series its first sample at or after an instant.

    ``minutes``: of minute-normalized data; ``since`` is then a whole minute.
    """
    latest = np.full(len(series), _FAR_AHEAD)
    starts = since if wanted is None else np.where(wanted, since, latest)
    found = first_samples(source, series, starts, latest, 1)
    return _whole_minutes_of(source, series, found) if minutes else found


def _whole_minutes_of(source: SampleSource, series: Sequence[Series], found: Frame) -> Frame:
    """Return the normalized records of the minutes of ``found``: the last to arrive need not be the last in time."""
    parts: list[Frame] = []
    minute = found.time // MINUTE_MS * MINUTE_MS
    for begin in np.unique(minute).tolist():
        places = found.series[minute == begin]
        start = np.full(len(series), begin, dtype=np.int64)
        wanted = np.zeros(len(series), dtype=bool)
        wanted[places] = True
        table = source.samples(boxes_of(series, start, start + MINUTE_MS, wanted))
        parts.append(by_minute(frame_of(table, series)))
    return concatenate(parts)

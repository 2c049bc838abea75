"""Grids of time: into which bucket a sample falls, and the minute that normalized data is kept by.

Buckets begin at the start of the span. Up to an hour long, or asked with instants, they are elapsed time.
Longer ones asked with readings of the device's clock follow that clock, so that a day is a local day where
clocks change (23 or 25 hours long then). The last bucket ends with the span.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from redrive.services.timeseries.reads.frame import I64, Frame, at_times, take
from redrive.services.timeseries.reads.spans import Span
from redrive.services.timeseries.reads.zones import offsets_between

MINUTE_MS = 60_000
_LONGEST_ELAPSED_MS = 60 * MINUTE_MS


@dataclass(frozen=True, slots=True)
class Grid:
    """Buckets of one device: every ``step_ms`` from ``start``, elapsed or by the clock of ``zone``.

    By the clock, ``wall`` is the reading at the start; a bucket begins when the clock first shows
    ``wall + n * step_ms`` or more.
    """

    start: int
    end: int
    step_ms: int
    zone: str | None = None
    wall: int = 0

    def begin_of(self, instants: I64) -> I64:
        """Return for each instant of the span the one at which its bucket begins."""
        if self.zone is None or len(instants) == 0:
            return self.start + (instants - self.start) // self.step_ms * self.step_ms
        offsets = offsets_between(self.zone, int(instants.min()) - self.step_ms, int(instants.max()))
        number = (offsets.to_wall(instants) - self.wall) // self.step_ms
        begins = offsets.to_instants(self.wall + number * self.step_ms)
        # In an hour that comes twice the clock may show less than the begin of a bucket that has begun.
        following = offsets.to_instants(self.wall + (number + 1) * self.step_ms)
        return np.maximum(np.where(following <= instants, following, begins), self.start)

    def next_edge(self, instant: int) -> int:
        """Return the first begin of a bucket at or after ``instant``, at most the end."""
        begin = int(self.begin_of(np.array([instant]))[0])
        if begin == instant:
            return min(instant, self.end)
        if self.zone is None:
            return min(begin + self.step_ms, self.end)
        offsets = offsets_between(self.zone, instant - self.step_ms, instant + 2 * self.step_ms)
        number = (int(offsets.to_wall(np.array([begin]))[0]) - self.wall) // self.step_ms
        edges = offsets.to_instants(self.wall + (number + np.arange(3)) * self.step_ms)
        return min(int(edges[edges >= instant][0]), self.end)


def grid_of(span: Span, zone: str, step_ms: int) -> Grid:
    """Return the buckets of ``span`` for a device in ``zone``."""
    start, end = span.on(zone)
    if not span.local or step_ms <= _LONGEST_ELAPSED_MS:
        return Grid(start, end, step_ms)
    return Grid(start, end, step_ms, zone, span.start)


def whole_minutes(start: int, end: int) -> tuple[int, int]:
    """Return the span of samples whose minute lies in [start, end): both ends moved up to a whole minute."""
    return -(-start // MINUTE_MS) * MINUTE_MS, -(-end // MINUTE_MS) * MINUTE_MS


def by_minute(frame: Frame) -> Frame:
    """Return the frame with seconds cut off; of one minute the record that arrived last.

    Arrival is the order of seq; of records that arrived together the one with the latest time.
    """
    if len(frame) == 0:
        return frame
    minute = frame.time // MINUTE_MS * MINUTE_MS
    begins = np.ones(len(frame), dtype=bool)
    begins[1:] = (np.diff(frame.series) != 0) | (np.diff(minute) != 0)
    if begins.all():
        return at_times(frame, minute)
    # Rows lie by time already: of each run of one minute take the last row that has the run's highest seq.
    run = np.cumsum(begins) - 1
    highest = np.maximum.reduceat(frame.seq, np.flatnonzero(begins))
    rows = np.flatnonzero(frame.seq == highest[run])
    last = np.append(np.diff(run[rows]) != 0, True)
    return take(at_times(frame, minute), rows[last])

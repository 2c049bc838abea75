"""Values on a regular grid of times, from samples at any times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from redrive.services.timeseries.reads.buckets import MINUTE_MS
from redrive.services.timeseries.reads.frame import I64, Frame, Mask, concatenate, first_rows, take
from redrive.services.timeseries.reads.interpolation import Interpolation, interpolate
from redrive.services.timeseries.reads.neighbours import samples_after, samples_before
from redrive.services.timeseries.reads.selection import Chosen, Reader
from redrive.services.timeseries.reads.walking import walk

#: Times and values of one series.
Line = tuple[list[int], list[Any]]


def resample(
    reader: Reader,
    chosen: Chosen,
    wanted: Mask,
    *,
    step_ms: int,
    most: int,
    method: Interpolation,
    descending: bool,
    prepare: Callable[[Frame], Frame],
) -> list[Line]:
    """Return for each wanted series its values at its start and every ``step_ms`` after, before its end.

    At most ``most`` of them: the first, or the last ones when ``descending`` (then from the last one back).
    A series without a sample in or next to its span gives nothing; the others of the list are empty.
    """
    first, last = _grid(chosen, wanted, step_ms, most, descending)
    lines = _Lines(reader, chosen, first, last, step_ms, method, prepare)
    begins = _cut(chosen, chosen.starts + first * step_ms)
    ends = np.where(last >= first, _cut(chosen, chosen.starts + last * step_ms + 1), begins)
    lines.carry = _either(reader, chosen, begins, last >= first, samples_before)
    walk(reader.source, chosen.series, begins, ends, lines.consume)
    lines.finish()
    result = []
    for times, values, seen in zip(lines.times, lines.values, lines.seen.tolist(), strict=True):
        kept = (times, values) if seen else ([], [])
        result.append((kept[0][::-1], kept[1][::-1]) if descending else kept)
    return result


def _grid(chosen: Chosen, wanted: Mask, step_ms: int, most: int, descending: bool) -> tuple[I64, I64]:
    """Return the numbers of the first and the last time of each series; last < first where there is none."""
    last = (chosen.ends - 1 - chosen.starts) // step_ms
    first = np.zeros(len(last), dtype=np.int64)
    if descending:
        first = np.maximum(last - most + 1, 0)
    else:
        last = np.minimum(last, most - 1)
    return first, np.where(wanted & (chosen.starts < chosen.ends), last, first - 1)


class _Lines:
    """The lines as far as they are computed; ``next_one`` is the number of the next time of each series."""

    def __init__(
        self,
        reader: Reader,
        chosen: Chosen,
        first: I64,
        last: I64,
        step_ms: int,
        method: Interpolation,
        prepare: Callable[[Frame], Frame],
    ) -> None:
        self.reader, self.chosen, self.last = reader, chosen, last
        self.step_ms, self.method, self.prepare = step_ms, method, prepare
        self.next_one = first.copy()
        self.carry: Frame
        self.times: list[list[int]] = [[] for _ in chosen.series]
        self.values: list[list[Any]] = [[] for _ in chosen.series]
        self.seen: Mask = np.zeros(len(chosen.series), dtype=bool)

    def consume(self, frame: Frame, _low: I64, high: I64) -> Mask:
        """Compute the times of a slice, with the samples just before and just after it."""
        frame = concatenate([self.carry, self.prepare(frame)])
        due = np.minimum(self.last, (high - 1 - self.chosen.starts) // self.step_ms)
        self._compute(frame, due, high)
        self.carry = take(frame, first_rows(frame, len(self.chosen.series), 1, descending=True))
        return self.next_one <= self.last

    def finish(self) -> None:
        """Compute the times after the last slice: nothing but what was seen before is left."""
        self._compute(self.carry, self.last, self.chosen.starts + self.last * self.step_ms + 1)

    def _compute(self, frame: Frame, due: I64, high: I64) -> None:
        wanted = self.next_one <= due
        if not wanted.any():
            return
        frame = concatenate([frame, self._after(frame, due, high, wanted)])
        held = np.diff(frame.starts(len(self.chosen.series))) > 0
        for place in np.flatnonzero(wanted).tolist():
            numbers = np.arange(self.next_one[place], due[place] + 1, dtype=np.int64)
            times = self.chosen.starts[place] + numbers * self.step_ms
            self.times[place].extend(times.tolist())
            self.values[place].extend(interpolate(frame, place, times, self.method))
        self.seen |= wanted & held
        self.next_one = np.where(wanted, due + 1, self.next_one)

    def _after(self, frame: Frame, due: I64, high: I64, wanted: Mask) -> Frame:
        """Return the first sample after the slice where the last time due has none after it in the slice."""
        starts = frame.starts(len(self.chosen.series))
        has_any = np.diff(starts) > 0
        latest = np.full(len(starts) - 1, np.iinfo(np.int64).min)
        latest[has_any] = frame.time[starts[1:][has_any] - 1]
        missing = wanted & (latest < self.chosen.starts + due * self.step_ms)
        if not missing.any() or (self.method is Interpolation.PREVIOUS and has_any[missing].all()):
            return take(frame, np.zeros(0, dtype=np.int64))
        return _either(self.reader, self.chosen, high, missing, samples_after)


def _cut(chosen: Chosen, instants: I64) -> I64:
    """Return the instants, moved up to a whole minute where a series is kept by the minute."""
    return np.where(chosen.minutes, -(-instants // MINUTE_MS) * MINUTE_MS, instants)


def _either(reader: Reader, chosen: Chosen, instants: I64, wanted: Mask, find: Callable[..., Frame]) -> Frame:
    """Find neighbours of series that are read as they came and of those that are kept by the minute."""
    found = []
    for minutes in (False, True):
        mask = wanted & (chosen.minutes == minutes)
        if mask.any():
            at = _cut(chosen, instants)
            found.append(find(reader.source, chosen.series, at, wanted=mask, minutes=minutes))
    return concatenate(found)

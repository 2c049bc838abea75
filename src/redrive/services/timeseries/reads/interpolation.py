"""Values at times where nothing was stored, from the samples on both sides.

``linear`` on the straight line between both neighbours (integers rounded half away from zero; only numbers);
``previous`` the sample before; ``after`` the one after; ``near`` the closer one, of equally close ones the
earlier. A sample at the very time is its value, whatever the method. A missing neighbour gives null (for
``near`` the other one). Source: the vendor's "Data Interpolation Algorithm Reference".
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any

import numpy as np

from redrive.services.timeseries.reads.frame import I64, INTEGER, Frame, numeric, take, values_of


class Interpolation(StrEnum):
    """How a value is found between two samples."""

    LINEAR = "linear"
    PREVIOUS = "previous"
    NEAR = "near"
    AFTER = "after"


def interpolate(frame: Frame, series: int, times: I64, method: Interpolation) -> list[Any]:
    """Return the values of one series of ``frame`` at ``times`` (ascending); None where there is none."""
    low, high = np.searchsorted(frame.series, [series, series + 1])
    samples = take(frame, np.arange(low, high))
    if len(samples) == 0 or len(times) == 0:
        return [None] * len(times)
    before = np.searchsorted(samples.time, times, side="right").astype(np.int64) - 1
    after = np.searchsorted(samples.time, times, side="left").astype(np.int64)
    if method is Interpolation.LINEAR:
        return _linear(samples, times, before, after)
    rows = _chosen(samples, times, before, after, method)
    found = rows >= 0
    values: list[Any] = [None] * len(times)
    stored = values_of(take(samples, rows[found]))
    for place, value in zip(np.flatnonzero(found).tolist(), stored, strict=True):
        values[place] = value
    return values


def _chosen(samples: Frame, times: I64, before: I64, after: I64, method: Interpolation) -> I64:
    """Return the row that gives each value, -1 where there is none."""
    after = np.where(after < len(samples), after, -1)
    exact = before == after
    if method is Interpolation.PREVIOUS:
        return before
    if method is Interpolation.AFTER:
        return np.where(exact, before, after)
    both = (before >= 0) & (after >= 0)
    nearer = times - samples.time[before] <= samples.time[after] - times
    return np.where(both, np.where(nearer, before, after), np.maximum(before, after))


def _linear(samples: Frame, times: I64, before: I64, after: I64) -> list[Any]:
    exact = before == after
    number, is_number = numeric(samples)
    is_number = is_number & (samples.kind <= INTEGER)
    between = ~exact & (before >= 0) & (after < len(samples))
    left, right = np.where(between, before, 0), np.where(between, after, 0)
    between &= is_number[left] & is_number[right]
    whole = (samples.kind[left] == INTEGER) & (samples.kind[right] == INTEGER)
    width = np.where(between, samples.time[right] - samples.time[left], 1)
    share = (times - samples.time[left]) / width
    with np.errstate(over="ignore", invalid="ignore"):
        # Weighted ends, not start plus difference: the difference of two doubles can overflow.
        line = number[left] * (1.0 - share) + number[right] * share
    values: list[Any] = [None] * len(times)
    stored = values_of(take(samples, before[exact]))
    for place, value in zip(np.flatnonzero(exact).tolist(), stored, strict=True):
        values[place] = value
    for place in np.flatnonzero(between).tolist():
        values[place] = _rounded(float(line[place])) if whole[place] else _finite(float(line[place]))
    return values


def _rounded(value: float) -> int | None:
    if not math.isfinite(value):
        return None
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

"""Aggregation of samples in buckets: count, avg, sum, max, min, first, last.

Guarantees: integers stay exact (``sum`` of integers is an integer, ``max``, ``min``, ``first`` and ``last``
return the stored value itself), an average is a double. Strings and other JSON take part in ``count``,
``first`` and ``last`` only; a bucket that holds nothing for a function gives no record, never a zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from redrive.ingest.samples import EXACT
from redrive.services.timeseries.reads.frame import (
    BOOLEAN,
    DOUBLE,
    F64,
    I64,
    Frame,
    numeric,
    take,
    values_of,
)


class Function(StrEnum):
    """What a bucket is reduced to."""

    COUNT = "count"
    AVG = "avg"
    SUM = "sum"
    MAX = "max"
    MIN = "min"
    FIRST = "first"
    LAST = "last"


@dataclass(frozen=True, slots=True)
class Reduced:
    """One record per bucket that holds something: series, what tells the bucket (as given), value."""

    series: I64
    bucket: I64
    values: list[Any]


def reduce_buckets(frame: Frame, bucket: I64, function: Function) -> Reduced:
    """Return one value per (series, bucket). ``bucket`` ascends with time within a series."""
    if function in (Function.COUNT, Function.FIRST, Function.LAST):
        return _by_position(frame, bucket, function)
    number, is_number = numeric(frame)
    if not is_number.all():
        rows = np.flatnonzero(is_number)
        frame, bucket, number = take(frame, rows), bucket[rows], number[rows]
    begins = _begins(frame.series, bucket)
    if len(begins) == 0:
        return Reduced(frame.series, bucket, [])
    if function is Function.AVG:
        with np.errstate(over="ignore", invalid="ignore"):
            means = np.add.reduceat(number, begins) / np.diff(np.append(begins, len(number)))
        values = _finite(means)
    elif function is Function.SUM:
        values = _sums(frame, number, begins)
    else:
        values = values_of(take(frame, _extremes(frame, number, begins, function)))
    return Reduced(frame.series[begins], bucket[begins], values)


def _by_position(frame: Frame, bucket: I64, function: Function) -> Reduced:
    begins = _begins(frame.series, bucket)
    if len(begins) == 0:
        return Reduced(frame.series, bucket, [])
    ends = np.append(begins[1:], len(frame))
    if function is Function.COUNT:
        values = (ends - begins).tolist()
    else:
        values = values_of(take(frame, begins if function is Function.FIRST else ends - 1))
    return Reduced(frame.series[begins], bucket[begins], values)


def _begins(series: I64, bucket: I64) -> I64:
    """Return the first row of every run of equal (series, bucket)."""
    if len(series) == 0:
        return np.zeros(0, dtype=np.int64)
    changed = (np.diff(series) != 0) | (np.diff(bucket) != 0)
    return np.concatenate(([0], np.flatnonzero(changed) + 1)).astype(np.int64)


def _sums(frame: Frame, number: F64, begins: I64) -> list[Any]:
    whole = (frame.kind > DOUBLE) & (frame.kind <= BOOLEAN)
    with np.errstate(over="ignore", invalid="ignore"):
        sums = _finite(np.add.reduceat(number, begins))
    if not whole.any():
        return sums
    all_whole = np.logical_and.reduceat(whole, begins)
    ends = np.append(begins[1:], len(number))
    safe = bool((np.abs(number[whole]) * np.max(ends - begins) < EXACT).all())
    for place in np.flatnonzero(all_whole).tolist():
        if safe:
            sums[place] = int(sums[place])
        else:
            sums[place] = sum(values_of(take(frame, np.arange(begins[place], ends[place]))))
    return sums


def _extremes(frame: Frame, number: F64, begins: I64, function: Function) -> I64:
    """Return the row of the extreme of each run; of equal ones the first.

    Large integers that look equal as doubles are compared by their digits.
    """
    run = np.repeat(np.arange(len(begins)), np.diff(np.append(begins, len(number))))
    keys = number if function is Function.MIN else -number
    order = np.lexsort((np.arange(len(number)), keys, run))
    found = order[begins]
    if frame.text is None:
        return found
    best = keys[found]
    tied = keys == best[run]
    for place in np.unique(run[tied & (np.abs(number) >= EXACT)]).tolist():
        rows = np.flatnonzero(tied & (run == place))
        values = values_of(take(frame, rows))
        pick = min if function is Function.MIN else max
        found[place] = rows[values.index(pick(values))]
    return found


def _finite(numbers: F64) -> list[Any]:
    if np.isfinite(numbers).all():
        return list(numbers.tolist())
    return [number if np.isfinite(number) else None for number in numbers.tolist()]

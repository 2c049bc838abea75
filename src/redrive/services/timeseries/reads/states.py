"""Points that hold a state: when it changed, and how long each state lasted.

A state lasts until the next one is recorded. Before the first record of a span the state is the last one of
the 30 days before; where there is none it is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from redrive.services.timeseries.reads.frame import Frame, same_as_before, take, values_of

LOOK_BACK_MS = 30 * 86_400_000


class _Unknown:
    """The state of a time that no record tells about."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = _Unknown()


@dataclass(frozen=True, slots=True)
class Duration:
    """How long a state lasted in all; ``state`` is a value or ``UNKNOWN``."""

    state: Any
    milliseconds: int


def changes(frame: Frame) -> Frame:
    """Return the records at which the state became another one; the first of each series always."""
    return take(frame, np.flatnonzero(~same_as_before(frame)))


def durations(frame: Frame, series: int, start: int, end: int) -> list[Duration]:
    """Return how long each state of one series lasted between ``start`` and ``end``.

    A record before ``start`` is the state at the start. Numbers first, in order, then other states in the
    order of their first record, unknown last; a state without any time in the span is left out.
    """
    low, high = np.searchsorted(frame.series, [series, series + 1])
    samples = take(frame, np.arange(low, high))
    samples = take(samples, np.flatnonzero(~same_as_before(samples)))
    begins = np.clip(samples.time, start, end)
    ends = np.append(begins[1:], end)
    unknown = end - start if len(begins) == 0 else int(begins[0]) - start
    totals: dict[Any, tuple[Any, int]] = {}
    for value, length in zip(values_of(samples), (ends - begins).tolist(), strict=True):
        key = key_of(value)
        totals[key] = (totals.get(key, (value, 0))[0], totals.get(key, (value, 0))[1] + length)
    known = [Duration(value, length) for value, length in totals.values() if length > 0]
    known.sort(key=lambda one: (0, one.state) if is_number(one.state) else (1, 0))
    return [*known, Duration(UNKNOWN, unknown)] if unknown > 0 else known


def is_number(value: Any) -> bool:
    """Return whether a state is a number; true and false are the numbers 1 and 0."""
    return isinstance(value, int | float)


def key_of(value: Any) -> Any:
    """Return what two values have in common that are the same state: 1, 1.0 and true are."""
    return ("number", value) if is_number(value) else ("other", repr(value))

"""Reads of points that hold a state: its changes, and how long each state lasted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from redrive.services.timeseries.assets import StorageType
from redrive.services.timeseries.reads.answer import Answer, answer_of
from redrive.services.timeseries.reads.filters import Comparison, holds
from redrive.services.timeseries.reads.frame import (
    I64,
    Frame,
    Mask,
    Series,
    at_times,
    concatenate,
    first_rows,
    take,
)
from redrive.services.timeseries.reads.neighbours import samples_before
from redrive.services.timeseries.reads.selection import Chosen, Reader, Selection, choose
from redrive.services.timeseries.reads.spans import Span
from redrive.services.timeseries.reads.states import (
    LOOK_BACK_MS,
    UNKNOWN,
    Duration,
    changes,
    durations,
)
from redrive.services.timeseries.reads.walking import walk


@dataclass(frozen=True, slots=True)
class ChangeQuery:
    """A read of changes, at most ``most`` per series. ``look_back``: tell the state at the start too."""

    selection: Selection
    span: Span
    most: int
    look_back: bool = False


@dataclass(frozen=True, slots=True)
class DurationQuery:
    """A read of durations. ``states``: only these, as text; empty for all. ``most``: records scanned a series."""

    selection: Selection
    span: Span
    most: int
    states: tuple[str, ...] = ()
    with_unknown: bool = True


@dataclass(frozen=True, slots=True)
class StateDurations:
    """How long the states of one series lasted, up to ``scanned_to_ms``."""

    series: Series
    scanned_to_ms: int
    durations: tuple[Duration, ...]


def read_changes(reader: Reader, query: ChangeQuery) -> Answer:
    """Return the records at which the state of a point became another one, the first of the span always.

    With ``look_back``, where no record lies exactly at the start, the last state of the 30 days before is
    told at the start, and the first record counts only if it is another one.
    """
    chosen = choose(reader, query.selection, frozenset({StorageType.DI}), query.span, minutes=False)
    parts = [_state_at_start(reader, chosen)] if query.look_back else []
    counts = np.zeros(len(chosen.series), dtype=np.int64)

    def consume(frame: Frame, _low: I64, _high: I64) -> Mask:
        nonlocal counts
        # Only changes are kept from slice to slice, so a year of equal states costs nothing.
        parts[:] = [changes(concatenate([*parts, frame]))]
        counts = np.diff(parts[0].starts(len(chosen.series)))
        return counts < query.most

    walk(reader.source, chosen.series, chosen.starts, chosen.ends, consume)
    frame = concatenate(parts)
    frame = take(frame, first_rows(frame, len(chosen.series), query.most))
    return answer_of(frame, chosen.series, chosen.zones)


def read_durations(reader: Reader, query: DurationQuery) -> list[StateDurations]:
    """Return for each series how long its states lasted, until now where the span ends later.

    A series of more than ``most`` records is scanned up to the record where that many are read.
    """
    chosen = choose(reader, query.selection, frozenset({StorageType.DI}), query.span, minutes=False)
    ends = np.maximum(np.minimum(chosen.ends, reader.now_ms), chosen.starts)
    parts = [_state_at_start(reader, chosen)]
    counts = np.zeros(len(chosen.series), dtype=np.int64)
    scanned = ends.copy()

    def consume(frame: Frame, _low: I64, _high: I64) -> Mask:
        nonlocal counts
        full = _cut_where_full(frame, counts, query.most, scanned)
        counts = counts + np.bincount(frame.series, minlength=len(chosen.series))
        parts[:] = [changes(concatenate([*parts, full]))]
        return counts < query.most

    walk(reader.source, chosen.series, chosen.starts, ends, consume)
    frame = concatenate(parts)
    return [
        StateDurations(one, end, _kept(durations(frame, place, start, end), query))
        for place, (one, start, end) in enumerate(
            zip(chosen.series, chosen.starts.tolist(), scanned.tolist(), strict=True)
        )
    ]


def _state_at_start(reader: Reader, chosen: Chosen) -> Frame:
    """Return the last state of the 30 days before each span, at the start of it.

    A record of the span at the very start arrived later or earlier, but is what holds there: it wins.
    """
    before = samples_before(reader.source, chosen.series, chosen.starts, reach_ms=LOOK_BACK_MS)
    moved = at_times(before, chosen.starts[before.series])
    return Frame(
        moved.series, moved.time, moved.number, moved.text, moved.kind, moved.quality, np.full(len(moved), -1)
    )


def _cut_where_full(frame: Frame, counts: I64, most: int, scanned: I64) -> Frame:
    """Return the records up to the ``most``-th of each series, and note the time of that one in ``scanned``."""
    starts = frame.starts(len(counts))
    rank = np.arange(len(frame)) - np.repeat(starts[:-1], np.diff(starts)) + counts[frame.series]
    last = np.flatnonzero(rank == most - 1)
    scanned[frame.series[last]] = frame.time[last]
    return take(frame, np.flatnonzero(rank < most))


def _kept(found: Sequence[Duration], query: DurationQuery) -> tuple[Duration, ...]:
    kept = []
    for one in found:
        if one.state is UNKNOWN:
            if query.with_unknown:
                kept.append(one)
        elif not query.states or holds(one.state, Comparison.AMONG, query.states):
            kept.append(one)
    return tuple(kept)

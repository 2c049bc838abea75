"""Walks over samples piece by piece: few series at once, slices of time, so that any span fits into memory.

A store decodes whole row groups. So a piece is cut where it costs little: a source says how many rows it would
decode for some boxes, and a piece is made smaller (fewer series, or less time) until that is within bounds. A
walk ends for a series when the caller has enough of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from redrive.services.timeseries.reads.buckets import MINUTE_MS
from redrive.services.timeseries.reads.frame import (
    I64,
    Frame,
    Mask,
    Series,
    concatenate,
    empty_frame,
    first_rows,
    frame_of,
    take,
)
from redrive.services.timeseries.reads.source import SampleSource, boxes_of, extent_of

#: A piece costs no more than this many rows, where it can be made smaller.
PIECE_ROWS = 1_000_000
#: The first piece of a walk that may end early costs no more, for few records less; each after twice as much.
FIRST_ROWS = 262_144
_ROWS_PER_RECORD = 64
_NARROWEST_MS = MINUTE_MS

#: Takes a piece (rows, from, to, one entry per series), returns which series are still wanted.
Consumer = Callable[[Frame, I64, I64], Mask]
#: Moves the end of a piece (a place of a series, an instant) to the next edge that is allowed.
Aligner = Callable[[int, int], int]


def walk(
    source: SampleSource,
    series: Sequence[Series],
    starts: I64,
    ends: I64,
    consume: Consumer,
    *,
    align: Aligner | None = None,
    descending: bool = False,
    most: int | None = None,
) -> None:
    """Give ``consume`` the samples of ``series`` piece by piece until their spans or its wishes end.

    Pieces of a series follow each other without a gap, from its start on (from its end back when
    ``descending``); their edges are whole minutes, or where ``align`` says. A series that is not in a piece has
    an empty span in it. ``most``: so many records are wanted of each series, so begin with short pieces.
    """
    low, high = _within_extent(extent_of(source, series), starts, ends)
    _Walk(source, series, low, high, consume, align, descending, most).run()


def first_samples(
    source: SampleSource,
    series: Sequence[Series],
    starts: I64,
    ends: I64,
    most: int,
    *,
    descending: bool = False,
    prepare: Callable[[Frame], Frame] | None = None,
) -> Frame:
    """Return the first (or last) ``most`` samples of each series, ascending.

    ``prepare`` is applied to each piece before samples are counted; it may thin out rows within a minute.
    """
    parts: list[Frame] = []
    counts = np.zeros(len(series), dtype=np.int64)

    def consume(frame: Frame, _low: I64, _high: I64) -> Mask:
        nonlocal counts
        prepared = prepare(frame) if prepare else frame
        parts.append(take(prepared, first_rows(prepared, len(series), most, descending=descending)))
        counts += np.bincount(prepared.series, minlength=len(series))
        return counts < most

    walk(source, series, starts, ends, consume, descending=descending, most=most)
    frame = concatenate(parts)
    return take(frame, first_rows(frame, len(series), most, descending=descending))


class _Walk:
    """``low`` and ``high`` are what is left of each span."""

    def __init__(
        self,
        source: SampleSource,
        series: Sequence[Series],
        low: I64,
        high: I64,
        consume: Consumer,
        align: Aligner | None,
        descending: bool,
        most: int | None,
    ) -> None:
        self.source, self.series = source, series
        self.low, self.high = low.copy(), high.copy()
        self.consume, self.align = consume, align
        self.descending, self.limited = descending, most is not None
        self.first_budget = PIECE_ROWS
        if most is not None:
            self.first_budget = min(FIRST_ROWS, max(FIRST_ROWS // 4, most * _ROWS_PER_RECORD))
        self.wanted: Mask = np.ones(len(series), dtype=bool)

    def run(self) -> None:
        """Walk batch by batch, each to its end."""
        batches = [self.wanted.copy()]
        while batches:
            batches.extend(self._batch(batches.pop()))

    def _batch(self, batch: Mask) -> list[Mask]:
        """Walk to the end of the series of ``batch``; or return it in two halves, the first one last."""
        budget = self.first_budget
        width = 0
        while (batch := batch & self.wanted & (self.low < self.high)).any():
            left = int((self.high - self.low)[batch].max())
            width = min(width * 4, left) if width else left
            fitting = self._fitting_width(batch, width, budget)
            if fitting is None:
                return _halves(batch)
            width = fitting
            self._read(batch, *self._piece(batch, width))
            budget = min(budget * 2, PIECE_ROWS)
        return []

    def _fitting_width(self, batch: Mask, width: int, budget: int) -> int | None:
        """Return a width whose piece is within the budget, None where the batch is to be halved instead."""
        cost = self._cost(batch, width)
        if cost <= budget:
            return width
        several = np.count_nonzero(batch) > 1
        if several and not self.limited:
            return None
        # No piece costs less than one that is next to nothing wide: less time than that helps little.
        least = self._cost(batch, _NARROWEST_MS)
        if several and 2 * least > PIECE_ROWS:
            return None
        while cost > max(budget, 2 * least) and width > _NARROWEST_MS:
            width = max(width // 2, _NARROWEST_MS)
            cost = self._cost(batch, width)
        return width

    def _cost(self, batch: Mask, width: int) -> int:
        return self.source.cost(boxes_of(self.series, *self._piece(batch, width), batch))

    def _piece(self, batch: Mask, width: int) -> tuple[I64, I64]:
        """Return the begins and ends of the next piece; of series outside the batch nothing."""
        if self.descending:
            edge = np.maximum((self.high - width) // MINUTE_MS * MINUTE_MS, self.low)
            return np.where(batch, edge, self.high), self.high
        edge = np.minimum(self._aligned(self.low + width, batch), self.high)
        return self.low, np.where(batch, edge, self.low)

    def _aligned(self, edges: I64, batch: Mask) -> I64:
        if self.align is None:
            return -(-edges // MINUTE_MS) * MINUTE_MS
        moved = edges.copy()
        for place in np.flatnonzero(batch & (edges < self.high)).tolist():
            moved[place] = self.align(place, int(edges[place]))
        return moved

    def _read(self, batch: Mask, begin: I64, finish: I64) -> None:
        boxes = boxes_of(self.series, begin, finish, batch)
        found = bool(boxes) and self.source.cost(boxes) > 0
        frame = frame_of(self.source.samples(boxes), self.series) if found else empty_frame()
        if self.descending:
            self.high = begin.copy()
        else:
            self.low = finish.copy()
        self.wanted &= self.consume(frame, begin, finish) | ~batch


def _halves(batch: Mask) -> list[Mask]:
    places = np.flatnonzero(batch)
    first, second = np.zeros(len(batch), dtype=bool), np.zeros(len(batch), dtype=bool)
    first[places[: len(places) // 2]] = True
    second[places[len(places) // 2 :]] = True
    return [second, first]


def _within_extent(extent: tuple[int, int] | None, low: I64, high: I64) -> tuple[I64, I64]:
    """Cut spans to where there can be samples, at whole minutes."""
    if extent is None:
        return low, low
    return np.maximum(low, extent[0] // MINUTE_MS * MINUTE_MS), np.minimum(high, extent[1] + 1)

"""What a series' latest value is, and since when it has not changed: computed for many series at once.

No database here. A *state* is columns in parallel, one place per series; ``advance`` takes the state and any
samples, in any order, and returns the state after them. Samples that are in the state already change nothing,
so a batch may be seen twice.

* The latest value is the one with the highest time; of equal times, the highest sequence.
* The value *changed* at the last time at which it differed from the one before, in order of time. A sample
  that came late, after one of a higher time, does not count for that.
* Values are equal when they are the same number, or the same text of the same kind; 1 and 1.0 are equal.
* What was deleted up to a sequence stays away: a sample with a lower or equal one is not shown again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from redrive.ingest.samples import Array, codes_of, series_codes
from redrive.services.timeseries.storage.columns import ordering

#: Stands for a series without a value.
NO_KIND = -1
_NO_QUALITY = -1
#: Doubles and integers are compared as numbers.
_CLASSES = np.array([0, 0, 1, 2, 3, -1], dtype=np.int8)


@dataclass(frozen=True, slots=True)
class State:
    """One place per series: its newest value, when it last changed, and what was deleted.

    ``has_row`` says whether the store has a row for it. ``kind`` is ``NO_KIND`` without a value; ``number`` is
    NaN and ``text`` None where the value has none.
    """

    has_row: Array
    kind: Array
    time_ms: Array
    number: Array
    text: Array
    quality: Array
    seq: Array
    stored_ms: Array
    changed_ms: Array
    latest_deleted_seq: Array
    changed_deleted_seq: Array

    @classmethod
    def empty(cls, count: int) -> State:
        """Return the state of ``count`` series that nothing is known of."""
        zeros = np.zeros(count, np.int64)
        return cls(
            has_row=np.zeros(count, np.bool_),
            kind=np.full(count, NO_KIND, np.int8),
            time_ms=zeros,
            number=np.full(count, np.nan),
            text=np.full(count, None, object),
            quality=np.full(count, _NO_QUALITY, np.int64),
            seq=zeros,
            stored_ms=zeros,
            changed_ms=zeros,
            latest_deleted_seq=zeros,
            changed_deleted_seq=zeros,
        )

    @property
    def has_latest(self) -> Array:
        """Which series show a latest value."""
        shown: Array = (self.kind != NO_KIND) & (self.seq > self.latest_deleted_seq)
        return shown

    @property
    def has_changed(self) -> Array:
        """Which series show a last change."""
        shown: Array = (self.kind != NO_KIND) & (self.seq > self.changed_deleted_seq)
        return shown


@dataclass(frozen=True, slots=True)
class Rows:
    """Samples as columns of numpy arrays; ``series`` is the place of each in the state, ``text`` None without any."""

    series: Array
    kind: Array
    time_ms: Array
    number: Array
    text: Array | None
    quality: Array
    seq: Array
    stored_ms: Array

    def only(self, chosen: Array) -> Rows:
        """Return the rows where ``chosen`` is true."""
        text = None if self.text is None else self.text[chosen]
        names = ("series", "kind", "time_ms", "number", "quality", "seq", "stored_ms")
        return Rows(text=text, **{name: getattr(self, name)[chosen] for name in names})


def series_of(samples: pa.Table) -> tuple[list[str], list[str], Array]:
    """Return assets and points of the series in ``samples`` (one chunk), in order, and each row's place."""
    assets, asset_names = codes_of(samples["asset"])
    points, point_names = codes_of(samples["point"])
    asset_rank, ordered_assets = _ranked(asset_names)
    point_rank, ordered_points = _ranked(point_names)
    width = max(1, len(ordered_points))
    packed = asset_rank[assets] * width + point_rank[points]
    if len(ordered_assets) * width <= 4 * len(packed) + 1000:
        # Where most pairs occur, counting is faster than sorting.
        used = np.zeros(len(ordered_assets) * width, np.bool_)
        used[packed] = True
        keys = np.flatnonzero(used)
        places = (np.cumsum(used) - 1)[packed]
    else:
        keys, places = np.unique(packed, return_inverse=True)
    found_assets = [ordered_assets[code] for code in (keys // width).tolist()]
    found_points = [ordered_points[code] for code in (keys % width).tolist()]
    return found_assets, found_points, places


def _ranked(names: Sequence[str]) -> tuple[Array, list[str]]:
    ordered = sorted(set(names))
    place = {name: rank for rank, name in enumerate(ordered)}
    return np.array([place[name] for name in names], np.int64), ordered


def rows_of(samples: pa.Table, series: Array) -> Rows:
    """Return ``samples`` (one chunk) as columns."""
    values = _values_of(samples)
    return Rows(
        series=series,
        kind=values.kind,
        time_ms=samples["time_ms"].chunk(0).to_numpy(),
        number=values.number,
        text=values.text,
        quality=samples["quality"].chunk(0).fill_null(_NO_QUALITY).to_numpy().astype(np.int64),
        seq=samples["seq"].chunk(0).to_numpy(),
        stored_ms=samples["stored_ms"].chunk(0).to_numpy(),
    )


def distinct(samples: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Return the samples of one batch (one chunk) without repeats, and the few that can matter for a state.

    Of samples of one series and time the last stays. The few are, per series: the first, the last, the one with
    the last change, and the one before it. Taken into a state, they give what all would, but that a value in the
    state with a time in the midst of the batch is compared with its neighbours among these.
    """
    series = series_codes(samples)
    time = samples["time_ms"].chunk(0).to_numpy()
    order = ordering(series, int(series.max()) + 1, time)
    ordered, times = (series, time) if order is None else (series[order], time[order])
    same_series = ordered[1:] == ordered[:-1]
    repeats = same_series & (times[1:] == times[:-1])
    if repeats.any():
        last = np.append(~repeats, True)
        kept = np.flatnonzero(last) if order is None else np.sort(order[last])
        return distinct(samples.take(pa.array(kept)))
    first = np.append(True, ~same_series)
    starts = np.flatnonzero(first)
    changes = first | np.append(True, _differ(_values_of(samples), order))
    last_change = np.maximum.reduceat(np.where(changes, np.arange(len(ordered)), -1), starts)
    kept = np.concatenate(
        [starts, np.append(starts[1:], len(ordered)) - 1, last_change, np.maximum(last_change - 1, starts)]
    )
    kept = np.unique(kept)
    return samples, samples.take(pa.array(kept if order is None else order[kept]))


def advance(state: State, rows: Rows) -> State:
    """Return the state after ``rows``."""
    if len(rows.series) == 0:
        return state
    count = len(state.kind)
    held = np.flatnonzero(state.kind != NO_KIND)
    merged = _with_state(state, rows, held)
    shown = merged.seq > state.latest_deleted_seq[merged.series]
    order = _order(merged, count, shown)
    series = merged.series[order]
    last = np.append(series[1:] != series[:-1], True)
    winners, places = order[last], series[last]
    changed = _changed(state, merged, order, len(held))
    fresh = {
        name: _put(getattr(state, name), places, getattr(merged, name)[winners])
        for name in ("kind", "time_ms", "number", "quality", "seq", "stored_ms")
    }
    text = None if merged.text is None else merged.text[winners]
    return replace(state, changed_ms=changed, text=_put(state.text, places, text), **fresh)


def _with_state(state: State, rows: Rows, held: Array) -> Rows:
    """Return the values in the state, first, and ``rows`` behind them."""

    def both(name: str) -> Array:
        return np.concatenate([getattr(state, name)[held], getattr(rows, name)])

    texts: Array | None = None
    if rows.text is not None:
        texts = np.concatenate([state.text[held], rows.text])
    elif any(text is not None for text in state.text[held]):
        texts = np.concatenate([state.text[held], np.full(len(rows.series), None, object)])
    return Rows(
        series=np.concatenate([held, rows.series]),
        kind=both("kind"),
        time_ms=both("time_ms"),
        number=both("number"),
        text=texts,
        quality=both("quality"),
        seq=both("seq"),
        stored_ms=both("stored_ms"),
    )


def _order(rows: Rows, count: int, shown: Array) -> Array:
    """Return the order of rows by series, then shown last, then time, then sequence."""
    if not shown.all():
        return np.lexsort((rows.seq, rows.time_ms, shown, rows.series))
    order = ordering(rows.series, count, rows.time_ms)
    if order is None:
        order = np.arange(len(rows.series))
    series, time, seq = rows.series[order], rows.time_ms[order], rows.seq[order]
    if bool(((series[1:] == series[:-1]) & (time[1:] == time[:-1]) & (seq[1:] < seq[:-1])).any()):
        return np.lexsort((rows.seq, rows.time_ms, rows.series))
    return order


def _changed(state: State, rows: Rows, order: Array, held: int) -> Array:
    """Return when each series last changed. The first ``held`` rows are the values in the state."""
    counted = rows.seq[order] > state.changed_deleted_seq[rows.series[order]]
    counted &= ~_late(state, rows, order)
    order = order if counted.all() else order[counted]
    if len(order) == 0:
        return state.changed_ms
    series = rows.series[order]
    first = np.append(True, series[1:] != series[:-1])
    when = rows.time_ms[order].copy()
    differs = first | np.append(True, _differ(rows, order))
    old = np.flatnonzero(order < held)
    if len(old):
        when[old] = state.changed_ms[series[old]]
        start = np.full(len(state.kind), -1, np.int64)
        start[series[old]] = old
        differs &= np.arange(len(order)) > start[series]
        differs[old] = True
    marks = np.where(differs, np.arange(len(order)), -1)
    starts = np.flatnonzero(first)
    last = np.maximum.reduceat(marks, starts)
    return _put(state.changed_ms, series[starts], when[last])


def _late(state: State, rows: Rows, order: Array) -> Array:
    """Return which of the ordered rows came after one of a higher time: what was late stays late, however
    many batches are taken in at once. A series with a deleted latest value begins anew, late or not.
    """
    series, seq = rows.series[order], rows.seq[order]
    late = np.zeros(len(order), np.bool_)
    if not ((series[1:] == series[:-1]) & (seq[1:] < seq[:-1])).any():
        return late
    arrival = np.lexsort((rows.time_ms, rows.seq, rows.series))
    owner, time = rows.series[arrival], rows.time_ms[arrival]
    _, rank = np.unique(time, return_inverse=True)
    highest = np.maximum.accumulate(owner * np.int64(len(rank) + 1) + rank)
    came_late = np.zeros(len(order), np.bool_)
    came_late[arrival] = highest > owner * np.int64(len(rank) + 1) + rank
    anew = np.zeros(len(state.kind), np.bool_)
    anew[rows.series[rows.seq <= state.latest_deleted_seq[rows.series]]] = True
    result: Array = came_late[order] & ~anew[series]
    return result


@dataclass(frozen=True, slots=True)
class _Values:
    """What says whether two values are equal."""

    kind: Array
    number: Array
    text: Array | None


def _values_of(samples: pa.Table) -> _Values:
    texts = samples["text"].chunk(0)
    return _Values(
        kind=samples["kind"].chunk(0).to_numpy(),
        number=samples["number"].chunk(0).to_numpy(zero_copy_only=False),
        text=None if texts.null_count == len(texts) else texts.to_numpy(zero_copy_only=False),
    )


def _differ(rows: Rows | _Values, order: Array | None) -> Array:
    """Return for each row but the first whether its value differs from the one before; None: as they lie."""
    chosen = slice(None) if order is None else order
    sort = _CLASSES[rows.kind[chosen]]
    number = rows.number[chosen]
    missing = np.isnan(number)
    if missing.any():
        number = np.where(missing, 0.0, number)
    result: Array = (sort[1:] != sort[:-1]) | (number[1:] != number[:-1])
    if rows.text is not None:
        texts = rows.text[chosen]
        result |= texts[1:] != texts[:-1]
    return result


def _put(column: Array, places: Array, values: Array | None) -> Array:
    fresh = column.copy()
    fresh[places] = values
    return fresh


def as_samples(assets: Sequence[str], points: Sequence[str], state: State, shown: Array, times: Array) -> Any:
    """Return the series of ``shown`` as columns of a sample table, with ``times``."""
    places = np.flatnonzero(shown)
    number = state.number[places]
    quality = state.quality[places]
    chosen = places.tolist()
    return {
        "asset": pa.array([assets[place] for place in chosen], pa.string()).dictionary_encode(),
        "point": pa.array([points[place] for place in chosen], pa.string()).dictionary_encode(),
        "time_ms": pa.array(times[places], pa.int64()),
        "number": pa.array(number, pa.float64(), mask=np.isnan(number)),
        "text": pa.array(state.text[places], pa.string()),
        "kind": pa.array(state.kind[places], pa.int8()),
        "quality": pa.array(quality, pa.int32(), mask=quality < 0),
        "seq": pa.array(state.seq[places], pa.int64()),
        "stored_ms": pa.array(state.stored_ms[places], pa.int64()),
    }

"""The latest and the last-changed store: one row per series, written in sets, read together with the tail.

Guarantees: ``read`` shows every sample that was acknowledged before the call; what was deleted is not shown
again, also where the deleted sample was still on its way into the tables at that moment. A deletion of
latest values leaves the last-changed store alone, and the other way round; a value that is deleted from both is
gone from the row.

Times, equality and late samples: :mod:`redrive.services.timeseries.newest`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
from psycopg import Connection

from redrive.database import Queries
from redrive.ingest import log
from redrive.ingest.samples import SAMPLES, Array, joined
from redrive.services.timeseries.newest import Rows, State, advance, as_samples, rows_of, series_of

queries = Queries.beside(__file__, "latest.sql")

#: Binding a value of a statement takes about 2 microseconds, and each series has ten.
SERIES_AT_ONCE = 20_000

_COLUMNS = {
    "kind": ">i2",
    "time_ms": ">i8",
    "number": ">f8",
    "quality": ">i8",
    "seq": ">i8",
    "stored_ms": ">i8",
    "changed_ms": ">i8",
    "latest_deleted_seq": ">i8",
    "changed_deleted_seq": ">i8",
}


def read(
    conn: Connection[Any], tenant_id: int, assets: Sequence[str], points: Sequence[str], tail: pa.Table
) -> pa.Table:
    """Return the latest sample of each of assets x points that has one. Read ``tail`` before, on any connection."""
    return read_series(conn, tenant_id, list(product(dict.fromkeys(assets), dict.fromkeys(points))), tail)


def read_series(
    conn: Connection[Any], tenant_id: int, series: Sequence[tuple[str, str]], tail: pa.Table
) -> pa.Table:
    """Return the latest sample of each (asset, point), each named once, that has one."""
    names, state = _overlaid(conn, tenant_id, series, tail)
    return pa.table(as_samples(*names, state, state.has_latest, state.time_ms), schema=SAMPLES)


def last_changed(
    conn: Connection[Any], tenant_id: int, assets: Sequence[str], points: Sequence[str], tail: pa.Table
) -> pa.Table:
    """Return for each of assets x points its value, with the time at which it last became another one."""
    pairs = list(product(dict.fromkeys(assets), dict.fromkeys(points)))
    return last_changed_series(conn, tenant_id, pairs, tail)


def last_changed_series(
    conn: Connection[Any], tenant_id: int, series: Sequence[tuple[str, str]], tail: pa.Table
) -> pa.Table:
    """Return for each (asset, point), each named once, its value with the time of its last change."""
    names, state = _overlaid(conn, tenant_id, series, tail)
    return pa.table(as_samples(*names, state, state.has_changed, state.changed_ms), schema=SAMPLES)


def write(conn: Connection[Any], tenant_id: int, samples: pa.Table) -> None:
    """Take ``samples``, which are in the tables now, into both stores. Safe to repeat.

    Locks the tenant's stores until the caller's commit. Goes by parts of ``SERIES_AT_ONCE`` series, so that no
    pause between two statements gets near to what a worker's transaction may idle.
    """
    if samples.num_rows == 0:
        return
    samples = joined([samples])
    assets, points, places = series_of(samples)
    conn.execute(queries.lock, {"tenant_id": tenant_id})
    for start, rows in _parts(samples, places, len(assets)):
        end = start + SERIES_AT_ONCE
        _write(conn, tenant_id, assets[start:end], points[start:end], rows)


def _parts(samples: pa.Table, places: Array, series: int) -> Iterator[tuple[int, Rows]]:
    """Return the rows of each part of the series, with the place at which the part begins."""
    if series <= SERIES_AT_ONCE:
        yield 0, rows_of(samples, places)
        return
    order = np.argsort(places, kind="stable")
    starts = range(0, series, SERIES_AT_ONCE)
    bounds = np.searchsorted(places[order], [*starts, series])
    for start, first, end in zip(starts, bounds[:-1], bounds[1:], strict=True):
        chosen = order[first:end]
        yield start, rows_of(joined([samples.take(pa.array(chosen))]), places[chosen] - start)


def _write(conn: Connection[Any], tenant_id: int, assets: list[str], points: list[str], rows: Rows) -> None:
    before = _state(conn, tenant_id, assets, points)
    # What was deleted from both stores while it was on its way is not kept either.
    gone = np.minimum(before.latest_deleted_seq, before.changed_deleted_seq)[rows.series]
    after = advance(before, rows.only(rows.seq > gone) if gone.any() else rows)
    moved = (after.seq != before.seq) | (after.time_ms != before.time_ms) | (after.kind != before.kind)
    moved |= after.changed_ms != before.changed_ms
    for query, places in ((queries.change, moved & before.has_row), (queries.add, moved & ~before.has_row)):
        _put(conn, query, tenant_id, assets, points, after, np.flatnonzero(places))


def delete(conn: Connection[Any], tenant_id: int, assets: Collection[str], points: Collection[str]) -> None:
    """Delete the latest values of assets x points that are stored or on their way now. Safe to repeat."""
    _delete(conn, tenant_id, assets, points, queries.delete_latest)


def delete_changed(
    conn: Connection[Any], tenant_id: int, assets: Collection[str], points: Collection[str]
) -> None:
    """Delete the last-changed records of assets x points. Safe to repeat."""
    _delete(conn, tenant_id, assets, points, queries.delete_changed)


def drop_empty(conn: Connection[Any], tenant_id: int, through_seq: int) -> None:
    """Forget deletions up to a sequence behind which every sample is in the stores already."""
    conn.execute(queries.drop_empty, {"tenant_id": tenant_id, "through_seq": through_seq})


def _delete(
    conn: Connection[Any], tenant_id: int, assets: Collection[str], points: Collection[str], query: str
) -> None:
    # The head stays locked until the commit: whatever is acknowledged after is later than the deletion.
    seq = log.head(conn, tenant_id, lock=True)
    conn.execute(queries.lock, {"tenant_id": tenant_id})
    named = {"tenant_id": tenant_id, "assets": sorted(set(assets)), "points": sorted(set(points))}
    conn.execute(query, {**named, "seq": seq})
    conn.execute(queries.wipe_deleted, named)


def _overlaid(
    conn: Connection[Any], tenant_id: int, pairs: Sequence[tuple[str, str]], tail: pa.Table
) -> tuple[tuple[list[str], list[str]], State]:
    names = [asset for asset, _ in pairs], [point for _, point in pairs]
    state = _state(conn, tenant_id, *names)
    if tail.num_rows == 0:
        return names, state
    tail = joined([tail])
    tail_assets, tail_points, series = series_of(tail)
    place = {pair: number for number, pair in enumerate(pairs)}
    wanted = np.array(
        [place.get(pair, -1) for pair in zip(tail_assets, tail_points, strict=True)], dtype=np.int64
    )[series]
    chosen = np.flatnonzero(wanted >= 0)
    if len(chosen) < len(wanted):
        tail = tail.take(pa.array(chosen))
    return names, advance(state, rows_of(tail, wanted[chosen])) if len(chosen) else state


def _state(conn: Connection[Any], tenant_id: int, assets: list[str], points: list[str]) -> State:
    """Return what is stored of the series ``zip(assets, points)``."""
    (row,) = conn.execute(
        queries.state, {"tenant_id": tenant_id, "assets": assets, "points": points}, binary=True
    ).fetchall()
    state = State.empty(len(assets))
    if row.place is None:
        return state
    places = np.frombuffer(row.place, ">i8") - 1
    columns: dict[str, Array] = {}
    for name, form in _COLUMNS.items():
        empty: Array = getattr(state, name)
        columns[name] = empty.copy()
        columns[name][places] = np.frombuffer(getattr(row, name), form)
    columns["has_row"] = np.zeros(len(assets), np.bool_)
    columns["has_row"][places] = True
    columns["text"] = state.text
    if row.text is not None:
        columns["text"][np.frombuffer(row.text_place, ">i8") - 1] = row.text
    return State(**columns)


def _put(
    conn: Connection[Any],
    query: str,
    tenant_id: int,
    assets: list[str],
    points: list[str],
    state: State,
    places: Array,
) -> None:
    if len(places) == 0:
        return
    chosen = places.tolist()
    number, quality = state.number[places], state.quality[places]
    conn.execute(
        query,
        {
            "tenant_id": tenant_id,
            "assets": [assets[place] for place in chosen],
            "points": [points[place] for place in chosen],
            "kind": state.kind[places].tolist(),
            "time_ms": state.time_ms[places].tolist(),
            "number": _listed(number, np.isnan(number)),
            "text": state.text[places].tolist(),
            "quality": _listed(quality, quality < 0),
            "seq": state.seq[places].tolist(),
            "stored_ms": state.stored_ms[places].tolist(),
            "changed_ms": state.changed_ms[places].tolist(),
        },
        binary=True,
    )


def _listed(column: Array, absent: Array) -> list[Any]:
    return [None if none else value for value, none in zip(column.tolist(), absent.tolist(), strict=True)]

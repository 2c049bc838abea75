"""The latest and last-changed stores: what they show, before and after samples are moved, and after deletions."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redrive.database import Database
from redrive.ingest import Channel, Tail, log, rows
from redrive.ingest.samples import SAMPLES, joined, with_place
from redrive.services.timeseries import latest, newest

TENANT = 7


def samples(*items: tuple[str, int, Any], asset: str = "a", seq: int = 1) -> pa.Table:
    """Return samples (point, time, value) of one batch."""
    table = rows.wide_batch(
        [asset] * len(items), [time for _, time, _ in items], [{p: v} for p, _, v in items], lambda r, p: p
    )
    return with_place(joined([table]), seq, 1000 + seq)


def accept(db: Database, *items: tuple[str, int, Any], asset: str = "a") -> int:
    """Append samples to the log, as ingest does."""
    with db.transaction() as conn:
        return log.append(
            conn, TENANT, samples(*items, asset=asset).drop(["seq", "stored_ms"]), Channel.REALTIME
        )


def move(db: Database) -> None:
    """Take what is in the log into the stores, as the mover does."""
    with db.transaction() as conn:
        log.add_reader(conn, TENANT, log.TIMESERIES, 0)
        latest.write(conn, TENANT, Tail().read(conn, TENANT))
        through = log.head(conn, TENANT)
        log.advance(conn, TENANT, log.TIMESERIES, through)
        latest.drop_empty(conn, TENANT, through)


def shown(db: Database, read: Callable[..., pa.Table] = latest.read, points: str = "p,q") -> dict[str, Any]:
    with db.transaction() as conn:
        tail = Tail().read(conn, TENANT)
        table = read(conn, TENANT, ["a", "b"], points.split(","), tail)
    assert table.schema == SAMPLES
    found = {}
    for row in table.to_pylist():
        value = row["text"] if row["text"] is not None else row["number"]
        found[f"{row['asset']}.{row['point']}"] = (row["time_ms"], value)
    return found


def changed(db: Database) -> dict[str, Any]:
    return shown(db, latest.last_changed)


@pytest.fixture(params=["in the log", "moved"])
def arrive(request: pytest.FixtureRequest, db: Database) -> Callable[..., None]:
    """Accept samples, and perhaps move them at once: a reader sees no difference."""

    def accept_and_perhaps_move(*items: tuple[str, int, Any], asset: str = "a") -> None:
        accept(db, *items, asset=asset)
        if request.param == "moved":
            move(db)

    return accept_and_perhaps_move


def test_the_newest_by_its_own_time_is_latest(db: Database, arrive: Callable[..., None]) -> None:
    arrive(("p", 10, 1.0), ("p", 30, 3.0), ("p", 20, 2.0), ("q", 5, "x"))
    assert shown(db) == {"a.p": (30, 3.0), "a.q": (5, "x")}
    arrive(("p", 25, 9.0))
    assert shown(db)["a.p"] == (30, 3.0), "a late sample is not latest"
    arrive(("p", 30, 4.0))
    assert shown(db)["a.p"] == (30, 4.0), "of equal times the one that came last"
    arrive(("p", 1, True), asset="b")
    assert shown(db) == {"a.p": (30, 4.0), "a.q": (5, "x"), "b.p": (1, 1.0)}


def test_a_value_changed_when_it_last_differed(db: Database, arrive: Callable[..., None]) -> None:
    arrive(("p", 10, 1.0))
    assert changed(db) == {"a.p": (10, 1.0)}, "the first value is a change"
    arrive(("p", 20, 1))
    assert changed(db) == {"a.p": (10, 1.0)}, "1 and 1.0 are equal"
    arrive(("p", 30, 2.0), ("p", 40, 2.0))
    assert changed(db) == {"a.p": (30, 2.0)}
    arrive(("p", 35, 7.0))
    assert changed(db) == {"a.p": (30, 2.0)}, "a late sample does not count"
    arrive(("p", 50, "2.0"))
    assert changed(db) == {"a.p": (50, "2.0")}, "a text is another value"
    arrive(("p", 60, "2.0"), ("p", 70, "3.0"), ("p", 80, "3.0"))
    assert changed(db) == {"a.p": (70, "3.0")}
    assert shown(db) == {"a.p": (80, "3.0")}


def test_a_deleted_latest_value_does_not_come_back_from_the_log(db: Database) -> None:
    accept(db, ("p", 10, 1.0), ("q", 10, 2.0))
    move(db)
    accept(db, ("p", 20, 3.0))
    with db.transaction() as conn:
        latest.delete(conn, TENANT, ["a"], ["p"])
    assert shown(db) == {"a.q": (10, 2.0)}
    move(db)
    assert shown(db) == {"a.q": (10, 2.0)}
    accept(db, ("p", 5, 4.0))
    assert shown(db)["a.p"] == (5, 4.0), "what comes after a deletion is shown, also with an older time"
    move(db)
    assert shown(db)["a.p"] == (5, 4.0)


def test_the_two_stores_are_deleted_apart(db: Database, arrive: Callable[..., None]) -> None:
    arrive(("p", 10, 1.0), ("q", 10, 1.0))
    with db.transaction() as conn:
        latest.delete(conn, TENANT, ["a"], ["p"])
        latest.delete_changed(conn, TENANT, ["a"], ["q"])
    assert shown(db) == {"a.q": (10, 1.0)}
    assert changed(db) == {"a.p": (10, 1.0)}
    arrive(("p", 20, 1.0), ("q", 20, 1.0))
    assert shown(db) == {"a.p": (20, 1.0), "a.q": (20, 1.0)}
    assert changed(db) == {"a.p": (10, 1.0), "a.q": (20, 1.0)}, "after a deletion nothing is known of before"


def test_a_value_deleted_from_both_is_gone_from_its_row(db: Database) -> None:
    accept(db, ("p", 10, "secret"))
    move(db)
    with db.transaction() as conn:
        latest.delete(conn, TENANT, ["a"], ["p"])
        assert conn.execute("select text from timeseries_latest").fetchall() == [("secret",)]
        latest.delete_changed(conn, TENANT, ["a"], ["p"])
        assert conn.execute("select text, kind from timeseries_latest").fetchall() == [(None, None)]
    move(db)
    with db.transaction() as conn:
        assert conn.execute("select * from timeseries_latest").fetchall() == []


def test_a_value_deleted_from_both_on_its_way_is_never_kept(db: Database) -> None:
    accept(db, ("p", 1, 42.5))
    with db.transaction() as conn:
        latest.delete(conn, TENANT, ["a"], ["p"])
        latest.delete_changed(conn, TENANT, ["a"], ["p"])
    move(db)
    with db.transaction() as conn:
        assert conn.execute("select number from timeseries_latest where number = 42.5").fetchall() == []


def test_many_series_at_once_never_keep_their_transaction_waiting(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latest, "SERIES_AT_ONCE", 7)
    assets = [f"a{number:02}" for number in range(50)]
    order = random.Random(1).sample(range(200), 200)
    table = rows.wide_batch(
        [assets[n % 50] for n in order],
        [n // 50 for n in order],
        [{"p": n if n % 3 else f"text {n}"} for n in order],
        lambda r, p: p,
    )
    with db.transaction() as conn:
        latest.write(conn, TENANT, with_place(joined([table]), 1, 1000))
        found = latest.read(conn, TENANT, assets, ["p"], SAMPLES.empty_table()).to_pylist()
    shown = {row["asset"]: row["text"] if row["text"] is not None else row["number"] for row in found}
    assert shown == {assets[n % 50]: n if n % 3 else f"text {n}" for n in range(150, 200)}


@pytest.mark.slow
def test_a_whole_move_of_new_series_gets_through_what_a_worker_may_idle(fresh_url: str) -> None:
    assets = [f"asset-{number}" for number in range(20_000)]
    many = [name for name in assets for _ in range(20)]
    points = [{f"p{n % 20}": float(n)} for n in range(len(many))]
    table = rows.wide_batch(many, [1] * len(many), points, lambda r, p: p)
    with Database(fresh_url, idle_seconds=1.0) as db, db.transaction() as conn:
        latest.write(conn, TENANT, with_place(joined([table]), 1, 1000))
        assert conn.execute("select count(*) as n from timeseries_latest").fetchone().n == 400_000


def test_moving_the_same_samples_again_changes_nothing(db: Database) -> None:
    batch = samples(("p", 10, 1.0), ("p", 20, 1.0), ("q", 3, "x"))
    with db.transaction() as conn:
        for _ in range(3):
            latest.write(conn, TENANT, batch)
    assert (shown(db), changed(db)) == (
        {"a.p": (20, 1.0), "a.q": (3, "x")},
        {"a.p": (10, 1.0), "a.q": (3, "x")},
    )


def _reference(batches: list[list[tuple[str, int, Any]]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return latest and last changed of batches in order, one sample after the other."""
    now: dict[str, Any] = {}
    since: dict[str, Any] = {}
    for batch in batches:
        for point, time, value in sorted(batch, key=lambda item: item[1]):
            before = now.get(point)
            if before is not None and time < before[0]:
                continue
            if before is None or before[1] != value:
                since[point] = (time, value)
            now[point] = (time, value)
    return now, since


ITEM = st.tuples(st.sampled_from("pqr"), st.integers(0, 30), st.sampled_from([0.0, 1.0, 2.5, "x", "y"]))


@given(
    st.lists(st.lists(ITEM, min_size=1, max_size=8, unique_by=lambda item: item[:2]), min_size=1, max_size=6),
    st.lists(st.booleans(), min_size=6, max_size=6),
)
@settings(max_examples=300, deadline=None)
def test_many_at_once_are_the_same_as_one_after_the_other(batches: list[list[Any]], cuts: list[bool]) -> None:
    expected_now, expected_since = _reference(batches)
    points = ["p", "q", "r"]
    state = newest.State.empty(3)
    waiting: list[pa.Table] = []
    for seq, batch in enumerate(batches, 1):
        waiting.append(samples(*batch, seq=seq))
        if cuts[seq - 1] or seq == len(batches):
            random.Random(seq).shuffle(waiting)
            state = _after(state, joined(waiting), points)
            waiting = []
    table = pa.table(newest.as_samples(["a"] * 3, points, state, state.has_latest, state.time_ms))
    found = {
        r["point"]: (r["time_ms"], r["number"] if r["text"] is None else r["text"]) for r in table.to_pylist()
    }
    assert found == expected_now
    times = {
        point: time
        for point, time, kind in zip(points, state.changed_ms, state.kind, strict=True)
        if kind >= 0
    }
    assert times == {point: time for point, (time, _) in expected_since.items()}


def _after(state: newest.State, table: pa.Table, points: list[str]) -> newest.State:
    _, names, places = newest.series_of(table)
    return newest.advance(
        state, newest.rows_of(table, np.array([points.index(name) for name in names])[places])
    )


@given(st.lists(ITEM, min_size=1, max_size=40), st.lists(ITEM, max_size=3, unique_by=lambda item: item[0]))
@settings(max_examples=300, deadline=None)
def test_the_few_samples_of_a_batch_stand_for_all_of_it(batch: list[Any], before: list[Any]) -> None:
    points = ["p", "q", "r"]
    state = newest.State.empty(3)
    if before:
        earlier = [(point, -1 - time, value) for point, time, value in before]
        state = _after(state, samples(*earlier, seq=1), points)
    everything = with_place(rows.wide_batch(*_columns(batch), lambda r, p: p), 2, 1002)
    unique, few = newest.distinct(joined([everything]))
    expected = {(point, time): value for point, time, value in batch}
    found = {
        (r["point"], r["time_ms"]): r["number"] if r["text"] is None else r["text"]
        for r in unique.to_pylist()
    }
    assert found == expected
    assert unique.num_rows == len(expected)
    assert few.num_rows <= 4 * len({point for point, _, _ in batch})
    by_all, by_few = _after(state, unique, points), _after(state, few, points)
    for name in ("kind", "time_ms", "seq", "changed_ms"):
        assert getattr(by_all, name).tolist() == getattr(by_few, name).tolist()


def _columns(batch: list[Any]) -> tuple[list[str], list[int], list[dict[str, Any]]]:
    return ["a"] * len(batch), [time for _, time, _ in batch], [{point: value} for point, _, value in batch]

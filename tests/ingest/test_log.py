"""The log in PostgreSQL: order, group commit, readers' places, and the tail of what is not moved yet."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pyarrow as pa
import pytest
from psycopg import Connection

from redrive.database import Database
from redrive.errors import Problem, ProblemCode
from redrive.ingest import Channel, LogWriter, Tail, log, rows, writer
from redrive.ingest import tail as tail_module
from redrive.ingest.samples import SAMPLES

TENANT, OTHER = 7, 8


def batch(asset: str = "a", time: int = 1, **points: object) -> pa.Table:
    return rows.wide_batch([asset], [time], [points or {"p": 1.5}], lambda row, point: point)


@pytest.fixture
def ingest(db: Database) -> Iterator[LogWriter]:
    one = LogWriter(db)
    yield one
    one.close()


def tail(db: Database, kept: Tail | None = None, **only: Any) -> list[tuple[Any, ...]]:
    with db.transaction() as conn:
        table = (kept or Tail()).read(conn, TENANT, **only)
    assert table.schema == SAMPLES
    names = ("asset", "point", "time_ms", "number", "text", "seq")
    return [tuple(row[name] for name in names) for row in table.to_pylist()]


def test_sequences_count_up_by_tenant(db: Database) -> None:
    with db.transaction() as conn:
        found = [
            log.append(conn, tenant, batch(), Channel.REALTIME) for tenant in (TENANT, TENANT, OTHER, TENANT)
        ]
        assert found == [1, 2, 1, 3]
        assert (log.head(conn, TENANT), log.head(conn, OTHER), log.head(conn, 99)) == (3, 1, 0)


def test_a_rolled_back_append_leaves_no_gap_and_no_batch(db: Database) -> None:
    with pytest.raises(KeyError), db.transaction() as conn:
        log.append(conn, TENANT, batch(), Channel.REALTIME)
        raise KeyError
    with db.transaction() as conn:
        assert log.append(conn, TENANT, batch(), Channel.REALTIME) == 1


def test_sequence_order_is_commit_order(db: Database) -> None:
    with db.transaction() as conn:
        log.add_tenant(conn, TENANT)
    second: Future[int] = Future()

    def append_second() -> None:
        with db.transaction() as conn:
            second.set_result(log.append(conn, TENANT, batch(), Channel.REALTIME))

    with db.transaction() as conn:
        first = log.append(conn, TENANT, batch(), Channel.REALTIME)
        thread = threading.Thread(target=append_second)
        thread.start()
        thread.join(0.2)
        assert not second.done(), "a later sequence must not be visible before an earlier one"
    thread.join()
    assert (first, second.result()) == (1, 2)


def test_a_locked_head_is_a_cut_off(db: Database) -> None:
    with db.transaction() as conn:
        log.append(conn, TENANT, batch(), Channel.REALTIME)
    with db.transaction() as conn:
        assert log.head(conn, TENANT, lock=True) == 1
        thread = threading.Thread(target=lambda: LogWriter(db).append(TENANT, batch()))
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
    thread.join()


def test_reading_goes_in_order_and_keeps_to_its_limit(db: Database) -> None:
    with db.transaction() as conn:
        for time in range(5):
            log.append(conn, TENANT, batch(time=time, p=float(time)), Channel.OFFLINE)
        entries = log.read(conn, TENANT, 0, 10**9)
        assert [entry.seq for entry in entries] == [1, 2, 3, 4, 5]
        assert {entry.channel for entry in entries} == {Channel.OFFLINE}
        assert [(entry.min_ms, entry.max_ms, entry.rows) for entry in entries] == [
            (t, t, 1) for t in range(5)
        ]
        assert [entry.seq for entry in log.read(conn, TENANT, 3, 10**9)] == [4, 5]
        size = entries[0].memory
        assert [entry.seq for entry in log.read(conn, TENANT, 0, 2 * size + 1)] == [1, 2]
        assert [entry.seq for entry in log.read(conn, TENANT, 0, 1)] == [1], "always at least one"


def test_batches_are_dropped_when_every_reader_is_past_them(db: Database) -> None:
    with db.transaction() as conn:
        for _ in range(4):
            log.append(conn, TENANT, batch(), Channel.REALTIME)
        log.add_reader(conn, TENANT, log.TIMESERIES, 0)
        log.add_reader(conn, TENANT, "streams", 0)
        log.advance(conn, TENANT, log.TIMESERIES, 3)
        assert len(log.read(conn, TENANT, 0, 10**9)) == 4
        log.advance(conn, TENANT, "streams", 2)
        assert [entry.seq for entry in log.read(conn, TENANT, 0, 10**9)] == [3, 4]
        log.advance(conn, TENANT, "streams", 4)
        assert [entry.seq for entry in log.read(conn, TENANT, 0, 10**9)] == [4]
        assert log.backlog(conn, TENANT, log.TIMESERIES).rows == 1
        assert log.backlog(conn, TENANT, "streams").rows == 0
        log.advance(conn, TENANT, log.TIMESERIES, 1)
        assert log.place(conn, TENANT, log.TIMESERIES) == 3, "a place never goes back"


def test_the_tail_shows_what_is_committed_and_not_yet_passed(db: Database) -> None:
    kept = Tail()
    with db.transaction() as conn:
        log.add_reader(conn, TENANT, log.TIMESERIES, 0)
    assert tail(db, kept) == []
    with db.transaction() as conn:
        log.append(conn, TENANT, batch("a", 1, p=1.0), Channel.REALTIME)
        log.append(conn, TENANT, batch("b", 2, q="x"), Channel.OFFLINE)
    everything = [("a", "p", 1, 1.0, None, 1), ("b", "q", 2, None, "x", 2)]
    assert tail(db, kept) == tail(db) == everything
    with db.transaction() as conn:
        log.append(conn, TENANT, batch("a", 3, p=3.0), Channel.REALTIME)
        log.advance(conn, TENANT, log.TIMESERIES, 1)
    assert tail(db, kept) == tail(db) == [everything[1], ("a", "p", 3, 3.0, None, 3)]
    assert tail(db, kept, assets=["a"]) == [("a", "p", 3, 3.0, None, 3)]
    assert tail(db, kept, assets=["a", "b"], points=["q", "z"]) == [everything[1]]
    assert tail(db, kept, points=["z"]) == []


def test_a_long_tail_stays_in_order_and_can_be_passed_in_the_middle(db: Database) -> None:
    kept = Tail()
    with db.transaction() as conn:
        log.add_reader(conn, TENANT, log.TIMESERIES, 0)
    for seq in range(1, 101):
        with db.transaction() as conn:
            log.append(conn, TENANT, batch(f"a{seq % 3}", seq, p=float(seq)), Channel.REALTIME)
        if seq % 5 == 0:
            assert [row[-1] for row in tail(db, kept)] == list(range(1, seq + 1))
    with db.transaction() as conn:
        log.advance(conn, TENANT, log.TIMESERIES, 37)
    assert [row[-1] for row in tail(db, kept)] == list(range(38, 101))
    assert tail(db, kept) == tail(db)


def test_a_tail_that_is_too_large_is_refused_before_it_is_fetched(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Tail()
    with db.transaction() as conn:
        log.add_reader(conn, TENANT, log.TIMESERIES, 0)
        log.append(conn, TENANT, batch("a", 1, p=1.0), Channel.REALTIME)
    held = tail(db, kept)
    with db.transaction() as conn:
        for time in range(2, 52):
            log.append(conn, TENANT, batch("b", time, p="x" * 1000), Channel.REALTIME)
    monkeypatch.setattr(tail_module, "TAIL_BYTES", 40_000)
    with monkeypatch.context() as fetching:
        fetching.setattr(tail_module.arrow, "decode", lambda stored: pytest.fail("the backlog was fetched"))
        for reader in (kept, Tail()):
            with pytest.raises(Problem, match=r"\d+ bytes of accepted samples wait") as caught:
                tail(db, reader)
            assert caught.value.reason == "tail_too_large"
    monkeypatch.setattr(tail_module, "TAIL_BYTES", 10**6)
    assert tail(db, kept)[:1] == held
    assert tail(db, kept) == tail(db), "nothing is missing once there is room"


def test_room_that_the_mover_has_made_is_used(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Tail()
    with db.transaction() as conn:
        log.add_reader(conn, TENANT, log.TIMESERIES, 0)
        log.append(conn, TENANT, batch("a", 1, p="x" * 1000), Channel.REALTIME)
    assert len(tail(db, kept)) == 1
    monkeypatch.setattr(tail_module, "TAIL_BYTES", 1_500)
    with db.transaction() as conn:
        log.append(conn, TENANT, batch("b", 2, p="x" * 1000), Channel.REALTIME)
    with pytest.raises(Problem):
        tail(db, kept)
    with db.transaction() as conn:
        log.advance(conn, TENANT, log.TIMESERIES, 1)
    assert [row[0] for row in tail(db, kept)] == ["b"]


def test_concurrent_requests_share_commits_and_each_is_acknowledged_after_its_own(db: Database) -> None:
    ingest = LogWriter(db, threads=1)
    with db.transaction() as conn:
        log.append(conn, TENANT, batch("first", 0), Channel.REALTIME)
        # While the head is locked by this transaction, requests gather.
        futures = [ingest.submit(TENANT, batch("a", time, p=float(time))) for time in range(200)]
    sequences = [future.result(timeout=10) for future in futures]
    assert len(set(sequences)) <= 3
    assert sequences == sorted(sequences)
    assert len(tail(db)) == 201
    ingest.close()


def test_the_last_of_equal_samples_in_a_group_wins(db: Database, ingest: LogWriter) -> None:
    both = pa.concat_tables([batch("a", 1, p=1.0, q=5.0), batch("a", 1, p=2.0)]).unify_dictionaries()
    ingest.append(TENANT, both)
    assert tail(db) == [("a", "q", 1, 5.0, None, 1), ("a", "p", 1, 2.0, None, 1)]


def test_offline_batches_keep_their_channel(db: Database, ingest: LogWriter) -> None:
    ingest.append(TENANT, batch(), Channel.OFFLINE)
    ingest.append(TENANT, batch(), Channel.REALTIME)
    with db.transaction() as conn:
        assert [entry.channel for entry in log.read(conn, TENANT, 0, 10**6)] == ["offline", "realtime"]


def test_what_is_done_beside_an_append_is_in_its_transaction(db: Database) -> None:
    called: list[int] = []

    def beside(conn: Connection[Any], tenant_id: int, table: pa.Table, appended: log.Appended) -> Any:
        if table.num_rows > 1:
            raise KeyError("beside")
        return lambda: called.append(appended.seq)

    ingest = LogWriter(db, beside)
    assert ingest.append(TENANT, batch()) == 1
    with pytest.raises(KeyError):
        ingest.append(TENANT, batch(p=1.0, q=2.0))
    assert ingest.append(TENANT, batch()) == 2
    ingest.close()
    assert called == [1, 2]
    assert len(tail(db)) == 2


def test_closing_writes_what_waits_and_refuses_more(db: Database) -> None:
    ingest = LogWriter(db)
    futures = [ingest.submit(TENANT, batch(time=time)) for time in range(50)]
    ingest.close()
    assert all(future.result(timeout=0) for future in futures)
    with pytest.raises(Problem) as caught:
        ingest.submit(TENANT, batch())
    assert caught.value.code is ProblemCode.UNAVAILABLE


def test_too_much_that_waits_is_refused(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "WAITING_BYTES", 1000)
    ingest = LogWriter(db, threads=1)
    with db.transaction() as conn:
        log.append(conn, TENANT, batch(), Channel.REALTIME)
        with pytest.raises(Problem) as caught:
            for time in range(1000):
                ingest.submit(TENANT, batch(time=time))
    assert caught.value.code is ProblemCode.TOO_MANY
    ingest.close()

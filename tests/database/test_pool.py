"""Transactions of the pool, what is run again, and what happens when the database goes away."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from redrive.database import Database, DatabaseAway, is_outage, is_retryable
from redrive.database.embedded import EmbeddedPostgres
from redrive.errors import ProblemCode


def test_a_transaction_commits_at_its_end(db: Database) -> None:
    with db.transaction() as conn:
        conn.execute("CREATE TABLE notes (text text)")
        conn.execute("INSERT INTO notes VALUES ('kept')")
    with db.transaction() as conn:
        assert conn.execute("SELECT text FROM notes").fetchone() == ("kept",)


def test_a_transaction_that_raises_leaves_nothing(db: Database) -> None:
    with pytest.raises(ZeroDivisionError), db.transaction() as conn:
        conn.execute("CREATE TABLE notes (text text)")
        _ = 1 // 0
    with db.transaction() as conn:
        assert conn.execute("SELECT to_regclass('notes') AS t").fetchone() == (None,)


def test_rows_have_names_and_sessions_are_ours(db: Database) -> None:
    row = db.run(
        lambda conn: conn.execute(
            "SELECT current_setting('TimeZone') AS zone, current_setting('jit') AS jit,"
            " current_setting('application_name') AS name,"
            " current_setting('idle_in_transaction_session_timeout') AS idle"
        ).fetchone()
    )
    assert (row.zone, row.jit, row.name, row.idle) == ("UTC", "off", "test", "1min")


def test_options_in_the_address_hold_and_the_isolation_is_ours(fresh_url: str) -> None:
    mark = "&" if "?" in fresh_url else "?"
    asked = "-csearch_path%3Dapp%20-cdefault_transaction_isolation%3Dserializable"
    with Database(f"{fresh_url}{mark}options={asked}") as db, db.transaction() as conn:
        row = conn.execute(
            "SELECT current_setting('search_path') AS path, current_setting('transaction_isolation') AS level"
        ).fetchone()
    assert (row.path, row.level) == ("app", "read committed")


@pytest.mark.parametrize("state", ["40001", "40P01", "57P01"])
def test_a_conflict_is_run_again(db: Database, state: str) -> None:
    tries = []

    def work(conn: psycopg.Connection) -> int:
        tries.append(state)
        if len(tries) < 3:
            conn.execute(f"DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '{state}'; END $$")
        return len(tries)

    assert db.run(work) == 3


def test_a_cut_connection_is_run_again_on_another(db: Database) -> None:
    seen = []

    def work(conn: psycopg.Connection) -> int:
        seen.append(conn.info.backend_pid)
        if len(seen) == 1:
            conn.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return conn.info.backend_pid

    assert db.run(work) == seen[1] != seen[0]


def test_a_connection_lost_before_the_commit_is_never_taken_for_a_commit(db: Database) -> None:
    with pytest.raises(psycopg.OperationalError, match="lost before the commit"), db.transaction() as conn:
        conn.execute("CREATE TABLE notes (text text)")
        conn.close()
    assert db.run(lambda conn: conn.execute("SELECT to_regclass('notes') AS t").fetchone()) == (None,)


def test_a_commit_whose_answer_is_lost_is_not_repeated_where_that_is_said(db: Database) -> None:
    db.run(
        lambda conn: conn.execute(
            "CREATE TABLE notes (text text);"
            "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql"
            " AS 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';"
            "CREATE CONSTRAINT TRIGGER die AFTER INSERT ON notes DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION die()"
        )
    )
    tries = []

    def work(conn: psycopg.Connection) -> None:
        tries.append(1)
        conn.execute("INSERT INTO notes VALUES ('a')")

    with pytest.raises(psycopg.OperationalError):
        db.run(work, repeat_lost_commit=False)
    assert len(tries) == 1
    with pytest.raises(psycopg.OperationalError):
        db.run(work)
    assert len(tries) == 6


def test_a_wrong_statement_is_not_run_again(db: Database) -> None:
    tries = []

    def work(conn: psycopg.Connection) -> None:
        tries.append(1)
        conn.execute("SELECT nothing")

    with pytest.raises(psycopg.errors.UndefinedColumn) as wrong:
        db.run(work)
    assert len(tries) == 1
    assert not is_retryable(wrong.value)
    assert not is_outage(wrong.value)


def test_idle_connections_that_were_cut_are_not_handed_out(db: Database) -> None:
    def backend(_: int) -> int:
        with db.transaction() as conn:
            row = conn.execute("SELECT pg_backend_pid() AS pid FROM pg_sleep(0.1)").fetchone()
            assert row is not None
            return int(row.pid)

    with ThreadPoolExecutor(6) as threads:
        before = set(threads.map(backend, range(6)))
        assert len(before) > 2
        with db.connect() as killer:
            killer.execute("SELECT pg_terminate_backend(pid, 5000) FROM unnest(%s) AS pid", [list(before)])
        began = time.monotonic()
        after = set(threads.map(backend, range(6)))
    assert not before & after
    assert time.monotonic() - began < 3


def test_a_full_pool_is_waited_for_and_then_refused(fresh_url: str) -> None:
    with Database(fresh_url, max_size=1, wait_seconds=0.3) as db:
        with db.transaction(), pytest.raises(DatabaseAway) as busy, db.transaction():
            pass
        assert busy.value.code is ProblemCode.UNAVAILABLE
        assert is_outage(busy.value)
        assert not is_retryable(busy.value)
        assert db.run(lambda conn: conn.execute("SELECT 1").fetchone()) == (1,)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path, settings={"fsync": "off", "shared_buffers": "16MB"})
    server.start()
    yield server
    server.stop(timeout_seconds=2.0)


def test_work_goes_on_through_a_restart_of_the_database(server: EmbeddedPostgres) -> None:
    """Several threads count; the server is away for a second; every count that was acknowledged is there."""
    with Database(server.database_url(), max_size=4) as db:
        db.run(lambda conn: conn.execute("CREATE TABLE counts (worker int, n int, PRIMARY KEY (worker, n))"))
        counted = [0] * 4
        end = threading.Event()

        def count(worker: int) -> None:
            while not end.is_set():
                n = counted[worker] + 1
                db.run(
                    lambda conn: conn.execute(
                        "INSERT INTO counts VALUES (%s, %s) ON CONFLICT DO NOTHING",
                        [worker, n],  # noqa: B023
                    )
                )
                counted[worker] = n

        with ThreadPoolExecutor(4) as threads:
            working = [threads.submit(count, worker) for worker in range(4)]
            time.sleep(0.3)
            server.stop()
            assert not db.answers(within_seconds=0.2)
            time.sleep(0.7)
            server.start()
            back = time.monotonic()
            before = list(counted)
            while any(counted[worker] <= before[worker] for worker in range(4)):
                assert time.monotonic() - back < 4, "a worker did not come back"
                time.sleep(0.01)
            end.set()
            for each in working:
                each.result()
        rows = db.run(
            lambda conn: conn.execute(
                "SELECT worker, max(n) AS n, count(*) AS c FROM counts GROUP BY 1"
            ).fetchall()
        )
        assert {row.worker: (row.n, row.c) for row in rows} == {w: (n, n) for w, n in enumerate(counted)}


def test_without_a_database_callers_are_told_and_served_when_it_is_back(server: EmbeddedPostgres) -> None:
    server.stop()
    with Database(server.database_url(), wait_seconds=0.5) as db:
        began = time.monotonic()
        with pytest.raises(DatabaseAway), db.transaction():
            pass
        assert 0.4 < time.monotonic() - began < 2
        with pytest.raises(psycopg.OperationalError) as refused:
            db.connect()
        assert is_outage(refused.value)
        server.start()
        assert db.answers(within_seconds=3.0)

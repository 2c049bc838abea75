"""The audit trail: append-only, bounded, and patient with a database that is away."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace

import psycopg
import pytest

from redrive.database import Database
from redrive.database.embedded import EmbeddedPostgres
from redrive.identity import audit
from redrive.identity.audit import AuditFilter, By, Refusal, Refusals, listing, record_change

ANNA = By("anna", "native", account_id="a" * 32, address="10.0.0.7", request_id="r-1")


def refusal(number: int = 0, **more: str) -> Refusal:
    return Refusal(replace(ANNA, **more), f"iam:users:{number}", "*", "implicit deny")


def rows(db: Database) -> list[tuple[str, str, int]]:
    with db.transaction() as conn:
        found = conn.execute("select actor, action, times from audit order by id").fetchall()
    return [tuple(row) for row in found]


@pytest.mark.parametrize(
    "statement", ["update audit set actor = 'nobody'", "delete from audit", "truncate audit"]
)
def test_nothing_in_it_is_changed_or_taken_away(db: Database, statement: str) -> None:
    with db.transaction() as conn:
        record_change(conn, ANNA, "iam:users:create", "ben")
    with pytest.raises(psycopg.errors.RaiseException, match="append-only"), db.transaction() as conn:
        conn.execute(statement)
    assert rows(db) == [("anna", "iam:users:create", 1)]


def test_a_change_is_recorded_with_the_transaction_or_not_at_all(db: Database) -> None:
    with pytest.raises(RuntimeError), db.transaction() as conn:
        record_change(conn, ANNA, "iam:users:create", "ben")
        raise RuntimeError
    assert rows(db) == []


def test_the_same_refusal_within_a_moment_is_one_row(db: Database) -> None:
    with closing(Refusals(db)) as refusals:
        for number in range(50):
            refusals.add(refusal(number % 2, request_id=f"r-{number}"))
    found = rows(db)
    assert {(actor, action) for actor, action, _ in found} == {
        ("anna", "iam:users:0"),
        ("anna", "iam:users:1"),
    }
    assert sum(times for *_, times in found) == 50 and len(found) <= 6


def test_refusals_are_written_soon_by_themselves(db: Database) -> None:
    with closing(Refusals(db)) as refusals:
        refusals.add(refusal())
        deadline = time.monotonic() + 10
        while not rows(db):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_flood_is_counted_and_not_listed(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = Refusals(db)
    refusals._closed.set()  # no thread: this test writes by itself
    for number in range(1_000):
        refusals.add(refusal(number))
    refusals.flush()
    found = rows(db)
    assert len(found) == audit.MOST_AT_ONCE + 1
    assert found[-1] == ("others", "", 1_000 - audit.MOST_AT_ONCE)
    assert sum(times for *_, times in found) == 1_000


def test_a_database_that_is_away_loses_nothing_and_blocks_nobody(
    postgres: EmbeddedPostgres, fresh_url: str
) -> None:
    with (
        Database(fresh_url, name="trail", wait_seconds=1.0) as db,
        Database(fresh_url, name="reader") as reader,
    ):
        name = psycopg.conninfo.conninfo_to_dict(fresh_url)["dbname"]
        with closing(Refusals(db)) as refusals:
            with psycopg.connect(postgres.superuser_url(), autocommit=True) as conn:
                conn.execute(f"alter database {name} allow_connections false")
                conn.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,)
                )
                begun = time.monotonic()
                for number in range(20):
                    refusals.add(refusal(number))
                assert time.monotonic() - begun < 0.5
                with pytest.raises(psycopg.OperationalError):
                    refusals.flush()
                refusals.add(refusal(3))
                conn.execute(f"alter database {name} allow_connections true")
        found = rows(reader)
    assert {action for _, action, _ in found} == {f"iam:users:{number}" for number in range(20)}
    assert sum(times for *_, times in found) == 21


def test_what_waits_for_a_database_that_is_away_is_bounded(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "MOST_KEPT", 150)
    refusals = Refusals(db)
    refusals._closed.set()
    monkeypatch.setattr(audit, "is_outage", lambda error: True)

    def away() -> None:
        raise psycopg.OperationalError("away")

    with monkeypatch.context() as patch:
        patch.setattr(db, "transaction", away)
        for turn in range(5):
            for number in range(100):
                refusals.add(refusal(turn * 100 + number))
            with pytest.raises(psycopg.OperationalError):
                refusals.flush()
            assert len(refusals._waiting) <= 150
    refusals.flush()
    assert sum(times for *_, times in rows(db)) == 500


def test_a_row_that_the_database_does_not_take_keeps_no_others_from_it(db: Database) -> None:
    refusals = Refusals(db)
    refusals._closed.set()
    bad = replace(ANNA, account_id="\0")
    refusals.add(Refusal(bad, "a", "b", "c"))
    refusals.add(refusal(1))
    with pytest.raises(psycopg.Error):
        refusals.flush()
    refusals.add(refusal(2))
    refusals.flush()
    assert rows(db) == [("anna", "iam:users:2", 1), ("others", "", 2)]


def test_garbage_is_storable(db: Database) -> None:
    odd = By("a\0b\ud800" + "x" * 10_000, "native", access_key="\0", address="\udfff", request_id="\0")
    refusals = Refusals(db)
    refusals._closed.set()
    refusals.add(Refusal(odd, "\0", "\ud800", "\0", {"detail": "\0\ud800", "\0": ["\0", {"x": 1}]}))
    refusals.flush()
    with db.transaction() as conn:
        [row] = conn.execute("select * from audit").fetchall()
    assert row.actor.startswith("ab?") and len(row.actor) == 500
    assert row.detail == {"detail": "?", "": ["", {"x": 1}]}


def test_an_account_sees_its_own_entries_and_strangers_where_asked_for(db: Database) -> None:
    with db.transaction() as conn:
        record_change(conn, ANNA, "iam:users:create", "x")
        record_change(conn, replace(ANNA, account_id="b" * 32), "iam:users:create", "y")
        record_change(conn, replace(ANNA, actor="unknown", account_id=None), "GET /", "z")
    with db.transaction() as conn:
        own = listing(conn, "a" * 32, AuditFilter())
        more = listing(conn, "a" * 32, AuditFilter(), strangers=True)
        none = listing(conn, "a" * 32, AuditFilter(action="iam:%:create"))
        some = listing(conn, "a" * 32, AuditFilter(action="iam:*:create"))
    assert [entry.resource for entry in own] == ["x"]
    assert [entry.resource for entry in more] == ["z", "x"]
    assert none == [] and some == own, "a percent sign is itself"

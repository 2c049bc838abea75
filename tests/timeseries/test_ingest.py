"""Accepting samples: durable, readable at once, and their assets registered."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from redrive.database import Database
from redrive.engine import jobs
from redrive.engine.model import JobState
from redrive.errors import Problem, ProblemCode
from redrive.services.timeseries import ingest as ingest_module
from redrive.services.timeseries import mover, registry
from redrive.services.timeseries.ingest import Ingest
from redrive.services.timeseries.storage import SampleStore
from tests.engine.scene import until
from tests.timeseries.ingest_scene import ORG, TENANT, Place, add_tenant, batch


@pytest.fixture
def place(db: Database, tmp_path: Path) -> Iterator[Place]:
    add_tenant(db)
    store, ingest = SampleStore(str(tmp_path), None, db), Ingest(db)
    yield Place(db, tmp_path, store, ingest)
    ingest.close()
    store.close()


def assets(db: Database) -> list[str]:
    with db.transaction() as conn:
        return [asset.id for asset in registry.list_assets(conn, TENANT)]


def test_an_accepted_sample_is_readable_at_once(place: Place) -> None:
    seq = place.accept(("a1", "temp", 1000, 21.5), ("a1", "state", 1000, "on"))
    assert seq == 1
    assert place.read() == {("a1", "temp", 1000): 21.5, ("a1", "state", 1000): "on"}
    assert place.latest(["a1"], ["temp"]) == {("a1", "temp"): (1000, 21.5)}


def test_the_later_of_two_values_for_one_instant_wins(place: Place) -> None:
    place.accept(("a1", "temp", 1000, 1.0))
    place.accept(("a1", "temp", 1000, 2.0))
    assert place.read() == {("a1", "temp", 1000): 2.0}


def test_an_asset_is_registered_by_its_first_sample_without_a_model_in_utc(place: Place) -> None:
    place.accept(("b", "p", 1, 1.0), ("a", "p", 1, 1.0), ("b", "q", 1, 1.0))
    with place.db.transaction() as conn:
        found = registry.list_assets(conn, TENANT)
    assert found == [registry.Asset("a"), registry.Asset("b")]
    assert found[0].model_id is None and found[0].time_zone == "UTC"


def test_what_the_registry_knows_already_stays(place: Place) -> None:
    known = registry.Asset("a", name="north", time_zone="Europe/Berlin")
    with place.db.transaction() as conn:
        registry.put_asset(conn, TENANT, known)
    place.accept(("a", "p", 1, 1.0))
    with place.db.transaction() as conn:
        assert registry.asset(conn, TENANT, "a") == known


def test_a_removed_asset_comes_back_with_its_next_sample_in_every_process(place: Place) -> None:
    other = Ingest(place.db)
    place.accept(("a", "p", 1, 1.0))
    other.accept(TENANT, batch(("a", "p", 2, 1.0))).result(10)
    for process in (place.ingest, other):
        with place.db.transaction() as conn:
            registry.delete_asset(conn, TENANT, "a")
        assert assets(place.db) == []
        process.accept(TENANT, batch(("a", "p", 3, 1.0))).result(10)
        assert assets(place.db) == ["a"]
    other.close()


def test_the_first_sample_makes_the_one_mover_of_the_tenant(place: Place) -> None:
    others = [Ingest(place.db) for _ in range(4)]
    threads = [
        threading.Thread(target=lambda one=one: one.accept(TENANT, batch(("a", "p", 1, 1.0))).result(10))
        for one in others
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with place.db.transaction() as conn:
        found = jobs.listing(conn, TENANT, jobs.JobFilter(kinds=[mover.KIND]))
    assert [(job.state, job.spec) for job in found] == [(JobState.QUEUED, {"org_id": ORG})]
    for one in others:
        one.close()


def test_too_large_a_backlog_refuses_more_until_it_is_moved(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mover, "MOVE_SECONDS", 0.05)
    monkeypatch.setattr(ingest_module, "BACKLOG_BYTES", 100)
    place.accept(("a", "p", 1, 1.0))

    def refused() -> bool:
        try:
            place.accept(("a", "p", 2, 1.0))
        except Problem as problem:
            assert problem.code is ProblemCode.UNAVAILABLE
            return True
        return False

    until(refused)
    with place.db.transaction() as conn:
        conn.execute("delete from ingest_log")
    until(lambda: not refused())

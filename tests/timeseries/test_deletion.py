"""Deletion jobs over real tables: exactly the range is gone for good, everything else stays bit for bit."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from redrive.database import Database
from redrive.engine import jobs, recovery
from redrive.engine.model import JobState
from redrive.errors import Problem
from redrive.services.timeseries import deletion, deletion_job, holds, registry
from redrive.services.timeseries.boxes import Box, Points
from redrive.services.timeseries.registry import Asset, Model, Point
from redrive.services.timeseries.storage import SampleStore
from tests.engine.scene import working
from tests.timeseries.deletion_scene import HOUR, ORG, START, TENANT, Place, attempts, deleted, expected

ASSETS = [f"station-{n}" for n in range(12)]
POINTS = ["temp", "wind", "dewp"]


@pytest.fixture
def place(db: Database, tmp_path: Path) -> Iterator[Place]:
    store = SampleStore(str(tmp_path / "samples"), None, db)
    made = Place(db, tmp_path / "samples", store)
    yield made
    store.close()


@pytest.fixture
def working_place(place: Place) -> Iterator[Place]:
    with working(place.db, deletion_job.kind(place.store)):
        yield place


def box(assets: list[str], points: list[str] | None, start: int, end: int) -> Box:
    return Box(frozenset(assets), Points.all() if points is None else Points.only(points), start, end)


def test_a_deletion_removes_exactly_its_range_both_ends_included(working_place: Place) -> None:
    place = working_place
    place.fill(ASSETS, POINTS, 100)
    before = place.stored()
    first, last = START + 10 * HOUR, START + 20 * HOUR
    job_id = place.submit(ASSETS[:5], "temp", first, last)
    assert place.ended(job_id).state is JobState.SUCCEEDED
    assert place.stored() == expected(before, box(ASSETS[:5], ["temp"], first, last + 1))
    assert deleted(place, job_id) == 5 * 11
    with place.db.transaction() as conn:
        (attempt,) = jobs.attempts(conn, place.job(job_id))
    assert attempt.units_redone == 0


def test_without_a_point_every_stored_point_of_assets_without_a_model_is_deleted(
    working_place: Place,
) -> None:
    place = working_place
    place.fill(ASSETS[:3], POINTS, 10)
    job_id = place.submit([ASSETS[0]], None, START, START + 100 * HOUR)
    place.ended(job_id)
    assert {row[0] for row in place.stored()} == set(ASSETS[1:3])


def test_without_a_point_the_points_of_the_model_are_deleted_and_others_stay(working_place: Place) -> None:
    place = working_place
    place.fill(ASSETS[:2], POINTS, 10)
    with place.db.transaction() as conn:
        registry.put_model(conn, TENANT, Model("weather", points=(Point("temp"), Point("wind"))))
        registry.put_asset(conn, TENANT, Asset(ASSETS[0], model_id="weather"))
    place.ended(place.submit([ASSETS[0]], None, START, START + 100 * HOUR, model="weather"))
    assert {row[1] for row in place.stored() if row[0] == ASSETS[0]} == {"dewp"}


def test_deleted_values_are_in_no_file_and_not_in_the_tables_log(working_place: Place) -> None:
    place = working_place
    place.fill(ASSETS, POINTS, 20)
    place.fill(["secret"], ["temp"], 20, value=777_000.5)
    assert any(number > 700_000 for number in place.numbers_on_disk())
    place.ended(place.submit(["secret"], "temp", START, START + 100 * HOUR))
    assert not any(number > 700_000 for number in place.numbers_on_disk())
    for path in place.root.rglob("_delta_log/*"):
        assert b"77700" not in path.read_bytes()


def test_data_stored_after_the_launch_is_kept_also_by_a_resubmit(place: Place) -> None:
    place.fill(ASSETS[:4], POINTS, 10)
    held = box(ASSETS[:1], ["wind"], START, START + 2 * HOUR)
    holds.place(place.db, TENANT, "case-1", held, "court case", actor="legal")
    job_id = place.submit(ASSETS[:4], None, START, START + 100 * HOUR)
    with working(place.db, deletion_job.kind(place.store)):
        assert place.ended(job_id).state is JobState.FAILED
        place.fill(ASSETS[:4], POINTS, 3, value=50)
        holds.lift(place.db, TENANT, "case-1", actor="legal")
        deletion.resubmit(place.db, TENANT, job_id, actor="bob")
        assert place.ended(job_id).state is JobState.SUCCEEDED
    left = place.stored()
    assert len(left) == 4 * 3 * 3
    assert {row[7] for row in left} == {2}


def test_a_hold_keeps_its_part_and_the_rest_is_done(place: Place) -> None:
    place.fill(ASSETS, POINTS, 50)
    before = place.stored()
    kept = box(ASSETS[3:5], ["wind"], START + 5 * HOUR, START + 8 * HOUR)
    holds.place(place.db, TENANT, "case-7", kept, "accident of 13 May", actor="legal")
    asked = box(ASSETS, None, START, START + 20 * HOUR + 1)
    job_id = place.submit(ASSETS, None, START, START + 20 * HOUR)
    with working(place.db, deletion_job.kind(place.store)):
        failed = place.ended(job_id)
        assert failed.state is JobState.FAILED and failed.failure is not None
        assert failed.failure["class"] == "needs_input"
        assert "case-7" in failed.failure["hint"] and "accident of 13 May" in failed.failure["detail"]
        still = place.stored()
        assert still == {row for row in before if not asked.contains(*row[:3]) or kept.contains(*row[:3])}

        deletion.resubmit(place.db, TENANT, job_id, actor="bob")
        again = place.ended(job_id)
        assert (again.state, again.fingerprint) == (JobState.FAILED, failed.fingerprint)
        assert place.stored() == still

        holds.lift(place.db, TENANT, "case-7", actor="legal")
        deletion.resubmit(place.db, TENANT, job_id, actor="bob")
        assert place.ended(job_id).state is JobState.SUCCEEDED
    assert place.stored() == expected(before, asked)
    first, second, third = attempts(place, job_id)
    assert [a.outcome for a in (first, second, third)] == ["failed", "failed", "succeeded"]
    assert (second.units_done, third.units_redone) == (0, 0)
    assert deletion_job.kind(place.store).verify(place.db, job_id)["verified"] is True  # type: ignore[misc]


def test_a_hold_answers_only_when_no_unit_is_between_its_check_and_its_commit(place: Place) -> None:
    from redrive.engine import failpoints

    place.fill(ASSETS[:1], ["temp"], 50)
    job_id = place.submit(ASSETS[:1], "temp", START, START + 100 * HOUR)
    failpoints.arm("timeseries.deletion.checked", "delay:1.0")
    try:
        with working(place.db, deletion_job.kind(place.store)):
            deadline = time.monotonic() + 10
            while not [u for u in place.units(job_id, 2) if u.state == "running"]:
                assert time.monotonic() < deadline
                time.sleep(0.005)
            time.sleep(0.1)
            whole = box(ASSETS[:1], None, START, START + 100 * HOUR)
            holds.place(place.db, TENANT, "late", whole, "too late", actor="legal")
            after = place.stored()
            time.sleep(0.5)
            assert place.stored() == after == set()
            place.ended(job_id)
    finally:
        failpoints.replace({})


def test_a_hold_that_stands_before_the_check_wins_whatever_the_race(place: Place) -> None:
    for turn in range(5):
        asset = f"race-{turn}"
        place.fill([asset], ["temp"], 30)
        whole = box([asset], None, START, START + 100 * HOUR)
        with working(place.db, deletion_job.kind(place.store)):
            thread = threading.Thread(
                target=holds.place,
                args=(place.db, TENANT, f"hold-{turn}", whole, "race"),
                kwargs={"actor": "legal"},
            )
            thread.start()
            job_id = place.submit([asset], "temp", START, START + 100 * HOUR)
            thread.join()
            seen = {row for row in place.stored() if row[0] == asset}
            place.ended(job_id)
        assert {row for row in place.stored() if row[0] == asset} == seen


def test_many_assets_become_many_units(place: Place) -> None:
    assets = [f"a{n:03}" for n in range(100)]
    place.fill(assets, ["temp"], 5)
    job_id = place.submit(assets, "temp", START, START + 100 * HOUR)
    with working(place.db, deletion_job.kind(place.store, unit_rows=5)):
        assert place.ended(job_id, 60).state is JobState.SUCCEEDED
    units = place.units(job_id, 2)
    assert len(units) > 80
    assert sorted(a for unit in units for a in unit.spec["box"]["assets"]) == assets
    assert place.stored() == set()


def test_pause_and_cancel_leave_what_is_done_and_only_that(place: Place) -> None:
    from redrive.engine import failpoints

    assets = [f"a{n:03}" for n in range(40)]
    place.fill(assets, ["temp"], 5)
    job_id = place.submit(assets, "temp", START, START + 100 * HOUR)
    failpoints.arm("timeseries.deletion.checked", "delay:0.05")
    try:
        with working(place.db, deletion_job.kind(place.store, unit_rows=5), threads=1):
            while place.job(job_id).done_units < 6:
                time.sleep(0.01)
            place.db.run(lambda conn: recovery.pause(conn, TENANT, job_id, actor="ann"))
            while place.job(job_id).state is not JobState.PAUSED:
                time.sleep(0.01)
            left = len(place.stored())
            assert 0 < left < 200
            assert left == 200 - deleted(place, job_id)
            place.db.run(lambda conn: recovery.resume(conn, TENANT, job_id, actor="ann"))
            place.db.run(lambda conn: recovery.cancel(conn, TENANT, job_id, actor="ann"))
            assert place.ended(job_id).state is JobState.CANCELLED
    finally:
        failpoints.replace({})
    with pytest.raises(Problem) as refused:
        deletion.resubmit(place.db, TENANT, job_id, actor="ann")
    assert refused.value.reason == "is_cancelled"


def test_a_drain_that_took_too_long_gets_its_time_again_when_resubmitted(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.fill(ASSETS[:1], ["temp"], 3)
    with place.db.transaction() as conn:
        conn.execute("insert into timeseries_open_imports values (1, %s, 1, 0)", [TENANT])
    monkeypatch.setattr(deletion_job, "DRAIN_SECONDS", 0.3)
    job_id = place.submit(ASSETS[:1], "temp", START, START + HOUR)
    with working(place.db, deletion_job.kind(place.store)):
        assert place.ended(job_id).state is JobState.FAILED
        monkeypatch.setattr(deletion_job, "DRAIN_SECONDS", 30)
        deletion.resubmit(place.db, TENANT, job_id, actor="ann")
        time.sleep(1.0)
        with place.db.transaction() as conn:
            conn.execute("delete from timeseries_open_imports")
        assert place.ended(job_id).state is JobState.SUCCEEDED


def test_an_asset_that_lost_its_registration_loses_no_more_than_was_asked(place: Place) -> None:
    with place.db.transaction() as conn:
        registry.put_model(conn, TENANT, Model("of-two", points=(Point("temp"),)))
        registry.put_asset(conn, TENANT, Asset("two", model_id="of-two"))
    place.fill(["two"], ["temp", "other"], 3)
    job_id = place.submit(["two"], None, START, START + 100 * HOUR, model="of-two")
    with place.db.transaction() as conn:
        registry.delete_asset(conn, TENANT, "two")
    with working(place.db, deletion_job.kind(place.store)):
        assert place.ended(job_id).state is JobState.SUCCEEDED
    with place.db.transaction() as conn:
        registry.add_seen(conn, TENANT, {"two"})
    assert {point for _, point, *_ in place.stored()} == {"other"}


def test_a_rerun_deletes_what_came_since(working_place: Place) -> None:
    place = working_place
    place.fill(ASSETS[:2], ["temp"], 5)
    first = place.submit(ASSETS[:2], "temp", START, START + 100 * HOUR)
    place.ended(first)
    place.fill(ASSETS[:2], ["temp"], 3, value=50)
    again = place.db.run(
        lambda conn: recovery.rerun(conn, TENANT, first, actor="bob", kind=deletion_job.kind(place.store))
    )
    assert place.ended(again).state is JobState.SUCCEEDED
    assert (place.stored(), deleted(place, again)) == (set(), 6)
    with place.db.transaction() as conn:
        assert [item.job_id for item in deletion.listing(conn, TENANT).items] == [again, first]


def test_a_rerun_that_never_ran_is_a_deletion_like_any_other(working_place: Place) -> None:
    place = working_place
    place.fill(ASSETS[:2], ["temp"], 5)
    kind = deletion_job.kind(place.store)

    def rerun(job_id: int, *, cancelled: bool) -> int:
        def make(conn: Connection[Any]) -> int:
            made = recovery.rerun(conn, TENANT, job_id, actor="bob", kind=kind)
            if cancelled:
                recovery.cancel(conn, TENANT, made, actor="bob")
            return made

        return place.db.run(make)

    first = place.submit(ASSETS[:2], "temp", START, START + 100 * HOUR)
    place.ended(first)
    second = rerun(first, cancelled=True)
    assert deletion.assets_of(place.db, TENANT, second) == list(ASSETS[:2])
    assert place.ended(rerun(second, cancelled=False)).state is JobState.SUCCEEDED


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"assets": []}, "assetIds"),
        ({"assets": ["nobody"]}, "assetIds"),
        ({"model": "other"}, "modelId"),
        ({"point": "nothing"}, "pointId"),
        ({"start": START + 1, "end": START}, "endTime"),
    ],
)
def test_a_bad_request_is_refused_by_the_name_of_its_field(place: Place, change: dict, field: str) -> None:  # type: ignore[type-arg]
    place.fill(ASSETS[:1], POINTS, 2)
    with place.db.transaction() as conn:
        registry.put_model(conn, TENANT, Model("weather", points=(Point("temp"),)))
        registry.put_asset(conn, TENANT, Asset(ASSETS[0], model_id="weather"))
    asked = {
        "assets": ASSETS[:1],
        "point": "temp",
        "start": START,
        "end": START,
        "model": "weather",
        **change,
    }
    with pytest.raises(Problem) as refused:
        place.submit(**asked)
    assert refused.value.fields[0].name == field
    with place.db.transaction() as conn:
        row = conn.execute("select count(*) as n from jobs").fetchone()
    assert row.n == 0


def test_a_deletion_of_an_organization_without_data_succeeds_and_deletes_nothing(
    working_place: Place,
) -> None:
    place = working_place
    with place.db.transaction() as conn:
        registry.add_seen(conn, TENANT, {"empty"})
    job_id = place.submit(["empty"], None, START, START)
    assert place.ended(job_id).state is JobState.SUCCEEDED
    assert deleted(place, job_id) == 0


def test_the_list_shows_what_was_asked_and_only_assets_in_scope(working_place: Place) -> None:
    place = working_place
    place.fill(ASSETS[:3], POINTS, 2)
    ids = [place.submit([asset], "temp", START, START) for asset in ASSETS[:3]]
    for job_id in ids:
        place.ended(job_id)
    with place.db.transaction() as conn:
        everything = deletion.listing(conn, TENANT)
        by_job = deletion.listing(conn, TENANT, query=str(ids[1]))
        by_point = deletion.listing(conn, TENANT, query="temp", page=2, page_size=2)
        in_scope = deletion.listing(conn, TENANT, scope=[([ASSETS[0], "station-2*"], [])])
        foreign = deletion.listing(conn, TENANT + 1)
    assert [item.job_id for item in everything.items] == ids[::-1]
    assert [item.job_id for item in by_job.items] == [ids[1]]
    assert (by_point.total, [item.job_id for item in by_point.items]) == (3, [ids[0]])
    assert [item.job_id for item in in_scope.items] == [ids[2], ids[0]]
    assert (foreign.total, foreign.items) == (0, [])
    assert everything.items[0].launched_at is not None and everything.items[0].ended_at is not None
    assert ORG

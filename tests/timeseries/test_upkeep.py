"""The continuous jobs of a tenant: files are merged and swept, old samples are retired, holds are respected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from redrive.clock import now, to_ms
from redrive.database import Database
from redrive.engine import jobs
from redrive.engine.kinds import Again, Work
from redrive.engine.model import NewJob, NewUnit
from redrive.errors import Failure
from redrive.services.timeseries import compaction, holds, registry, retention, upkeep
from redrive.services.timeseries.boxes import Box, Points
from redrive.services.timeseries.registry import Asset, Model, Point
from redrive.services.timeseries.storage import SampleStore, bucket_of
from tests.engine.scene import until, working
from tests.timeseries.deletion_scene import ORG, START, TENANT, Place

DAY_MS = 86_400_000


@pytest.fixture
def place(db: Database, tmp_path: Path) -> Iterator[Place]:
    store = SampleStore(str(tmp_path / "samples"), None, db)
    yield Place(db, tmp_path / "samples", store)
    store.close()


def start(place: Place, kind: str) -> int:
    new = NewJob(kind, TENANT, {"org_id": ORG}, "redrive", units=(NewUnit(),), lanes=1)
    return place.db.run(lambda conn: jobs.submit(conn, new))


def cursor(place: Place, job_id: int) -> dict[str, int]:
    return dict(place.units(job_id)[0].cursor or {})


def test_orphans_are_swept_and_small_files_merged_without_a_reader_noticing(place: Place) -> None:
    for turn in range(12):
        place.fill(["a", "b"], ["temp"], 20, value=turn)
    orphan = place.root / ORG / "samples" / "bucket=0" / "0-1-00001.parquet"
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"left by a dead writer")
    newest = {row[:4] for row in place.stored() if row[7] == 12}
    job_id = start(place, compaction.KIND)
    with working(place.db, compaction.kind(place.store)):
        until(lambda: "swept_at" in cursor(place, job_id), 20)
    assert newest <= {row[:4] for row in place.stored()}
    assert not orphan.exists()


def test_what_was_stored_too_long_ago_is_retired_unless_it_is_held(place: Place) -> None:
    with place.db.transaction() as conn:
        points = (Point("temp", retention_days=30), Point("wind"))
        registry.put_model(conn, TENANT, Model("weather", points=points))
        registry.put_asset(conn, TENANT, Asset("a", model_id="weather"))
        registry.put_asset(conn, TENANT, Asset("b", model_id="weather"))
    today = to_ms(now())
    place.put(
        [
            (asset, point, START + n, float(n), None, 0, None, 0, stored)
            for asset in "ab"
            for point in ("temp", "wind")
            for n, stored in enumerate((today - 40 * DAY_MS, today - 20 * DAY_MS))
        ]
    )
    held = Box(frozenset("b"), Points.all(), START, START + 10)
    holds.place(place.db, TENANT, "case", held, "audit", actor="legal")
    job_id = start(place, retention.KIND)
    with working(place.db, retention.kind(place.store)):
        until(lambda: "done_day" in cursor(place, job_id), 20)
    gone = {("a", "temp", START)}
    everything = {(asset, point, START + n) for asset in "ab" for point in ("temp", "wind") for n in (0, 1)}
    assert {row[:3] for row in place.stored()} == everything - gone
    assert cursor(place, job_id)["rows_deleted"] == 1


def test_a_pass_of_retention_commits_bucket_by_bucket_and_counts_what_a_vanished_claim_has_done(
    place: Place,
) -> None:
    assets = [f"a{number}" for number in range(8)]
    with place.db.transaction() as conn:
        registry.put_model(conn, TENANT, Model("weather", retention_days=30))
        for asset in assets:
            registry.put_asset(conn, TENANT, Asset(asset, model_id="weather"))
    stored = to_ms(now()) - 40 * DAY_MS
    place.put([(asset, "temp", START + n, 1.0, None, 0, None, 0, stored) for asset in assets for n in (0, 1)])
    job_id = start(place, retention.KIND)
    with place.db.transaction() as conn:
        unit_id = place.units(job_id)[0].id
    work = Work(place.db, job_id, TENANT, retention.KIND, {"org_id": ORG}, unit_id, 0, "", {}, 1, 1, 1, None)
    run = retention.kind(place.store).run

    lost = run(work)
    assert isinstance(lost, Again) and 2 <= lost.cursor["rows_deleted"] < 16, "one bucket at a time"
    work = replace(work, claim=2)
    passes = 0
    while True:
        outcome = run(work)
        assert isinstance(outcome, Again)
        work = replace(work, cursor=outcome.cursor)
        if "done_day" in outcome.cursor:
            break
        passes += 1
    buckets = len({bucket_of(asset) for asset in assets})
    assert (passes, outcome.cursor["rows_deleted"]) == (buckets - 1, 16)
    assert place.stored() == set()
    assert outcome.after_seconds == retention.CHECK_SECONDS
    assert run(work) == outcome, "once a day"


def in_three_buckets() -> list[str]:
    """Assets of three buckets, in the order of their buckets."""
    found: dict[int, str] = {}
    for number in range(100):
        found.setdefault(bucket_of(f"a{number}"), f"a{number}")
    return [found[bucket] for bucket in sorted(found)[:3]]


def damage(place: Place, asset: str) -> None:
    (path, *_) = sorted((place.root / ORG).rglob(f"bucket={bucket_of(asset)}/*.parquet"))
    path.write_bytes(b"x" * path.stat().st_size)
    place.store = SampleStore(str(place.root), None, place.db)


def upkeep_of(place: Place, kind: str) -> Work:
    job_id = start(place, kind)
    unit_id = place.units(job_id)[0].id
    return Work(place.db, job_id, TENANT, kind, {"org_id": ORG}, unit_id, 0, "", {}, 1, 1, 1, None)


def files_of(place: Place, asset: str) -> int:
    snapshot = place.store.table(ORG).snapshot()
    assert snapshot is not None
    return len(snapshot.bucket(bucket_of(asset)))


def test_a_damaged_file_stops_neither_the_other_merges_nor_the_sweep(place: Place) -> None:
    assets = in_three_buckets()
    for turn in range(8):
        place.fill(assets, ["temp"], 20, value=turn)
    damage(place, assets[0])
    work = upkeep_of(place, compaction.KIND)
    run = compaction.kind(place.store).run
    outcome = run(work)
    assert isinstance(outcome, Again) and not outcome.progress
    assert [files_of(place, asset) for asset in assets] == [8, 1, 1]
    assert outcome.cursor["merges"] == 2 and "swept_at" in outcome.cursor
    with pytest.raises(Failure, match="cannot be read"):
        run(replace(work, cursor=outcome.cursor))


def test_a_damaged_file_stops_only_its_own_bucket_of_a_pass_of_retention(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    assets = in_three_buckets()
    with place.db.transaction() as conn:
        registry.put_model(conn, TENANT, Model("weather", retention_days=30))
        for asset in assets:
            registry.put_asset(conn, TENANT, Asset(asset, model_id="weather"))
    stored = to_ms(now()) - 40 * DAY_MS
    place.put([(asset, "temp", START, 1.0, None, 0, None, 0, stored) for asset in assets])
    damage(place, assets[1])
    work = upkeep_of(place, retention.KIND)
    run = retention.kind(place.store).run
    for _ in range(2):
        outcome = run(work)
        assert isinstance(outcome, Again) and "done_day" not in outcome.cursor
        work = replace(work, cursor=outcome.cursor)
    assert [files_of(place, asset) for asset in assets] == [0, 1, 0]
    for _ in range(2):
        with pytest.raises(Failure, match="cannot be read"):
            run(work)
    tomorrow = now() + timedelta(days=1)
    monkeypatch.setattr(retention, "now", lambda: tomorrow)
    outcome = run(work)
    assert isinstance(outcome, Again), "the next day has a pass of its own"
    assert "failure" not in outcome.cursor and outcome.cursor["rows_deleted"] == 2
    with pytest.raises(Failure, match="cannot be read"):
        run(replace(work, cursor=outcome.cursor))


def test_a_tenants_upkeep_is_made_once(db: Database) -> None:
    for _ in range(3):
        db.run(lambda conn: upkeep.ensure(conn, TENANT, ORG))
    with db.transaction() as conn:
        kinds = [row.kind for row in conn.execute("select kind from jobs order by kind").fetchall()]
    assert kinds == ["timeseries.compaction", "timeseries.retention"]

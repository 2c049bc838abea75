"""Importing files: once, whatever dies in between; by the same rules as ingest; deletions wait for it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from redrive.database import Database
from redrive.database.pool import DatabaseAway
from redrive.engine import jobs, recovery
from redrive.engine.model import Job, JobState
from redrive.errors import Failure, FailureClass, Problem
from redrive.ingest import log
from redrive.services.timeseries import imports, mover, registry, sources
from redrive.services.timeseries.ingest import Ingest
from redrive.services.timeseries.mapping import Columns
from redrive.services.timeseries.sources import Source
from redrive.services.timeseries.storage import OrgTable, SampleStore
from tests.engine.scene import ended, until, working
from tests.timeseries import import_process, processes
from tests.timeseries.ingest_scene import ORG, TENANT, Place, add_tenant


@pytest.fixture
def place(db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(sources, "UNIT_SAMPLES", 100)
    monkeypatch.setattr(sources, "TABLE_SAMPLES", 100)
    add_tenant(db)
    store, ingest = SampleStore(str(tmp_path / "store"), None, db), Ingest(db)
    yield Place(db, tmp_path / "store", store, ingest)
    ingest.close()
    store.close()


def table(count: int, assets: int = 4) -> pa.Table:
    return pa.table(
        {
            "asset": [f"a{n % assets}" for n in range(count)],
            "point": ["p" if n % 2 else "q" for n in range(count)],
            "time": pa.array([1_700_000_000_000 + n * 1000 for n in range(count)], pa.timestamp("ms", "UTC")),
            "value": [float(n) for n in range(count)],
        }
    )


def expected(found: pa.Table) -> dict[tuple[str, str, int], float]:
    times = found["time"].cast(pa.int64()).to_pylist()
    keys = zip(found["asset"].to_pylist(), found["point"].to_pylist(), times, strict=True)
    return dict(zip(keys, found["value"].to_pylist(), strict=True))


def submit(place: Place, source: Source, **mapping: Any) -> int:
    with place.db.transaction() as conn:
        return imports.submit(conn, TENANT, ORG, source, Columns(**mapping), actor="tester")


def import_file(place: Place, path: Path, **mapping: Any) -> Job:
    job_id = submit(place, sources.local_source(str(path), [path.parent]), **mapping)
    with working(place.db, imports.kind(place.store, [path.parent])):
        return ended(place.db, job_id)


def parquet(tmp_path: Path, found: pa.Table, group: int = 100) -> Path:
    path = tmp_path / "samples.parquet"
    pq.write_table(found, path, row_group_size=group)
    return path


def open_imports(place: Place) -> int:
    with place.db.transaction() as conn:
        return int(conn.execute("select count(*) as n from timeseries_open_imports").fetchone().n)


def failure_of(job: Job) -> dict[str, Any]:
    assert job.failure is not None
    return dict(job.failure)


def test_a_parquet_file_is_imported_in_ranges(place: Place, tmp_path: Path) -> None:
    found = table(1000)
    job = import_file(place, parquet(tmp_path, found))
    assert job.state is JobState.SUCCEEDED
    assert job.done_units == 11
    assert place.read() == expected(found)
    assert len(place.in_tables()) == 1000
    assert place.latest(["a3"], ["p"]) == {("a3", "p"): (1_700_000_999_000, 999.0)}
    with place.db.transaction() as conn:
        assert [asset.id for asset in registry.list_assets(conn, TENANT)] == ["a0", "a1", "a2", "a3"]
        units = jobs.units(conn, jobs.get(conn, TENANT, job.id), limit=100)
    assert sum((unit.ledger or {}).get("rows", 0) for unit in units) == 1000
    assert open_imports(place) == 0


def test_an_import_can_be_proved(place: Place, tmp_path: Path) -> None:
    job = import_file(place, path := parquet(tmp_path, table(300)))
    kind = imports.kind(place.store, [path.parent])
    assert kind.verify is not None
    proof = kind.verify(place.db, job.id)
    assert proof["verified"] is True
    assert (proof["ranges_checked"], proof["rows"]) == (3, 300)
    with place.db.transaction() as conn:
        conn.execute(
            "update units set ledger = ledger || '{\"rows\": 7}' where job_id = %s and phase = 1", [job.id]
        )
    proof = kind.verify(place.db, job.id)
    assert proof["verified"] is False
    assert proof["ranges_that_differ"][0] == "row group 0"


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_a_csv_is_imported_in_ranges(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, delimiter: str
) -> None:
    monkeypatch.setattr(sources, "CSV_BYTES", 1000)
    found = table(500)
    lines = [delimiter.join(found.column_names)]
    lines += [
        delimiter.join([row["asset"], row["point"], row["time"].isoformat(), repr(row["value"])])
        for row in found.to_pylist()
    ]
    path = tmp_path / "samples.csv"
    path.write_bytes(b"\xef\xbb\xbf" + ending.join(lines).encode())
    job = import_file(place, path)
    assert job.state is JobState.SUCCEEDED
    assert job.done_units > 10
    assert place.read() == expected(found)


def test_a_csv_of_many_kinds_of_values(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "states.csv"
    path.write_text('asset,point,time,value\na,p,1,1.5\na,p,2,"on, maybe"\na,p,3,\na,q,4,7\n')
    job = import_file(place, path)
    assert job.state is JobState.SUCCEEDED
    assert place.read() == {("a", "p", 1): 1.5, ("a", "p", 2): "on, maybe", ("a", "q", 4): 7.0}


def test_the_wide_form_is_imported(place: Place, tmp_path: Path) -> None:
    found = pa.table({"station": ["x", "y"], "at": [1, 2], "temp": [1.5, None], "state": ["on", "off"]})
    job = import_file(place, parquet(tmp_path, found), asset="station", time="at")
    assert job.state is JobState.SUCCEEDED
    assert place.read() == {("x", "temp", 1): 1.5, ("x", "state", 1): "on", ("y", "state", 2): "off"}


def test_the_last_of_equal_samples_in_a_range_wins(place: Place, tmp_path: Path) -> None:
    found = pa.table({"asset": ["a", "a"], "point": ["p", "p"], "time": [1, 1], "value": [1.0, 2.0]})
    import_file(place, parquet(tmp_path, found))
    assert place.in_tables() == [("a", "p", 1, 2.0, 1)]


def test_an_import_does_not_hide_newer_latest_values(place: Place, tmp_path: Path) -> None:
    place.accept(("a", "p", 10, 10.0))
    with working(place.db, mover.kind(place.store)):
        until(place.drained)
    found = pa.table({"asset": ["a", "a"], "point": ["p", "q"], "time": [5, 5], "value": [5.0, 6.0]})
    import_file(place, parquet(tmp_path, found))
    assert place.latest(["a"], ["p", "q"]) == {("a", "p"): (10, 10.0), ("a", "q"): (5, 6.0)}


def test_what_matters_for_latest_values_stays_little_however_large_a_row_group_is(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "TABLE_SAMPLES", 20)
    monkeypatch.setattr(imports, "NEWEST_ROWS", 40)
    most = 0
    told = imports._Range._placed

    def watched(self: Any, batches: Any) -> Any:
        nonlocal most
        placed = told(self, batches)
        most = max(most, sum(each.num_rows for each in self.newest))
        return placed

    monkeypatch.setattr(imports._Range, "_placed", watched)
    found = table(3000)
    job = import_file(place, parquet(tmp_path, found, group=3000))
    assert job.state is JobState.SUCCEEDED and 0 < most <= 40
    newest = {("a0", "q"): 2996, ("a1", "p"): 2997, ("a2", "q"): 2998, ("a3", "p"): 2999}
    assert place.latest(["a0", "a1", "a2", "a3"], ["p", "q"]) == {
        series: (1_700_000_000_000 + n * 1000, float(n)) for series, n in newest.items()
    }
    assert len(place.in_tables()) == 3000


def test_a_database_that_is_away_is_no_fault_of_the_file(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = parquet(tmp_path, table(100))
    away = iter([True])
    begin = imports._begin

    def refused(*given: Any) -> Any:
        if next(away, False):
            raise DatabaseAway("unavailable", "the database does not answer")
        return begin(*given)

    monkeypatch.setattr(imports, "_begin", refused)
    assert import_file(place, path).state is JobState.SUCCEEDED
    assert len(place.in_tables()) == 100 and open_imports(place) == 0


def test_a_bad_range_fails_by_itself_and_says_why(place: Place, tmp_path: Path) -> None:
    found = table(300)
    bad = found.set_column(0, "asset", pa.array(["x,y" if n == 150 else "a" for n in range(300)]))
    job = import_file(place, parquet(tmp_path, bad))
    assert job.state is JobState.FAILED
    assert failure_of(job)["class"] == "needs_input"
    assert "row group 1" in failure_of(job)["detail"]
    assert "commas" in failure_of(job)["detail"]
    assert len(place.in_tables()) == 200
    assert open_imports(place) == 0


@pytest.mark.parametrize("body", [b"", b"not a parquet file", b"PAR1" + b"\0" * 100 + b"PAR1"])
def test_what_is_no_parquet_file_is_refused(place: Place, tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "bad.parquet"
    path.write_bytes(body)
    job = import_file(place, path)
    assert job.state is JobState.FAILED
    assert failure_of(job)["class"] == "needs_input"


def test_columns_that_are_not_there_are_named(place: Place, tmp_path: Path) -> None:
    job = import_file(place, parquet(tmp_path, table(10)), asset="station")
    assert "no column station" in failure_of(job)["detail"]


def test_an_uploaded_file_is_removed_when_it_is_imported(place: Place, tmp_path: Path) -> None:
    found = table(200)
    path = parquet(tmp_path, found)
    staging = place.store.staging(ORG)
    with staging.create("7/samples.parquet") as sink:
        sink.write(path.read_bytes())
    source = Source("7/samples.parquet", sources.Format.PARQUET, path.name, path.stat().st_size, staged=True)
    job_id = submit(place, source)
    with working(place.db, imports.kind(place.store, [])):
        assert ended(place.db, job_id).state is JobState.SUCCEEDED
    assert place.read() == expected(found)
    assert staging.list() == []


def test_only_files_below_a_configured_folder_are_read(place: Place, tmp_path: Path) -> None:
    path = parquet(tmp_path, table(10))
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link.parquet").symlink_to(path)
    for wanted in (
        str(path),
        str(inside / "link.parquet"),
        str(inside / ".." / path.name),
        "/etc/passwd",
        "\0",
    ):
        with pytest.raises(Problem, match="may not read"):
            sources.local_source(wanted, [inside])
    source = Source(str(path), sources.Format.PARQUET, path.name, 1, staged=False)
    job_id = submit(place, source)
    with working(place.db, imports.kind(place.store, [inside])):
        job = ended(place.db, job_id)
    assert "may not read" in failure_of(job)["detail"]


def test_a_deletion_waits_for_a_range_that_took_its_sequence(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = OrgTable.append
    seen: list[bool] = []

    def look(table: OrgTable, *arguments: Any, **more: Any) -> Any:
        with place.db.transaction() as conn:
            seen.append(mover.drained(conn, TENANT, log.head(conn, TENANT)))
        return append(table, *arguments, **more)

    monkeypatch.setattr(OrgTable, "append", look)
    import_file(place, parquet(tmp_path, table(100)))
    assert seen == [False]
    with place.db.transaction() as conn:
        assert mover.drained(conn, TENANT, log.head(conn, TENANT))


def test_a_range_that_fails_for_good_holds_nothing_up(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **more: Any) -> Any:
        raise Failure("storage", "the sample store is full", kind=FailureClass.NEEDS_INPUT)

    with monkeypatch.context() as patch:
        patch.setattr(OrgTable, "append", fail)
        job = import_file(place, path := parquet(tmp_path, found := table(100)))
    assert job.state is JobState.FAILED
    assert open_imports(place) == 0
    with place.db.transaction() as conn:
        recovery.retry(conn, TENANT, job.id, actor="tester")
    with working(place.db, imports.kind(place.store, [path.parent])):
        assert ended(place.db, job.id).state is JobState.SUCCEEDED
    assert place.read() == expected(found)


def test_a_range_whose_commit_stands_ends_well_without_its_file(place: Place, tmp_path: Path) -> None:
    path = parquet(tmp_path, found := table(100))
    job_id = submit(place, sources.local_source(str(path), [tmp_path]))
    arguments = (place.db.url, str(place.root), str(tmp_path), "timeseries.import.committed=exit")
    process = processes.start(import_process.work, *arguments)
    process.join(30)
    path.unlink()
    with working(place.db, imports.kind(place.store, [tmp_path])):
        assert ended(place.db, job_id, 30).state is JobState.SUCCEEDED
    assert place.read() == expected(found)
    assert open_imports(place) == 0
    assert place.latest(["a3"], ["p"]) != {}


def test_an_outcome_that_is_lost_after_all_is_done_does_not_lose_what_was_skipped(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = table(100)
    missing = pa.array([None if n < 3 else float(n) for n in range(100)])
    found = found.set_column(found.column_names.index("value"), "value", missing)
    lost: list[dict[str, Any]] = []
    finish = imports._finish

    def finish_and_lose(*given: Any) -> Any:
        done = finish(*given)
        if not lost:
            lost.append(dict(done.ledger))
            raise DatabaseAway("unavailable", "the database does not answer")
        return done

    monkeypatch.setattr(imports, "_finish", finish_and_lose)
    job = import_file(place, parquet(tmp_path, found))
    assert job.state is JobState.SUCCEEDED
    with place.db.transaction() as conn:
        (unit,) = [each for each in jobs.units(conn, job, limit=10) if each.phase == 1]
    assert unit.ledger == {"seq": lost[0]["seq"], "rows": 97, "skipped": 3}


def test_a_bug_in_the_middle_of_a_range_holds_nothing_up(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **more: Any) -> Any:
        raise KeyError("a bug")

    monkeypatch.setattr(OrgTable, "append", fail)
    assert import_file(place, parquet(tmp_path, table(100))).state is JobState.FAILED
    assert open_imports(place) == 0


def test_a_file_that_was_replaced_is_not_read_at_the_old_places(place: Place, tmp_path: Path) -> None:
    path = parquet(tmp_path, table(600))
    source = sources.local_source(str(path), [tmp_path])
    other = tmp_path / "other"
    other.mkdir()
    parquet(other, table(300)).replace(path)
    job_id = submit(place, source)
    with working(place.db, imports.kind(place.store, [tmp_path])):
        job = ended(place.db, job_id)
    assert job.state is JobState.FAILED and "not the one" in failure_of(job)["detail"]
    assert place.in_tables() == []


def test_of_equal_samples_in_one_range_the_last_wins_also_after_files_are_merged(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "TABLE_SAMPLES", 40)
    first, second = table(100), table(100)
    values = pa.array([float(-n) for n in range(100)])
    second = second.set_column(second.column_names.index("value"), "value", values)
    import_file(place, parquet(tmp_path, pa.concat_tables([first, second]), group=200))
    seqs = {row[-1] for row in place.in_tables()}
    assert len(seqs) > 1
    assert place.read() == expected(second)


def test_a_text_with_a_nul_character_is_refused(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "nul.csv"
    path.write_bytes(b"asset,point,time,value\na,p,1700000000000,x\0y\n")
    assert import_file(place, path).state is JobState.FAILED


@pytest.mark.parametrize(
    "failpoint",
    [
        "timeseries.storage.written",
        "timeseries.storage.after_commit",
        "timeseries.import.committed",
        "engine.unit.after",
        "engine.settle.after",
    ],
)
@pytest.mark.parametrize("after", [1, pytest.param(3, marks=pytest.mark.torture)])
def test_killed_anywhere_every_sample_is_imported_once(
    place: Place, tmp_path: Path, failpoint: str, after: int
) -> None:
    path = parquet(tmp_path, found := table(600))
    job_id = submit(place, sources.local_source(str(path), [tmp_path]))
    arguments = (place.db.url, str(place.root), str(tmp_path), f"{failpoint}=exit,after={after}")
    process = processes.start(import_process.work, *arguments)
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    with working(place.db, imports.kind(place.store, [tmp_path])):
        job = ended(place.db, job_id, 30)
    assert job.state is JobState.SUCCEEDED
    stored = place.in_tables()
    assert len(stored) == len(set(stored)) == 600
    assert place.read() == expected(found)
    assert place.latest(["a3"], ["p"]) == {("a3", "p"): (1_700_000_599_000, 599.0)}
    assert open_imports(place) == 0

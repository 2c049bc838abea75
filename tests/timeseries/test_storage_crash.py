"""SIGKILL and SIGSTOP at every failpoint of the store, then probe, redo: as if nothing had happened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from redrive.database import Database
from redrive.engine import failpoints
from redrive.errors import Failure
from redrive.services.timeseries.boxes import Box, Points
from redrive.services.timeseries.storage import OrgTable, SampleStore, newest
from tests.timeseries import storage_process as processes
from tests.timeseries.samples import Row, rows_of
from tests.timeseries.storage_process import ALL, ASSETS, FENCED, KILLED, OPERATIONS

EVERY_Q = Box(frozenset(ASSETS), Points.only("q"), ALL.start_ms, ALL.end_ms)
PLACES = [name for name in failpoints.NAMES if name.startswith("timeseries.storage.")]


def crossed(places: list[str], quick: set[tuple[str, str]]) -> list[Any]:
    """Every place with every operation; erasures and a few others in every run, the rest in the long one."""
    return [
        pytest.param(place, operation, id=f"{place.rpartition('.')[2]}-{operation}")
        if operation == "erase" or (place.rpartition(".")[2], operation) in quick
        else pytest.param(
            place, operation, id=f"{place.rpartition('.')[2]}-{operation}", marks=pytest.mark.torture
        )
        for operation in OPERATIONS
        for place in places
    ]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "samples"


@pytest.fixture
def table(root: Path, db: Database) -> Iterator[OrgTable]:
    store = SampleStore(str(root), None, db)
    processes.fill(store.table("o1"))
    yield store.table("o1")
    store.close()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, database_url: str) -> Any:
    """Per operation: the rows and the ledger of a run that nothing happened to."""
    outcomes: dict[str, tuple[list[Row], dict[str, Any]]] = {}

    def outcome(db: Database, operation: str) -> tuple[list[Row], dict[str, Any]]:
        if operation not in outcomes:
            store = SampleStore(str(tmp_path_factory.mktemp("undisturbed")), None, db)
            table = store.table(f"reference-{operation}")
            processes.fill(table)
            ledger = OPERATIONS[operation][1](table, 1)
            outcomes[operation] = (rows_of(newest(table.scan(ALL))), ledger)
            store.close()
        return outcomes[operation]

    return outcome


def nothing_is_left_over(table: OrgTable, db: Database) -> None:
    snapshot = table.snapshot()
    assert snapshot is not None
    on_disk = {file.path for file in table.folder.list() if not file.path.startswith("_delta_log")}
    assert on_disk == set(snapshot.files)
    with db.transaction() as conn:
        assert conn.execute("select count(*) from timeseries_writes").fetchone()[0] == 0


def redo(table: OrgTable, operation: str) -> dict[str, Any]:
    """What a second claim does: fence, look, and do it only if it was not done."""
    app_id, work = OPERATIONS[operation]
    return table.settle_claim(app_id, 2) or work(table, 2)


@pytest.mark.parametrize(
    ("place", "operation"), crossed(PLACES, {("before_commit", "append"), ("after_commit", "compact")})
)
def test_a_kill_anywhere_changes_nothing_in_the_end(
    place: str, operation: str, table: OrgTable, root: Path, fresh_url: str, db: Database, undisturbed: Any
) -> None:
    process = processes.start(processes.run, str(root), fresh_url, operation, f"{place}=exit")
    process.join(20)
    assert process.exitcode == KILLED

    ledger = redo(table, operation)

    rows, expected = undisturbed(db, operation)
    assert rows_of(newest(table.scan(ALL))) == rows
    _same_figures(ledger, expected)
    nothing_is_left_over(table, db)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("place", PLACES)
def test_an_error_anywhere_leaves_nothing_half_done(
    place: str, operation: str, table: OrgTable, db: Database, undisturbed: Any
) -> None:
    failpoints.arm(place, "error:1")
    try:
        with pytest.raises(Failure):
            OPERATIONS[operation][1](table, 1)
        nothing_is_left_over(table, db)
        ledger = OPERATIONS[operation][1](table, 2)
    finally:
        failpoints.replace({})
    rows, expected = undisturbed(db, operation)
    assert rows_of(newest(table.scan(ALL))) == rows
    if place not in PLACES[3:] or operation != "append":
        _same_figures(ledger, expected)
    nothing_is_left_over(table, db)


@pytest.mark.parametrize(("place", "operation"), crossed(PLACES[:3], {("before_commit", "append")}))
def test_a_process_that_was_frozen_commits_nothing_after_a_fence(
    place: str, operation: str, table: OrgTable, root: Path, fresh_url: str, db: Database, undisturbed: Any
) -> None:
    process = processes.start(processes.run, str(root), fresh_url, operation, f"{place}=stop")
    assert process.pid is not None
    processes.until(lambda: processes.is_stopped(process.pid))

    ledger = redo(table, operation)
    before = rows_of(table.scan(ALL))
    version = table.snapshot().version
    processes.thaw(process)

    assert process.exitcode == FENCED
    assert rows_of(table.scan(ALL)) == before
    assert table.snapshot().version == version
    rows, expected = undisturbed(db, operation)
    assert rows_of(newest(table.scan(ALL))) == rows
    _same_figures(ledger, expected)
    table.sweep()
    nothing_is_left_over(table, db)


def test_a_sweep_ends_a_dead_change_and_removes_what_it_wrote(
    table: OrgTable, root: Path, fresh_url: str, db: Database
) -> None:
    """A compaction dies with copies of rows that a deletion erases then: they go with the deletion's sweep."""
    for place in ("written", "before_commit"):
        armed = f"timeseries.storage.{place}=exit"
        process = processes.start(processes.run, str(root), fresh_url, "compact", armed)
        process.join(20)
        assert process.exitcode == KILLED
    table.erase(EVERY_Q, app_id="job/1", claim=1, seq_max=8)
    snapshot = table.snapshot()
    assert snapshot is not None
    orphans = {file.path for file in table.folder.list() if "_delta_log" not in file.path} - set(
        snapshot.files
    )
    assert orphans

    swept = table.sweep(8, patience_seconds=0.0)

    assert swept.files_removed >= 1
    assert table.count(EVERY_Q) == 0
    assert not [file for file in root.rglob("bucket=*/*.parquet") if _has_q(file)]


def test_a_frozen_compaction_that_a_sweep_ended_does_not_come_back(
    table: OrgTable, root: Path, fresh_url: str, db: Database
) -> None:
    armed = "timeseries.storage.before_commit=stop"
    process = processes.start(processes.run, str(root), fresh_url, "compact", armed)
    assert process.pid is not None
    processes.until(lambda: processes.is_stopped(process.pid))
    table.erase(EVERY_Q, app_id="job/1", claim=1, seq_max=8)
    before = rows_of(table.scan(ALL))
    table.sweep(8, patience_seconds=0.05)
    assert not [file for file in root.rglob("bucket=*/*.parquet") if _has_q(file)]

    processes.thaw(process)

    assert process.exitcode == 0, "it gives up on that merge and goes on"
    assert rows_of(newest(table.scan(ALL))) == sorted(before, key=lambda row: row[:3])
    assert table.count(EVERY_Q) == 0
    table.sweep(8)
    nothing_is_left_over(table, db)


def _has_q(file: Path) -> bool:
    return "q" in pq.ParquetFile(file).read(columns=["point"])["point"].to_pylist()


def _same_figures(ledger: dict[str, Any], expected: dict[str, Any]) -> None:
    exact = {"rows", "rows_deleted", "rows_kept", "kept_checksum"}
    assert {key: ledger[key] for key in exact & ledger.keys()} == {
        key: expected[key] for key in exact & expected.keys()
    }

"""The log under the store: shortened behind a process, answers that got lost, disks that are full."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deltalake.exceptions import DeltaError

from redrive.database import Database
from redrive.errors import Failure, FailureClass
from redrive.services.timeseries.boxes import Box, Points
from redrive.services.timeseries.storage import Fenced, OrgTable, SampleStore, log
from redrive.services.timeseries.storage.folder import log_path
from tests.timeseries.samples import rows_of, walk

MINUTES = [1_700_000_000_000 + 60_000 * minute for minute in range(200)]
EVERYTHING = Box(frozenset(["a", "b"]), Points.all(), 0, 2**50)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "samples"


@pytest.fixture
def stores(root: Path, db: Database) -> Iterator[tuple[OrgTable, OrgTable]]:
    """The same table as two processes have it."""
    pair = SampleStore(str(root), None, db), SampleStore(str(root), None, db)
    yield pair[0].table("o1"), pair[1].table("o1")
    for store in pair:
        store.close()


@pytest.fixture
def table(stores: tuple[OrgTable, OrgTable]) -> OrgTable:
    return stores[0]


def move(table: OrgTable, seq: int, claim: int = 1) -> Any:
    part = walk(["a", "b"], ["p"], MINUTES[seq % 10 :: 10], seq=seq, seed=seq)
    return table.append(part, app_id="move", claim=claim, step=seq)


def test_the_log_is_shortened_behind_a_process_that_slept(
    stores: tuple[OrgTable, OrgTable], monkeypatch: pytest.MonkeyPatch, root: Path, db: Database
) -> None:
    monkeypatch.setattr(log, "_CHECKPOINT_EVERY", 5)
    sleeper, other = stores
    move(sleeper, 1)
    sleeper.append(walk(["a"], ["q"], MINUTES), app_id="import/1", claim=1, ledger={"file": "x"})
    for seq in range(2, 25):
        move(other, seq)
    swept = other.sweep(log_seconds=0.0)
    assert swept.log_files_removed >= 15
    commits = sorted((root / "o1/samples/_delta_log").glob("*.json"))
    assert int(commits[0].stem) >= 20, "the first commits are gone"

    assert rows_of(sleeper.scan(EVERYTHING)) == rows_of(other.scan(EVERYTHING))
    assert not move(sleeper, 25).repeated
    assert sleeper.append(walk(["a"], ["q"], MINUTES), app_id="import/1", claim=2).repeated
    other.fence("move", 2)
    with pytest.raises(Fenced):
        move(sleeper, 26)
    newcomer = SampleStore(str(root), None, db)
    assert newcomer.table("o1").effect("import/1") == {"file": "x", "rows": 200}
    assert newcomer.table("o1").step("move") == 25
    assert rows_of(newcomer.table("o1").scan(EVERYTHING)) == rows_of(other.scan(EVERYTHING))
    newcomer.close()


def test_a_commit_whose_answer_was_lost_is_found(table: OrgTable, monkeypatch: pytest.MonkeyPatch) -> None:
    move(table, 1)
    really = log.Log._try

    def lost(self: log.Log, *arguments: Any) -> Exception | None:
        monkeypatch.setattr(log.Log, "_try", really)
        assert really(self, *arguments) is None
        return DeltaError("connection reset")

    monkeypatch.setattr(log.Log, "_try", lost)
    done = move(table, 2)

    assert (done.repeated, done.rows) == (False, 40)
    assert table.scan(EVERYTHING).num_rows == 80


def test_a_commit_that_failed_leaves_nothing(
    table: OrgTable, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    move(table, 1)
    monkeypatch.setattr(log.Log, "_try", lambda *_: DeltaError("connection reset"))
    with pytest.raises(Failure) as failed:
        move(table, 2)
    monkeypatch.undo()

    assert (failed.value.code, failed.value.kind) == ("storage", FailureClass.TRANSIENT)
    assert not move(table, 2).repeated
    table.sweep(2, patience_seconds=0.0)
    assert table.scan(EVERYTHING).num_rows == 80
    assert _files(root) == set(table.snapshot().files)


def test_a_commit_into_a_part_of_the_log_that_is_gone_is_made_again(
    stores: tuple[OrgTable, OrgTable], monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    """Frozen between looking and writing, while the others went on and shortened the log."""
    monkeypatch.setattr(log, "_CHECKPOINT_EVERY", 5)
    monkeypatch.setattr(log, "_FROZEN_SECONDS", -1.0)
    sleeper, other = stores
    move(sleeper, 1)
    really = log.Log._try

    def into_the_void(self: log.Log, *arguments: Any) -> Exception | None:
        monkeypatch.setattr(log.Log, "_try", really)
        version = sleeper.snapshot().version + 1
        for seq in range(2, 25):
            move(other, seq)
        other.sweep(log_seconds=0.0)
        path = root / "o1/samples" / log_path(version)
        assert not path.exists()
        path.write_text('{"commitInfo":{}}\n')
        return None

    monkeypatch.setattr(log.Log, "_try", into_the_void)
    done = sleeper.append(walk(["a"], ["q"], MINUTES), app_id="import/1", claim=1)

    assert not done.repeated
    assert other.effect("import/1") == {"rows": 200}
    assert other.scan(EVERYTHING).num_rows == 24 * 40 + 200


def test_a_missing_and_a_damaged_file_are_told(table: OrgTable, root: Path) -> None:
    move(table, 1)
    victim = next((root / "o1/samples").glob("bucket=*/*.parquet"))
    content = victim.read_bytes()
    victim.write_bytes(content[: len(content) // 2])
    with pytest.raises(Failure, match="cannot be read") as damaged:
        table.scan(EVERYTHING)
    victim.unlink()
    with pytest.raises(Failure, match="live file is missing") as missing:
        table.scan(EVERYTHING)
    for failure in (damaged.value, missing.value):
        assert (failure.code, failure.kind) == ("storage", FailureClass.PERMANENT)
        assert failure.hint


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(path)], check=True)
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.mark.root
def test_a_full_disk_needs_somebody_and_loses_nothing(small_disk: Path, db: Database) -> None:
    store = SampleStore(str(small_disk), None, db)
    table = store.table("o1")
    move(table, 1)
    before = rows_of(table.scan(EVERYTHING))
    many = walk(["a", "b", "c", "d"], ["p"], range(0, 400_000, 3), seq=2)
    noisy = many.set_column(2, "time_ms", many["time_ms"])

    with pytest.raises(Failure) as full:
        table.append(noisy, app_id="import/1", claim=1)

    assert (full.value.code, full.value.kind) == ("storage", FailureClass.NEEDS_INPUT)
    assert "space" in full.value.hint
    assert rows_of(table.scan(EVERYTHING)) == before
    assert _files(small_disk) == set(table.snapshot().files)
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="space"), filler.open("wb") as file:
        while True:
            file.write(bytes(4096))
            file.flush()
    with pytest.raises(Failure) as full:
        table.erase(Box(frozenset("a"), Points.all(), 0, MINUTES[100]), app_id="job/1", claim=1, seq_max=1)
    assert full.value.kind == FailureClass.NEEDS_INPUT
    filler.unlink()
    table.settle_claim("job/1", 2)
    erased = table.erase(
        Box(frozenset("a"), Points.all(), 0, MINUTES[100]), app_id="job/1", claim=2, seq_max=1
    )
    assert erased.rows_deleted == 10
    assert _files(small_disk) == set(table.snapshot().files)
    store.close()


def _files(root: Path) -> set[str]:
    base = root / "o1/samples"
    return {str(path.relative_to(base)) for path in base.glob("bucket=*/*.parquet")}

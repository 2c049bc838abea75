from __future__ import annotations

import contextlib
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from redrive.database import Database
from redrive.errors import Failure
from redrive.services.timeseries.boxes import Box, Points
from redrive.services.timeseries.storage import (
    Fenced,
    OrgTable,
    SampleStore,
    bucket_of,
    change,
    files,
    newest,
)
from tests.timeseries.samples import rows_of, table_of, walk

MINUTES = [1_700_000_000_000 + 60_000 * minute for minute in range(500)]
EVER = (-(2**60), 2**60)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "samples"


@pytest.fixture
def table(root: Path, db: Database) -> Iterator[OrgTable]:
    store = SampleStore(str(root), None, db)
    yield store.table("o1")
    store.close()


def everything(*assets: str, points: Points | None = None) -> Box:
    return Box(frozenset(assets), points or Points.all(), *EVER)


def files_below(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*.parquet") if "_delta_log" not in str(path)}


def live(table: OrgTable) -> set[str]:
    snapshot = table.snapshot()
    return {f"o1/samples/{path}" for path in snapshot.files} if snapshot else set()


def test_a_table_that_was_never_written_is_empty(table: OrgTable) -> None:
    assert table.scan([everything("a")]).num_rows == 0
    assert table.snapshot() is None
    assert table.effect("job/1") is None


def test_what_is_appended_is_read_back_in_order(table: OrgTable) -> None:
    samples = walk(["a", "b", "c"], ["p", "q"], MINUTES)
    shuffled = samples.take(pa.array(range(samples.num_rows - 1, -1, -1)))

    done = table.append(shuffled, app_id="move/o1", claim=1, step=1)

    assert (done.rows, done.repeated) == (samples.num_rows, False)
    assert rows_of(table.scan([everything("a", "b", "c")])) == rows_of(samples)
    one = table.scan([Box(frozenset("b"), Points.only("q"), MINUTES[10], MINUTES[20])], columns=["number"])
    assert one.column_names == ["asset", "point", "time_ms", "number", "seq"]
    assert one["time_ms"].to_pylist() == MINUTES[10:20]


def test_every_value_keeps_its_bits(table: OrgTable) -> None:
    strange = struct.unpack("<d", bytes.fromhex("0100000000000ff8"))[0]
    numbers = [math.nan, strange, -0.0, 0.0, math.inf, -math.inf, 5e-324, None]
    rows = [("a", "p", at, number, None, 0, None, 1, 5) for at, number in enumerate(numbers)]
    rows += [("a", "q", 0, None, "tëxt\n", 3, -1, 1, 5), ("a", "r", -5, 1.0, None, 2, 2**31 - 1, 1, 5)]
    table.append(table_of(rows), app_id="move/o1", claim=1, step=1)

    table.erase([Box(frozenset("a"), Points.only("r"), -10, 0)], app_id="job/1", claim=1, seq_max=1)

    assert rows_of(table.scan([everything("a")])) == rows_of(table_of(rows[:-1]))


def test_erased_rows_are_gone_from_table_and_store_and_the_others_stay(table: OrgTable, root: Path) -> None:
    samples = walk(["a", "b", "c"], ["p", "q", "r"], MINUTES)
    table.append(samples, app_id="move/o1", claim=1, step=1)
    box = Box(frozenset(["a", "c"]), Points.only("q"), MINUTES[100], MINUTES[400])

    erased = table.erase([box], app_id="job/1", claim=1, seq_max=1)

    assert erased.rows_deleted == 600
    rest = [row for row in rows_of(samples) if not box.contains(*row[:3])]
    assert rows_of(table.scan([everything("a", "b", "c")])) == rest
    assert table.count([box], seq_max=1) == 0
    assert files_below(root) == live(table), "replaced files are gone from the folder"
    touched = table.digest([everything("a", "c")])
    others = [name for name in ("b",) if bucket_of(name) in (bucket_of("a"), bucket_of("c"))]
    if not others:
        assert (erased.rows_kept, erased.kept_checksum) == touched


def test_rows_above_the_cut_off_are_kept(table: OrgTable) -> None:
    table.append(walk(["a"], ["p"], MINUTES, seq=3), app_id="move/o1", claim=1, step=3)
    table.append(walk(["a"], ["p"], MINUTES[:10], seq=4, seed=9), app_id="move/o1", claim=1, step=4)

    erased = table.erase([everything("a")], app_id="job/1", claim=1, seq_max=3)

    assert erased.rows_deleted == 500
    assert rows_of(table.scan([everything("a")])) == rows_of(walk(["a"], ["p"], MINUTES[:10], seq=4, seed=9))


def test_an_effect_happens_once_and_tells_its_ledger_again(table: OrgTable) -> None:
    table.append(walk(["a"], ["p"], MINUTES), app_id="import/7", claim=3, ledger={"source": "x.parquet"})

    again = table.append(walk(["a"], ["p"], MINUTES), app_id="import/7", claim=4)

    assert again.repeated
    assert again.ledger == {"source": "x.parquet", "rows": 500}
    assert table.effect("import/7") == {"source": "x.parquet", "rows": 500}
    assert table.scan([everything("a")]).num_rows == 500

    first = table.erase([everything("a")], app_id="job/1", claim=1, seq_max=1)
    second = table.erase([everything("a")], app_id="job/1", claim=2, seq_max=1)
    assert (first.repeated, second.repeated) == (False, True)
    assert second.as_ledger() == first.as_ledger()


def test_steps_happen_once_each_in_order(table: OrgTable) -> None:
    for step in (5, 9):
        assert not table.append(
            walk(["a"], ["p"], MINUTES, seq=step), app_id="move/o1", claim=1, step=step
        ).repeated
    assert table.append(walk(["a"], ["p"], MINUTES, seq=9), app_id="move/o1", claim=2, step=9).repeated
    assert table.step("move/o1") == 9
    assert table.scan([everything("a")]).num_rows == 1000
    assert newest(table.scan([everything("a")]))["seq"].unique().to_pylist() == [9]


def test_a_claim_that_was_fenced_commits_nothing(table: OrgTable, root: Path) -> None:
    table.append(walk(["a"], ["p"], MINUTES), app_id="move/o1", claim=1, step=1)
    table.fence("job/1", 2)

    with pytest.raises(Fenced):
        table.erase([everything("a")], app_id="job/1", claim=1, seq_max=1)

    assert table.effect("job/1") is None
    assert table.scan([everything("a")]).num_rows == 500
    assert files_below(root) == live(table)
    assert table.erase([everything("a")], app_id="job/1", claim=2, seq_max=1).rows_deleted == 500
    assert table.effect("job/1") is not None


def test_a_guard_stops_an_erasure_or_is_held_until_it_stands(table: OrgTable, root: Path) -> None:
    table.append(walk(["a"], ["p"], MINUTES), app_id="move/o1", claim=1, step=1)

    def refuse() -> None:
        raise Failure("hold", "under legal hold", kind="needs_input")

    with pytest.raises(Failure, match="legal hold"):
        table.erase(everything("a"), app_id="job/1", claim=1, seq_max=1, guard=refuse)
    assert table.scan(everything("a")).num_rows == 500
    assert files_below(root) == live(table)

    seen: list[tuple[str, bool]] = []

    @contextlib.contextmanager
    def lock() -> Iterator[None]:
        seen.append(("before", table.effect("job/1") is None))
        yield
        seen.append(("after", table.effect("job/1") is None))

    table.erase(everything("a"), app_id="job/1", claim=1, seq_max=1, guard=lock)
    assert seen == [("before", True), ("after", False)]


def test_what_was_stored_long_ago_can_be_erased_alone(table: OrgTable) -> None:
    old = walk(["a"], ["p"], MINUTES[:100], seq=1, stored_ms=1_000)
    new = walk(["a"], ["p"], MINUTES[50:], seq=2, stored_ms=2_000)
    table.append(old, app_id="move/o1", claim=1, step=1)
    table.append(new, app_id="move/o1", claim=1, step=2)

    erased = table.erase(everything("a"), app_id="retention/1", claim=1, stored_before_ms=2_000)

    assert erased.rows_deleted == 100
    assert rows_of(table.scan(everything("a"))) == rows_of(new)


def test_files_of_young_rows_are_not_read_to_find_old_ones(table: OrgTable, root: Path) -> None:
    table.append(walk(["a"], ["p"], MINUTES[:50], seq=1, stored_ms=1_000), app_id="m", claim=1, step=1)
    (old,) = files_below(root)
    table.append(walk(["a"], ["p"], MINUTES[50:], seq=2, stored_ms=2_000), app_id="m", claim=1, step=2)
    (young,) = files_below(root) - {old}
    path = next(root.rglob(young.rsplit("/", 1)[-1]))
    path.write_bytes(b"not Parquet: whoever reads it fails")

    assert table.rows_near(everything("a"), stored_before_ms=1_000) == 0
    assert table.rows_near(everything("a"), stored_before_ms=2_000) == 50
    erased = table.erase(everything("a"), app_id="retention/1", claim=1, step=1, stored_before_ms=2_000)

    assert (erased.rows_deleted, erased.rows_kept, erased.files_added) == (50, 0, 0)
    assert files_below(root) == {young}


def test_a_change_that_works_for_long_is_not_given_up_by_a_sweep(
    table: OrgTable, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.append(walk(["a", "b"], ["p"], MINUTES, seq=1), app_id="m", claim=1, step=1)
    monkeypatch.setattr(change, "TOUCH_SECONDS", 0.0)
    write = files.write

    def slow_write(*given: Any, **named: Any) -> Any:
        db.run(
            lambda conn: conn.execute("update timeseries_writes set touched_at = now() - interval '1 day'")
        )
        return write(*given, **named)

    monkeypatch.setattr(files, "write", slow_write)
    half = Box(frozenset("a"), Points.all(), MINUTES[0], MINUTES[250])

    def sweep_meanwhile() -> None:
        assert table.sweep(patience_seconds=0).changes_ended == 0

    erased = table.erase(half, app_id="job/1", claim=1, seq_max=1, guard=sweep_meanwhile)
    assert erased.rows_deleted == 250

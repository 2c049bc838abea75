"""Files of samples: their layout, what their footers tell, and row groups carried over byte by byte."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from redrive.database import Database
from redrive.errors import Failure
from redrive.services.timeseries.boxes import Box, Points
from redrive.services.timeseries.storage import OrgTable, SampleStore, columns, files, footer, splicing
from redrive.services.timeseries.storage.compacting import Compaction
from tests.timeseries.samples import rows_of, table_of, walk

MINUTES = [1_700_000_000_000 + 60_000 * minute for minute in range(400)]
ASSETS = ["a", "b", "c"]
EVERYTHING = Box(frozenset(ASSETS), Points.all(), -(2**60), 2**60)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "samples"


@pytest.fixture
def table(root: Path, db: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[OrgTable]:
    monkeypatch.setattr(files, "GROUP_ROWS", 100)
    store = SampleStore(str(root), None, db)
    yield store.table("o1")
    store.close()


def statistics_in_log(root: Path) -> dict[str, Any]:
    """Of the last file that the last commit added."""
    commits = sorted((root / "o1/samples/_delta_log").glob("*.json"))
    entries = [json.loads(line) for line in commits[-1].read_text().splitlines()]
    found: dict[str, Any] = json.loads([entry["add"] for entry in entries if "add" in entry][-1]["stats"])
    return found


def parquet(root: Path) -> list[Path]:
    return sorted((root / "o1/samples").glob("bucket=*/*.parquet"))


def test_row_groups_that_keep_all_rows_are_carried_over_byte_by_byte(table: OrgTable, root: Path) -> None:
    samples = walk(["a"], ["p", "q"], MINUTES)
    table.append(samples, app_id="move", claim=1, step=1)
    old = parquet(root)[0].read_bytes()
    groups = footer.groups(footer.read(memoryview(old)))
    assert len(groups) >= 6

    box = Box(frozenset("a"), Points.all(), MINUTES[0], MINUTES[30])
    erased = table.erase(box, app_id="job/1", claim=1, seq_max=1)

    assert erased.rows_deleted == 60
    assert erased.rows_carried >= 400
    new = parquet(root)[0].read_bytes()
    held = [old[slice(*footer.span(group))] for group in groups]
    assert sum(part in new for part in held) >= 4
    assert rows_of(table.scan(EVERYTHING)) == rows_of(samples.filter(pc.field("time_ms") >= MINUTES[30]))


def test_whole_row_groups_go_without_being_decoded(table: OrgTable) -> None:
    samples = walk(["a"], ["p"], MINUTES)
    table.append(samples, app_id="move", claim=1, step=1)
    snapshot = table.snapshot()
    assert snapshot is not None
    extents = [group[1] for group in table.groups(EVERYTHING, at=snapshot)]
    first_end = min(extent.times[1] for extent in extents) // 1000
    box = Box(frozenset("a"), Points.all(), 0, first_end + 1)

    erased = table.erase(box, app_id="job/1", claim=1, seq_max=1)

    assert erased.rows_deleted > 0
    assert (erased.rows_carried, erased.kept_checksum) == (erased.rows_kept, 0)
    assert table.scan(EVERYTHING)["time_ms"].to_pylist() == [
        at for at in samples["time_ms"].to_pylist() if at > first_end
    ]


def test_a_value_stands_nowhere_but_in_its_page(table: OrgTable, root: Path) -> None:
    """No statistics of values in footers or log, and no page that outlives its rows."""
    secret = struct.unpack("<d", b"S3CR3T!\x40")[0]
    rows = [("a", "p", at, secret, None, 0, None, 1, 5) for at in range(0, 300_000, 1000)]
    rows += [("a", "q", at, None, "a-very-private-text", 3, None, 1, 5) for at in range(0, 300_000, 1000)]
    rows += [("a", "r", at, float(at), None, 0, None, 1, 5) for at in range(0, 300_000, 1000)]
    table.append(table_of(rows), app_id="move", claim=1, step=1)
    for path in parquet(root):
        metadata = pq.read_metadata(path)
        for group in range(metadata.num_row_groups):
            for place in range(metadata.num_columns):
                column = metadata.row_group(group).column(place)
                told = {"asset", "point", "time", "seq", "stored"}
                assert column.is_stats_set == (column.path_in_schema in told)
    assert not _bytes_below(root, b"S3CR3T", b"a-very-private") - {path.name for path in parquet(root)}

    box = Box(frozenset("a"), Points.but("r"), 0, 10**6)
    table.erase(box, app_id="job/1", claim=1, seq_max=1)
    table.sweep(1)

    assert not _bytes_below(root, b"S3CR3T", b"a-very-private")
    for path in parquet(root):
        found = pq.read_table(path)
        assert "a-very-private-text" not in found["text"].to_pylist()
        assert secret not in found["number"].to_pylist()


def _bytes_below(root: Path, *needles: bytes) -> set[str]:
    return {
        path.name
        for path in root.rglob("*")
        if path.is_file() and any(needle in path.read_bytes() for needle in needles)
    }


def test_other_engines_read_the_table(table: OrgTable, root: Path) -> None:
    samples = walk(ASSETS, ["p", "q"], MINUTES)
    table.append(samples, app_id="move", claim=1, step=1)
    table.erase(Box(frozenset("a"), Points.all(), 0, MINUTES[30]), app_id="job/1", claim=1, seq_max=1)

    found = (
        DeltaTable(str(root / "o1/samples"))
        .to_pyarrow_table()
        .sort_by([("asset", "ascending"), ("point", "ascending"), ("time", "ascending")])
    )

    ours = table.scan(EVERYTHING)
    assert found["number"].to_pylist() == ours["number"].to_pylist()
    assert found["asset"].to_pylist() == ours["asset"].to_pylist()
    assert str(found.schema.field("time").type) == "timestamp[us, tz=UTC]"
    for path in parquet(root):
        assert pq.ParquetFile(path).read().num_rows == pq.read_metadata(path).num_rows


@pytest.mark.parametrize("damage", ["carried", "fresh", "footer"])
def test_a_damaged_replacement_is_never_committed(
    damage: str, table: OrgTable, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = walk(["a"], ["p", "q"], MINUTES)
    table.append(samples, app_id="move", claim=1, step=1)
    really = splicing._write

    def damaged(folder: Any, path: str, described: Any, parts: Any) -> Any:
        placed, tail = really(folder, path, described, parts)
        file = Path(folder.full(path))
        content = bytearray(file.read_bytes())
        start, end = footer.span(placed[0] if damage == "carried" else placed[-1])
        place = len(content) - 60 if damage == "footer" else (start + end) // 2
        content[place] ^= 0x10
        file.write_bytes(content)
        return placed, tail

    monkeypatch.setattr(splicing, "_write", damaged)
    box = Box(frozenset("a"), Points.all(), MINUTES[0], MINUTES[30])
    with pytest.raises(Failure) as failed:
        table.erase(box, app_id="job/1", claim=1, seq_max=1)

    assert failed.value.code == "storage"
    assert rows_of(table.scan(EVERYTHING)) == rows_of(samples)
    assert len(parquet(root)) == 1


def test_row_groups_that_do_not_tell_when_they_were_stored_are_looked_into(
    table: OrgTable, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are carried over, too; the log then does not tell it of the new file."""
    rows = [("a", "p", at, 1.0, None, 0, None, 1, 1_000 + at // 150) for at in range(300)]
    with monkeypatch.context() as earlier:
        earlier.setattr(columns, "BOUNDED", columns.KEY)
        table.append(table_of(rows), app_id="move", claim=1, step=1)

    for step, before_ms, left in ((1, 1_000, 300), (2, 1_001, 150), (3, 1_002, 0)):
        table.erase(EVERYTHING, app_id="retention", claim=1, step=step, stored_before_ms=before_ms)
        assert rows_of(table.scan(EVERYTHING)) == rows_of(table_of(rows[300 - left :]))
        if step == 2:
            assert statistics_in_log(root)["numRecords"] == 150
            assert "stored" not in statistics_in_log(root)["minValues"]
    assert parquet(root) == []


@pytest.mark.parametrize(
    "habits", [{"write_page_index": True, "use_dictionary": False}, {"write_statistics": False}]
)
def test_a_file_of_another_program_is_decoded_and_written_anew(
    habits: dict[str, bool], table: OrgTable, root: Path
) -> None:
    """As `OPTIMIZE` of another engine would leave it: other encodings, page indexes, no statistics."""
    samples = walk(["a"], ["p", "q"], MINUTES)
    table.append(samples, app_id="move", claim=1, step=1)
    path = parquet(root)[0]
    content = pq.read_table(path)
    pq.write_table(content, path, row_group_size=100, **habits)

    box = Box(frozenset("a"), Points.all(), MINUTES[0], MINUTES[30])
    erased = table.erase(box, app_id="job/1", claim=1, seq_max=1)

    assert erased.rows_deleted == 60
    assert rows_of(table.scan(EVERYTHING)) == rows_of(samples.filter(pc.field("time_ms") >= MINUTES[30]))


def test_a_merge_keeps_the_newest_row_and_every_bit(table: OrgTable) -> None:
    numbers = [math.nan, -0.0, 0.0, None, 1.5]
    for seq in range(1, 10):
        rows = [("a", "p", at, numbers[(at + seq) % 5], None, 0, seq, seq, 5) for at in range(seq, seq + 4)]
        table.append(table_of(rows), app_id="move", claim=1, step=seq)
    before = rows_of(table.scan(EVERYTHING))
    plan = table.compactions()
    assert [type(each) for each in plan] == [Compaction]

    done = table.compact(plan[0], app_id="compact", claim=1)

    assert (done.rows_before, done.rows_after, done.files_added) == (36, 12, 1)
    newest: dict[Any, Any] = {}
    for row in before:
        newest[row[:3]] = row
    assert rows_of(table.scan(EVERYTHING)) == list(newest.values())
    assert table.compactions() == []


def test_a_footer_survives_being_read_and_written(table: OrgTable, root: Path) -> None:
    table.append(walk(ASSETS, ["p", "q"], MINUTES), app_id="move", claim=1, step=1)
    for path in parquet(root):
        content = path.read_bytes()
        size = int.from_bytes(content[-8:-4], "little")
        written = footer.write(footer.read(memoryview(content)))
        assert written == content[-8 - size :]


def test_the_log_tells_extents_to_other_engines(table: OrgTable, root: Path) -> None:
    table.append(walk(["a"], ["p", "q"], MINUTES), app_id="move", claim=1, step=7)
    stored = "2023-11-14T22:13:20.000Z"
    assert statistics_in_log(root) == {
        "numRecords": 800,
        "minValues": {"asset": "a", "point": "p", "time": stored, "seq": 1, "stored": stored},
        "maxValues": {
            "asset": "a",
            "point": "q",
            "time": "2023-11-15T04:52:20.000Z",
            "seq": 1,
            "stored": stored,
        },
        "nullCount": {"asset": 0, "point": 0, "time": 0, "seq": 0, "stored": 0},
    }
    assert pa.types.is_timestamp(pq.read_schema(parquet(root)[0]).field("time").type)

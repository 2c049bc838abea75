"""The store against a Python dictionary: random appends, erasures and compactions, in any order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redrive.database import Database
from redrive.services.timeseries.boxes import Box, Points
from redrive.services.timeseries.storage import SampleStore, appending, compacting, files, log, newest
from tests.timeseries.samples import Dictionary, Row, rows_of, table_of

ASSETS = [f"a{number}" for number in range(6)]
POINTS = ["p", "q", "r"]
TIMES = 12
EVERYTHING = Box(frozenset(ASSETS), Points.all(), -10, TIMES + 10)
_orgs = count()

numbers = st.sampled_from([None, 0.0, -0.0, math.nan, math.inf, 1.25, -7.5])
rows = st.tuples(
    st.sampled_from(ASSETS),
    st.sampled_from(POINTS),
    st.integers(0, TIMES),
    numbers,
    st.sampled_from([None, "", "tëxt"]),
    st.integers(0, 4),
    st.sampled_from([None, 0, -9]),
)
boxes = st.builds(
    lambda assets, points, start, length: Box(assets, points, start, start + length),
    st.frozensets(st.sampled_from(ASSETS), min_size=1),
    st.builds(Points, st.frozensets(st.sampled_from(POINTS)), st.booleans()).filter(
        lambda points: not points.is_none
    ),
    st.integers(0, TIMES),
    st.integers(1, TIMES),
)
appends = st.tuples(st.just("append"), st.lists(rows, max_size=40, unique_by=lambda row: row[:3]))
erasures = st.tuples(st.just("erase"), st.tuples(st.lists(boxes, min_size=1, max_size=2), st.integers(0, 3)))
retirements = st.tuples(
    st.just("retire"), st.tuples(st.lists(boxes, min_size=1, max_size=2), st.integers(-1, 5))
)
compactions = st.tuples(st.just("compact"), st.none())
sweeps = st.tuples(st.just("sweep"), st.none())


@pytest.fixture
def store(tmp_path: Path, db: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[SampleStore]:
    monkeypatch.setattr(appending, "FILE_ROWS", 8)
    monkeypatch.setattr(compacting, "FILE_ROWS", 8)
    monkeypatch.setattr(compacting, "FANOUT", 2)
    monkeypatch.setattr(compacting, "_LEAST_ROWS", 1000)
    monkeypatch.setattr(files, "GROUP_ROWS", 3)
    monkeypatch.setattr(log, "_CHECKPOINT_EVERY", 3)
    store = SampleStore(str(tmp_path), None, db)
    yield store
    store.close()


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.one_of(appends, appends, erasures, retirements, compactions, sweeps), max_size=10), boxes)
def test_the_store_holds_what_a_dictionary_holds(store: SampleStore, steps: list, asked: Box) -> None:
    table = store.table(f"o{next(_orgs)}")
    reference = Dictionary()
    for seq, (step, given_) in enumerate(steps, start=1):
        if step == "append":
            added: list[Row] = [(*row, seq, 1_000 + seq) for row in given_]
            table.append(table_of(added), app_id="move", claim=1, step=seq)
            reference.append(added)
        elif step == "erase":
            taken, age = given_
            erased = table.erase(taken, app_id=f"job/{seq}", claim=1, seq_max=seq - age)
            rows_before = {row[:3] for row in reference.rows}
            assert erased.rows_deleted <= reference.erase(taken, seq - age)
            assert {row[:3] for row in reference.rows} <= rows_before
            assert table.count(taken, seq - age) == 0
        elif step == "retire":
            taken, age = given_
            before_ms = 1_000 + seq - age
            table.erase(taken, app_id="retention", claim=1, step=seq, stored_before_ms=before_ms)
            # A row that a merge has dropped meanwhile, as superseded, is only in the reference.
            reference.erase(taken, stored_before_ms=before_ms)
            left = table.scan(taken)["stored_ms"].to_pylist()
            assert all(stored_ms >= before_ms for stored_ms in left)
        elif step == "compact":
            for compaction in table.compactions():
                table.compact(compaction, app_id="compact", claim=1)
        else:
            table.sweep(seq)
    _same(rows_of(newest(table.scan(EVERYTHING))), reference, EVERYTHING)
    _same(rows_of(newest(table.scan(asked))), reference, asked)
    snapshot = table.snapshot()
    on_disk = {file.path for file in table.folder.list() if "_delta_log" not in file.path}
    assert on_disk == (set(snapshot.files) if snapshot else set())


def _same(found: list[Row], reference: Dictionary, box: Box) -> None:
    wanted = {key: row for key, row in reference.newest().items() if box.contains(*key)}
    assert found == [rows_of(table_of([wanted[key]]))[0] for key in sorted(wanted)]

"""Where reads find samples: the log first, then the tables; one state of the data per answer."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from redrive.database import Database
from redrive.ingest.samples import with_place
from redrive.services.timeseries.boxes import Box, Points
from redrive.services.timeseries.ingest import Ingest
from redrive.services.timeseries.reads import walking
from redrive.services.timeseries.reads.interpolation import Interpolation
from redrive.services.timeseries.reads.samples import Boundary, SampleQuery, read_samples
from redrive.services.timeseries.reads.selection import STANDARD, Reader, Selection
from redrive.services.timeseries.reads.spans import Span
from redrive.services.timeseries.reads.stored import Reads
from redrive.services.timeseries.storage import SampleStore, files
from tests.timeseries.ingest_scene import ORG, TENANT, Place, add_tenant, batch
from tests.timeseries.reads_scene import Sample, reader_of, records_of

MOVER = f"move/{ORG}"


@pytest.fixture
def place(db: Database, tmp_path: Path) -> Iterator[Place]:
    add_tenant(db)
    store, ingest = SampleStore(str(tmp_path), None, db), Ingest(db)
    yield Place(db, tmp_path, store, ingest)
    ingest.close()
    store.close()


def query(start: int, end: int, most: int = 1000, **wanted: Any) -> SampleQuery:
    return SampleQuery(Selection(("a", "b"), ("p",)), STANDARD, Span(start, end), most, **wanted)


def read(place: Place, asked: SampleQuery) -> dict[tuple[str, str], list[tuple[int, Any]]]:
    reads = Reads(place.db, place.store, place.ingest.tail)
    return records_of(reads.answer(TENANT, ORG, lambda reader: read_samples(reader, asked)))


def move(place: Place, *items: tuple[str, str, int, Any]) -> int:
    """Accept samples and commit them to the table as the mover does, before it drops the log's rows."""
    seq = place.accept(*items)
    samples = with_place(batch(*items), seq, 0)
    place.store.table(ORG).append(samples, app_id=MOVER, claim=1, step=seq)
    return seq


def erase(place: Place, start: int, end: int, app_id: str = "erase/1") -> None:
    box = Box(frozenset({"a", "b"}), Points.all(), start, end)
    place.store.table(ORG).erase(box, app_id=app_id, claim=1)


def test_a_sample_in_the_log_and_in_the_table_is_one_sample(place: Place) -> None:
    move(place, ("a", "p", 1000, 1), ("b", "p", 1000, 2))
    place.accept(("a", "p", 2000, 3))
    assert read(place, query(0, 9000)) == {("a", "p"): [(1000, 1), (2000, 3)], ("b", "p"): [(1000, 2)]}


def test_the_later_value_of_one_time_counts_wherever_it_lies(place: Place) -> None:
    move(place, ("a", "p", 1000, "first"))
    place.accept(("a", "p", 1000, "second"))
    assert read(place, query(0, 9000)) == {("a", "p"): [(1000, "second")]}
    move(place, ("a", "p", 1000, "third"))
    assert read(place, query(0, 9000)) == {("a", "p"): [(1000, "third")]}


def test_what_was_moved_and_erased_does_not_come_back_from_the_log(place: Place) -> None:
    move(place, ("a", "p", 1000, 1), ("a", "p", 5000, 2))
    erase(place, 0, 2000)
    assert place.log_rows() == 1
    assert read(place, query(0, 9000)) == {("a", "p"): [(5000, 2)]}


def test_neighbours_are_found_in_the_log_and_in_the_table(place: Place) -> None:
    move(place, ("a", "p", 1000, 1.0), ("a", "p", 50_000_000_000, 4.0))
    place.accept(("a", "p", 2000, 2.0), ("a", "p", 3000, 3.0))
    found = read(place, query(2500, 40_000_000_000, boundary=Boundary.OUTSIDE))
    assert found == {("a", "p"): [(2000, 2.0), (3000, 3.0), (50_000_000_000, 4.0)]}


def test_an_answer_is_computed_again_when_a_deletion_takes_its_files(place: Place) -> None:
    move(place, *(("a", "p", time, time) for time in range(0, 10_000, 1000)))
    reads = Reads(place.db, place.store, place.ingest.tail)
    tries = []

    def compute(reader: Reader) -> dict[tuple[str, str], list[tuple[int, Any]]]:
        first = read_samples(reader, query(0, 5000))
        tries.append(len(first))
        if len(tries) == 1:
            erase(place, 0, 10_000_000)
        return records_of(first) | {
            ("second", "half"): records_of(read_samples(reader, query(5000, 9000))).get(("a", "p"), [])
        }

    found = reads.answer(TENANT, ORG, compute)
    assert tries == [5, 0]
    assert found == {("second", "half"): []}


def test_one_answer_shows_one_state_however_many_steps_it_takes(place: Place) -> None:
    move(place, ("a", "p", 1000, 1))
    reads = Reads(place.db, place.store, place.ingest.tail)

    def compute(reader: Reader) -> list[int]:
        before = len(read_samples(reader, query(0, 9000)))
        move(place, ("a", "p", 2000, 2))
        place.accept(("a", "p", 3000, 3))
        return [before, len(read_samples(reader, query(0, 9000)))]

    assert reads.answer(TENANT, ORG, compute) == [1, 1]
    assert len(read(place, query(0, 9000))["a", "p"]) == 3


@pytest.mark.parametrize("seed", range(3))
def test_reads_of_small_pieces_equal_reads_of_a_plain_table(
    place: Place, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many small row groups, pieces of a few rows: whatever a piece passes over must hold nothing."""
    monkeypatch.setattr(files, "GROUP_ROWS", 16)
    monkeypatch.setattr(walking, "PIECE_ROWS", 60)
    monkeypatch.setattr(walking, "FIRST_ROWS", 20)
    chance = random.Random(seed)
    assets, points = [f"a{n}" for n in range(7)], ["p", "q", "r"]
    plain: list[Sample] = []
    for step in range(6):
        chosen = {
            (chance.choice(assets), chance.choice(points), chance.randrange(400) * 7000) for _ in range(120)
        }
        items = [(*key, chance.choice([1, 2, 0.5, "x"])) for key in sorted(chosen)]
        seq = move(place, *items) if step < 4 else place.accept(*items)
        plain += [Sample(*item, seq=seq) for item in items]
    reads = Reads(place.db, place.store, place.ingest.tail)
    for _ in range(25):
        start = chance.randrange(-10, 380) * 7000 + chance.randrange(3) * 1000
        asked = SampleQuery(
            Selection(tuple(chance.sample(assets, 4)), tuple(chance.sample(points, 2))),
            STANDARD,
            Span(start, start + chance.choice([1, 60_000, 900_000, 9_000_000])),
            chance.choice([1, 3, 1000]),
            descending=chance.random() < 0.5,
            boundary=chance.choice(list(Boundary)),
            step_ms=chance.choice([30_000, 61_500]),
            interpolation=chance.choice(list(Interpolation)),
            by_minute=chance.random() < 0.3,
        )
        expected = records_of(read_samples(reader_of(plain), asked))
        assert (
            records_of(reads.answer(TENANT, ORG, lambda reader, q=asked: read_samples(reader, q))) == expected
        )


def test_nothing_stored_is_no_error(place: Place) -> None:
    assert read(place, query(0, 9000)) == {}

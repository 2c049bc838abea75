"""The mover: everything that was accepted gets into the tables, once, whenever it is killed."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from redrive.database import Database
from redrive.engine.claiming import LeaseLostError
from redrive.engine.kinds import Again, Work
from redrive.engine.model import JobState
from redrive.errors import Failure, FailureClass
from redrive.services.timeseries import mover
from redrive.services.timeseries.ingest import Ingest
from redrive.services.timeseries.storage import OrgTable, SampleStore
from tests.engine.scene import until, working
from tests.timeseries import mover_process, processes
from tests.timeseries.ingest_scene import ORG, TENANT, Place, add_tenant


@pytest.fixture
def place(db: Database, tmp_path: Path) -> Iterator[Place]:
    add_tenant(db)
    store, ingest = SampleStore(str(tmp_path), None, db), Ingest(db)
    yield Place(db, tmp_path, store, ingest)
    ingest.close()
    store.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mover, "MOVE_SECONDS", 0.05)


def test_accepted_samples_get_into_the_tables_and_out_of_the_log(place: Place) -> None:
    place.accept(("a", "p", 1, 1.0), ("b", "q", 2, "x"))
    with working(place.db, mover.kind(place.store)):
        place.accept(("a", "p", 2, 2.0))
        until(place.drained)
        until(lambda: place.log_rows() == 0)
    assert place.in_tables() == [("a", "p", 1, 1.0, 1), ("a", "p", 2, 2.0, 2), ("b", "q", 2, "x", 1)]
    assert place.latest(["a", "b"], ["p", "q"]) == {("a", "p"): (2, 2.0), ("b", "q"): (2, "x")}
    assert place.mover_job().state is JobState.RUNNING


def test_a_reader_misses_nothing_while_samples_are_moved(place: Place) -> None:
    stop, wrong = threading.Event(), list[str]()
    accepted = 0

    def read() -> None:
        while not stop.is_set():
            least = accepted
            try:
                found = place.read()
            except Exception as error:
                wrong.append(repr(error))
                raise
            if len(found) < least or any(value != key[2] for key, value in found.items()):
                wrong.append(f"{len(found)} of {least}")

    thread = threading.Thread(target=read)
    thread.start()
    with working(place.db, mover.kind(place.store)):
        for time in range(150):
            place.accept(("a", "p", time, float(time)))
            accepted = time + 1
        until(place.drained)
    stop.set()
    thread.join()
    assert wrong == []
    assert len(place.in_tables()) == 150


def test_a_backlog_is_moved_in_parts(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mover, "MOVE_ROWS", 10)
    for time in range(45):
        place.accept(("a", "p", time, float(time)), ("a", "q", time, time))
    with working(place.db, mover.kind(place.store)):
        until(place.drained)
    assert len(place.in_tables()) == 90
    assert Counter(place.in_tables()).most_common(1)[0][1] == 1


def test_a_drain_does_not_wait_for_more_to_gather(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mover, "MOVE_SECONDS", 3600.0)
    place.accept(("a", "p", 1, 1.0))
    with working(place.db, mover.kind(place.store)):
        until(place.drained)
        place.accept(("a", "p", 2, 2.0))
        until(place.drained, 5)
    assert len(place.in_tables()) == 2


def test_a_drain_waits_for_imports_that_are_older(place: Place) -> None:
    with place.db.transaction() as conn:
        conn.execute("insert into timeseries_open_imports values (1, %s, 5, 0)", [TENANT])
        assert mover.drained(conn, TENANT, 4)
        assert not mover.drained(conn, TENANT, 5)


def test_a_full_store_stops_nothing_for_good(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    append, failures = OrgTable.append, [1, 2]

    def fail_twice(*arguments: object, **more: object) -> object:
        if failures:
            failures.pop()
            raise Failure("storage", "the sample store is full", kind=FailureClass.NEEDS_INPUT)
        return append(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(OrgTable, "append", fail_twice)
    place.accept(("a", "p", 1, 1.0))
    with working(place.db, mover.kind(place.store)):
        until(place.drained)
    assert place.in_tables() == [("a", "p", 1, 1.0, 1)]


def test_samples_wait_in_the_log_where_the_database_is_older_than_the_tables(place: Place) -> None:
    """As after a restore of the database alone: the sequences are given out a second time."""
    place.accept(("a", "p", 1, 1.0))
    place.accept(("a", "p", 2, 2.0))
    with working(place.db, mover.kind(place.store)):
        until(place.drained)
    with place.db.transaction() as conn:
        conn.execute("update ingest_heads set head_seq = 0")
        conn.execute("update ingest_readers set through_seq = 0")
    place.accept(("a", "p", 3, 3.0))
    with working(place.db, mover.kind(place.store)):
        place.drain()
        until(lambda: "older than the sample store" in what_is_wrong(place))
    assert place.log_rows() == 1
    assert place.mover_job().state in (JobState.QUEUED, JobState.RUNNING)


def what_is_wrong(place: Place) -> str:
    with place.db.transaction() as conn:
        return mover.what_is_wrong(conn, TENANT)


def unit(place: Place, claim: int) -> Work:
    """Claim the mover's unit by hand, as a worker would."""
    with place.db.transaction() as conn:
        row = conn.execute(
            "update units set state = 'running', claim = %s, attempt = 1, lease_until = now() + interval '1 hour'"
            " where kind = 'timeseries.move' returning *",
            [claim],
        ).fetchone()
    assert row is not None
    return Work(
        db=place.db, job_id=row.job_id, tenant_id=TENANT, kind=mover.KIND, spec={"org_id": ORG}, unit_id=row.id,
        phase=1, label="", unit_spec={}, attempt=1, claim=claim, tries=0, cursor=None,
    )  # fmt: skip


def test_a_frozen_mover_that_wakes_up_late_moves_nothing_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.accept(("a", "p", 1, 1.0))
    frozen = unit(place, 1)
    kind = mover.kind(place.store)
    append = OrgTable.append

    def freeze(table: OrgTable, *arguments: object, **more: object) -> object:
        monkeypatch.setattr(OrgTable, "append", append)
        # While it is frozen, before its commit, another worker takes over and moves everything.
        assert isinstance(kind.run(unit(place, 2)), Again)
        place.accept(("a", "p", 2, 2.0))
        return table.append(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(OrgTable, "append", freeze)
    with pytest.raises(LeaseLostError):
        kind.run(frozen)
    assert place.in_tables() == [("a", "p", 1, 1.0, 1)]
    kind.run(unit(place, 3))
    assert place.in_tables() == [("a", "p", 1, 1.0, 1), ("a", "p", 2, 2.0, 2)]


@pytest.mark.parametrize(
    "failpoint",
    [
        "timeseries.move.read",
        "timeseries.storage.journaled",
        "timeseries.storage.before_commit",
        "timeseries.storage.after_commit",
        "timeseries.move.committed",
        "engine.unit.after",
        "engine.settle.after",
    ],
)
@pytest.mark.parametrize("after", [0, pytest.param(2, marks=pytest.mark.torture)])
def test_killed_anywhere_every_sample_is_moved_once(place: Place, failpoint: str, after: int) -> None:
    process = processes.start(
        mover_process.work, place.db.url, str(place.root), f"{failpoint}=exit,after={after}"
    )
    time = 0
    while process.is_alive() and time < 2000:
        place.accept(("a", "p", time, float(time)), (f"b{time % 5}", "q", time, f"text {time}"))
        time += 1
    process.join(20)
    assert process.exitcode == -signal.SIGKILL
    place.accept(("a", "p", time, float(time)))
    expected = place.read()
    with working(place.db, mover.kind(place.store)):
        until(place.drained)
        until(lambda: place.log_rows() == 0)
    found = place.in_tables()
    assert len(found) == len(set(found)) == 2 * time + 1
    assert {(asset, point, at): value for asset, point, at, value, _ in found} == expected == place.read()
    assert place.latest(["a"], ["p"]) == {("a", "p"): (time, float(time))}

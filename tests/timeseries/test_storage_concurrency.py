"""Several writers, erasers, a compactor, a sweeper and a reader, each a process, on one table at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from redrive.database import Database
from redrive.services.timeseries.boxes import Box, Points
from redrive.services.timeseries.storage import SampleStore, newest
from tests.timeseries import storage_process as processes
from tests.timeseries.samples import Dictionary, rows_of, table_of, walk
from tests.timeseries.storage_process import ALL, ASSETS, MINUTES

POINTS = ["p", "q", "r"]


def test_what_many_processes_do_at_once_equals_doing_it_one_by_one(
    tmp_path: Path, fresh_url: str, db: Database
) -> None:
    root = str(tmp_path / "samples")
    store = SampleStore(root, None, db)
    table = store.table("o1")
    reference = Dictionary()
    for seq in range(1, 6):
        part = walk(ASSETS, POINTS, MINUTES[seq - 1 :: 5], seq=seq, seed=seq)
        table.append(part, app_id="move", claim=1, step=seq)
        reference.append(part.to_pylist() and list(zip(*part.to_pydict().values(), strict=True)))
    slices = [(MINUTES[20 * n], MINUTES[20 * n + 15]) for n in range(10)]
    boxes = [Box(frozenset(ASSETS), Points.but(["r"]), start, end) for start, end in slices]
    units = [(f"job/{number}", box.to_json()) for number, box in enumerate(boxes)]
    # A point that nobody writes again: superseded rows go when files are merged, and would not be counted.
    watched = replace(boxes[7], points=Points.only(["q"]))
    whole = table.count(watched, seq_max=5)

    workers = [
        processes.start(processes.write_many, root, fresh_url, 1, [6, 8, 10, 12]),
        processes.start(processes.write_many, root, fresh_url, 2, [7, 9, 11, 13]),
        processes.start(processes.erase_many, root, fresh_url, units[:5], 5),
        processes.start(processes.erase_many, root, fresh_url, units[5:], 5),
        processes.start(processes.compact_many, root, fresh_url, 3.0),
        processes.start(processes.read_many, root, fresh_url, watched.to_json(), [whole, 0], 3.0),
    ]
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * len(workers)

    for box in boxes:
        reference.erase([box], 5)
    for seq in range(6, 14):
        part = walk(ASSETS, processes.WRITTEN, MINUTES[seq % 7 :: 7], seq=seq, seed=seq)
        reference.append(list(zip(*part.to_pydict().values(), strict=True)))
    wanted = reference.newest()
    found = rows_of(newest(table.scan(ALL)))
    assert found == rows_of(table_of([wanted[key] for key in sorted(wanted)]))
    assert table.count(boxes, seq_max=5) == 0
    table.sweep(5)
    snapshot = table.snapshot()
    assert snapshot is not None
    assert {f.path for f in table.folder.list() if "_delta_log" not in f.path} == set(snapshot.files)
    with db.transaction() as conn:
        assert conn.execute("select count(*) from timeseries_writes").fetchone()[0] == 0
    store.close()

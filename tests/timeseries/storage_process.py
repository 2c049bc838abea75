"""Work on a sample store in processes of their own, so that they can be killed, frozen and thawed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from redrive.database import Database
from redrive.engine import failpoints
from redrive.services.timeseries.boxes import Box, Points
from redrive.services.timeseries.storage import Fenced, OrgTable, SampleStore
from tests.timeseries.samples import walk

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    ["__main__", "redrive.services.timeseries.storage", "tests.timeseries.samples"]
)

FENCED = 7
KILLED = -9
MINUTES = [1_700_000_000_000 + 60_000 * minute for minute in range(300)]
ASSETS = ["a", "b", "c", "d", "e", "f"]
ALL = Box(frozenset(ASSETS), Points.all(), -(2**60), 2**60)
DOOMED = Box(frozenset(["a", "b", "c"]), Points.only(["q"]), MINUTES[50], MINUTES[250])


def append(table: OrgTable, claim: int) -> dict[str, Any]:
    done = table.append(walk(ASSETS, ["p", "q"], MINUTES, seq=9, seed=9), app_id="import/9", claim=claim)
    return {"rows": done.rows}


def erase(table: OrgTable, claim: int) -> dict[str, Any]:
    return table.erase(DOOMED, app_id="job/1", claim=claim, seq_max=8).as_ledger()


def compact(table: OrgTable, claim: int) -> dict[str, Any]:
    for compaction in table.compactions():
        table.compact(compaction, app_id="compact", claim=claim)
    return {}


OPERATIONS: dict[str, tuple[str, Callable[[OrgTable, int], dict[str, Any]]]] = {
    "append": ("import/9", append),
    "erase": ("job/1", erase),
    "compact": ("compact", compact),
}


def start(work: Callable[..., None], *arguments: Any) -> multiprocessing.process.BaseProcess:
    process = _context.Process(target=work, args=arguments, daemon=True)
    process.start()
    return process


def run(root: str, url: str, operation: str, armed: str) -> None:
    """Do one operation as claim 1 with failpoints armed; exits with FENCED where the claim was lost."""
    failpoints.arm_all(armed)
    with Database(url, max_size=2) as db:
        store = SampleStore(root, None, db)
        try:
            OPERATIONS[operation][1](store.table("o1"), 1)
        except Fenced:
            sys.exit(FENCED)
        finally:
            store.close()


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def thaw(process: multiprocessing.process.BaseProcess, seconds: float = 20.0) -> None:
    """Let a frozen process go on until it ends; it may meet its failpoint again."""
    deadline = time.monotonic() + seconds
    while process.is_alive():
        assert process.pid is not None
        assert time.monotonic() < deadline, "it did not end in time"
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGCONT)
        process.join(0.02)


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def fill(table: OrgTable, seqs: int = 8) -> None:
    """Eight small appends: enough runs in each bucket for a compaction."""
    for seq in range(1, seqs + 1):
        part = walk(ASSETS, ["p", "q"], MINUTES[seq - 1 :: 8], seq=seq, seed=seq)
        table.append(part, app_id="move", claim=1, step=seq)


# -- for the test of everything at once


#: The points that ``write_many`` writes again; rows of the others are never superseded by it.
WRITTEN = ["p", "r"]


def write_many(root: str, url: str, number: int, seqs: list[int]) -> None:
    with Database(url, max_size=2) as db:
        store = SampleStore(root, None, db)
        for seq in seqs:
            part = walk(ASSETS, WRITTEN, MINUTES[seq % 7 :: 7], seq=seq, seed=seq)
            store.table("o1").append(part, app_id=f"move/{number}", claim=1, step=seq)
        store.close()


def erase_many(root: str, url: str, units: list[tuple[str, dict[str, Any]]], seq_max: int) -> None:
    with Database(url, max_size=2) as db:
        store = SampleStore(root, None, db)
        for app_id, box in units:
            store.table("o1").erase(Box.from_json(box), app_id=app_id, claim=1, seq_max=seq_max)
        store.close()


def compact_many(root: str, url: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    with Database(url, max_size=2) as db:
        store = SampleStore(root, None, db)
        while time.monotonic() < end:
            for compaction in store.table("o1").compactions():
                store.table("o1").compact(compaction, app_id="compact", claim=1)
            store.table("o1").sweep(0, patience_seconds=0.0)
        store.close()


def read_many(root: str, url: str, box: dict[str, Any], allowed: list[int], seconds: float) -> None:
    """Count the rows of a box that one unit erases again and again: all or none, never an error."""
    end = time.monotonic() + seconds
    with Database(url, max_size=2) as db:
        store = SampleStore(root, None, db)
        while time.monotonic() < end:
            if store.table("o1").count(Box.from_json(box), seq_max=5) not in allowed:
                sys.exit(1)
        store.close()

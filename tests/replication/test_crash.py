"""Workers are killed at every point of a transfer: no row is lost, none is there twice, nothing is made twice."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from redrive.engine.model import JobState
from redrive.settings import Settings
from tests.engine.scene import check_counts, hurry, until
from tests.replication.scene import Moving, Server, same
from tests.replication.test_moving import SHOP, TABLES


@contextlib.contextmanager
def process(moving: Moving, settings: Settings, failpoints: str = "") -> Iterator[subprocess.Popen[bytes]]:
    started = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.replication.crash_worker",
            moving.db.url,
            str(settings.data_dir),
            str(moving.chunk_rows),
        ],
        env={**os.environ, "REDRIVE_FAILPOINTS": failpoints},
    )
    try:
        yield started
    finally:
        started.kill()
        started.wait(15)


def go_on(moving: Moving, task: str) -> None:
    until(lambda: hurry(moving.db) or moving.job(task).state is not JobState.RUNNING, 60)
    job = moving.job(task)
    assert job.state is JobState.SUCCEEDED and job.attempt == 1, job.failure


def begun(moving: Moving, server: Server) -> tuple[str, str, str]:
    source, target = server.make(SHOP + "; analyze"), server.make()
    with moving.working():
        task = moving.configured(source, target)
        assert moving.precheck(task).passed
    moving.start(task)
    return source, target, task


@pytest.mark.parametrize("after", [0, 1, 4, 9, 14])
@pytest.mark.parametrize("name", ["recorded", "committed"])
def test_a_transfer_survives_a_kill_before_and_after_a_commit_in_the_target(
    moving: Moving, server: Server, settings: Settings, name: str, after: int
) -> None:
    source, target, task = begun(moving, server)
    with process(moving, settings, f"replication.{name}=exit,after={after}") as killed:
        assert killed.wait(60) != 0
    with process(moving, settings):
        go_on(moving, task)
    same(server, source, target, *TABLES)
    check_counts(moving.db)


def test_a_table_that_lost_its_snapshot_is_begun_anew_and_a_finished_one_is_kept(
    moving: Moving, server: Server, settings: Settings
) -> None:
    source, target, task = begun(moving, server)
    with process(moving, settings, "replication.committed=exit,after=3") as killed:
        assert killed.wait(60) != 0
    # What is written now must be there in a table that is begun anew, and nothing of before may be.
    server.run(source, "update customers set name = 'changed ' || id; delete from orders where id < 100")
    with process(moving, settings, "replication.anew=exit") as killed:
        until(lambda: hurry(moving.db) or killed.poll() is not None, 60)
    with process(moving, settings):
        go_on(moving, task)
    same(server, source, target, "customers", "orders")
    anew = [unit for unit in moving.units(task) if (unit.ledger or {}).get("begun_anew")]
    assert {unit.ledger["table"] for unit in anew} >= {"public.customers"}


DOTTED = """
create schema "a.b"; create schema a;
create table "a.b".c (id int primary key); insert into "a.b".c select generate_series(1, 2500);
create table a."b.c" (id int primary key); insert into a."b.c" select generate_series(5001, 7500);
analyze
"""


def test_tables_whose_names_read_alike_are_begun_anew_each_by_itself(
    moving: Moving, server: Server, settings: Settings
) -> None:
    source, target = server.make(DOTTED), server.make()
    with moving.working():
        task = moving.configured(source, target)
        assert moving.precheck(task).passed
    moving.start(task)
    with process(moving, settings, "replication.committed=exit,after=2") as killed:
        assert killed.wait(60) != 0
    with process(moving, settings):
        go_on(moving, task)
    same(server, source, target, '"a.b".c', 'a."b.c"')


def test_a_worker_that_freezes_in_a_commit_holds_nobody_up_and_changes_nothing_when_it_comes_back(
    moving: Moving, server: Server, settings: Settings
) -> None:
    source, target, task = begun(moving, server)
    with process(moving, settings, "replication.recorded=stop,after=3") as frozen:
        until(lambda: stopped(frozen.pid), 60)
        with process(moving, settings):
            go_on(moving, task)
        same(server, source, target, *TABLES)
        os.kill(frozen.pid, signal.SIGCONT)
        time.sleep(2.0)
        assert frozen.poll() is None, "it lives, and has lost its lease"
    same(server, source, target, *TABLES)
    check_counts(moving.db)


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "T"


@pytest.mark.torture
def test_kills_at_random_moments_change_nothing(moving: Moving, server: Server, settings: Settings) -> None:
    moving.chunk_rows = 100
    dice = random.Random(4)
    for _ in range(10):
        source, target, task = begun(moving, server)
        for _ in range(10):
            with process(moving, settings) as killed:
                time.sleep(1.0 + dice.random())
                killed.kill()
        with process(moving, settings):
            go_on(moving, task)
        same(server, source, target, *TABLES)
        check_counts(moving.db)

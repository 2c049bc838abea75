"""A worker that freezes in the middle of the join and goes on when others have done its work: it changes nothing."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from redrive.endpoints.directory import Ports, joined
from redrive.services.workspaces.house import directory_of
from redrive.services.workspaces.model import Status, WorkspaceSettings
from redrive.services.workspaces.steps import STEPS
from redrive.settings import Settings
from tests.engine.scene import check_counts, hurry, until
from tests.workspaces.scene import PASSWORD, PLANT, Project
from tests.workspaces.test_crash import process
from tests.workspaces.watched_directory import ADD, Watched, watched_directory

JOIN = [step.name for step in STEPS].index("join")
WANTED = WorkspaceSettings(directory=replace(PLANT, delete_object=True))


@pytest.fixture
def watched(project: Project, tmp_path: Path) -> Iterator[Watched]:
    with watched_directory(tmp_path) as directory:
        project.ports = Ports(directory.port, 1, 1)
        yield directory


def stopped(worker: subprocess.Popen[bytes]) -> bool:
    return Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@contextlib.contextmanager
def woken(worker: subprocess.Popen[bytes]) -> Iterator[None]:
    """However the block ends, the worker is not left frozen."""
    try:
        yield
    finally:
        worker.send_signal(signal.SIGCONT)


def stored(project: Project) -> list[str]:
    """Every row of jobs of workspaces, and the workspace."""
    found = []
    for statement in (
        "select t::text from jobs t where kind ~ '^workspace' order by id",
        "select t::text from units t where kind ~ '^workspace' order by id",
        "select a::text from attempts a join jobs j on j.id = a.job_id where j.kind ~ '^workspace' order by 1",
        "select t::text from workspaces t",
        "select t::text from tenants t",
    ):
        rows = project.db.run(lambda conn, asked=statement: conn.execute(asked).fetchall())
        found += [str(row[0]) for row in rows]
    return found


def looking(project: Project) -> Callable[[], str | None]:
    """Return how to look for the workspace's object, also when its password is gone."""
    workspace = project.workspace()
    wanted = directory_of(project.house, project.db, workspace)
    assert wanted is not None
    name = f"RD-{workspace.id[:11]}".upper()

    def look() -> str | None:
        found = joined(wanted, project.house.reach, name=name, serial=workspace.id)
        return None if found is None else found.dn

    return look


def goes_on(worker: subprocess.Popen[bytes], capfd: Any, *words: str) -> None:
    """Let a frozen worker go on, and see it find that its claim is not good any more."""
    capfd.readouterr()
    said: list[str] = []
    worker.send_signal(signal.SIGCONT)

    def told() -> bool:
        said.append("".join(capfd.readouterr()))
        return any(word in "".join(said) for word in words)

    until(told, 20)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_worker_that_froze_at_the_join_past_its_lease_changes_nothing_when_it_goes_on(
    project: Project, settings: Settings, watched: Watched, capfd: pytest.CaptureFixture[str], when: str
) -> None:
    job_id = project.register(WANTED, PASSWORD)
    with process(project, settings, f"engine.unit.{when}=stop,after={JOIN}") as late, woken(late):
        until(lambda: stopped(late), 20)
        assert watched.added == (when == "after")
        with process(project, settings):
            until(lambda: hurry(project.db) or project.status() is Status.REGISTERED, 30)
            before = stored(project)
            assert project.ledger(job_id, "join").get("found", False) is (when == "after")
            goes_on(late, capfd, "settle.stale", "lease_lost")
        assert stored(project) == before
    assert watched.added == 1 and looking(project)() == project.ledger(job_id, "join")["joined"]
    assert project.job(job_id).attempt == 1
    check_counts(project.db)


def test_a_worker_that_froze_at_the_join_joins_nothing_when_the_workspace_has_been_deregistered(
    project: Project, settings: Settings, watched: Watched, capfd: pytest.CaptureFixture[str]
) -> None:
    project.register(WANTED, PASSWORD)
    with process(project, settings, f"engine.unit.before=stop,after={JOIN}") as late, woken(late):
        until(lambda: stopped(late), 20)
        with process(project, settings):
            until(lambda: hurry(project.db) or project.status() is Status.REGISTERED, 30)
            look = looking(project)
            assert look() is not None
            project.deregister()
            until(lambda: hurry(project.db) or project.status() is Status.CLOSED, 30)
            before = stored(project)
            goes_on(late, capfd, "settle.stale", "lease_lost")
        assert stored(project) == before
    assert (watched.added, watched.deleted) == (1, 1) and look() is None


def test_a_request_to_join_that_is_under_way_for_longer_than_the_lease_makes_no_second_object(
    project: Project, settings: Settings, watched: Watched, capfd: pytest.CaptureFixture[str]
) -> None:
    held, pass_on = threading.Event(), threading.Event()

    def hold_the_first(sort: int) -> None:
        if sort == ADD and not held.is_set():
            held.set()
            assert pass_on.wait(40)

    watched.before = hold_the_first
    job_id = project.register(WANTED, PASSWORD)
    with process(project, settings) as late, woken(late):
        assert held.wait(20)
        late.send_signal(signal.SIGSTOP)
        until(lambda: stopped(late), 5)
        with process(project, settings):
            until(lambda: hurry(project.db) or project.status() is Status.REGISTERED, 30)
            before = stored(project)
            pass_on.set()
            goes_on(late, capfd, "settle.stale", "lease_lost")
        assert stored(project) == before
    assert watched.added == 2, "the late one was refused by the directory: the object is there"
    assert looking(project)() == project.ledger(job_id, "join")["joined"]

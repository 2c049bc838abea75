"""A worker is killed between the effect of each step and its record: the probe finds it, nothing is done twice."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from redrive.endpoints.directory import Ports, join
from redrive.engine.model import JobState
from redrive.services.workspaces.house import directory_of
from redrive.services.workspaces.job import deregistration
from redrive.services.workspaces.model import Access, Status, WorkspaceSettings
from redrive.services.workspaces.steps import STEPS
from redrive.settings import Settings
from tests.engine.scene import check_counts, hurry, until
from tests.timeseries.ingest_scene import batch
from tests.workspaces.scene import PASSWORD, PLANT, Project, directory_server, sample_files

WANTED = WorkspaceSettings(directory=PLANT, subnets=("10.1.0.0/16",), access=Access.BOTH)
UNDOINGS = [unit.label for unit in deregistration(1, "tester", 1).units]


@contextlib.contextmanager
def process(project: Project, settings: Settings, failpoint: str = "") -> Iterator[subprocess.Popen[bytes]]:
    arguments = [project.db.url, project.store.root_url, str(settings.data_dir), str(project.ports.ldap)]
    started = subprocess.Popen(
        [sys.executable, "-m", "tests.workspaces.crash_worker", *arguments],
        env={**os.environ, "REDRIVE_FAILPOINTS": failpoint},
    )
    try:
        yield started
    finally:
        started.terminate()
        started.wait(15)


def run_killed(project: Project, settings: Settings, job_id: int, after: int) -> None:
    """Run the job; the worker dies once, after the effect of its step number ``after``."""
    with process(project, settings, f"engine.unit.after=exit,after={after}") as killed:
        assert killed.wait(30) != 0
    assert project.job(job_id).state is JobState.RUNNING
    with process(project, settings):
        until(lambda: hurry(project.db) or project.job(job_id).state is JobState.SUCCEEDED, 40)


@pytest.fixture
def plant(project: Project, tmp_path: Path) -> Iterator[Project]:
    with directory_server(tmp_path) as port:
        project.ports = Ports(port, 1, 1)
        yield project


@pytest.mark.parametrize("after", range(len(STEPS)), ids=[step.name for step in STEPS])
def test_a_registration_survives_a_kill_after_each_step(
    plant: Project, settings: Settings, after: int
) -> None:
    job_id = plant.register(WANTED, PASSWORD)
    run_killed(plant, settings, job_id, after)
    assert plant.status() is Status.REGISTERED and plant.job(job_id).attempt == 1
    # Where the probe finds the effect nothing is done again; checks have no effect and are made once more.
    assert plant.job(job_id).attempt_redone == (STEPS[after].name in ("subnets", "directory"))
    workspace = plant.workspace()
    wanted = directory_of(plant.house, plant.db, workspace)
    assert wanted is not None
    again = join(wanted, plant.house.reach, name=f"RD-{workspace.id[:11]}".upper(), serial=workspace.id)
    assert not again.created and again.dn == plant.ledger(job_id, "join")["joined"]
    assert plant.has_schema() == (True, True) and plant.one("select count(*) from tenant_keys") == 1
    check_counts(plant.db)


@pytest.mark.parametrize("after", range(len(UNDOINGS)), ids=UNDOINGS)
def test_a_deregistration_survives_a_kill_after_each_step(
    plant: Project, settings: Settings, after: int
) -> None:
    with plant.working():
        plant.ended(plant.register(WANTED, PASSWORD))
        plant.accept(batch(*((f"a{n}", "p", n, float(n)) for n in range(50))))
    job_id = plant.deregister()
    # The first unit comes back until nothing runs any more: it is counted from its last run.
    run_killed(plant, settings, job_id, after if after else 1)
    assert plant.status() is Status.CLOSED and plant.has_schema() == (False, False)
    assert sample_files(plant.store) == []
    assert plant.one("select count(*) from tenant_keys") == 0
    check_counts(plant.db)

"""A sample store that cannot be written, or is not there: a task says so, touches nothing, and its retry passes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from redrive.engine.model import UnitState
from redrive.services.timeseries.boxes import Box, Points
from redrive.services.timeseries.storage import SampleStore
from redrive.services.workspaces.model import Status
from tests.engine.scene import until
from tests.timeseries.ingest_scene import batch
from tests.workspaces.scene import Project, sample_files

ASSETS = [f"turbine-{n}" for n in range(20)]
EVERYTHING = Box(frozenset(ASSETS), Points.all(), 0, 10**12)


@contextlib.contextmanager
def a_file_in_place_of(folder: Path) -> Iterator[None]:
    """A file stands where a folder should be: nobody, not even root, writes below it."""
    aside = folder.with_name(f"{folder.name}.aside")
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        folder.rename(aside)
    folder.write_text("no folder")
    try:
        yield
    finally:
        folder.unlink()
        if aside.exists():
            aside.rename(folder)


def root(project: Project) -> Path:
    return Path(project.store.root_url)


def with_samples(project: Project) -> None:
    """Register, take samples, and bring them into the tables."""
    project.ended(project.register())
    project.accept(batch(*((asset, "p", 1_000 * n, float(n)) for n, asset in enumerate(ASSETS))))
    until(lambda: project.one("select count(*) from ingest_log") == 0, 20)
    assert project.store.table(project.org_id).count(EVERYTHING) == len(ASSETS)


def readable(failure: Any) -> None:
    assert failure is not None and failure["code"] == "storage", failure
    assert failure["detail"].startswith("the sample store ") and failure["hint"]
    assert "Traceback" not in str(failure) and "Error(" not in str(failure)


@pytest.mark.parametrize("where", ["the store", "the organization", "the mark"])
def test_a_registration_fails_where_the_store_cannot_be_written_and_its_retry_passes(
    project: Project, where: str
) -> None:
    own = root(project) / project.org_id
    if where == "the mark":
        (own / "workspace").mkdir(parents=True)
        broken: Any = contextlib.nullcontext()
    else:
        broken = a_file_in_place_of(root(project) if where == "the store" else own)
    with project.working():
        with broken:
            job_id = project.register()
            failed = project.ended(job_id)
        readable(failed.failure)
        steps = project.steps(job_id)
        assert (steps["database"], steps["samples"], steps["key"]) == (
            UnitState.DONE, UnitState.FAILED, UnitState.WAITING,
        )  # fmt: skip
        assert project.status() is Status.REGISTRATION_FAILED and not project.workspace().open
        if where == "the mark":
            (own / "workspace").rmdir()
        project.retry(job_id)
        assert project.ended(job_id).failure is None
    assert (own / "workspace").read_text() == project.workspace().id and project.workspace().open


@pytest.mark.parametrize("where", ["the store", "the organization", "the table"])
def test_a_deregistration_fails_where_the_store_cannot_be_written_and_its_retry_erases(
    project: Project, where: str
) -> None:
    own = root(project) / project.org_id
    with project.working():
        with_samples(project)
        kept = sorted(sample_files(project.store))
        places = {"the store": root(project), "the organization": own, "the table": own / "samples"}
        with a_file_in_place_of(places[where]):
            job_id = project.deregister()
            failed = project.ended(job_id)
        readable(failed.failure)
        assert project.status() is Status.DEREGISTRATION_FAILED and not project.workspace().open
        assert project.steps(job_id)["samples"] is UnitState.FAILED
        assert sorted(sample_files(project.store)) == kept and kept
        assert project.has_schema() == (True, True), "what comes after is not touched"
        project.retry(job_id)
        assert project.ended(job_id).failure is None
    assert project.ledger(job_id, "samples")["rows_deleted"] == len(ASSETS)
    assert sample_files(project.store) == [] and project.status() is Status.CLOSED


@pytest.mark.parametrize("knows", ["a worker that has seen the table", "a new worker"])
@pytest.mark.parametrize("what", ["the organization", "a bucket"])
def test_a_store_that_is_away_is_not_taken_for_one_that_is_empty(
    project: Project, what: str, knows: str
) -> None:
    own, aside = root(project) / project.org_id, root(project).with_name("away")
    with project.working():
        with_samples(project)
    if knows == "a new worker":
        project.store.close()
        project.store = SampleStore(project.store.root_url, None, project.db)
    hidden = own if what == "the organization" else sample_files(project.store)[0].parent
    with project.working():
        hidden.rename(aside)  # as a disk that is not mounted
        job_id = project.deregister()
        failed = project.ended(job_id)
        assert failed.failure is not None and failed.failure["code"] == "storage", failed.failure
        assert failed.failure["hint"] and project.status() is Status.DEREGISTRATION_FAILED
        assert not hidden.exists(), "nothing was made in its place"
        aside.rename(hidden)
        project.retry(job_id)
        assert project.ended(job_id).failure is None
    assert sample_files(project.store) == [] and project.status() is Status.CLOSED

"""Deregistration: undone in reverse, nothing of the tenant left behind, and recovered like a registration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from redrive.endpoints.directory import Ports
from redrive.engine import jobs, recovery
from redrive.engine.model import JobState, NewJob, UnitState
from redrive.errors import Failure, Problem
from redrive.services.timeseries import holds, mover, registry
from redrive.services.timeseries.assets import Asset, Model
from redrive.services.timeseries.boxes import Box, Points
from redrive.services.timeseries.leaving import Samples
from redrive.services.workspaces import service
from redrive.services.workspaces.model import Status, WorkspaceSettings
from redrive.services.workspaces.service import Subnet
from tests.endpoints.openldap import free_port
from tests.engine.scene import until
from tests.timeseries.ingest_scene import batch
from tests.workspaces.scene import PASSWORD, PLANT, Project, directory_server, sample_files

SAMPLES = [(f"turbine-nordost-{n}", "p", 1_000 * n, float(n)) for n in range(200)]


def fill(project: Project) -> None:
    project.accept(batch(*SAMPLES[:100]))
    project.accept(batch(*SAMPLES[100:]))
    with project.db.transaction() as conn:
        registry.put_model(conn, project.tenant_id, Model("m"))
        registry.put_asset(conn, project.tenant_id, Asset("empty", model_id="m"))


def test_a_deregistration_leaves_nothing_of_the_tenants_data(project: Project) -> None:
    with project.working():
        project.ended(project.register())
        fill(project)
        job_id = project.deregister()
        assert not project.workspace().open and project.status() is Status.DEREGISTERING
        job = project.ended(job_id)
    assert job.failure is None and project.status() is Status.CLOSED
    assert project.ledger(job_id, "samples") == {
        "rows_deleted": 200,
        "files_removed": pytest.approx(64, abs=64),
    }
    assert sample_files(project.store) == []
    told = b"".join(path.read_bytes() for path in Path(project.store.root_url).rglob("*") if path.is_file())
    assert b"nordost" not in told
    for table in ("timeseries_latest", "timeseries_assets", "timeseries_models", "ingest_log", "tenant_keys"):
        assert project.one(f"select count(*) from {table}") == 0, table
    assert project.has_schema() == (False, False)
    workspace = project.workspace()
    assert workspace.enterprise_id is None and workspace.endpoints == {} and workspace.registered_at is None


def test_a_project_can_be_registered_again_and_lives(project: Project) -> None:
    with project.working():
        project.ended(project.register())
        fill(project)
        project.ended(project.deregister())
        project.ended(project.register())
        project.accept(batch(("b", "p", 1, 2.0)))
        project.db.run(lambda conn: mover.poke(conn, project.tenant_id))
        everything = Box(frozenset({"b", *(asset for asset, *_ in SAMPLES)}), Points.all(), 0, 10**12)

        def moved() -> bool:
            return project.store.table(project.org_id).count(everything) == 1

        until(moved, 20)
    assert project.status() is Status.REGISTERED and project.workspace().open


def test_a_legal_hold_stops_it_before_anything_is_touched_and_lifted_lets_the_retry_pass(
    project: Project,
) -> None:
    with project.working():
        project.ended(project.register())
        fill(project)
    box = Box(frozenset({"turbine-nordost-1"}), Points.all(), 0, 10**12)
    # The hold comes between the call and the work.
    job_id = project.deregister()
    holds.place(project.db, project.tenant_id, "claim", box, "why", actor="tester")
    with project.working():
        failed = project.ended(job_id)
        assert failed.failure is not None and failed.failure["code"] == "held"
        assert "claim" in failed.failure["detail"] and project.status() is Status.DEREGISTRATION_FAILED
        assert project.one("select count(*) from timeseries_assets") == 201
        holds.lift(project.db, project.tenant_id, "claim", actor="tester")
        project.retry(job_id)
        assert project.ended(job_id).failure is None
    assert sample_files(project.store) == []


def test_a_workspace_whose_data_is_under_a_legal_hold_is_not_closable(project: Project) -> None:
    with project.working():
        project.ended(project.register())
        fill(project)
        box = Box(frozenset({"turbine-nordost-1"}), Points.all(), 0, 10**12)
        holds.place(project.db, project.tenant_id, "claim", box, "why", actor="tester")
        with pytest.raises(Problem, match="legal hold") as refused:
            project.deregister()
    assert refused.value.reason == "not_closable"
    assert project.status() is Status.REGISTERED and project.workspace().open


def test_active_jobs_forbid_it_and_endless_ones_do_not(project: Project) -> None:
    with project.working():
        project.ended(project.register())
        fill(project)
        new = NewJob("test.sleeping", project.tenant_id, {}, "tester")
        other = project.db.run(lambda conn: jobs.submit(conn, new))
        with pytest.raises(Problem, match=r"test\.sleeping") as refused:
            project.deregister()
        assert refused.value.reason == "not_closable" and project.workspace().open
        project.db.run(lambda conn: recovery.cancel(conn, project.tenant_id, other, actor="tester"))
        assert project.ended(project.deregister()).failure is None
    states = project.db.run(lambda conn: conn.execute("select distinct state from jobs").fetchall())
    assert {row.state for row in states} == {"succeeded", "cancelled"}


@pytest.mark.parametrize("delete_object", [False, True])
def test_it_leaves_the_directory_and_deletes_its_object_where_that_was_wished(
    project: Project, tmp_path: Path, delete_object: bool
) -> None:
    with directory_server(tmp_path) as port:
        project.ports = Ports(port, 1, 1)
        with project.working():
            wanted = WorkspaceSettings(directory=replace(PLANT, delete_object=delete_object))
            project.ended(project.register(wanted, PASSWORD))
            job_id = project.deregister()
            assert project.ended(job_id).failure is None
    assert project.ledger(job_id, "join")["deleted"] is delete_object
    assert project.workspace().directory_password is None


def test_an_unreachable_controller_fails_it_before_anything_is_erased_and_a_retry_goes_on(
    project: Project, tmp_path: Path
) -> None:
    port = free_port()
    project.ports = Ports(port, 1, 1)
    with project.working():
        with directory_server(tmp_path, port):
            project.ended(project.register(WorkspaceSettings(directory=PLANT), PASSWORD))
            fill(project)
        job_id = project.deregister()
        failed = project.ended(job_id)
        assert failed.failure is not None and failed.failure["code"] == "connection_refused"
        assert project.steps(job_id)["endpoints"] is UnitState.DONE
        assert project.one("select count(*) from timeseries_assets") == 201
        with directory_server(tmp_path, port):
            project.retry(job_id)
            assert project.ended(job_id).failure is None
    assert sample_files(project.store) == []


def test_what_else_belongs_to_the_projects_role_is_named_and_not_dropped(project: Project) -> None:
    with project.working():
        project.ended(project.register())
        role = project.workspace().role_name
        with project.db.transaction() as conn:
            conn.execute(f"create schema elsewhere; grant create, usage on schema elsewhere to {role}")
            conn.execute(f"create table elsewhere.notes (); alter table elsewhere.notes owner to {role}")
        job_id = project.deregister()
        failure = project.ended(job_id).failure
        assert failure is not None and failure["code"] == "database_refused"
        assert "elsewhere.notes" in failure["detail"] and "retry" in failure["hint"]
        assert project.has_schema() == (True, True)
        project.db.run(lambda conn: conn.execute("drop schema elsewhere cascade"))
        project.retry(job_id)
        assert project.ended(job_id).state is JobState.SUCCEEDED
    assert project.has_schema() == (False, False)


def test_an_erasure_that_is_interrupted_and_retried_tells_all_that_it_erased(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with project.working():
        project.ended(project.register())
        fill(project)
        with monkeypatch.context() as patched:
            patched.setattr(Samples, "_forget", _interrupted)
            job_id = project.deregister()
            assert project.ended(job_id).state is JobState.FAILED
        assert sample_files(project.store) == []
        project.retry(job_id)
        assert project.ended(job_id).state is JobState.SUCCEEDED
    assert project.ledger(job_id, "samples")["rows_deleted"] == len(SAMPLES)


def _interrupted(*_: object) -> None:
    raise Failure("interrupted", "all samples are erased, and something happens")


def test_a_registration_that_failed_can_be_taken_back_without_its_directory(project: Project) -> None:
    project.ports = Ports(free_port(), 1, 1)
    with project.working():
        project.ended(project.register(WorkspaceSettings(directory=PLANT), PASSWORD))
        job_id = project.deregister()
        assert project.ended(job_id).state is JobState.SUCCEEDED
    assert project.ledger(job_id, "join") == {"never_begun": True}
    assert project.has_schema() == (False, False) and project.status() is Status.CLOSED


@pytest.mark.parametrize("status", [Status.NONE, Status.QUEUED, Status.CLOSED])
def test_what_is_not_registered_cannot_be_deregistered(project: Project, status: Status) -> None:
    if status is Status.QUEUED:
        project.register()
    if status is Status.CLOSED:
        with project.working():
            project.ended(project.register())
            project.ended(project.deregister())
    with pytest.raises(Problem) as refused:
        project.deregister()
    assert refused.value.reason == "wrong_status" and project.status() is status


def test_a_deregistration_of_before_that_is_rerun_erases_nothing(project: Project) -> None:
    with project.working():
        project.ended(project.register())
        former = project.deregister()
        project.ended(former)
        project.ended(project.register())
        fill(project)
        again = project.db.run(lambda conn: recovery.rerun(conn, project.tenant_id, former, actor="tester"))
        job = project.ended(again)
    assert job.failure is not None and job.failure["code"] == "superseded"
    assert project.status() is Status.REGISTERED and project.workspace().open
    assert project.one("select count(*) from timeseries_assets") == 201


def test_a_failed_registration_of_before_that_is_retried_as_a_job_opens_nothing(project: Project) -> None:
    with project.working():
        former = project.register(WorkspaceSettings(subnets=("net-1",)))
        project.ended(former)
        project.ended(project.deregister())
        project.db.run(
            lambda conn: service.put_subnet(conn, project.tenant_id, Subnet("net-1", "", "10.1.0.0/16"))
        )
        with pytest.raises(Problem) as refused:
            project.db.run(lambda conn: recovery.retry(conn, project.tenant_id, former, actor="tester"))
        assert refused.value.reason == "superseded"
        _as_if_retried_at_the_same_moment(project, former)
        job = project.ended(former)
    assert job.failure is not None and job.failure["code"] == "superseded"
    assert project.status() is Status.CLOSED and not project.workspace().open
    assert project.has_schema() == (False, False)


def _as_if_retried_at_the_same_moment(project: Project, job_id: int) -> None:
    """Retry a job that another one superseded, as a call does that comes just before the other one's commit."""

    def again(conn: Any) -> None:
        conn.execute("update jobs set superseded_by = null where id = %s", (job_id,))
        recovery.retry(conn, project.tenant_id, job_id, actor="tester")

    project.db.run(again)


@pytest.mark.parametrize("what", ["registration", "deregistration"])
def test_jobs_of_a_workspace_are_not_rerun(project: Project, what: str) -> None:
    with project.working():
        former = project.register()
        project.ended(former)
        if what == "deregistration":
            former = project.deregister()
            project.ended(former)
    kind = next(kind for kind in project.kinds() if kind.name == f"workspace.{what}")
    with pytest.raises(Problem) as refused:
        project.db.run(
            lambda conn: recovery.rerun(conn, project.tenant_id, former, actor="tester", kind=kind)
        )
    assert refused.value.reason == "ask_anew"
    assert project.one("select count(*) from jobs where origin_id is not null") == 0


def test_samples_that_are_on_their_way_while_the_workspace_closes_are_refused(project: Project) -> None:
    with project.working():
        project.ended(project.register())
        fill(project)
        project.ended(project.deregister())
        with pytest.raises(Problem) as refused:
            project.accept(batch(("late", "p", 1, 2.0)))
        assert refused.value.reason == "workspace" and project.one("select count(*) from ingest_log") == 0
        project.ended(project.register())
        project.accept(batch(("late", "p", 1, 2.0)))

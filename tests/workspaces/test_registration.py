"""Registration: every step does what it says, fails with a reason, and is recovered by a retry."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from redrive.endpoints.directory import Ports
from redrive.engine import recovery
from redrive.engine.model import UnitState
from redrive.errors import Problem
from redrive.services.workspaces import service
from redrive.services.workspaces.model import Access, Directory, Status, WorkspaceSettings
from redrive.services.workspaces.service import Subnet
from redrive.services.workspaces.steps import STEPS
from tests.endpoints.openldap import free_port
from tests.timeseries.ingest_scene import batch
from tests.workspaces.scene import PASSWORD, PLANT, Project, directory_server


def test_a_registration_makes_everything_that_it_says(project: Project) -> None:
    assert project.status() is Status.NONE and not project.workspace().open
    job_id = project.register(WorkspaceSettings(subnets=("10.1.0.0/16",), access=Access.BOTH))
    assert project.status() is Status.QUEUED
    with project.working():
        job = project.ended(job_id)
    assert job.failure is None and project.status() is Status.REGISTERED
    workspace = project.workspace()
    assert workspace.open and workspace.registered_at is not None
    assert workspace.enterprise_id == f"{workspace.project_name}-{workspace.id[:8]}"
    assert workspace.allowed_from is None and set(workspace.endpoints) == {"internet", "dedicated"}
    assert project.has_schema() == (True, True)
    assert project.one("select count(*) from tenant_keys") == 1
    assert (Path(project.store.root_url) / project.org_id / "workspace").read_text() == workspace.id
    assert list(project.steps(job_id)) == [step.name for step in STEPS]


def test_dedicated_access_lets_calls_in_from_its_networks_only(project: Project) -> None:
    settings = WorkspaceSettings(
        subnets=("10.1.0.0/16",), access=Access.DEDICATED, dedicated_subnets=("192.168.7.0/24",),
        management_cidr="10.9.0.0/24",
    )  # fmt: skip
    with project.working():
        project.ended(project.register(settings))
    assert project.workspace().allowed_from == ["10.1.0.0/16", "10.9.0.0/24", "192.168.7.0/24"]


def test_an_unreachable_directory_fails_with_a_reason_and_a_retry_does_only_the_rest(
    project: Project, tmp_path: Path
) -> None:
    project.ports = Ports(free_port(), 1, 1)
    with project.working():
        job_id = project.register(WorkspaceSettings(directory=PLANT), PASSWORD)
        failed = project.ended(job_id)
        assert project.status() is Status.REGISTRATION_FAILED and not project.workspace().open
        assert failed.failure is not None and failed.failure["code"] == "connection_refused"
        assert failed.failure["hint"] and PASSWORD not in str(failed.failure)
        assert project.steps(job_id)["key"] is UnitState.DONE
        assert project.steps(job_id)["join"] is UnitState.WAITING
        with directory_server(tmp_path, project.ports.ldap):
            assert project.retry(job_id) == 2
            job = project.ended(job_id)
    assert job.failure is None and job.attempt_done == 5
    assert project.ledger(job_id, "join")["joined"].startswith("cn=RD-")
    assert project.status() is Status.REGISTERED


def test_a_wrong_password_is_corrected_by_a_change_and_the_retry_sees_it(
    project: Project, tmp_path: Path
) -> None:
    with directory_server(tmp_path) as port:
        project.ports = Ports(port, 1, 1)
        settings = WorkspaceSettings(directory=PLANT)
        with project.working():
            job_id = project.register(settings, "not-this-one")
            failed = project.ended(job_id)
            assert failed.failure is not None and failed.failure["code"] == "directory_credentials"
            assert project.modify(settings, PASSWORD) is None
            project.retry(job_id)
            assert project.ended(job_id).failure is None


def test_done_steps_are_done_again_where_what_they_were_done_with_has_changed(
    project: Project, tmp_path: Path
) -> None:
    project.ports = Ports(free_port(), 1, 1)
    first = WorkspaceSettings(directory=PLANT, subnets=("10.1.0.0/16",), access=Access.DEDICATED)
    with project.working():
        job_id = project.register(first, PASSWORD)
        project.ended(job_id)
        assert project.workspace().allowed_from == ["10.1.0.0/16"]
        project.modify(replace(first, subnets=("10.2.0.0/16",)))
        with directory_server(tmp_path, project.ports.ldap):
            project.retry(job_id)
            job = project.ended(job_id)
    # subnets and rules once more; database, samples and key are kept
    assert job.failure is None and job.attempt_done == 7
    assert project.workspace().allowed_from == ["10.2.0.0/16"]


@pytest.mark.parametrize(
    ("wanted", "code", "words"),
    [
        (WorkspaceSettings(subnets=("net-1",)), "subnet_unknown", "net-1"),
        (WorkspaceSettings(subnets=("172.20.0.0/16",)), "subnets_overlap", "172.16.0.0/12"),
        (WorkspaceSettings(subnets=("10.1.0.0/16", "10.1.4.0/24")), "subnets_overlap", "10.1.4.0/24"),
        (
            WorkspaceSettings(subnets=("10.1.0.0/16",), management_cidr="10.1.0.0/24"),
            "subnets_overlap",
            "management",
        ),
        (WorkspaceSettings(access=Access.DEDICATED), "no_network", "networks"),
    ],
)
def test_networks_that_cannot_be_are_told(
    project: Project, wanted: WorkspaceSettings, code: str, words: str
) -> None:
    with project.working():
        job = project.ended(project.register(wanted))
    assert job.failure is not None and job.failure["code"] == code and words in job.failure["detail"]
    assert not project.workspace().open


def test_a_subnet_that_gets_its_name_later_lets_the_retry_pass(project: Project) -> None:
    with project.working():
        job_id = project.register(WorkspaceSettings(subnets=("net-1",)))
        project.ended(job_id)
        subnet = Subnet("net-1", "vpc-1", "10.1.0.0/16")
        project.db.run(lambda conn: service.put_subnet(conn, project.tenant_id, subnet))
        project.retry(job_id)
        assert project.ended(job_id).failure is None


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (WorkspaceSettings(management_cidr="172.16.1.0/24"), "management_cidr"),
        (WorkspaceSettings(management_cidr="10.0.0.1/8"), "management_cidr"),
        (WorkspaceSettings(dedicated_subnets=("10.0.0.0/8",) * 6), "dedicated_subnets"),
        (WorkspaceSettings(dedicated_subnets=("everywhere",)), "dedicated_subnets"),
        (WorkspaceSettings(enterprise_id="with blanks"), "enterprise_id"),
        (WorkspaceSettings(enterprise_id="x" * 33), "enterprise_id"),
        (WorkspaceSettings(subnets=("",)), "subnets"),
        (WorkspaceSettings(directory=Directory(PLANT.kind)), "directory.domain_name"),
        (WorkspaceSettings(directory=replace(PLANT, active_ip="fe80::1")), "directory.active_ip"),
        (WorkspaceSettings(directory=replace(PLANT, admin_account="a\nb")), "directory.admin_account"),
        (WorkspaceSettings(directory=replace(PLANT, standby_ip="dc2")), "directory.standby_ip"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_field_and_nothing_is_begun(
    project: Project, wanted: WorkspaceSettings, field: str
) -> None:
    with pytest.raises(Problem) as refused:
        project.register(wanted, PASSWORD)
    assert [each.name for each in refused.value.fields] == [field]
    assert project.status() is Status.NONE and project.one("select count(*) from jobs") == 0


@pytest.mark.parametrize("password", [None, "", "x" * 256, "a\0b"])
def test_a_directory_needs_a_password_that_can_be_one(project: Project, password: str | None) -> None:
    with pytest.raises(Problem, match=r"directory\.password"):
        project.register(WorkspaceSettings(directory=PLANT), password)


def test_of_two_registrations_at_once_one_is_refused(project: Project) -> None:
    answers: list[object] = []

    def register() -> None:
        try:
            answers.append(project.register())
        except Problem as problem:
            answers.append(problem.reason)

    threads = [threading.Thread(target=register) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count("wrong_status") == 3 and project.one("select count(*) from jobs") == 1


def test_an_enterprise_id_that_is_taken_fails_and_another_one_passes(project: Project) -> None:
    with project.working():
        job_id = project.register(WorkspaceSettings(enterprise_id="Plant-7"))
        project.db.run(
            lambda conn: conn.execute(
                """with t as (insert into tenants (id, account_id, project_id, project_name, org_id, workspace_id)
                              select 7, account_id, repeat('a', 32), 'other', 'o222', repeat('b', 32) from tenants
                              returning id)
                   insert into workspaces (tenant_id, settings, job_id, task_job_id, enterprise_id)
                   select id, '{}', 1, 1, 'plant-7' from t"""
            )
        )
        job = project.ended(job_id)
        if job.failure is None:
            pytest.skip("the registration was faster")
        assert job.failure["code"] == "enterprise_id_taken"
        project.modify(WorkspaceSettings(enterprise_id="Plant-8"))
        project.retry(job_id)
        assert project.ended(job_id).failure is None
    assert project.workspace().enterprise_id == "Plant-8"


@pytest.mark.parametrize("when", ["never failed", "retried before", "of another kind", "superseded"])
def test_what_cannot_be_retried_is_refused_with_its_reason(project: Project, when: str) -> None:
    def retried(job_id: int, attempt: int) -> None:
        project.db.run(
            lambda conn: service.retry(
                conn, project.tenant_id, job_id, attempt, project.kinds(), actor="tester"
            )
        )

    with project.working():
        subnets = ("net-1",) if when == "retried before" else ()
        job_id = project.register(WorkspaceSettings(subnets=subnets))
        project.ended(job_id)
        if when == "retried before":
            project.retry(job_id)
            project.ended(job_id)
        if when == "of another kind":
            job_id = project.modify(WorkspaceSettings(access=Access.BOTH)) or 0
            project.ended(job_id)
        if when == "superseded":
            project.ended(project.deregister())
            project.db.run(
                lambda conn: conn.execute(
                    "update jobs set state = 'failed', failure = '{}' where id = %s", (job_id,)
                )
            )
    reason = {
        "never failed": "not_failed",
        "retried before": "retried",
        "of another kind": "wrong_type",
        "superseded": "superseded",
    }[when]
    with pytest.raises(Problem) as refused:
        retried(job_id, 1)
    assert refused.value.reason == reason


def test_of_two_retries_of_one_task_one_is_refused(project: Project) -> None:
    with project.working():
        job_id = project.register(WorkspaceSettings(subnets=("net-1",)))
        project.ended(job_id)
    answers: list[str] = []

    def again() -> None:
        try:
            project.db.run(
                lambda conn: service.retry(
                    conn, project.tenant_id, job_id, 1, project.kinds(), actor="tester"
                )
            )
            answers.append("retried now")
        except Problem as problem:
            answers.append(problem.reason)

    threads = [threading.Thread(target=again) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == ["retried", "retried", "retried", "retried now"]


def test_a_registered_workspace_is_changed_by_a_job_of_the_steps_that_this_concerns(project: Project) -> None:
    with project.working():
        project.ended(project.register(WorkspaceSettings(subnets=("10.1.0.0/16",))))
        changed = WorkspaceSettings(subnets=("10.1.0.0/16",), access=Access.DEDICATED)
        job_id = project.modify(changed)
        assert job_id is not None
        with pytest.raises(Problem, match="not over"):
            project.modify(WorkspaceSettings())
        assert project.ended(job_id).failure is None
        assert list(project.steps(job_id)) == ["rules", "endpoints"]
        assert project.workspace().allowed_from == ["10.1.0.0/16"]
        assert list(project.workspace().endpoints) == ["dedicated"]
        assert project.modify(changed) is None
    assert project.status() is Status.REGISTERED


def test_a_directory_that_is_given_up_for_local_users_is_told_as_left_behind(
    project: Project, tmp_path: Path
) -> None:
    with directory_server(tmp_path) as port:
        project.ports = Ports(port, 1, 1)
        with project.working():
            first = project.register(WorkspaceSettings(directory=PLANT), PASSWORD)
            project.ended(first)
            job_id = project.modify(WorkspaceSettings()) or 0
            assert project.ended(job_id).failure is None
    joined = project.ledger(first, "join")["joined"]
    assert project.ledger(job_id, "join")["undone"] == {"left_behind": joined}


def test_an_old_unlocking_that_is_retried_does_not_undo_a_later_lock(project: Project) -> None:
    def lock(reason: str) -> None:
        project.db.run(lambda conn: service.lock(conn, project.tenant_id, reason))

    def unlocking() -> int:
        return project.db.run(lambda conn: service.unlock(conn, project.tenant_id, actor="tester"))

    with project.working():
        project.ended(project.register())
    lock("first")
    old = unlocking()
    project.db.run(lambda conn: recovery.cancel(conn, project.tenant_id, old, actor="tester"))
    with project.working():
        project.ended(unlocking())
        lock("second")
        with pytest.raises(Problem) as refused:
            project.db.run(lambda conn: recovery.retry(conn, project.tenant_id, old, actor="tester"))
    assert refused.value.reason == "superseded"
    assert project.workspace().lock_reason == "second" and not project.workspace().open


def test_a_directorys_password_is_sealed_with_the_data_key_once_there_is_one(
    project: Project, tmp_path: Path
) -> None:
    project.ports = Ports(free_port(), 1, 1)
    job_id = project.register(WorkspaceSettings(directory=PLANT), PASSWORD)
    accepted = project.workspace()
    assert accepted.directory_password is not None and accepted.directory_secret is None
    with project.working():
        assert project.ended(job_id).failure is not None
    keyed = project.workspace()
    assert keyed.directory_password is None and keyed.directory_secret is not None
    with directory_server(tmp_path, project.ports.ldap), project.working():
        project.retry(job_id)
        assert project.ended(job_id).failure is None


def test_the_password_goes_with_the_directory(project: Project, tmp_path: Path) -> None:
    with directory_server(tmp_path) as port:
        project.ports = Ports(port, 1, 1)
        with project.working():
            project.ended(project.register(WorkspaceSettings(directory=PLANT), PASSWORD))
            assert project.workspace().directory_secret is not None
            project.ended(project.modify(WorkspaceSettings()) or 0)
    assert project.workspace().directory_secret is None
    with pytest.raises(Problem, match=r"directory\.password"):
        project.modify(WorkspaceSettings(directory=PLANT))


@pytest.mark.parametrize("word", [PASSWORD, "another one"])
def test_a_new_password_of_a_registered_workspace_is_tried(
    project: Project, tmp_path: Path, word: str
) -> None:
    with directory_server(tmp_path) as port:
        project.ports = Ports(port, 1, 1)
        with project.working():
            project.ended(project.register(WorkspaceSettings(directory=PLANT), PASSWORD))
            assert project.modify(WorkspaceSettings(directory=PLANT)) is None
            job = project.ended(project.modify(WorkspaceSettings(directory=PLANT), word) or 0)
            assert list(project.steps(job.id)) == ["directory"]
            failed = job.failure or {}
            assert failed.get("code") == (None if word == PASSWORD else "directory_credentials"), failed


def test_another_certificate_is_tried(project: Project, tmp_path: Path) -> None:
    other = replace(PLANT, ca_pem="-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n")
    with directory_server(tmp_path) as port:
        project.ports = Ports(port, 1, 1)
        with project.working():
            project.ended(project.register(WorkspaceSettings(directory=PLANT), PASSWORD))
            job_id = project.modify(WorkspaceSettings(directory=other)) or 0
            project.ended(job_id)
            assert list(project.steps(job_id)) == ["directory"]


def test_a_change_that_fails_opens_nothing_and_changing_back_mends_it(project: Project) -> None:
    good = WorkspaceSettings(
        access=Access.DEDICATED, dedicated_subnets=("10.1.0.0/16",), enterprise_id="mine"
    )
    with project.working():
        project.ended(project.register(good))
        failed = project.modify(replace(good, dedicated_subnets=())) or 0
        assert project.ended(failed).failure is not None
        assert project.workspace().allowed_from == ["10.1.0.0/16"]
        back = project.modify(good)
        assert back is None or project.ended(back).failure is None
        assert project.workspace().allowed_from == ["10.1.0.0/16"]
        wider = project.modify(replace(good, dedicated_subnets=("10.0.0.0/8",))) or 0
        assert project.ended(wider).failure is None
    assert project.workspace().allowed_from == ["10.0.0.0/8"] and project.workspace().enterprise_id == "mine"


def test_a_deregistration_says_why_it_waits_for_samples_that_nobody_moves(project: Project) -> None:
    with project.working():
        project.ended(project.register())
    project.accept(batch(("a", "p", 1, 2.0)))
    (move,) = project.db.run(
        lambda conn: conn.execute("select id from jobs where kind = 'timeseries.move'").fetchall()
    )
    project.db.run(lambda conn: recovery.pause(conn, project.tenant_id, move.id, actor="tester"))
    job_id = project.deregister()
    with project.working():
        failed = project.ended(job_id)
        assert failed.failure is not None and failed.failure["code"] == "samples_not_moved"
        project.db.run(lambda conn: recovery.resume(conn, project.tenant_id, move.id, actor="tester"))
        project.retry(job_id)
        assert project.ended(job_id).failure is None

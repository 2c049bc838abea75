"""``redrive workspaces``: typed by an operator, seen in the database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from redrive.cli.commands import app
from redrive.database import Database
from redrive.endpoints.directory import Ports
from redrive.errors import Problem
from redrive.services.workspaces.model import Access, Status, WorkspaceSettings
from redrive.settings import Settings
from tests.endpoints.openldap import free_port
from tests.workspaces.scene import ACCOUNT, DOMAIN, PASSWORD, Project, directory_server, new_project


@pytest.fixture
def project(db: Database, settings: Settings, tmp_path: Path) -> Iterator[Project]:
    with new_project(db, settings, tmp_path) as made:
        yield made


@pytest.fixture
def types(project: Project, settings: Settings) -> Any:
    place = ["--data-dir", str(settings.data_dir), "--database-url", project.db.url]

    def run(*words: str, said: str = "", status: int = 0) -> str:
        result = CliRunner().invoke(app, ["workspaces", *words, *place], input=said)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == status, result.output
        return result.stdout

    return run


def test_subnets_are_named_so_that_a_failed_registration_can_be_retried(project: Project, types: Any) -> None:
    with project.working():
        job_id = project.register(WorkspaceSettings(subnets=("net-1",)))
        project.ended(job_id)
        shown = json.loads(types("show", "local-1", "--json"))
        assert shown["status"] == "registration_failed" and shown["steps"][0]["code"] == "subnet_unknown"
        assert "net-1" in types("show", "local-1")
        types("subnets", "put", "local-1", "net-1", "10.1.0.0/16", "--vpc", "vpc-1")
        assert json.loads(types("subnets", "list", "local-1", "--json")) == [
            {"id": "net-1", "vpc_id": "vpc-1", "cidr": "10.1.0.0/16"}
        ]
        project.retry(job_id)
        assert project.ended(job_id).failure is None
    assert "registered" in types("show", "local-1")
    types("subnets", "delete", "local-1", "net-1")
    assert "net-1" not in types("subnets", "list", "local-1")


def test_who_is_locked_out_by_network_rules_gets_back_by_a_command(project: Project, types: Any) -> None:
    wanted = WorkspaceSettings(access=Access.DEDICATED, dedicated_subnets=("10.9.0.0/16",))
    with project.working():
        project.ended(project.register(wanted))
        assert project.workspace().allowed_from == ["10.9.0.0/16"]
        project.ended(int(types("access", "local-1", "dedicated", "--dedicated", "127.0.0.0/8").split()[1]))
        assert project.workspace().allowed_from == ["127.0.0.0/8"]
        project.ended(int(types("access", "local-1", "internet").split()[1]))
    assert project.workspace().allowed_from is None
    assert types("access", "local-1", "internet") == "Nothing changes.\n"


@pytest.mark.parametrize(
    ("subnet", "cidr"), [("net", "172.20.0.0/16"), ("net", "10.0.0.1/8"), ("a b", "10.0.0.0/8")]
)
def test_subnets_that_cannot_be_are_refused(types: Any, subnet: str, cidr: str) -> None:
    with pytest.raises(Problem):
        types("subnets", "put", "local-1", subnet, cidr)
    with pytest.raises(Problem, match="no subnet"):
        types("subnets", "delete", "local-1", "net")


def test_a_workspace_is_locked_and_unlocked_and_both_stand_in_the_trail(project: Project, types: Any) -> None:
    with pytest.raises(Problem, match="cannot be locked"):
        types("lock", "local-1", "--reason", "not paid")
    with project.working():
        project.ended(project.register())
        types("lock", "local-1", "--reason", "not paid")
        assert not project.workspace().open and "not paid" in types("show", "local-1")
        job_id = int(types("unlock", "local-1").split()[1])
        assert project.ended(job_id).failure is None
    assert project.workspace().open
    actions = project.db.run(lambda conn: conn.execute("select action from audit order by id").fetchall())
    assert [row.action for row in actions][-2:] == ["workspace:tenants:lock", "workspace:tenants:unlock"]


def test_a_workspace_is_registered_with_a_directory_mended_retried_and_deregistered(
    project: Project, types: Any, tmp_path: Path
) -> None:
    project.ports = Ports(free_port(), 1, 1)
    directory = ("--domain", DOMAIN, "--admin", ACCOUNT, "--controller", "dc1=127.0.0.1", "--password-stdin")
    with directory_server(tmp_path, project.ports.ldap), project.working():
        said = types("register", "local-1", *directory, "--wait", said="not it\n", status=1)
        assert "directory" in said and "failed" in said and "waiting" in said
        told = json.loads(types("show", "local-1", "--json"))
        assert {step["step"]: step["code"] for step in told["steps"]}["directory"] == "directory_credentials"
        assert "kept for the retry" in types("password", "local-1", "--password-stdin", said=f"{PASSWORD}\n")
        said = types("retry", "local-1", "--reason", "right password", "--wait")
        assert said.count("(kept)") == 5 and "failed" not in said
        assert project.status() is Status.REGISTERED
        assert "directory  done" in types(
            "password", "local-1", "--password-stdin", "--wait", said=f"{PASSWORD}\n"
        )
        assert "done" in types("deregister", "local-1", "--yes", "--wait")
        assert project.status() is Status.CLOSED
    states = [(task["kind"], task["state"]) for task in json.loads(types("tasks", "local-1", "--json"))]
    assert states == [
        ("workspace.deregistration", "succeeded"),
        ("workspace.modification", "succeeded"),
        ("workspace.registration", "succeeded"),
    ]
    assert "workspace.registration" in types("tasks", "local-1")
    trail = project.db.run(lambda conn: conn.execute("select * from audit order by id").fetchall())
    changes = [row.action for row in trail if row.action.startswith("workspace:")]
    assert changes == [
        "workspace:tenants:open",
        "workspace:tenants:update",
        "workspace:jobs:retry",
        "workspace:tenants:update",
        "workspace:tenants:delete",
    ]
    assert PASSWORD not in str(trail)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--ldaps",), "--domain"),
        (("--domain", "d", "--password-stdin"), "--controller"),
        (("--domain", "d", "--password-stdin", "--controller", "dc1"), "directory.admin_account"),
        (("--domain", "d", "--admin", "a", "--controller", "dc1", "--password-stdin"), "directory.active_ip"),
        (("--dns", "10.0.0.1"), "--domain"),
        (("--subnet", "a b"), "subnets"),
        (("--enterprise-id", "a b"), "enterprise_id"),
    ],
)
def test_a_registration_that_cannot_be_meant_is_refused(
    project: Project, types: Any, words: tuple[str, ...], named: str
) -> None:
    with pytest.raises(Problem) as refused:
        types("register", "local-1", *words, said="x\n")
    assert [field.name for field in refused.value.fields] == [named]
    assert project.status() is Status.NONE


def test_a_deregistration_is_asked_about_and_not_done_without_a_yes(project: Project, types: Any) -> None:
    with project.working():
        project.ended(project.register())
        types("deregister", "local-1", said="n\n", status=1)
    assert project.status() is Status.REGISTERED
    with pytest.raises(Problem, match="has not failed"):
        types("retry", "local-1")

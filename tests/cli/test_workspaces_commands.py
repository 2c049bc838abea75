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
from redrive.errors import Problem
from redrive.services.workspaces.model import Access, WorkspaceSettings
from redrive.settings import Settings
from tests.workspaces.scene import Project, new_project


@pytest.fixture
def project(db: Database, settings: Settings, tmp_path: Path) -> Iterator[Project]:
    with new_project(db, settings, tmp_path) as made:
        yield made


@pytest.fixture
def types(project: Project, settings: Settings) -> Any:
    place = ["--data-dir", str(settings.data_dir), "--database-url", project.db.url]

    def run(*words: str) -> str:
        result = CliRunner().invoke(app, ["workspaces", *words, *place])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
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

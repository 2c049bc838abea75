"""Faults of a registration's surroundings, each mended and retried: a real OpenLDAP, and a database that refuses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from typer.testing import CliRunner

from redrive.cli.commands import app
from redrive.database.embedded import EmbeddedPostgres
from redrive.endpoints.directory import Ports
from redrive.engine.model import UnitState
from redrive.identity.master_key import key_file
from redrive.identity.sealing import key_id_of, read_key_file, sealed_with
from redrive.services.workspaces.model import Directory, Status, WorkspaceSettings
from redrive.settings import Settings
from tests.endpoints import openldap
from tests.endpoints.certificates import DAY, NOW, Pair, authority, issued
from tests.endpoints.openldap import DOMAIN, PASSWORD, Slapd, free_port, running
from tests.workspaces import scene
from tests.workspaces.scene import PLANT, Project


@pytest.fixture
def root_authority() -> Iterator[Pair]:
    openldap.installed()
    yield authority()


def plant(root_authority: Pair | None = None) -> Directory:
    found = replace(PLANT, domain_name=DOMAIN, delete_object=True)
    return found if root_authority is None else replace(found, ldaps=True, ca_pem=root_authority.pem)


@pytest.mark.root
def test_an_expired_certificate_fails_and_a_new_one_lets_the_retry_pass(
    project: Project, root_authority: Pair, tmp_path: Path
) -> None:
    port, tls_port = free_port(), free_port()
    for folder in ("old", "new"):
        (tmp_path / folder).mkdir()
    project.ports = Ports(1, tls_port, 1)
    expired = issued(root_authority, begins=NOW - 9 * DAY, ends=NOW - DAY).write(tmp_path / "old")
    good = issued(root_authority).write(tmp_path / "new")
    with project.working():
        with running(Slapd(tmp_path / "a", port=port, tls_port=tls_port, certificate=expired)):
            job_id = project.register(WorkspaceSettings(directory=plant(root_authority)), PASSWORD)
            failed = project.ended(job_id)
        assert failed.failure is not None and failed.failure["code"] == "certificate_expired"
        assert failed.failure["class"] == "needs_input" and failed.failure["hint"]
        with running(Slapd(tmp_path / "b", port=port, tls_port=tls_port, certificate=good)) as slapd:
            project.retry(job_id)
            assert project.ended(job_id).failure is None
            assert len(slapd.entries()) == 1


@pytest.mark.root
def test_a_real_directory_is_joined_and_left(project: Project, root_authority: Pair, tmp_path: Path) -> None:
    port = free_port()
    project.ports = Ports(port, 1, 1)
    with running(Slapd(tmp_path / "slapd", port=port)) as slapd, project.working():
        project.ended(project.register(WorkspaceSettings(directory=plant()), PASSWORD))
        (joined,) = slapd.entries()
        assert project.workspace().id[:11].upper() in joined.upper()
        assert project.ended(project.deregister()).failure is None
        assert slapd.entries() == [] and project.status() is Status.CLOSED


def test_a_database_that_refuses_a_schema_fails_and_passes_when_it_does_not(
    project: Project, postgres: EmbeddedPostgres
) -> None:
    with project.db.transaction() as conn:
        (row,) = conn.execute("select current_database() as name").fetchall()
    words = sql.SQL("{} create on database {} {} redrive")

    def say(verb: str, side: str) -> None:
        with psycopg.connect(postgres.superuser_url(), autocommit=True) as conn:
            conn.execute(words.format(sql.SQL(verb), sql.Identifier(row.name), sql.SQL(side)))
            conn.execute(sql.SQL("alter database {} owner to postgres").format(sql.Identifier(row.name)))

    say("revoke", "from")
    with project.working():
        job_id = project.register()
        failed = project.ended(job_id)
        assert failed.failure is not None and failed.failure["code"] == "database_refused"
        assert "CREATE" in failed.failure["hint"] and project.steps(job_id)["rules"] is UnitState.DONE
        say("grant", "to")
        project.retry(job_id)
        assert project.ended(job_id).failure is None
    assert project.has_schema() == (True, True)


def test_without_the_right_to_make_roles_the_schema_is_the_servers_own_and_that_is_told(
    project: Project, postgres: EmbeddedPostgres
) -> None:
    with psycopg.connect(postgres.superuser_url(), autocommit=True) as conn:
        conn.execute("alter role redrive nocreaterole")
    try:
        with project.working():
            job_id = project.register()
            assert project.ended(job_id).failure is None
        assert project.has_schema() == (True, False)
        assert project.ledger(job_id, "database")["role"] is None
    finally:
        with psycopg.connect(postgres.superuser_url(), autocommit=True) as conn:
            conn.execute("alter role redrive createrole")


def test_a_rotated_master_key_still_opens_the_directorys_password_and_the_data_key(
    project: Project, settings: Settings, tmp_path: Path
) -> None:
    project.ports = Ports(free_port(), 1, 1)
    with project.working():
        job_id = project.register(WorkspaceSettings(directory=PLANT), scene.PASSWORD)
        project.ended(job_id)
    place = ["--data-dir", str(settings.data_dir), "--database-url", project.db.url]
    for command in ("rotate", "prune"):
        assert CliRunner().invoke(app, ["keys", command, *place]).exit_code == 0
    with scene.directory_server(tmp_path, project.ports.ldap), project.working():
        project.retry(job_id)
        assert project.ended(job_id).failure is None
    sealed = project.one("select sealed from tenant_keys")
    assert sealed_with(bytes(sealed)) == key_id_of(read_key_file(key_file(settings))[0])

"""``redrive workspaces``: where a project's workspace stands, its tasks, its subnets, its lock.

These commands work on the database directly, as those of ``redrive identity`` do; a worker does what they begin.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated, Any

import psycopg
import typer
from rich.console import Console
from rich.table import Table

from redrive.cli.accounts import Account, AsJson, open_account, print_json
from redrive.cli.up import Config, DatabaseUrl, DataDir
from redrive.cli.workspace_tasks import (
    ProjectName,
    deregister,
    list_tasks,
    password,
    print_steps,
    register,
    retry,
    told,
)
from redrive.engine import jobs
from redrive.identity.audit import record_change
from redrive.identity.data_keys import DataKeys
from redrive.identity.projects import get_project
from redrive.services.workspaces import service, tasks
from redrive.services.workspaces.house import Secrets, Workspace, load
from redrive.services.workspaces.model import Access
from redrive.services.workspaces.service import Subnet
from redrive.services.workspaces.tasks import Task

app = typer.Typer(
    help="Workspaces: register, retry, deregister, lock; status, subnets.", no_args_is_help=True
)
app.command()(register)
app.command()(password)
app.command()(retry)
app.command()(deregister)
app.command("tasks")(list_tasks)
subnets_app = typer.Typer(help="Subnets by name, so that a registration can name them.", no_args_is_help=True)
app.add_typer(subnets_app, name="subnets")

Connection = psycopg.Connection[Any]


@app.command()
def show(
    project: ProjectName,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show where a project's workspace stands, and each step of its last task."""
    with open_account(data_dir, database_url, config) as account:
        with account.db.transaction() as conn:
            workspace = load(conn, _tenant(conn, account, project))
            task = _last_task(conn, workspace)
    found = {
        "project": workspace.project_name,
        "status": service.status(workspace).value,
        "enterprise_id": workspace.enterprise_id,
        "locked": workspace.lock_reason if workspace.locked_at is not None else None,
        "job": None if task is None else str(task.job.id),
        "task": None if task is None else task.id,
        "steps": [] if task is None else told(task)["steps"],
    }
    if as_json:
        print_json(found)
        return
    for name in ("project", "status", "enterprise_id", "locked", "job", "task"):
        typer.echo(f"{name:<14} {found[name] or '-'}")
    if task is not None:
        print_steps(task)


def _tenant(conn: Connection, account: Account, project: str) -> int:
    return get_project(conn, account.id, project).tenant_id


def _last_task(conn: Connection, workspace: Workspace) -> Task | None:
    if workspace.task_job_id is None:
        return None
    job = jobs.get(conn, workspace.tenant_id, workspace.task_job_id)
    return tasks.task(conn, workspace.tenant_id, job.id, job.attempt)


@app.command()
def lock(
    project: ProjectName,
    reason: Annotated[str, typer.Option(help="Why; callers are told.")],
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Refuse data calls of a registered workspace until it is unlocked. Safe to repeat."""
    with open_account(data_dir, database_url, config) as account:
        with account.db.transaction() as conn:
            service.lock(conn, _tenant(conn, account, project), reason)
            record_change(conn, account.who, "workspace:tenants:lock", project, reason=reason)
    typer.echo(f"Locked the workspace of {project}; its data calls are refused within some seconds.")


@app.command()
def access(
    project: ProjectName,
    mode: Annotated[Access, typer.Argument(help="From where the workspace is reached.")],
    dedicated: Annotated[
        list[str] | None, typer.Option(help="A network that may call where the mode says so; repeat.")
    ] = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Change from where a registered workspace is reached: also the way back where its rules lock everybody out."""
    with open_account(data_dir, database_url, config) as account:
        with account.db.transaction() as conn:
            tenant_id = _tenant(conn, account, project)
            present = load(conn, tenant_id).wanted
            networks = tuple(dedicated) if dedicated else present.dedicated_subnets
            wanted = replace(present, access=mode, dedicated_subnets=networks)
            who, sealer = account.who, account.sealer()
            job_id = service.modify(
                conn, tenant_id, wanted, actor=who.actor, secrets=Secrets(sealer, DataKeys(sealer))
            )
            record_change(conn, who, "workspace:tenants:update", project, detail={"access": mode.value})
    typer.echo("Nothing changes." if job_id is None else f"Job {job_id} changes the access of {project}.")


@app.command()
def unlock(
    project: ProjectName,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Let a locked workspace take data calls again; a worker does it."""
    with open_account(data_dir, database_url, config) as account:
        with account.db.transaction() as conn:
            job_id = service.unlock(conn, _tenant(conn, account, project), actor=account.who.actor)
            record_change(conn, account.who, "workspace:tenants:unlock", project)
    typer.echo(f"Job {job_id} unlocks the workspace of {project}.")


@subnets_app.command("list")
def list_subnets(
    project: ProjectName,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """List a project's subnets by name."""
    with open_account(data_dir, database_url, config) as account:
        with account.db.transaction() as conn:
            found = service.subnets(conn, _tenant(conn, account, project))
    if as_json:
        typer.echo(json.dumps([{"id": each.id, "vpc_id": each.vpc_id, "cidr": each.cidr} for each in found]))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("Subnet", "VPC", "Network"):
        table.add_column(heading, overflow="fold")
    for each in found:
        table.add_row(each.id, each.vpc_id or "-", each.cidr)
    Console().print(table)


@subnets_app.command("put")
def put_subnet(
    project: ProjectName,
    subnet: Annotated[str, typer.Argument(help="The subnet's id, as a registration names it.")],
    cidr: Annotated[str, typer.Argument(help="Its network, such as 10.1.0.0/16.")],
    vpc: Annotated[str, typer.Option(help="The VPC that it belongs to.")] = "",
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Name a subnet; another network under the same id replaces it. Safe to repeat."""
    with open_account(data_dir, database_url, config) as account:
        with account.db.transaction() as conn:
            service.put_subnet(conn, _tenant(conn, account, project), Subnet(subnet, vpc, cidr))
    typer.echo(f"{subnet} is {cidr}.")


@subnets_app.command("delete")
def delete_subnet(
    project: ProjectName,
    subnet: Annotated[str, typer.Argument(help="The subnet's id.")],
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Forget a subnet's name. What was registered with it stays."""
    with open_account(data_dir, database_url, config) as account:
        with account.db.transaction() as conn:
            service.delete_subnet(conn, _tenant(conn, account, project), subnet)
    typer.echo(f"{subnet} is forgotten.")

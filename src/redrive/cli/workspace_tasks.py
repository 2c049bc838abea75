"""``redrive workspaces``: the commands that begin a task (``register``, ``retry``, ...), and waiting for its end.

The task is stored in the database; a worker does it. Exit status 1 where it was waited for and has failed.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer
from rich.console import Console
from rich.table import Table

from redrive.cli.accounts import Account, AsJson, PasswordStdin, open_account, print_json, print_table
from redrive.cli.up import Config, DatabaseUrl, DataDir, MasterKeyFile
from redrive.database import Database
from redrive.engine import jobs
from redrive.engine.model import ENDED, JobState
from redrive.errors import Problem, ProblemCode, invalid
from redrive.identity.audit import record_change
from redrive.identity.projects import get_project
from redrive.services.workspaces import service, tasks
from redrive.services.workspaces.house import House, load
from redrive.services.workspaces.model import Access, Directory, DirectoryKind, WorkspaceSettings
from redrive.services.workspaces.tasks import Task

Connection = psycopg.Connection[Any]

ProjectName = Annotated[str, typer.Argument(help="The project: its id or name.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the end of the task, and show its steps.")]
_CONTROLLERS, _POLL_SECONDS = 2, 0.2


@dataclass(frozen=True, slots=True)
class Place:
    """A project's workspace, and what its service takes."""

    account: Account
    house: House
    tenant_id: int
    project: str

    def begin(self, action: str, work: Callable[[Connection], int], reason: str = "") -> Task:
        """Do what begins a job, record it, and return its task."""

        def begun(conn: Connection) -> Task:
            job_id = work(conn)
            attempt = jobs.get(conn, self.tenant_id, job_id).attempt
            task = tasks.task(conn, self.tenant_id, job_id, attempt)
            detail = {"task": task.id}
            record_change(conn, self.account.who, action, self.project, reason=reason, detail=detail)
            return task

        return self.account.db.run(begun)


@contextlib.contextmanager
def place_of(
    project: str, data_dir: Any, database_url: Any, config: Any, master_key_file: Any = None
) -> Iterator[Place]:
    """The workspace of a project of the account of the first start."""
    # What opens the sample store takes long to load, which other commands need not wait for.
    from redrive.kinds import house  # noqa: PLC0415
    from redrive.services.timeseries.storage import SampleStore  # noqa: PLC0415

    with open_account(data_dir, database_url, config, master_key_file) as account:
        tenant_id = account.db.run(lambda conn: get_project(conn, account.id, project).tenant_id)
        store = SampleStore(account.settings.storage, None, account.db)
        try:
            yield Place(account, house(account.settings, account.sealer(), store), tenant_id, project)
        finally:
            store.close()


def register(
    project: ProjectName,
    mode: Annotated[
        Access, typer.Option("--access", help="From where the workspace is reached.")
    ] = Access.INTERNET,
    dedicated: Annotated[
        list[str] | None, typer.Option(help="A network that may call where the mode says so; repeat.")
    ] = None,
    subnet: Annotated[
        list[str] | None, typer.Option(help="A subnet: its name, or its network; repeat.")
    ] = None,
    vpc: Annotated[str, typer.Option(help="The VPC that the subnets belong to.")] = "",
    management: Annotated[str, typer.Option(help="The management network.")] = "",
    enterprise_id: Annotated[
        str, typer.Option(help="The name that people find it by. [default: made from the project's name]")
    ] = "",
    domain: Annotated[
        str, typer.Option(help="The domain of a directory to join. [default: users of the account]")
    ] = "",
    admin: Annotated[str, typer.Option(help="An account that may create computers in the directory.")] = "",
    controller: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]ADDRESS", help="A domain controller; a second one is the standby."),
    ] = None,
    dns: Annotated[list[str] | None, typer.Option(help="A name server to check; at most two.")] = None,
    ldaps: Annotated[bool, typer.Option("--ldaps", help="LDAP with TLS.")] = False,
    ca: Annotated[
        Path | None, typer.Option(help="Certificate of the authority. [default: the system's store]")
    ] = None,
    delete_object: Annotated[
        bool, typer.Option("--delete-object", help="Deregistering deletes our object in the directory.")
    ] = False,
    password_stdin: PasswordStdin = False,
    wait: Wait = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
    master_key_file: MasterKeyFile = None,
) -> None:
    """Register a project's workspace. The password of a directory's account is asked for."""
    directory, secret = Directory(), None
    if domain:
        directory = replace(
            _directory(domain, admin, controller or [], dns or []),
            delete_object=delete_object,
            ldaps=ldaps,
            ca_pem="" if ca is None else _read(ca),
        )
        secret = _password(password_stdin)
    elif admin or controller or dns or ldaps or ca or delete_object or password_stdin:
        raise invalid("--domain", "the domain of the directory")
    wanted = WorkspaceSettings(
        directory=directory,
        vpc_id=vpc,
        subnets=tuple(subnet or ()),
        management_cidr=management,
        access=mode,
        dedicated_subnets=tuple(dedicated or ()),
        enterprise_id=enterprise_id,
    )
    with place_of(project, data_dir, database_url, config, master_key_file) as place:
        task = place.begin(
            "workspace:tenants:open",
            lambda conn: service.register(
                conn,
                place.tenant_id,
                wanted,
                actor=place.account.who.actor,
                secrets=place.house.secrets,
                password=secret,
            ),
        )
        _tell(place, task, wait)


def _directory(domain: str, admin: str, controllers: list[str], dns: list[str]) -> Directory:
    if not 1 <= len(controllers) <= _CONTROLLERS:
        raise invalid("--controller", "one controller, or two", len(controllers))
    if len(dns) > _CONTROLLERS:
        raise invalid("--dns", "at most two name servers", len(dns))
    (active, standby) = (*(_controller(each) for each in controllers), ("", ""))[:_CONTROLLERS]
    return Directory(
        DirectoryKind.LDAP,
        domain_name=domain,
        admin_account=admin,
        active_name=active[0],
        active_ip=active[1],
        standby_name=standby[0],
        standby_ip=standby[1],
        dns=tuple(dns),
    )


def _controller(text: str) -> tuple[str, str]:
    name, _, address = text.rpartition("=")
    return name, address


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise invalid("--ca", f"a PEM file that can be read ({error.__class__.__name__})", path) from None


def _password(stdin: bool) -> str:
    if stdin:
        return sys.stdin.readline().rstrip("\n")
    return str(typer.prompt("Password of the directory's account", hide_input=True))


def password(
    project: ProjectName,
    password_stdin: PasswordStdin = False,
    wait: Wait = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
    master_key_file: MasterKeyFile = None,
) -> None:
    """Give another password for the directory's account; a registered workspace tries it, a failed one is retried."""
    given = _password(password_stdin)
    with place_of(project, data_dir, database_url, config, master_key_file) as place:
        who, secrets = place.account.who, place.house.secrets

        def change(conn: Connection) -> Task | None:
            wanted = load(conn, place.tenant_id).wanted
            job_id = service.modify(
                conn, place.tenant_id, wanted, actor=who.actor, secrets=secrets, password=given
            )
            record_change(conn, who, "workspace:tenants:update", project, detail={"changed": ["password"]})
            return None if job_id is None else tasks.task(conn, place.tenant_id, job_id, 1)

        task = place.account.db.run(change)
        if task is None:
            typer.echo("The password is kept for the retry.")
        else:
            _tell(place, task, wait)


def retry(
    project: ProjectName,
    reason: Annotated[str, typer.Option(help="Why; kept in the history.")] = "",
    wait: Wait = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
    master_key_file: MasterKeyFile = None,
) -> None:
    """Retry a project's failed registration or deregistration; what is done is kept."""
    from redrive.services.workspaces import job as workspace_job  # noqa: PLC0415

    with place_of(project, data_dir, database_url, config, master_key_file) as place:
        kinds = workspace_job.kinds(place.house)

        def again(conn: Connection) -> int:
            workspace = load(conn, place.tenant_id)
            if workspace.job_id is None:
                raise Problem(
                    ProblemCode.CONFLICT, "the workspace was never registered", reason="wrong_status"
                )
            actor, attempt = place.account.who.actor, workspace.attempt
            why = reason or "retry"
            return service.retry(
                conn, place.tenant_id, workspace.job_id, attempt, kinds, actor=actor, reason=why
            ).id

        _tell(place, place.begin("workspace:jobs:retry", again, reason), wait)


def deregister(
    project: ProjectName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    wait: Wait = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
    master_key_file: MasterKeyFile = None,
) -> None:
    """Deregister a project's workspace and erase its data. It cannot be undone."""
    if not yes:
        typer.confirm(f"Erase all data of {project} for good?", abort=True)
    with place_of(project, data_dir, database_url, config, master_key_file) as place:
        actor, belongings = place.account.who.actor, place.house.belongings
        task = place.begin(
            "workspace:tenants:delete",
            lambda conn: service.deregister(conn, place.tenant_id, actor=actor, belongings=belongings),
        )
        _tell(place, task, wait)


def list_tasks(
    project: ProjectName,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """List the newest task of each job of a project's workspace, newest first."""
    with open_account(data_dir, database_url, config) as account:
        tenant_id = account.db.run(lambda conn: get_project(conn, account.id, project).tenant_id)
        found = account.db.run(lambda conn: tasks.newest(conn, tenant_id))
    if as_json:
        print_json([told(task) for task in found])
        return
    rows: list[tuple[object, ...]] = [
        (task.id, task.job.kind, task.state, task.attempt, _second(task.started_at), _why(task.failure))
        for task in found
    ]
    print_table(("Task", "Kind", "State", "Attempt", "Began", "Why"), rows, "There are no tasks.")


def _tell(place: Place, task: Task, wait: bool) -> None:
    typer.echo(f"Job {task.job.id}, task {task.id}: {task.job.kind} of {place.project}.")
    if not wait:
        return
    ended = _ended(place.account.db, place.tenant_id, task)
    print_steps(ended)
    if ended.state is not JobState.SUCCEEDED:
        raise typer.Exit(1)


def _ended(db: Database, tenant_id: int, task: Task) -> Task:
    while task.state not in ENDED:
        time.sleep(_POLL_SECONDS)
        named = (task.job.id, task.attempt)
        task = db.run(lambda conn: tasks.task(conn, tenant_id, *named))  # noqa: B023
    return task


def print_steps(task: Task) -> None:
    """Show a task's steps to people."""
    table = Table(box=None, pad_edge=False)
    for heading in ("Step", "State", "Why"):
        table.add_column(heading, overflow="fold")
    for step in task.steps:
        table.add_row(step.name, f"{step.state.value}{' (kept)' if step.kept else ''}", _why(step.failure))
    Console().print(table)


def _second(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}"


def _why(failure: Any) -> str:
    return f"{failure.get('detail')} ({failure.get('hint')})" if failure else ""


def told(task: Task) -> dict[str, Any]:
    """Return a task for programs."""
    return {
        "task": task.id,
        "job": str(task.job.id),
        "kind": task.job.kind,
        "attempt": task.attempt,
        "state": task.state.value,
        "started_at": task.started_at,
        "ended_at": task.ended_at,
        "steps": [
            {
                "step": step.name,
                "state": step.state.value,
                "kept": step.kept,
                "code": step.failure.get("code"),
                "reason": step.failure.get("detail"),
                "hint": step.failure.get("hint"),
            }
            for step in task.steps
        ],
    }

"""For commands about identities: the account in the database itself, and who types, as the trail names it.

They need the data folder or ``--database-url``; those that make or open secrets need the master key too. Whoever has
these may everything, so nothing is asked for but who it is: the name that the operating system knows.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

import psycopg
import typer
from rich.table import Table

from redrive import settings as settings_module
from redrive.cli import jobs_screen as screen
from redrive.cli.direct import open_database
from redrive.database import Database
from redrive.errors import Problem, ProblemCode, invalid
from redrive.identity import bootstrap
from redrive.identity.audit import By
from redrive.identity.master_key import open_sealer
from redrive.identity.passwords import new_password
from redrive.identity.projects import get_project
from redrive.identity.sealing import Sealer
from redrive.settings import Settings

SURFACE = "command line"
_LONGEST_DOCUMENT = 1024 * 1024

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
InProject = Annotated[
    str | None, typer.Option("--project", help="Project id or name. [default: every project]")
]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from the first line of standard input.")
]
Generate = Annotated[bool, typer.Option("--generate", help="Make a password and print it this once.")]


class Named(Protocol):
    """What has a name."""

    @property
    def name(self) -> str:
        """Its name."""


T = TypeVar("T", bound=Named)


@dataclass(frozen=True, slots=True)
class Account:
    """The account that a command is about; ``first`` is its first project."""

    db: Database
    settings: Settings
    id: str
    first: Any
    who: By

    def sealer(self) -> Sealer:
        """Return what seals secrets; it needs the master key."""
        return open_sealer(self.db, self.settings)

    def tenant_id(self, conn: psycopg.Connection[Any], project: str | None) -> int | None:
        """Return the project that was named, None where none was."""
        return None if project is None else get_project(conn, self.id, project).tenant_id


@contextlib.contextmanager
def open_account(
    data_dir: Any, database_url: Any, config: Any, master_key_file: Any = None
) -> Iterator[Account]:
    """The account of the first start, in the database of these options."""
    flags = {"data_dir": data_dir, "database_url": database_url, "master_key_file": master_key_file}
    settings = settings_module.load(flags, config=config)
    with open_database(settings) as db:
        with db.transaction() as conn:
            first = conn.execute(bootstrap.queries.first_tenant).fetchone()
        if first is None:
            raise Problem(
                ProblemCode.NOT_FOUND, "there is no account yet", hint="start the server once: redrive up"
            )
        yield Account(db, settings, first.account_id, first, operator(first.account_id))


def operator(account_id: str) -> By:
    """Return who types this command: not what the environment says, but what the system does."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = f"uid {os.getuid()}"
    return By(name, SURFACE, account_id=account_id, address=socket.gethostname())


def read_password(*, stdin: bool, generate: bool) -> tuple[str, str | None]:
    """Return a password, and what to print of it: only one that was made here. Never from the arguments."""
    if stdin and generate:
        raise invalid("--generate", "not together with --password-stdin")
    if generate:
        made = new_password()
        return made, made
    if stdin:
        return sys.stdin.readline().rstrip("\n"), None
    return typer.prompt("Password", hide_input=True, confirmation_prompt=True), None


def read_document(path: str) -> dict[str, Any]:
    """Return the policy in a file, or in standard input (``-``)."""
    try:
        text = (
            sys.stdin.read(_LONGEST_DOCUMENT + 1) if path == "-" else Path(path).read_text(encoding="utf-8")
        )
    except (OSError, UnicodeDecodeError) as error:
        raise invalid("FILE", f"a file that can be read ({error.__class__.__name__})", path) from None
    try:
        found = json.loads(text) if len(text) <= _LONGEST_DOCUMENT else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise invalid("FILE", "a policy: a JSON object of at most 1 MiB", path)
    return found


def every(page: Callable[[str | None], list[T]]) -> list[T]:
    """Return all of a list that comes in pages, each behind the last name of the one before."""
    found: list[T] = []
    while more := page(found[-1].name if found else None):
        found += more
    return found


def print_json(value: object) -> None:
    """Print a value for programs."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_table(columns: tuple[str, ...], rows: list[tuple[object, ...]], nothing: str) -> None:
    """Print rows for people; texts that others wrote are harmless."""
    if not rows:
        typer.echo(nothing)
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(screen.plain(value) for value in row))
    screen.console().print(table)


def moment(instant: Any) -> str:
    """Return an instant as people read it, in UTC."""
    return screen.moment(instant.isoformat() if instant is not None else None)

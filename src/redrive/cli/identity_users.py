"""``redrive identity users|groups|projects``: on the database directly, so they work where no key pair is left."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import typer

from redrive.cli.accounts import (
    AsJson,
    Generate,
    PasswordStdin,
    every,
    moment,
    open_account,
    print_json,
    print_table,
    read_password,
)
from redrive.cli.up import Config, DatabaseUrl, DataDir
from redrive.identity import projects, users
from redrive.identity.users import User

users_app = typer.Typer(help="Users: who can get tokens and key pairs.", no_args_is_help=True)
groups_app = typer.Typer(help="Groups of users, to attach policies to.", no_args_is_help=True)
projects_app = typer.Typer(help="Projects: tenants of the account.", no_args_is_help=True)

UserName = Annotated[str, typer.Argument(metavar="USER", help="Name or id of the user.")]
GroupName = Annotated[str, typer.Argument(metavar="GROUP", help="Name or id of the group.")]
Description = Annotated[str, typer.Option(help="What it is for.")]


@users_app.command("list")
def list_users(
    data_dir: DataDir = None, database_url: DatabaseUrl = None, config: Config = None, as_json: AsJson = False
) -> None:
    """List users in order of name."""
    with open_account(data_dir, database_url, config) as account, account.db.transaction() as conn:
        found = every(lambda after: users.list_users(conn, account.id, after=after))
    if as_json:
        print_json([dataclasses.asdict(user) for user in found])
        return
    rows: list[tuple[object, ...]] = [
        (user.name, _state(user), ", ".join(user.groups), moment(user.created_at), user.description, user.id)
        for user in found
    ]
    print_table(("User", "State", "Groups", "Created", "Description", "Id"), rows, "There are no users.")


@users_app.command("show")
def show_user(
    user: UserName, data_dir: DataDir = None, database_url: DatabaseUrl = None, config: Config = None
) -> None:
    """Print a user as JSON."""
    with open_account(data_dir, database_url, config) as account, account.db.transaction() as conn:
        print_json(dataclasses.asdict(users.get_user(conn, account.id, user)))


@users_app.command("create")
def create_user(
    name: Annotated[str, typer.Argument(metavar="NAME", help="1 to 64 letters, digits, blanks, _ . @ -")],
    description: Description = "",
    password_stdin: PasswordStdin = False,
    generate: Generate = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Make a user that may do nothing yet; asks for its password."""
    with open_account(data_dir, database_url, config) as account:
        users.check_name(name)
        password, shown = read_password(stdin=password_stdin, generate=generate)
        with account.db.transaction() as conn:
            made = users.create_user(
                conn, account.id, name, password, who=account.who, description=description
            )
    typer.echo(f"Made the user {made.name} ({made.id}).")
    _show(shown)
    typer.echo("It may do nothing yet: redrive identity attach POLICY --user NAME")


@users_app.command("password")
def set_password(
    user: UserName,
    password_stdin: PasswordStdin = False,
    generate: Generate = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Give a user another password; its tokens end."""
    with open_account(data_dir, database_url, config) as account:
        with account.db.transaction() as conn:
            found = users.get_user(conn, account.id, user)
        password, shown = read_password(stdin=password_stdin, generate=generate)
        with account.db.transaction() as conn:
            users.set_password(conn, account.id, found.id, password, who=account.who)
    typer.echo(f"{found.name} has another password; its tokens have ended.")
    _show(shown)


@users_app.command("enable")
def enable_user(
    user: UserName, data_dir: DataDir = None, database_url: DatabaseUrl = None, config: Config = None
) -> None:
    """Let a user in again; its key pairs are good again. Safe to repeat."""
    _set_enabled(user, True, data_dir, database_url, config)


@users_app.command("disable")
def disable_user(
    user: UserName, data_dir: DataDir = None, database_url: DatabaseUrl = None, config: Config = None
) -> None:
    """Shut a user out: its tokens end, its key pairs are refused. Safe to repeat."""
    _set_enabled(user, False, data_dir, database_url, config)


def _set_enabled(user: str, enabled: bool, data_dir: Any, database_url: Any, config: Any) -> None:
    with open_account(data_dir, database_url, config) as account, account.db.transaction() as conn:
        found = users.change_user(conn, account.id, user, who=account.who, enabled=enabled)
    typer.echo(f"{found.name} is {_state(found)}.")


@users_app.command("delete")
def delete_user(
    user: UserName, data_dir: DataDir = None, database_url: DatabaseUrl = None, config: Config = None
) -> None:
    """Delete a user that never had a key pair; disable the others."""
    with open_account(data_dir, database_url, config) as account, account.db.transaction() as conn:
        found = users.get_user(conn, account.id, user)
        users.delete_user(conn, account.id, found.id, who=account.who)
    typer.echo(f"Deleted the user {found.name}.")


@groups_app.command("list")
def list_groups(
    data_dir: DataDir = None, database_url: DatabaseUrl = None, config: Config = None, as_json: AsJson = False
) -> None:
    """List groups in order of name."""
    with open_account(data_dir, database_url, config) as account, account.db.transaction() as conn:
        found = every(lambda after: users.list_groups(conn, account.id, after=after))
    if as_json:
        print_json([dataclasses.asdict(group) for group in found])
        return
    rows: list[tuple[object, ...]] = [
        (group.name, ", ".join(group.members), group.description, group.id) for group in found
    ]
    print_table(("Group", "Members", "Description", "Id"), rows, "There are no groups.")


@groups_app.command("create")
def create_group(
    name: Annotated[str, typer.Argument(metavar="NAME", help="1 to 64 letters, digits, blanks, _ . @ -")],
    description: Description = "",
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Make a group without members."""
    with open_account(data_dir, database_url, config) as account, account.db.transaction() as conn:
        made = users.create_group(conn, account.id, name, who=account.who, description=description)
    typer.echo(f"Made the group {made.name} ({made.id}).")


@groups_app.command("delete")
def delete_group(
    group: GroupName, data_dir: DataDir = None, database_url: DatabaseUrl = None, config: Config = None
) -> None:
    """Delete a group; its members lose what is attached to it."""
    with open_account(data_dir, database_url, config) as account, account.db.transaction() as conn:
        users.delete_group(conn, account.id, group, who=account.who)
    typer.echo(f"Deleted the group {group}.")


@groups_app.command("add")
def add_member(
    group: GroupName,
    user: UserName,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Put a user into a group. Safe to repeat."""
    with open_account(data_dir, database_url, config) as account, account.db.transaction() as conn:
        users.add_member(conn, account.id, group, user, who=account.who)
    typer.echo(f"{user} is in {group}.")


@groups_app.command("remove")
def remove_member(
    group: GroupName,
    user: UserName,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Take a user out of a group. Safe to repeat."""
    with open_account(data_dir, database_url, config) as account, account.db.transaction() as conn:
        users.remove_member(conn, account.id, group, user, who=account.who)
    typer.echo(f"{user} is not in {group}.")


@projects_app.command("list")
def list_projects(
    data_dir: DataDir = None, database_url: DatabaseUrl = None, config: Config = None, as_json: AsJson = False
) -> None:
    """List projects, oldest first."""
    with open_account(data_dir, database_url, config) as account, account.db.transaction() as conn:
        found = projects.list_projects(conn, account.id)
    if as_json:
        print_json([{"id": one.project_id, "name": one.project_name, "org_id": one.org_id} for one in found])
        return
    rows: list[tuple[object, ...]] = [(one.project_name, one.project_id, one.org_id) for one in found]
    print_table(("Project", "Id", "Organization"), rows, "There are no projects.")


@projects_app.command("create")
def create_project(
    name: Annotated[str, typer.Argument(metavar="NAME", help="1 to 64 of a-z, 0-9 and -")],
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Make a project with an organization of its own."""
    with open_account(data_dir, database_url, config) as account, account.db.transaction() as conn:
        made = projects.create_project(conn, account.id, name, who=account.who)
    typer.echo(f"Made the project {made.project_name} ({made.project_id}, organization {made.org_id}).")


def _state(user: User) -> str:
    return "root" if user.root else "enabled" if user.enabled else "disabled"


def _show(password: str | None) -> None:
    if password is not None:
        typer.echo(f"Password: {password}")

"""``redrive identity``: credentials and key pairs; users and policies are in files of their own. ``redrive keys``:
the master key.

These commands work on the database directly, so they need the data folder or ``--database-url``, and the
master key; they work also where nobody has a key pair any more.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from redrive import settings as settings_module
from redrive.cli import identity_policies, identity_users
from redrive.cli.accounts import open_account, operator, read_document
from redrive.cli.direct import open_database
from redrive.cli.up import Config, DatabaseUrl, DataDir, MasterKeyFile
from redrive.database import Database
from redrive.errors import Problem, ProblemCode, invalid
from redrive.identity import bootstrap, issuing, master_key
from redrive.identity.access import ADMIN, Action, parse_scope, scope_words
from redrive.identity.audit import By
from redrive.identity.authentication import CACHE_SECONDS
from redrive.identity.builtin import key_policy
from redrive.identity.credentials import Credentials, credentials_file, read_credentials
from redrive.identity.keys import KeyPair, find_tenant, get_key, layers_of, list_keys
from redrive.identity.master_key import SealedColumn
from redrive.identity.principals import rights_from
from redrive.identity.sealing import Sealer
from redrive.identity.server_keys import public_key
from redrive.identity.users import get_user
from redrive.settings import Settings

app = typer.Typer(help="Credentials, key pairs, users, groups, policies.", no_args_is_help=True)
pairs_app = typer.Typer(help="Key pairs for applications.", no_args_is_help=True)
master_app = typer.Typer(help="The master key, which seals all secrets.", no_args_is_help=True)
app.add_typer(pairs_app, name="keys")
app.add_typer(identity_users.users_app, name="users")
app.add_typer(identity_users.groups_app, name="groups")
app.add_typer(identity_users.projects_app, name="projects")
app.add_typer(identity_policies.policies_app, name="policies")
app.command("attach")(identity_policies.attach)
app.command("detach")(identity_policies.detach)
app.command("attachments")(identity_policies.attachments)
app.command("simulate")(identity_policies.simulate_action)

_HIDDEN = "********"

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Tenant = Annotated[
    str | None, typer.Option(help="Project id or name, or orgId. [default: the tenant of the first start]")
]


@app.command()
def show(
    data_dir: DataDir = None,
    config: Config = None,
    secrets: Annotated[bool, typer.Option("--secrets", help="Print password and secret key too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print what credentials.json holds."""
    settings = settings_module.load({"data_dir": data_dir}, config=config)
    found = read_credentials(credentials_file(settings))
    if found is None:
        raise Problem(
            ProblemCode.NOT_FOUND,
            f"there is no {credentials_file(settings)}",
            hint="make new credentials: redrive identity rotate",
        )
    if not secrets:
        found = dataclasses.replace(found, password=_HIDDEN, secret_key=_HIDDEN)
    _print_credentials(found, as_json)


@app.command()
def rotate(
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    master_key_file: MasterKeyFile = None,
    config: Config = None,
    keep_old: Annotated[bool, typer.Option("--keep-old", help="Leave the former key pair in force.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a new password and key pair for the first user and write credentials.json anew.

    The former key pair is revoked. Key pairs made by `identity keys create` stay.
    """
    settings = _settings(data_dir, database_url, master_key_file, config)
    with _opened(settings) as (db, sealer):
        made = bootstrap.rotate(db, settings, sealer, keep_old=keep_old, who=_operator(db))
    if as_json:
        _print_credentials(made, as_json)
        return
    typer.echo(f"Wrote {credentials_file(settings)} (access key {made.access_key}).")
    if not keep_old:
        typer.echo(f"The former key pair is refused everywhere within {CACHE_SECONDS:.0f} s.")


@app.command("poseidon-key")
def poseidon_key(
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    master_key_file: MasterKeyFile = None,
    config: Config = None,
) -> None:
    """Print the public key for the EnOS Poseidon client (base64 DER); see docs/poseidon.md."""
    settings = _settings(data_dir, database_url, master_key_file, config)
    with _opened(settings) as (db, sealer):
        der = db.run(lambda conn: public_key(conn, sealer))
    typer.echo(base64.b64encode(der).decode())


@pairs_app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Name of the application; stands in histories as the actor.")],
    read: Annotated[bool, typer.Option("--read", help="Allow reading of assets.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Allow writing and deleting on assets.")] = False,
    scope: Annotated[str, typer.Option(help="Assets: *, or ids and prefixes such as a1,station-*")] = "*",
    admin: Annotated[bool, typer.Option("--admin", help="Allow changing the server itself.")] = False,
    policy: Annotated[
        str | None, typer.Option("--policy", help="A policy document that limits it; - reads standard input.")
    ] = None,
    user: Annotated[
        str | None, typer.Option("--user", help="As whom it acts. [default: the first user]")
    ] = None,
    tenant: Tenant = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    master_key_file: MasterKeyFile = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Make a key pair. Its secret is printed this once. Write does not include read: give both.

    It may do what its user may, and of that only what --read, --write and --admin, or a --policy, allow.
    """
    short = read or write or admin
    if short and policy is not None:
        raise invalid("--policy", "not together with --read, --write, --admin")
    if not short and policy is None and user is None:
        raise invalid("permissions", "--read, --write or both (or --admin, --policy, or a --user's own)")
    allowed = parse_scope(scope)
    asked = {Action.READ: read, Action.WRITE: write}
    wanted = {action: allowed for action, given in asked.items() if given}
    document: Any = read_document(policy) if policy is not None else None
    if short:
        document = key_policy(wanted, admin=admin)
    with open_account(data_dir, database_url, config, master_key_file) as account:
        sealer = account.sealer()
        with account.db.transaction() as conn:
            owner = _tenant(conn, tenant)
            holder = get_user(conn, account.id, user or account.first.user_id)
            made = issuing.create(
                conn,
                sealer,
                tenant_id=owner.id,
                user_id=holder.id,
                user_name=holder.name,
                name=name,
                layers=layers_of(document),
                who=account.who,
            )
    told = {
        "name": name,
        "org_id": owner.org_id,
        "access_key": made.access_key,
        "secret_key": made.secret_key,
    }
    _print(told, as_json)


@pairs_app.command("list")
def list_pairs(
    tenant: Tenant = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    master_key_file: MasterKeyFile = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """List key pairs, oldest first, revoked ones too."""
    with _opened(_settings(data_dir, database_url, master_key_file, config)) as (db, _):
        with db.transaction() as conn:
            found = list_keys(conn, _tenant(conn, tenant).id)
    if as_json:
        typer.echo(json.dumps([_row(key) for key in found], indent=2))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("Access key", min_width=36)
    for heading in ("Name", "User", "Admin", "Read", "Write", "Created", "Revoked"):
        table.add_column(heading, overflow="fold")
    for key in found:
        row = _row(key)
        dates = [f"{at:%Y-%m-%d}" if at else "" for at in (key.created_at, key.revoked_at)]
        rights = [row[name] or "-" for name in ("admin", "read", "write")]
        table.add_row(key.access_key, key.name, key.user_name, *rights, *dates)
    Console().print(table)


@pairs_app.command("revoke")
def revoke(
    access_key: Annotated[str, typer.Argument(help="The access key of the pair.")],
    tenant: Tenant = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    master_key_file: MasterKeyFile = None,
    config: Config = None,
) -> None:
    """Revoke a key pair and its tokens, for good. Safe to repeat."""
    with open_account(data_dir, database_url, config, master_key_file) as account:
        with account.db.transaction() as conn:
            revoked = issuing.revoke(conn, _tenant(conn, tenant).id, access_key, who=account.who)
    if not revoked:
        typer.echo(f"{access_key} was revoked before.")
    else:
        typer.echo(f"Revoked {access_key}; it is refused everywhere within {CACHE_SECONDS:.0f} s.")


@pairs_app.command("rotate")
def rotate_pair(
    access_key: Annotated[str, typer.Argument(help="The access key of the pair.")],
    keep_old: Annotated[bool, typer.Option("--keep-old", help="Leave the former key pair in force.")] = False,
    tenant: Tenant = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    master_key_file: MasterKeyFile = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Make a key pair in the place of another, with its user, project and limits. Its secret is printed this once."""
    with open_account(data_dir, database_url, config, master_key_file) as account:
        sealer = account.sealer()
        with account.db.transaction() as conn:
            owner = _tenant(conn, tenant)
            pair = get_key(conn, owner.id, access_key)
            layers, who = pair.layers or [], account.who
            made = issuing.rotate(conn, sealer, pair, owner.id, layers=layers, keep_old=keep_old, who=who)
    told = {
        "name": pair.name,
        "org_id": owner.org_id,
        "access_key": made.access_key,
        "secret_key": made.secret_key,
    }
    _print(told, as_json)
    if not keep_old and not as_json:
        typer.echo(f"The former key pair is refused everywhere within {CACHE_SECONDS:.0f} s.")


@master_app.command("rotate")
def rotate_master_key(
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    master_key_file: MasterKeyFile = None,
    config: Config = None,
) -> None:
    """Make a new master key and seal every secret again with it. Running servers follow by themselves."""
    settings = _settings(data_dir, database_url, master_key_file, config)
    with _opened(settings) as (db, _):
        count = master_key.rotate(db, settings, _sealed_columns())
    path = master_key.key_file(settings)
    typer.echo(f"Sealed {count} secrets again. {path} holds the new key and the old one.")
    typer.echo("Copy it to the other machines, then drop the old key: redrive keys prune")


@master_app.command("prune")
def prune_master_key(
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    master_key_file: MasterKeyFile = None,
    config: Config = None,
) -> None:
    """Drop old master keys from the file, after sealing again what they still sealed."""
    settings = _settings(data_dir, database_url, master_key_file, config)
    with _opened(settings) as (db, _):
        count = master_key.prune(db, settings, _sealed_columns())
    typer.echo(f"Sealed {count} secrets again. {master_key.key_file(settings)} holds one key.")


def _sealed_columns() -> Sequence[SealedColumn]:
    from redrive.parts import SEALED_COLUMNS  # noqa: PLC0415 - every other command starts sooner without it

    return SEALED_COLUMNS


def _settings(data_dir: Any, database_url: Any, master_key_file: Any, config: Any) -> Settings:
    flags = {"data_dir": data_dir, "database_url": database_url, "master_key_file": master_key_file}
    return settings_module.load(flags, config=config)


@contextlib.contextmanager
def _opened(settings: Settings) -> Iterator[tuple[Database, Sealer]]:
    with open_database(settings) as db:
        yield db, master_key.open_sealer(db, settings)


def _tenant(conn: Any, name: str | None) -> Any:
    if name is not None:
        return find_tenant(conn, name)
    first = conn.execute(bootstrap.queries.first_tenant).fetchone()
    if first is None:
        raise Problem(
            ProblemCode.NOT_FOUND, "there is no account yet", hint="start the server once: redrive up"
        )
    return first


def _operator(db: Database) -> By:
    with db.transaction() as conn:
        return operator(_tenant(conn, None).account_id)


def _row(key: KeyPair) -> dict[str, str | None]:
    own = rights_from([], root=True, layers=key.layers)
    kind = "enos:region:account:asset"
    return {
        "name": key.name,
        "access_key": key.access_key,
        "user": key.user_name,
        # what the pair's own policy lets through; its user's policies may allow less
        "admin": "yes" if own.decide(ADMIN).allowed else None,
        "read": scope_words(own.scope(Action.READ, kind)) or None,
        "write": scope_words(own.scope(Action.WRITE, kind)) or None,
        "created_at": key.created_at.isoformat(),
        "revoked_at": key.revoked_at.isoformat() if key.revoked_at else None,
    }


def _print_credentials(credentials: Credentials, as_json: bool) -> None:
    _print(dataclasses.asdict(credentials), as_json)


def _print(values: dict[str, str], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(values, indent=2))
        return
    width = max(len(name) for name in values)
    for name, value in values.items():
        typer.echo(f"{name:<{width}}  {value}")

"""``redrive identity policies|attach|detach|attachments|simulate``: what users and groups may, and why."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import typer

from redrive.cli.accounts import (
    Account,
    AsJson,
    InProject,
    every,
    moment,
    open_account,
    print_json,
    print_table,
    read_document,
)
from redrive.cli.up import Config, DatabaseUrl, DataDir
from redrive.errors import invalid
from redrive.identity import policy_store
from redrive.identity.policy_store import Attachment, StoredPolicy, Target
from redrive.identity.simulation import Question, simulate

policies_app = typer.Typer(help="Policies: what may be attached to users and groups.", no_args_is_help=True)

PolicyName = Annotated[str, typer.Argument(metavar="POLICY", help="Name of the policy.")]
OfUser = Annotated[str | None, typer.Option("--user", help="Name or id of the user.")]
OfGroup = Annotated[str | None, typer.Option("--group", help="Name or id of the group.")]


@policies_app.command("list")
def list_policies(
    data_dir: DataDir = None, database_url: DatabaseUrl = None, config: Config = None, as_json: AsJson = False
) -> None:
    """List the account's own policies, then those that are built in."""
    with open_account(data_dir, database_url, config) as account, account.db.transaction() as conn:
        found = every(lambda after: policy_store.list_policies(conn, account.id, after=after))
        found += policy_store.list_builtin(conn, account.id)
    if as_json:
        print_json([_policy(policy) for policy in found])
        return
    rows: list[tuple[object, ...]] = [
        (policy.name, policy.attachments, moment(policy.changed_at), policy.description) for policy in found
    ]
    print_table(("Policy", "Attached", "Changed", "Description"), rows, "There are no policies.")


@policies_app.command("show")
def show_policy(
    policy: PolicyName, data_dir: DataDir = None, database_url: DatabaseUrl = None, config: Config = None
) -> None:
    """Print a policy's document."""
    with open_account(data_dir, database_url, config) as account, account.db.transaction() as conn:
        print_json(policy_store.get_policy(conn, account.id, policy).document)


@policies_app.command("put")
def put_policy(
    policy: PolicyName,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The document, JSON; - reads standard input.")],
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Write a policy, or give the one of this name another document. Safe to repeat."""
    document = read_document(file)
    with open_account(data_dir, database_url, config) as account, account.db.transaction() as conn:
        stored = policy_store.put_policy(
            conn, account.id, policy, document, who=account.who, description=description
        )
    typer.echo(f"Wrote the policy {stored.name}; it is attached {stored.attachments} times.")


@policies_app.command("delete")
def delete_policy(
    policy: PolicyName, data_dir: DataDir = None, database_url: DatabaseUrl = None, config: Config = None
) -> None:
    """Delete a policy that is attached to nobody."""
    with open_account(data_dir, database_url, config) as account, account.db.transaction() as conn:
        policy_store.delete_policy(conn, account.id, policy, who=account.who)
    typer.echo(f"Deleted the policy {policy}.")


def attach(
    policy: PolicyName,
    user: OfUser = None,
    group: OfGroup = None,
    project: InProject = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Attach a policy to a user or a group, in one project or in all. Safe to repeat."""
    with open_account(data_dir, database_url, config) as account, account.db.transaction() as conn:
        target = _target(account, conn, user, group, project)
        policy_store.attach(conn, account.id, policy, target, who=account.who)
    typer.echo(f"{policy} is attached to {user or group} in {project or 'every project'}.")


def detach(
    policy: PolicyName,
    user: OfUser = None,
    group: OfGroup = None,
    project: InProject = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Detach a policy where it is attached in just this way. Safe to repeat."""
    with open_account(data_dir, database_url, config) as account, account.db.transaction() as conn:
        target = _target(account, conn, user, group, project)
        policy_store.detach(conn, account.id, policy, target, who=account.who)
    typer.echo(f"{policy} is not attached to {user or group} in {project or 'every project'}.")


def attachments(
    user: OfUser = None,
    group: OfGroup = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """List what is attached to a user, also through its groups, or to a group."""
    with open_account(data_dir, database_url, config) as account, account.db.transaction() as conn:
        found = policy_store.attachments_of(conn, account.id, Target(user=user, group=group))
    if as_json:
        print_json([_attachment(each) for each in found])
        return
    rows: list[tuple[object, ...]] = [
        (each.policy, each.project or "every project", each.group or "", "yes" if each.builtin else "")
        for each in found
    ]
    print_table(("Policy", "Where", "Through group", "Built in"), rows, "Nothing is attached.")


def simulate_action(
    action: Annotated[str, typer.Argument(metavar="ACTION", help="Such as redrive:jobs:retry")],
    resource: Annotated[str, typer.Argument(metavar="[RESOURCE]", help="A URN.")] = "*",
    user: OfUser = None,
    access_key: Annotated[str | None, typer.Option("--key", help="A key pair, by its access key.")] = None,
    project: Annotated[
        str | None, typer.Option("--project", help="Project id or name. [default: the first one]")
    ] = None,
    context: Annotated[
        list[str] | None,
        typer.Option("--context", help="NAME=VALUE for conditions, such as g:SourceIp=10.0.0.7; repeatable."),
    ] = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """May a user, or a key pair, do this, and why? Exit status 1 where not."""
    with open_account(data_dir, database_url, config) as account, account.db.transaction() as conn:
        tenant_id = account.tenant_id(conn, project)
        if tenant_id is None and access_key is None:
            tenant_id = account.first.id
        known = _context(context or [])
        asked = Question(action, resource, user, access_key, tenant_id, known)
        answer = simulate(conn, account.id, asked)
    if as_json:
        print_json({"action": action, "resource": resource, **dataclasses.asdict(answer)})
    else:
        typer.echo(f"{'allowed' if answer.decision.allowed else 'NOT allowed'}: {answer.decision.reason}")
        for layer in answer.layers:
            rests = f" ({layer.decision.matched.words()})" if layer.decision.matched else ""
            typer.echo(f"  {layer.name}: {layer.decision.reason}{rests}")
            typer.echo(f"    made of {', '.join(layer.policies) or 'no policies'}")
            if not layer.decision.allowed and layer.resources:
                typer.echo(f"    it allows {action} on {', '.join(layer.resources)}")
    if not answer.decision.allowed:
        raise typer.Exit(1)


def _target(account: Account, conn: Any, user: str | None, group: str | None, project: str | None) -> Target:
    if (user is None) == (group is None):
        raise invalid("--user", "either --user or --group")
    return Target(user=user, group=group, tenant_id=account.tenant_id(conn, project))


def _context(given: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not name or not equals:
            raise invalid("--context", "NAME=VALUE", each)
        found.setdefault(name, []).append(value)
    return found


def _policy(policy: StoredPolicy) -> dict[str, Any]:
    return {**dataclasses.asdict(policy), "document": dict(policy.document)}


def _attachment(attachment: Attachment) -> dict[str, Any]:
    shown = ("policy", "builtin", "project", "group")
    return {name: getattr(attachment, name) for name in shown}

"""The workspace's directory: first looked at, then joined."""

from __future__ import annotations

import hashlib

from redrive.endpoints import directory
from redrive.engine.kinds import Work
from redrive.services.workspaces.house import House, Json, Workspace, directory_of
from redrive.services.workspaces.model import DirectoryKind
from redrive.services.workspaces.steps.step import Step, never_found, nothing


def _directory_inputs(workspace: Workspace) -> Json:
    wanted = workspace.wanted.directory
    return {
        "kind": wanted.kind.value,
        "domain": wanted.domain_name,
        "account": wanted.admin_account,
        "controllers": [wanted.active_ip, wanted.active_name, wanted.standby_ip, wanted.standby_name],
        "dns": list(wanted.dns),
        "ldaps": wanted.ldaps,
        "ca": hashlib.sha256(wanted.ca_pem.encode()).hexdigest() if wanted.ca_pem else "",
        "password": workspace.password_revision if wanted.kind is DirectoryKind.LDAP else 0,
    }


def _check_directory(house: House, work: Work, workspace: Workspace) -> Json:
    wanted = directory_of(house, work.db, workspace)
    if wanted is None:
        return {"directory": "the account's own users"}
    findings = directory.check_dns(wanted, house.reach)
    findings += directory.check_controllers(wanted, house.reach)
    directory.require(findings)
    account = directory.check_account(wanted, house.reach)
    directory.require(account)
    return {"directory": wanted.domain_name, "findings": [each.said for each in [*findings, *account]]}


DIRECTORY = Step(
    "directory", "check the directory", _directory_inputs, _check_directory, never_found, nothing
)


def _join_inputs(workspace: Workspace) -> Json:
    wanted = workspace.wanted.directory
    return {"kind": wanted.kind.value, "domain": wanted.domain_name}


def _computer(workspace: Workspace) -> str:
    return f"RD-{workspace.id[:11]}".upper()


def _join(house: House, work: Work, workspace: Workspace) -> Json:
    wanted = directory_of(house, work.db, workspace)
    if wanted is None:
        return {"joined": None}
    made = directory.join(wanted, house.reach, name=_computer(workspace), serial=workspace.id)
    return {"joined": made.dn}


def _find_joined(house: House, work: Work, workspace: Workspace) -> Json | None:
    wanted = directory_of(house, work.db, workspace)
    if wanted is None:
        return {"joined": None}
    found = directory.joined(wanted, house.reach, name=_computer(workspace), serial=workspace.id)
    return None if found is None else {"joined": found.dn}


def _leave(house: House, work: Work, workspace: Workspace, made: Json) -> Json:
    former = made.get("input", {})
    wanted = directory_of(house, work.db, workspace)
    if former.get("kind") == DirectoryKind.LOCAL.value or (wanted is None and not made.get("joined")):
        return {}
    if wanted is None or (former and former.get("domain") != wanted.domain_name):
        # Another directory than the one that was joined: nobody has its password any more.
        return {"left_behind": made.get("joined")}
    left = directory.leave(
        wanted,
        house.reach,
        name=_computer(workspace),
        serial=workspace.id,
        delete_object=workspace.wanted.directory.delete_object,
    )
    return {"left": left.dn, "deleted": left.deleted}


JOIN = Step("join", "join the directory", _join_inputs, _join, _find_joined, _leave)

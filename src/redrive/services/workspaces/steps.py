"""The steps of a registration: each does one thing, finds it again after a crash, and undoes it.

``inputs`` says with what a step is done; where that changes before a retry, the step is undone and done again.
``do``, ``find`` and ``undo`` are safe to repeat. What is written into our own database goes behind the claim's fence,
in one transaction; directory and sample store are looked at by ``find``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from psycopg import Connection, sql

from redrive.endpoints import directory
from redrive.engine import claiming
from redrive.engine.kinds import Work
from redrive.errors import Failure, FailureClass
from redrive.services.workspaces.house import (
    House,
    Json,
    Workspace,
    as_json,
    directory_of,
    queries,
)
from redrive.services.workspaces.model import (
    Access,
    DirectoryKind,
    WorkspaceSettings,
    known,
    overlaps,
    sources,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Step:
    """A step. ``do`` returns what it made, ``find`` the same where it is there, ``undo`` what it took back."""

    name: str
    title: str
    inputs: Callable[[Workspace], Json]
    do: Callable[[House, Work, Workspace], Json]
    find: Callable[[House, Work, Workspace], Json | None]
    undo: Callable[[House, Work, Workspace, Json], Json]
    #: Doing it again replaces what is there in one statement: it is not undone first, so nothing lies open between.
    replaces: bool = False


def _fenced(work: Work, write: Callable[[Connection[Any]], T]) -> T:
    """Write into our database in one transaction that commits only while the claim is good."""

    def fenced(conn: Connection[Any]) -> T:
        claiming.fence(conn, work)
        return write(conn)

    return work.db.run(fenced)


def _needs_input(code: str, detail: str, hint: str, target: str) -> Failure:
    return Failure(code, detail, hint=hint, kind=FailureClass.NEEDS_INPUT, target=target)


def _nothing(house: House, work: Work, workspace: Workspace, made: Json) -> Json:
    return {}


# -- subnets: what was named exists and does not overlap


def _networks(workspace: Workspace) -> dict[str, str]:
    found, _ = known(workspace.wanted.subnets, workspace.known_subnets)
    return found


def _subnet_inputs(workspace: Workspace) -> Json:
    wanted = workspace.wanted
    return {
        "vpc": wanted.vpc_id,
        "subnets": list(wanted.subnets),
        "networks": _networks(workspace),
        "management": wanted.management_cidr,
    }


def _check_subnets(house: House, work: Work, workspace: Workspace) -> Json:
    wanted = workspace.wanted
    found, missing = known(wanted.subnets, workspace.known_subnets)
    if missing:
        raise _needs_input(
            "subnet_unknown",
            f"the subnets {', '.join(missing)} are not known here",
            "name their networks (redrive workspaces subnets put PROJECT ID CIDR), or give others, then retry",
            "subnets",
        )
    management = {"the management network": wanted.management_cidr} if wanted.management_cidr else {}
    wrong = overlaps({**found, **management})
    if wrong:
        raise _needs_input(
            "subnets_overlap",
            "; ".join(wrong),
            "choose other subnets by a modify call, then retry",
            "subnets",
        )
    return {"checked": len(found)}


# -- rules: from where calls of the project may come


def _rule_inputs(workspace: Workspace) -> Json:
    return {"from": sources(workspace.wanted, _networks(workspace))}


def _set_rules(house: House, work: Work, workspace: Workspace) -> Json:
    allowed = sources(workspace.wanted, _networks(workspace))
    if allowed == []:
        raise _needs_input(
            "no_network",
            "the workspace is to be reached from its own networks only, and none is named",
            "name dedicated_subnets or subnets by a modify call, then retry",
            "network rules",
        )
    named = {"tenant_id": workspace.tenant_id, "allowed": allowed}
    _fenced(work, lambda conn: conn.execute(queries.set_allowed, named))
    return {"rules": len(allowed or ())}


def _find_rules(house: House, work: Work, workspace: Workspace) -> Json | None:
    wanted = sources(workspace.wanted, _networks(workspace))
    there = None if workspace.allowed_from is None else sorted(workspace.allowed_from)
    return {"rules": len(wanted or ())} if there == wanted and wanted != [] else None


def _drop_rules(house: House, work: Work, workspace: Workspace, made: Json) -> Json:
    named = {"tenant_id": workspace.tenant_id, "allowed": None}
    _fenced(work, lambda conn: conn.execute(queries.set_allowed, named))
    return {}


# -- database: a schema and a role of the project's own


def _schema_name(workspace: Workspace) -> str:
    return f"ws_{workspace.id}"


def _make_schema(house: House, work: Work, workspace: Workspace) -> Json:
    name = _schema_name(workspace)

    def make(conn: Connection[Any]) -> Json:
        found = conn.execute(queries.has_schema, {"schema": name, "role": name}).fetchone()
        if found is None:
            raise AssertionError("a select without a row")
        role = name if found.role_there or found.may_make_roles else None
        if role is not None and not found.role_there:
            conn.execute(sql.SQL("create role {} nologin").format(sql.Identifier(name)))
            conn.execute(sql.SQL("grant {} to current_user").format(sql.Identifier(name)))
        if not found.schema_there:
            owner = sql.SQL(" authorization {}").format(sql.Identifier(name)) if role else sql.SQL("")
            conn.execute(sql.SQL("create schema {}").format(sql.Identifier(name)) + owner)
        conn.execute(queries.set_schema, {"tenant_id": workspace.tenant_id, "schema": name, "role": role})
        # Without the right to make roles the schema belongs to the server's own: shown, not hidden.
        return {"schema": name, "role": role}

    try:
        return _fenced(work, make)
    except psycopg.errors.InsufficientPrivilege as error:
        raise _needs_input(
            "database_refused",
            f"the database refuses a schema of the project's own: {str(error).splitlines()[0]}",
            "grant the server's role CREATE on its database (and CREATEROLE), then retry",
            "database",
        ) from error


def _find_schema(house: House, work: Work, workspace: Workspace) -> Json | None:
    if workspace.schema_name is None:
        return None
    return {"schema": workspace.schema_name, "role": workspace.role_name}


def _drop_schema(house: House, work: Work, workspace: Workspace, made: Json) -> Json:
    name = _schema_name(workspace)

    def drop(conn: Connection[Any]) -> Json:
        conn.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(name)))
        found = conn.execute(queries.has_schema, {"schema": name, "role": name}).fetchone()
        if found is not None and found.role_there:
            conn.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))
        conn.execute(queries.set_schema, {"tenant_id": workspace.tenant_id, "schema": None, "role": None})
        return {"schema_dropped": name}

    return _fenced(work, drop)


# -- samples and whatever else other services keep


def _prepare(house: House, work: Work, workspace: Workspace) -> Json:
    for belonging in house.belongings:
        belonging.prepare(work, workspace.org_id, workspace.id)
    return {"prepared": [belonging.name for belonging in house.belongings]}


def _find_prepared(house: House, work: Work, workspace: Workspace) -> Json | None:
    if not all(belonging.prepared(workspace.org_id, workspace.id) for belonging in house.belongings):
        return None
    return {"prepared": [belonging.name for belonging in house.belongings]}


def _erase(house: House, work: Work, workspace: Workspace, made: Json) -> Json:
    erased: dict[str, Any] = {}
    for belonging in house.belongings:
        with work.db.transaction() as conn:
            blocked = belonging.blocked(conn, workspace.tenant_id)
        if blocked:
            raise _needs_input(
                "held", blocked, "lift the hold when the data may be erased, then retry", "hold"
            )
        # The mark goes last, so only a claim that vanished may have taken it away already.
        there = work.lapsed or belonging.prepared(workspace.org_id, workspace.id)
        if belonging.name in made.get("prepared", ()) and not there:
            raise _needs_input(
                "storage",
                "the sample store is not the one that was prepared for this workspace, or it is away",
                "bring it back (is its disk mounted, and the address right?), then retry",
                "sample store",
            )
        erased |= belonging.erase(work, workspace.org_id)
    return erased


# -- key: seals what the project keeps secret, first its directory's password; without it nothing of that opens again


def _make_key(house: House, work: Work, workspace: Workspace) -> Json:
    def make(conn: Connection[Any]) -> Json:
        house.secrets.keys.make(conn, workspace.tenant_id)
        if workspace.directory_password is not None:
            sealed = house.secrets.sealed(conn, workspace.tenant_id, house.secrets.password(conn, workspace))
            conn.execute(queries.reseal_password, {"tenant_id": workspace.tenant_id, **sealed})
        return {"key": True}

    return _fenced(work, make)


def _find_key(house: House, work: Work, workspace: Workspace) -> Json | None:
    if workspace.directory_password is not None:
        return None  # it is still to be sealed with the key
    with work.db.transaction() as conn:
        return {"key": True} if house.secrets.keys.has(conn, workspace.tenant_id) else None


def _drop_key(house: House, work: Work, workspace: Workspace, made: Json) -> Json:
    _fenced(work, lambda conn: house.secrets.keys.drop(conn, workspace.tenant_id))
    return {"key_dropped": True}


# -- directory: first looked at, then joined


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


# -- endpoints: the ways by which the workspace is reached


def _endpoint_inputs(workspace: Workspace) -> Json:
    return {"access": workspace.wanted.access.value, "dedicated": _dedicated(workspace.wanted, workspace)}


def _dedicated(wanted: WorkspaceSettings, workspace: Workspace) -> list[str]:
    if wanted.access is Access.INTERNET:
        return []
    management = [wanted.management_cidr] if wanted.management_cidr else []
    return sorted({*wanted.dedicated_subnets, *_networks(workspace).values(), *management})


def _endpoints(workspace: Workspace) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for way in workspace.wanted.access.ways:
        allowed = _dedicated(workspace.wanted, workspace) if way == "dedicated" else None
        made[way] = {"prefix": f"/access/{workspace.id}/{way}", "from": allowed}
    return made


def _open_endpoints(house: House, work: Work, workspace: Workspace) -> Json:
    made = _endpoints(workspace)
    named = {"tenant_id": workspace.tenant_id, "endpoints": as_json(made)}
    _fenced(work, lambda conn: conn.execute(queries.set_endpoints, named))
    return {"endpoints": [each["prefix"] for each in made.values()]}


def _find_endpoints(house: House, work: Work, workspace: Workspace) -> Json | None:
    wanted = _endpoints(workspace)
    if workspace.endpoints != wanted:
        return None
    return {"endpoints": [each["prefix"] for each in wanted.values()]}


def _close_endpoints(house: House, work: Work, workspace: Workspace, made: Json) -> Json:
    named = {"tenant_id": workspace.tenant_id, "endpoints": "{}"}
    _fenced(work, lambda conn: conn.execute(queries.set_endpoints, named))
    return {}


# -- name: the enterprise id, by which people find the workspace


def enterprise_id_of(workspace: Workspace) -> str:
    """Return the enterprise id that was asked for, or the one that the workspace gets."""
    return workspace.wanted.enterprise_id or f"{workspace.project_name[:20]}-{workspace.id[:8]}"


def _take_name(house: House, work: Work, workspace: Workspace) -> Json:
    name = enterprise_id_of(workspace)
    named = {"tenant_id": workspace.tenant_id, "enterprise_id": name}
    try:
        _fenced(work, lambda conn: conn.execute(queries.set_enterprise_id, named))
    except psycopg.errors.UniqueViolation:
        raise _needs_input(
            "enterprise_id_taken",
            f"the enterprise id {name} belongs to another workspace",
            "choose another one (change the enterprise id), then retry",
            "enterprise id",
        ) from None
    return {"enterprise_id": name}


def _find_name(house: House, work: Work, workspace: Workspace) -> Json | None:
    name = enterprise_id_of(workspace)
    return {"enterprise_id": name} if workspace.enterprise_id == name else None


def _give_name_back(house: House, work: Work, workspace: Workspace, made: Json) -> Json:
    named = {"tenant_id": workspace.tenant_id, "enterprise_id": None}
    _fenced(work, lambda conn: conn.execute(queries.set_enterprise_id, named))
    return {}


# -- open: from here on data calls are answered


def _open(house: House, work: Work, workspace: Workspace) -> Json:
    def write(conn: Connection[Any]) -> Json:
        conn.execute(queries.set_open, {"tenant_id": workspace.tenant_id, "open": True})
        conn.execute(queries.set_registered, {"tenant_id": workspace.tenant_id})
        return {"open": True}

    return _fenced(work, write)


def _find_open(house: House, work: Work, workspace: Workspace) -> Json | None:
    return {"open": True} if workspace.open and workspace.registered_at is not None else None


def _no_inputs(workspace: Workspace) -> Json:
    return {}


def _never_found(house: House, work: Work, workspace: Workspace) -> Json | None:
    return None


STEPS: tuple[Step, ...] = (
    Step("subnets", "check the subnets", _subnet_inputs, _check_subnets, _never_found, _nothing),
    Step("rules", "set the network rules", _rule_inputs, _set_rules, _find_rules, _drop_rules,
         replaces=True),
    Step("database", "make schema and role", _no_inputs, _make_schema, _find_schema, _drop_schema),
    Step("samples", "prepare the sample store", _no_inputs, _prepare, _find_prepared, _erase),
    Step("key", "make the data key", _no_inputs, _make_key, _find_key, _drop_key),
    Step("directory", "check the directory", _directory_inputs, _check_directory, _never_found, _nothing),
    Step("join", "join the directory", _join_inputs, _join, _find_joined, _leave),
    Step("endpoints", "open the access endpoints", _endpoint_inputs, _open_endpoints, _find_endpoints,
         _close_endpoints, replaces=True),
    Step("name", "take the enterprise id", lambda workspace: {"enterprise_id": enterprise_id_of(workspace)},
         _take_name, _find_name, _give_name_back, replaces=True),
    Step("open", "open the workspace", _no_inputs, _open, _find_open, _nothing),
)  # fmt: skip

BY_NAME: Mapping[str, Step] = {step.name: step for step in STEPS}

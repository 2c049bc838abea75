"""How the workspace is reached: its subnets, the rules, the endpoints, its name, and that it is open."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import Connection

from redrive.engine.kinds import Work
from redrive.services.workspaces.house import House, Json, Workspace, as_json, queries
from redrive.services.workspaces.model import Access, WorkspaceSettings, known, overlaps, sources
from redrive.services.workspaces.steps.step import Step, fenced, needs_input, never_found, no_inputs, nothing

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
        raise needs_input(
            "subnet_unknown",
            f"the subnets {', '.join(missing)} are not known here",
            "name their networks (redrive workspaces subnets put PROJECT ID CIDR), or give others, then retry",
            "subnets",
        )
    management = {"the management network": wanted.management_cidr} if wanted.management_cidr else {}
    wrong = overlaps({**found, **management})
    if wrong:
        raise needs_input(
            "subnets_overlap",
            "; ".join(wrong),
            "choose other subnets by a modify call, then retry",
            "subnets",
        )
    return {"checked": len(found)}


SUBNETS = Step("subnets", "check the subnets", _subnet_inputs, _check_subnets, never_found, nothing)


# -- rules: from where calls of the project may come


def _rule_inputs(workspace: Workspace) -> Json:
    return {"from": sources(workspace.wanted, _networks(workspace))}


def _set_rules(house: House, work: Work, workspace: Workspace) -> Json:
    allowed = sources(workspace.wanted, _networks(workspace))
    if allowed == []:
        raise needs_input(
            "no_network",
            "the workspace is to be reached from its own networks only, and none is named",
            "name dedicated_subnets or subnets by a modify call, then retry",
            "network rules",
        )
    named = {"tenant_id": workspace.tenant_id, "allowed": allowed}
    fenced(work, lambda conn: conn.execute(queries.set_allowed, named))
    return {"rules": len(allowed or ())}


def _find_rules(house: House, work: Work, workspace: Workspace) -> Json | None:
    wanted = sources(workspace.wanted, _networks(workspace))
    there = None if workspace.allowed_from is None else sorted(workspace.allowed_from)
    return {"rules": len(wanted or ())} if there == wanted and wanted != [] else None


def _drop_rules(house: House, work: Work, workspace: Workspace, made: Json) -> Json:
    named = {"tenant_id": workspace.tenant_id, "allowed": None}
    fenced(work, lambda conn: conn.execute(queries.set_allowed, named))
    return {}


RULES = Step(
    "rules", "set the network rules", _rule_inputs, _set_rules, _find_rules, _drop_rules, replaces=True
)


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
    fenced(work, lambda conn: conn.execute(queries.set_endpoints, named))
    return {"endpoints": [each["prefix"] for each in made.values()]}


def _find_endpoints(house: House, work: Work, workspace: Workspace) -> Json | None:
    wanted = _endpoints(workspace)
    if workspace.endpoints != wanted:
        return None
    return {"endpoints": [each["prefix"] for each in wanted.values()]}


def _close_endpoints(house: House, work: Work, workspace: Workspace, made: Json) -> Json:
    named = {"tenant_id": workspace.tenant_id, "endpoints": "{}"}
    fenced(work, lambda conn: conn.execute(queries.set_endpoints, named))
    return {}


ENDPOINTS = Step(
    "endpoints",
    "open the access endpoints",
    _endpoint_inputs,
    _open_endpoints,
    _find_endpoints,
    _close_endpoints,
    replaces=True,
)


# -- name: the enterprise id, by which people find the workspace


def enterprise_id_of(workspace: Workspace) -> str:
    """Return the enterprise id that was asked for, or the one that the workspace gets."""
    return workspace.wanted.enterprise_id or f"{workspace.project_name[:20]}-{workspace.id[:8]}"


def _name_inputs(workspace: Workspace) -> Json:
    return {"enterprise_id": enterprise_id_of(workspace)}


def _take_name(house: House, work: Work, workspace: Workspace) -> Json:
    name = enterprise_id_of(workspace)
    named = {"tenant_id": workspace.tenant_id, "enterprise_id": name}
    try:
        fenced(work, lambda conn: conn.execute(queries.set_enterprise_id, named))
    except psycopg.errors.UniqueViolation:
        raise needs_input(
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
    fenced(work, lambda conn: conn.execute(queries.set_enterprise_id, named))
    return {}


NAME = Step(
    "name", "take the enterprise id", _name_inputs, _take_name, _find_name, _give_name_back, replaces=True
)


# -- open: from here on data calls are answered


def _open(house: House, work: Work, workspace: Workspace) -> Json:
    def write(conn: Connection[Any]) -> Json:
        conn.execute(queries.set_open, {"tenant_id": workspace.tenant_id, "open": True})
        conn.execute(queries.set_registered, {"tenant_id": workspace.tenant_id})
        return {"open": True}

    return fenced(work, write)


def _find_open(house: House, work: Work, workspace: Workspace) -> Json | None:
    return {"open": True} if workspace.open and workspace.registered_at is not None else None


OPEN = Step("open", "open the workspace", no_inputs, _open, _find_open, nothing)

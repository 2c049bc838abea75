"""What the workspace keeps: a schema in the database, what other services keep for it, the key to its secrets."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import Connection, sql

from redrive.engine.kinds import Work
from redrive.services.workspaces.house import House, Json, Workspace, queries
from redrive.services.workspaces.steps.step import Step, fenced, needs_input, no_inputs

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
        return fenced(work, make)
    except psycopg.errors.InsufficientPrivilege as error:
        raise needs_input(
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

    try:
        return fenced(work, drop)
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.DependentObjectsStillExist) as error:
        why = f"{str(error).splitlines()[0]} {error.diag.message_detail or ''}".strip()
        raise needs_input(
            "database_refused",
            f"the database does not let the project's schema and role go: {why}",
            "grant the server's role what it lacks, or drop or give away what else the role owns, then retry",
            "database",
        ) from error


DATABASE = Step("database", "make schema and role", no_inputs, _make_schema, _find_schema, _drop_schema)


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
            raise needs_input(
                "held", blocked, "lift the hold when the data may be erased, then retry", "hold"
            )
        erased |= belonging.erase(work, workspace.org_id)
    return erased


SAMPLES = Step("samples", "prepare the sample store", no_inputs, _prepare, _find_prepared, _erase)


# -- key: seals what the project keeps secret, first its directory's password; without it nothing of that opens again


def _make_key(house: House, work: Work, workspace: Workspace) -> Json:
    def make(conn: Connection[Any]) -> Json:
        house.secrets.keys.make(conn, workspace.tenant_id)
        if workspace.directory_password is not None:
            sealed = house.secrets.sealed(conn, workspace.tenant_id, house.secrets.password(conn, workspace))
            conn.execute(queries.reseal_password, {"tenant_id": workspace.tenant_id, **sealed})
        return {"key": True}

    return fenced(work, make)


def _find_key(house: House, work: Work, workspace: Workspace) -> Json | None:
    if workspace.directory_password is not None:
        return None  # it is still to be sealed with the key
    with work.db.transaction() as conn:
        return {"key": True} if house.secrets.keys.has(conn, workspace.tenant_id) else None


def _drop_key(house: House, work: Work, workspace: Workspace, made: Json) -> Json:
    fenced(work, lambda conn: house.secrets.keys.drop(conn, workspace.tenant_id))
    return {"key_dropped": True}


KEY = Step("key", "make the data key", no_inputs, _make_key, _find_key, _drop_key)

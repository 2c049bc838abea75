"""Projects of an account: listed, made, found by id or name.

A project is a tenant: one vendor's project (32 hex digits, its name that of a region) and another's organization.
Names are unique in their account; what belongs to another account answers as if it did not exist.
"""

from __future__ import annotations

import re
import uuid
from typing import Any

import psycopg

from redrive.database import Queries
from redrive.errors import Problem, ProblemCode, invalid
from redrive.identity.audit import By, record_change
from redrive.identity.bootstrap import new_org_id
from redrive.identity.user_tokens import Project, projects
from redrive.ids import new_id

queries = Queries.beside(__file__, "rights.sql")

_NAME = re.compile(r"[a-z0-9-]{1,64}")
_ID = re.compile(r"[0-9a-f]{32}")

Connection = psycopg.Connection[Any]


def list_projects(conn: Connection, account_id: str) -> list[Project]:
    """Return the account's projects, oldest first."""
    return projects(conn, account_id, {})


def get_project(conn: Connection, account_id: str, wanted: str) -> Project:
    """Return a project by id or name; a Problem where the account has none such."""
    by = "project_id" if _ID.fullmatch(wanted) else "name"
    for found in projects(conn, account_id, {by: wanted}) if "\0" not in wanted else ():
        return found
    raise Problem(ProblemCode.NOT_FOUND, f"there is no project {wanted[:80]!a}", reason="not_found")


def create_project(conn: Connection, account_id: str, name: str, *, who: By) -> Project:
    """Make a project; nobody may do anything there whose policies are not attached in every project."""
    if _NAME.fullmatch(name) is None or _ID.fullmatch(name) is not None:
        raise invalid("name", "1 to 64 of a-z, 0-9 and -, such as a region's name", name)
    made = Project(new_id(), uuid.uuid4().hex, name, new_org_id(), account_id)
    values = {
        "tenant_id": made.tenant_id,
        "account_id": account_id,
        "project_id": made.project_id,
        "project_name": name,
        "org_id": made.org_id,
        "workspace_id": uuid.uuid4().hex,
    }
    try:
        with conn.transaction():
            conn.execute(queries.insert_project, values)
    except psycopg.errors.UniqueViolation:
        raise Problem(ProblemCode.CONFLICT, f"there is a project {name} already", reason="exists") from None
    record_change(
        conn, who, "iam:projects:create", name, detail={"project_id": made.project_id, "org_id": made.org_id}
    )
    return made

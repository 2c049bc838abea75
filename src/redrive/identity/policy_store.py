"""Policies of an account: written, changed, attached to users and groups, in one project or in all.

Built-in policies (``builtin``) are attached by their names and cannot be changed. Every change is in the audit
trail, with the document. A policy that is attached cannot be deleted.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
import psycopg

from redrive.database import Queries
from redrive.errors import Problem, ProblemCode, invalid
from redrive.identity.audit import By, record_change
from redrive.identity.builtin import DOCUMENTS
from redrive.identity.policies import parse_policy
from redrive.identity.users import PAGE_LIMIT, check_description, check_name, get_group, get_user

queries = Queries.beside(__file__, "rights.sql")

DOCUMENT_BYTES = 128 * 1024

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class StoredPolicy:
    """A policy as listed. Built-in ones have their name as id and no dates."""

    id: str
    name: str
    description: str
    document: Mapping[str, Any]
    created_at: datetime | None
    changed_at: datetime | None
    attachments: int
    builtin: bool = False


@dataclass(frozen=True, slots=True)
class Attachment:
    """A policy where it is attached; ``project`` None: in every project; ``group``: through it."""

    policy: str
    builtin: bool
    project: str | None
    group: str | None
    tenant_id: int | None
    #: None: a built-in one's, which the program has.
    document: Mapping[str, Any] | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Target:
    """To whom a policy is attached: a user or a group, by name or id; ``tenant_id`` None: in every project."""

    user: str | None = None
    group: str | None = None
    tenant_id: int | None = None


def list_policies(
    conn: Connection,
    account_id: str,
    wanted: str | None = None,
    *,
    after: str | None = None,
    limit: int = PAGE_LIMIT,
) -> list[StoredPolicy]:
    """Return a page of the account's own policies in order of name, behind the name ``after``.

    ``wanted``: only the one with this name or id.
    """
    named = {"account_id": account_id, "wanted": wanted, "after": after, "limit": min(limit, PAGE_LIMIT)}
    return [StoredPolicy(*row) for row in conn.execute(queries.policies, named).fetchall()]


def list_builtin(conn: Connection, account_id: str) -> list[StoredPolicy]:
    """Return the policies that are always there."""
    rows = conn.execute(queries.builtin_attachments, {"account_id": account_id}).fetchall()
    attached = {row.builtin: row.attachments for row in rows}
    return [
        StoredPolicy(name, name, "built in", document, None, None, attached.get(name, 0), builtin=True)
        for name, document in DOCUMENTS.items()
    ]


def get_policy(conn: Connection, account_id: str, wanted: str) -> StoredPolicy:
    """Return a policy by name or id; a Problem where there is none such."""
    found = list_policies(conn, account_id, wanted)
    found += [each for each in list_builtin(conn, account_id) if each.name == wanted]
    if not found:
        raise Problem(ProblemCode.NOT_FOUND, f"there is no policy {wanted[:80]!a}", reason="not_found")
    return found[0]


def put_policy(
    conn: Connection,
    account_id: str,
    name: str,
    document: Mapping[str, Any],
    *,
    who: By,
    description: str | None = None,
) -> StoredPolicy:
    """Write a policy, or give the one of this name another document. Safe to repeat."""
    check_name(name)
    if name in DOCUMENTS:
        raise Problem(ProblemCode.CONFLICT, f"{name} is built in", hint="take another name", reason="builtin")
    if description is not None:
        check_description(description)
    parse_policy(name, document)
    stored = orjson.dumps(document)
    if len(stored) > DOCUMENT_BYTES:
        raise invalid("document", f"at most {DOCUMENT_BYTES} bytes", len(stored))
    former = conn.execute(queries.policy_by_name, {"account_id": account_id, "name": name}).fetchone()
    policy_id = str(former.id) if former is not None else uuid.uuid4().hex
    values = {
        "id": policy_id,
        "account_id": account_id,
        "name": name,
        "description": description if former is not None else description or "",
        "document": stored.decode(),
    }
    try:
        with conn.transaction():
            conn.execute(queries.insert_policy if former is None else queries.change_policy, values)
    except psycopg.errors.UniqueViolation:
        raise Problem(
            ProblemCode.CONFLICT, f"{name} is being made by somebody else", reason="exists"
        ) from None
    action = "iam:policies:create" if former is None else "iam:policies:update"
    detail = {"document": document, "former": former.document if former is not None else None}
    record_change(conn, who, action, name, detail=detail)
    return get_policy(conn, account_id, policy_id)


def delete_policy(conn: Connection, account_id: str, wanted: str, *, who: By) -> None:
    """Delete a policy that is attached to nobody."""
    policy = _own(get_policy(conn, account_id, wanted))
    try:
        gone = conn.execute(queries.delete_policy, {"id": policy.id, "account_id": account_id}).fetchone()
    except psycopg.errors.ForeignKeyViolation:
        gone = None
    if gone is None:
        raise Problem(
            ProblemCode.CONFLICT, f"{policy.name} is attached", hint="detach it first", reason="attached"
        )
    record_change(conn, who, "iam:policies:delete", policy.name, detail={"document": policy.document})


def attach(conn: Connection, account_id: str, policy: str, target: Target, *, who: By) -> None:
    """Attach a policy to a user or a group. Safe to repeat."""
    _change(conn, account_id, policy, target, who, queries.attach, "iam:policies:attach")


def detach(conn: Connection, account_id: str, policy: str, target: Target, *, who: By) -> None:
    """Detach a policy from a user or a group. Safe to repeat."""
    _change(conn, account_id, policy, target, who, queries.detach, "iam:policies:detach")


def attachments_of(conn: Connection, account_id: str, target: Target) -> list[Attachment]:
    """Return what is attached to a user, also through its groups, or to a group."""
    user_id, group_id, _ = _ids(conn, account_id, target)
    rows = conn.execute(queries.attachments_of, {"user_id": user_id, "group_id": group_id}).fetchall()
    return [
        Attachment(
            row.policy,
            row.builtin,
            row.project_name,
            row.group_name if user_id else None,
            row.tenant_id,
            row.document,
        )
        for row in rows
    ]


def lock_policy(conn: Connection, account_id: str, wanted: str) -> None:
    """Keep a policy as it is until the transaction ends; call it before its document is judged."""
    conn.execute(queries.lock_policy, {"account_id": account_id, "wanted": wanted})


def scopes_of(conn: Connection, policy: StoredPolicy) -> list[int | None]:
    """Return the projects in which an account's own policy is attached to somebody; None: in every one."""
    return [row.tenant_id for row in conn.execute(queries.scopes_of_policy, {"id": policy.id}).fetchall()]


def _change(
    conn: Connection, account_id: str, policy: str, target: Target, who: By, query: str, action: str
) -> None:
    found = get_policy(conn, account_id, policy)
    user_id, group_id, name = _ids(conn, account_id, target)
    changed = conn.execute(
        query,
        {
            "user_id": user_id,
            "group_id": group_id,
            "policy_id": None if found.builtin else found.id,
            "builtin": found.name if found.builtin else None,
            "tenant_id": target.tenant_id,
        },
    ).fetchone()
    if changed is not None:
        detail = {
            "to": name,
            "group": group_id is not None,
            "tenant": str(target.tenant_id or "every project"),
        }
        record_change(conn, who, action, found.name, detail=detail)


def _ids(conn: Connection, account_id: str, target: Target) -> tuple[str | None, str | None, str]:
    if (target.user is None) == (target.group is None):
        raise invalid("user", "either a user or a group")
    if target.user is not None:
        user = get_user(conn, account_id, target.user)
        return user.id, None, user.name
    group = get_group(conn, account_id, str(target.group))
    return None, group.id, group.name


def _own(policy: StoredPolicy) -> StoredPolicy:
    if policy.builtin:
        raise Problem(ProblemCode.CONFLICT, f"{policy.name} is built in", reason="builtin")
    return policy

"""Key pairs: an access key and a secret, both UUID-shaped, with permissions.

The same pair signs requests in every vendor's way. The secret is shown once, when the pair is made; the
database holds it sealed and bound to its row. Revoking is final, ends the pair's tokens, and is safe to
repeat.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

import psycopg

from redrive.database import Queries, Row
from redrive.errors import Problem, ProblemCode, invalid
from redrive.identity.access import EVERYTHING, Action, Role, Scope
from redrive.identity.master_key import KEY_SECRETS
from redrive.identity.sealing import Sealer
from redrive.ids import new_id

queries = Queries.beside(__file__)

Permissions = Mapping[Action, Scope]

#: What the first key pair may do: everything in its tenant.
ALL_PERMISSIONS: Permissions = MappingProxyType({Action.READ: EVERYTHING, Action.WRITE: EVERYTHING})

_NAME_LENGTH = 100


@dataclass(frozen=True, slots=True)
class NewKeyPair:
    """A key pair that was just made: the only place where its secret can be read."""

    id: int
    access_key: str
    secret_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A key pair as listed: no secret."""

    id: int
    name: str
    access_key: str
    role: Role
    first: bool
    user_name: str
    permissions: Permissions
    created_at: datetime
    revoked_at: datetime | None


def create_key(
    conn: psycopg.Connection[Any],
    sealer: Sealer,
    *,
    tenant_id: int,
    user_id: str,
    name: str,
    permissions: Permissions,
    role: Role = Role.MEMBER,
    first: bool = False,
) -> NewKeyPair:
    """Make a key pair that acts for the tenant; ``name`` is the actor in histories."""
    if not name.strip() or len(name) > _NAME_LENGTH or not name.isprintable():
        raise invalid("name", f"1 to {_NAME_LENGTH} printable characters", name)
    made = NewKeyPair(new_id(), str(uuid.uuid4()), str(uuid.uuid4()))
    conn.execute(
        queries.insert_key,
        {
            "id": made.id,
            "tenant_id": tenant_id,
            "user_id": user_id,
            "name": name,
            "access_key": made.access_key,
            "secret": sealer.seal(made.secret_key.encode(), KEY_SECRETS.place(made.id)),
            "role": role.value,
            "first": first,
        },
    )
    for action, scope in permissions.items():
        conn.execute(
            queries.insert_permission,
            {
                "key_id": made.id,
                "action": action.value,
                "all_assets": scope.every,
                "asset_ids": sorted(scope.ids),
                "asset_prefixes": list(scope.prefixes),
            },
        )
    return made


def list_keys(conn: psycopg.Connection[Any], tenant_id: int) -> list[KeyPair]:
    """Return the tenant's key pairs, oldest first, revoked ones too."""
    rows = conn.execute(queries.list_keys, {"tenant_id": tenant_id}).fetchall()
    return [
        KeyPair(
            row.id,
            row.name,
            row.access_key,
            Role(row.role),
            row.first,
            row.user_name,
            permissions_of(row.permissions),
            row.created_at,
            row.revoked_at,
        )
        for row in rows
    ]


def revoke_key(conn: psycopg.Connection[Any], tenant_id: int, access_key: str) -> int | None:
    """Revoke a key pair of the tenant; return its id, or None where it was revoked before.

    Raises ``Problem(not_found)`` where the tenant has no such key pair.
    """
    named = {"tenant_id": tenant_id, "access_key": access_key}
    row = conn.execute(queries.revoke_key, named).fetchone()
    if row is not None:
        return int(row.id)
    if not any(key.access_key == access_key for key in list_keys(conn, tenant_id)):
        raise Problem(ProblemCode.NOT_FOUND, f"there is no key pair {access_key}")
    return None


def find_tenant(conn: psycopg.Connection[Any], name: str) -> Row:
    """Return the tenant with this id, project id or name, or organization id."""
    rows = conn.execute(queries.find_tenant, {"name": name}).fetchall()
    if len(rows) != 1:
        what = "there is no tenant" if not rows else "there are several tenants named"
        raise Problem(ProblemCode.NOT_FOUND, f"{what} {name}", hint="name it by its project id or orgId")
    return rows[0]


def permissions_of(stored: Iterable[tuple[str, bool, list[str], list[str]]]) -> Permissions:
    """Return permissions as read from the database: rows of (action, all, ids, prefixes)."""
    return MappingProxyType(
        {
            Action(action): EVERYTHING if every else Scope(ids=frozenset(ids), prefixes=tuple(prefixes))
            for action, every, ids, prefixes in stored
        }
    )

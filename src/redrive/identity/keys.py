"""Key pairs: an access key and a secret, both UUID-shaped, that act as a user for one tenant.

A pair may have policies of its own, its *layers*; then it may do only what its user's policies and each of the layers
allow. The same pair signs requests in every vendor's way. The secret is shown once, when the pair is made; the
database holds it sealed and bound to its row. Revoking is final, ends the pair's tokens and the temporary pairs that
it made, and is safe to repeat.

A *temporary* pair ends by itself and is good only together with its security token, of which only a hash is kept.
"""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson
import psycopg

from redrive.clock import now
from redrive.database import Queries, Row
from redrive.errors import Problem, ProblemCode, invalid
from redrive.identity.master_key import KEY_SECRETS
from redrive.identity.policies import parse_policy
from redrive.identity.sealing import Sealer
from redrive.ids import new_id

queries = Queries.beside(__file__)

Document = Mapping[str, Any]

#: How the policy of a key pair is called in decisions.
OWN_POLICY = "the key pair's policy"
SHORTEST_LIFE, LONGEST_LIFE = timedelta(minutes=15), timedelta(hours=24)

#: So many policies limit one key pair at most.
MOST_LAYERS = 8
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
    #: The policies that limit it; None: none do.
    layers: Sequence[Document] | None
    first: bool
    user_name: str
    user_id: str
    created_at: datetime
    revoked_at: datetime | None


def create_key(
    conn: psycopg.Connection[Any],
    sealer: Sealer,
    *,
    tenant_id: int,
    user_id: str,
    name: str,
    policy: Document | None = None,
    within: Sequence[Document] = (),
    first: bool = False,
) -> NewKeyPair:
    """Make a key pair that acts for the tenant; ``name`` is the actor in histories.

    ``policy`` limits it, and so does each policy of ``within``; without any it may do whatever its user may. Records
    nothing in the audit trail: ``issuing`` does.
    """
    made = NewKeyPair(new_id(), str(uuid.uuid4()), str(uuid.uuid4()))
    _insert(conn, sealer, made, tenant_id, user_id, name, layers_of(policy, within), first=first)
    return made


def layers_of(policy: Document | None, within: Sequence[Document] = ()) -> tuple[Document, ...]:
    """Return the policies that limit a key pair made within others, each of them once."""
    found = list(within)
    if policy is not None and policy not in found:
        parse_policy(OWN_POLICY, policy)
        found.append(policy)
    if len(found) > MOST_LAYERS:
        raise invalid("policy", f"at most {MOST_LAYERS} policies that limit one key pair", len(found))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class TemporaryKeyPair:
    """A key pair for a while: the only place where its secret and its security token can be read."""

    pair: NewKeyPair
    security_token: str = field(repr=False)
    expires_at: datetime


def create_temporary_key(
    conn: psycopg.Connection[Any],
    sealer: Sealer,
    *,
    tenant_id: int,
    user_id: str,
    name: str,
    life: timedelta,
    policy: Document | None = None,
    within: Sequence[Document] = (),
    made_by: int | None = None,
    not_after: datetime | None = None,
) -> TemporaryKeyPair:
    """Make a key pair that ends after ``life`` (15 minutes to 24 hours), and not after ``not_after``.

    Each is a new one. ``made_by`` is the key pair that asked for it: it ends with that one.
    """
    if not SHORTEST_LIFE <= life <= LONGEST_LIFE:
        raise invalid("duration_seconds", "900 to 86400", int(life.total_seconds()))
    conn.execute(queries.drop_expired_keys)
    pair = NewKeyPair(new_id(), str(uuid.uuid4()), str(uuid.uuid4()))
    ends = now() + life
    made = TemporaryKeyPair(pair, secrets.token_urlsafe(48), min(ends, not_after or ends))
    layers = layers_of(policy, within)
    _insert(conn, sealer, pair, tenant_id, user_id, name, layers, temporary=made, made_by=made_by)
    return made


def _insert(
    conn: psycopg.Connection[Any],
    sealer: Sealer,
    made: NewKeyPair,
    tenant_id: int,
    user_id: str,
    name: str,
    layers: Sequence[Document],
    *,
    first: bool = False,
    temporary: TemporaryKeyPair | None = None,
    made_by: int | None = None,
) -> None:
    if not name.strip() or len(name) > _NAME_LENGTH or not name.isprintable():
        raise invalid("name", f"1 to {_NAME_LENGTH} printable characters", name)
    conn.execute(
        queries.insert_key,
        {
            "id": made.id,
            "tenant_id": tenant_id,
            "user_id": user_id,
            "name": name,
            "access_key": made.access_key,
            "secret": sealer.seal(made.secret_key.encode(), KEY_SECRETS.place(made.id)),
            "layers": orjson.dumps(layers).decode() if layers else None,
            "first": first,
            "expires_at": temporary.expires_at if temporary else None,
            "token_hash": hash_of_token(temporary.security_token) if temporary else None,
            "made_by": made_by,
        },
    )


def hash_of_token(security_token: str) -> bytes:
    """Return what is kept of a security token."""
    return hashlib.sha256(security_token.encode("utf-8", "replace")).digest()


def list_keys(
    conn: psycopg.Connection[Any],
    tenant_id: int,
    *,
    access_key: str | None = None,
    user_id: str | None = None,
) -> list[KeyPair]:
    """Return the tenant's key pairs, oldest first, revoked ones too, temporary ones not.

    ``access_key``: only the one with this name; ``user_id``: only those of this user.
    """
    named = {"tenant_id": tenant_id, "access_key": access_key, "user_id": user_id}
    return [KeyPair(*row) for row in conn.execute(queries.list_keys, named).fetchall()]


def get_key(conn: psycopg.Connection[Any], tenant_id: int, access_key: str) -> KeyPair:
    """Return a key pair of the tenant; a Problem where it has none such."""
    for pair in list_keys(conn, tenant_id, access_key=access_key):
        return pair
    raise Problem(ProblemCode.NOT_FOUND, f"there is no key pair {access_key[:80]!a}", reason="not_found")


def revoke_key(conn: psycopg.Connection[Any], tenant_id: int, access_key: str) -> int | None:
    """Revoke a key pair of the tenant; return its id, or None where it was revoked before.

    Raises ``Problem(not_found)`` where the tenant has no such key pair.
    """
    named = {"tenant_id": tenant_id, "access_key": access_key}
    row = conn.execute(queries.revoke_key, named).fetchone()
    if row is not None:
        return int(row.id)
    get_key(conn, tenant_id, access_key)
    return None


def find_tenant(conn: psycopg.Connection[Any], name: str) -> Row:
    """Return the tenant with this id, project id or name, or organization id."""
    rows = conn.execute(queries.find_tenant, {"name": name}).fetchall()
    if len(rows) != 1:
        what = "there is no tenant" if not rows else "there are several tenants named"
        raise Problem(ProblemCode.NOT_FOUND, f"{what} {name}", hint="name it by its project id or orgId")
    return rows[0]

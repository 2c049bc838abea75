"""Key pairs for users: made, rotated, revoked, made for a while. Each is recorded in the audit trail.

Whether somebody may have them is decided before (``delegation``). Nothing that is recorded holds a secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import psycopg

from redrive.database import Queries
from redrive.errors import Problem, ProblemCode
from redrive.identity import keys
from redrive.identity.access import Principal
from redrive.identity.audit import By, record_change
from redrive.identity.keys import KeyPair, NewKeyPair, TemporaryKeyPair
from redrive.identity.sealing import Sealer

queries = Queries.beside(__file__)

Connection = psycopg.Connection[Any]
Document = Mapping[str, Any]


def create(
    conn: Connection,
    sealer: Sealer,
    *,
    tenant_id: int,
    user_id: str,
    user_name: str,
    name: str,
    layers: Sequence[Document],
    who: By,
) -> NewKeyPair:
    """Make a key pair for a user, limited by each of ``layers``; its secret is in the answer and nowhere else."""
    made = keys.create_key(conn, sealer, tenant_id=tenant_id, user_id=user_id, name=name, within=layers)
    detail = {"name": name, "user": user_name, "tenant": str(tenant_id), "layers": list(layers)}
    record_change(conn, who, "iam:credentials:create", made.access_key, detail=detail)
    return made


def revoke(conn: Connection, tenant_id: int, access_key: str, *, who: By) -> bool:
    """Revoke a key pair, its tokens and the temporary ones that it made; False where it was revoked before."""
    pair = keys.get_key(conn, tenant_id, access_key)
    if keys.revoke_key(conn, tenant_id, access_key) is None:
        return False
    detail = {"name": pair.name, "user": pair.user_name, "tenant": str(tenant_id)}
    record_change(conn, who, "iam:credentials:delete", access_key, detail=detail)
    return True


def rotate(
    conn: Connection,
    sealer: Sealer,
    pair: KeyPair,
    tenant_id: int,
    *,
    layers: Sequence[Document],
    keep_old: bool,
    who: By,
) -> NewKeyPair:
    """Make a key pair in the place of ``pair``, which is revoked at once unless it is kept for a while."""
    if conn.execute(queries.lock_key, {"id": pair.id}).fetchone() is None:
        raise Problem(
            ProblemCode.CONFLICT,
            f"{pair.access_key} is revoked",
            hint="make a new key pair",
            reason="revoked",
        )
    made = create(
        conn,
        sealer,
        tenant_id=tenant_id,
        user_id=pair.user_id,
        user_name=pair.user_name,
        name=pair.name,
        layers=layers,
        who=who,
    )
    if not keep_old:
        revoke(conn, tenant_id, pair.access_key, who=who)
    return made


def create_temporary(
    conn: Connection,
    sealer: Sealer,
    caller: Principal,
    *,
    life: timedelta,
    policy: Document | None,
    not_after: datetime | None,
    who: By,
) -> TemporaryKeyPair:
    """Make a temporary key pair for the caller itself: within its limits, and within ``policy`` where one is given.

    It ends with the key pair that asks for it, and not after ``not_after``. A temporary key pair cannot make another.
    """
    made_by = caller.key_id or None
    if made_by is not None:
        row = conn.execute(queries.key_expires, {"id": made_by}).fetchone()
        if row is None or row.expires_at is not None:
            raise Problem(
                ProblemCode.FORBIDDEN,
                "a temporary key pair cannot make another one",
                hint="ask with the key pair that made it",
                reason="temporary_key",
            )
    made = keys.create_temporary_key(
        conn,
        sealer,
        tenant_id=caller.tenant_id,
        user_id=caller.user_id,
        name=caller.actor,
        life=life,
        policy=policy,
        within=caller.layers,
        made_by=made_by,
        not_after=not_after,
    )
    detail = {"expires_at": made.expires_at.isoformat(), "policy": policy}
    record_change(conn, who, "iam:temporaryKeys:create", made.pair.access_key, detail=detail)
    return made

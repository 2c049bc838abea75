"""Data keys: one for each tenant, under the master key. They seal what the tenant keeps secret.

A data key is made when a workspace is registered and dropped when it is deregistered. What it sealed cannot be
opened by anybody from then on, copies in backups included: dropping it is part of erasing. A rotation of the master
key seals the data keys again, not what they sealed.
"""

from __future__ import annotations

import secrets
from typing import Any

from psycopg import Connection

from redrive.errors import Problem, ProblemCode
from redrive.identity.master_key import DATA_KEYS
from redrive.identity.sealing import KEY_BYTES, Sealer


class DataKeys:
    """The tenants' data keys in the database. Safe to share between threads; keeps no key."""

    def __init__(self, master: Sealer) -> None:
        self._master = master

    def make(self, conn: Connection[Any], tenant_id: int) -> None:
        """Make the tenant's key where there is none. Safe to repeat and to race."""
        sealed = self._master.seal(secrets.token_bytes(KEY_BYTES), DATA_KEYS.place(tenant_id))
        conn.execute(
            "insert into tenant_keys (tenant_id, sealed) values (%s, %s) on conflict do nothing",
            (tenant_id, sealed),
        )

    def has(self, conn: Connection[Any], tenant_id: int) -> bool:
        """Return whether the tenant has a key."""
        return self._sealed(conn, tenant_id) is not None

    def drop(self, conn: Connection[Any], tenant_id: int) -> None:
        """Drop the tenant's key, and with it everything that it sealed. Safe to repeat."""
        conn.execute("delete from tenant_keys where tenant_id = %s", (tenant_id,))

    def seal(self, conn: Connection[Any], tenant_id: int, plain: bytes, place: str) -> bytes:
        """Return ``plain`` sealed for ``place`` (``table.column/row``); a Problem where the tenant has no key."""
        return self._sealer(conn, tenant_id).seal(plain, place)

    def open(self, conn: Connection[Any], tenant_id: int, sealed: bytes, place: str) -> bytes:
        """Return what was sealed for ``place``; a Problem without a key, ``SealBroken`` where it does not open."""
        return self._sealer(conn, tenant_id).open(sealed, place)

    def _sealer(self, conn: Connection[Any], tenant_id: int) -> Sealer:
        sealed = self._sealed(conn, tenant_id)
        if sealed is None:
            raise Problem(
                ProblemCode.CONFLICT,
                "the project has no data key: its workspace is not registered",
                hint="register the workspace",
                reason="no_data_key",
            )
        return Sealer([self._master.open(sealed, DATA_KEYS.place(tenant_id))])

    def _sealed(self, conn: Connection[Any], tenant_id: int) -> bytes | None:
        row = conn.execute("select sealed from tenant_keys where tenant_id = %s", (tenant_id,)).fetchone()
        return None if row is None else bytes(row.sealed)

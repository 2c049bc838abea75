"""From what a caller shows to a principal: a key pair, a token, or a header encrypted to the server's key.

Lookups are kept in the process for ``CACHE_SECONDS``, so that a busy caller costs one query in that time. A
key pair that is revoked elsewhere is refused here after at most that long; one revoked through this object's
``forget`` at once. Nothing is kept about keys and tokens that are not known.

Every refusal is a ``Problem(unauthenticated)`` with one of these reasons: ``missing``, ``unknown_key``,
``wrong_secret``, ``unknown_token``, ``token_expired``, ``header``.
"""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from cryptography.hazmat.primitives.asymmetric import rsa

from redrive.clock import now
from redrive.database import Database, Queries, Row
from redrive.errors import Problem, ProblemCode
from redrive.identity import server_keys, tokens
from redrive.identity.access import Principal, Role
from redrive.identity.keys import permissions_of
from redrive.identity.master_key import KEY_SECRETS
from redrive.identity.sealing import Sealer

queries = Queries.beside(__file__)

CACHE_SECONDS = 5.0
_CACHE_ENTRIES = 10_000
#: pin, access key, secret, and two session texts that nobody but the client can check.
_HEADER_PARTS = 5


@dataclass(frozen=True, slots=True)
class Credential:
    """A live key pair: its principal and its clear secret, for checking signatures."""

    principal: Principal
    secret_key: str

    def __repr__(self) -> str:
        return f"Credential({self.principal.access_key})"


@dataclass(frozen=True, slots=True)
class _Kept:
    credential: Credential
    until: float
    expires_at: datetime | None

    def expired(self) -> bool:
        """Return whether this was found by a token that has ended since."""
        return self.expires_at is not None and self.expires_at <= now()


class Authenticator:
    """Finds credentials; one per process, safe to share between threads."""

    def __init__(self, db: Database, sealer: Sealer) -> None:
        self.db = db
        self.sealer = sealer
        self._kept: dict[tuple[str, bytes], _Kept] = {}
        self._changing = threading.Lock()
        self._private_key: rsa.RSAPrivateKey | None = None

    def by_access_key(self, access_key: str) -> Credential:
        """Return the credential of a live key pair."""
        name = ("key", tokens.hash_of(access_key))
        return self._find(name, lambda conn: self._load_key(conn, access_key)).credential

    def by_secret(self, access_key: str, secret_key: str) -> Principal:
        """Return the principal of a key pair whose secret the caller shows."""
        credential = self.by_access_key(access_key)
        if not hmac.compare_digest(credential.secret_key.encode(), secret_key.encode()):
            raise refused("the secret is not the one of this access key", "wrong_secret")
        return credential.principal

    def by_token(self, token: str) -> Credential:
        """Return the credential of the owner of a living access token."""
        found = self._find(("token", tokens.hash_of(token)), lambda conn: self._load_token(conn, token))
        if found.expired():
            raise refused("the access token has expired", "token_expired", hint="get a new one")
        return found.credential

    def by_encrypted_header(self, blob: bytes) -> Principal:
        """Return whom ``blob`` names: ``pin$accessKey$secretKey$...``, encrypted to the server's key."""
        # A client makes a new blob for each call, so there is nothing to keep but the key pair.
        return self.by_secret(*self._open_header(blob))

    def kept_token(self, token: str) -> Credential | None:
        """Return the token's credential where it is at hand: no database, so an event loop may call it."""
        kept = self._kept_now(("token", tokens.hash_of(token)))
        return kept.credential if kept is not None and not kept.expired() else None

    def kept_key(self, access_key: str) -> Credential | None:
        """Return the key pair's credential where it is at hand: no database, so an event loop may call it."""
        kept = self._kept_now(("key", tokens.hash_of(access_key)))
        return kept.credential if kept is not None else None

    def forget(self, key_id: int) -> None:
        """Drop what is kept about a key pair; call it after revoking one in this process."""
        with self._changing:
            for name, kept in list(self._kept.items()):
                if kept.credential.principal.key_id == key_id:
                    del self._kept[name]

    def _find(self, name: tuple[str, bytes], load: Callable[[psycopg.Connection[Any]], Row]) -> _Kept:
        kept = self._kept_now(name)
        if kept is not None:
            return kept
        asked_at = time.monotonic()
        with self.db.transaction() as conn:
            row = load(conn)
        fresh = _Kept(self._credential(row), asked_at + CACHE_SECONDS, getattr(row, "expires_at", None))
        with self._changing:
            if len(self._kept) >= _CACHE_ENTRIES:
                self._kept = {key: old for key, old in self._kept.items() if asked_at < old.until}
                if len(self._kept) >= _CACHE_ENTRIES:
                    self._kept.clear()
            self._kept[name] = fresh
        return fresh

    def _load_key(self, conn: psycopg.Connection[Any], access_key: str) -> Row:
        if "\0" not in access_key:
            row = conn.execute(queries.credential_by_key, {"access_key": access_key}).fetchone()
            if row is not None:
                return row
        raise refused("the access key is not known", "unknown_key")

    def _load_token(self, conn: psycopg.Connection[Any], token: str) -> Row:
        row = conn.execute(queries.credential_by_token, {"hash": tokens.hash_of(token)}).fetchone()
        if row is None:
            raise refused("the access token is not known", "unknown_token", hint="get a new one")
        return row

    def _credential(self, row: Row) -> Credential:
        secret = self.sealer.open(bytes(row.secret), KEY_SECRETS.place(row.key_id)).decode()
        principal = Principal(
            tenant_id=row.tenant_id,
            account_id=row.account_id,
            project_id=row.project_id,
            org_id=row.org_id,
            user_id=row.user_id,
            key_id=row.key_id,
            access_key=row.access_key,
            actor=row.key_name,
            role=Role(row.role),
            permissions=permissions_of(row.permissions),
        )
        return Credential(principal, secret)

    def _open_header(self, blob: bytes) -> tuple[str, str]:
        key = self._header_key() if len(blob) == server_keys.BLOB_BYTES else None
        plain = server_keys.decrypt(key, blob) if key is not None else None
        parts = plain.decode("utf-8", "replace").split("$") if plain is not None else []
        if len(parts) < _HEADER_PARTS:
            raise refused(
                "the encrypted header was not made with this server's public key",
                "header",
                hint="give the client the public key of this server",
            )
        return parts[1], parts[2]

    def _header_key(self) -> rsa.RSAPrivateKey | None:
        if self._private_key is None:
            with self.db.transaction() as conn:
                self._private_key = server_keys.private_key(conn, self.sealer)
        return self._private_key

    def _kept_now(self, name: tuple[str, bytes]) -> _Kept | None:
        kept = self._kept.get(name)
        return kept if kept is not None and time.monotonic() < kept.until else None


def refused(detail: str, reason: str, *, hint: str = "") -> Problem:
    """Return the problem of a caller who did not show who it is."""
    return Problem(ProblemCode.UNAUTHENTICATED, detail, hint=hint, reason=reason)

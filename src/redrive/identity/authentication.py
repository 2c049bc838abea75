"""From what a caller shows to a principal: a key pair, a token, or a header encrypted to the server's key.

Lookups are kept in the process for ``CACHE_SECONDS``, so that a busy caller costs one query in that time. A
key pair that is revoked elsewhere is refused here after at most that long; one revoked through this object's
``forget`` at once. Nothing is kept about keys and tokens that are not known.

A temporary key pair is found only together with its security token (``by_signing_key``): nothing that knows its
secret alone can use it.

Every refusal is a ``Problem(unauthenticated)`` with one of these reasons: ``missing``, ``unknown_key``,
``wrong_secret``, ``temporary_key``, ``unknown_token``, ``token_expired``, ``header``.
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
from redrive.identity.access import Principal
from redrive.identity.keys import hash_of_token
from redrive.identity.master_key import KEY_SECRETS
from redrive.identity.principals import principal_of
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
    #: Of the security token, where the pair is a temporary one.
    token_hash: bytes | None = None

    def __repr__(self) -> str:
        return f"Credential({self.principal.access_key})"


#: What a token of a user begins with; tokens of key pairs never do.
USER_TOKEN = "rdu_"  # noqa: S105


@dataclass(frozen=True, slots=True)
class UserToken:
    """A living token that a user got with its password."""

    principal: Principal
    issued_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class _Kept:
    found: Credential | UserToken
    until: float
    expires_at: datetime | None

    def expired(self) -> bool:
        """Return whether the token or the temporary key pair has ended since."""
        return self.expires_at is not None and self.expires_at <= now()

    @property
    def credential(self) -> Credential:
        """What was found by a key or its token."""
        assert isinstance(self.found, Credential)
        return self.found

    @property
    def user_token(self) -> UserToken:
        """What was found by a user's token."""
        assert isinstance(self.found, UserToken)
        return self.found


class Authenticator:
    """Finds credentials; one per process, safe to share between threads."""

    def __init__(self, db: Database, sealer: Sealer) -> None:
        self.db = db
        self.sealer = sealer
        self._kept: dict[tuple[str, bytes], _Kept] = {}
        #: Moves whenever something is forgotten: what was looked up before that is not kept after it.
        self._forgotten = 0
        self._changing = threading.Lock()
        self._private_key: rsa.RSAPrivateKey | None = None

    def by_access_key(self, access_key: str) -> Credential:
        """Return the credential of a live key pair that is not a temporary one."""
        credential = self._key(access_key)
        if credential.token_hash is not None:
            raise refused(
                "a temporary key pair is good only for signed calls with its security token", "temporary_key"
            )
        return credential

    def by_signing_key(self, access_key: str, security_token: str | None = None) -> Credential:
        """Return the credential of a live key pair, a temporary one only with its security token.

        A security token that does not belong to the key pair is refused like a key pair that is not known.
        """
        credential = self._key(access_key)
        shown = None if security_token is None else hash_of_token(security_token)
        if not hmac.compare_digest(shown or b"", credential.token_hash or b""):
            raise refused("the access key is not known", "unknown_key")
        return credential

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

    def by_user_token(self, token: str) -> UserToken:
        """Return whose token this is, got with a password."""
        name = ("user", tokens.hash_of(token))
        found = self._find(name, lambda conn: self._load_user_token(conn, token))
        if found.expired():
            raise refused("the token has expired", "token_expired", hint="get a new one")
        return found.user_token

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
        return kept.credential if kept is not None and not kept.expired() else None

    def kept_user_token(self, token: str) -> UserToken | None:
        """Return a user's token where it is at hand: no database, so an event loop may call it."""
        kept = self._kept_now(("user", tokens.hash_of(token)))
        return kept.user_token if kept is not None and not kept.expired() else None

    def forget(self, key_id: int) -> None:
        """Drop what is kept about a key pair; call it after revoking one in this process."""
        with self._changing:
            self._forgotten += 1
            for name, kept in list(self._kept.items()):
                if kept.found.principal.key_id == key_id:
                    del self._kept[name]

    def forget_all(self) -> None:
        """Drop everything that is kept; call it after changing rights in this process."""
        with self._changing:
            self._forgotten += 1
            self._kept.clear()

    def _key(self, access_key: str) -> Credential:
        name = ("key", tokens.hash_of(access_key))
        found = self._find(name, lambda conn: self._load_key(conn, access_key))
        if found.expired():
            raise refused("the access key is not known", "unknown_key")
        return found.credential

    def _find(self, name: tuple[str, bytes], load: Callable[[psycopg.Connection[Any]], Row]) -> _Kept:
        kept = self._kept_now(name)
        if kept is not None:
            return kept
        asked_at, forgotten = time.monotonic(), self._forgotten
        with self.db.transaction() as conn:
            row = load(conn)
        found = self._credential(row) if name[0] != "user" else _user_token(row)
        ends = getattr(row, "expires_at", None) or getattr(row, "key_expires_at", None)
        fresh = _Kept(found, asked_at + CACHE_SECONDS, ends)
        with self._changing:
            if len(self._kept) >= _CACHE_ENTRIES:
                self._kept = {key: old for key, old in self._kept.items() if asked_at < old.until}
                if len(self._kept) >= _CACHE_ENTRIES:
                    self._kept.clear()
            if forgotten == self._forgotten:
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

    def _load_user_token(self, conn: psycopg.Connection[Any], token: str) -> Row:
        row = conn.execute(queries.principal_by_user_token, {"hash": tokens.hash_of(token)}).fetchone()
        if row is None:
            raise refused("the token is not known", "unknown_token", hint="get a new one")
        return row

    def _credential(self, row: Row) -> Credential:
        secret = self.sealer.open(bytes(row.secret), KEY_SECRETS.place(row.key_id)).decode()
        return Credential(
            principal_of(row, row), secret, bytes(row.token_hash) if row.token_hash is not None else None
        )

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


def _user_token(row: Row) -> UserToken:
    return UserToken(principal_of(row), row.issued_at, row.expires_at)


def refused(detail: str, reason: str, *, hint: str = "") -> Problem:
    """Return the problem of a caller who did not show who it is."""
    return Problem(ProblemCode.UNAUTHENTICATED, detail, hint=hint, reason=reason)

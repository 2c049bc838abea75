"""Access tokens, and proofs that count once.

A token lives 7,200 s. It is ``HMAC-SHA256(secret of the key pair, nonce)``: the database keeps the nonce and
the token's hash, so every process knows it, a repeated call can be told the same token, and nobody can read a
token out of a dump. A refresh gives a new token; the old one lives on until its own end, because other
processes of the same application may still hold it.

A *proof* (what a caller showed once to get a token, or the signature of a changing call) is remembered
until the clock rule would refuse it anyway: its instant may be ``CLOCK_SKEW`` away from the server's clock,
no more.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg

from redrive.clock import from_ms, now
from redrive.database import Database, Queries
from redrive.errors import Problem, ProblemCode

queries = Queries.beside(__file__)

LIFE = timedelta(seconds=7200)
CLOCK_SKEW = timedelta(minutes=5)
#: A key pair that refreshes more often than this within a token's life is refused.
MOST_LIVE_TOKENS = 100

#: The servers' clocks may differ among themselves by this much without a proof counting twice.
_MARGIN = timedelta(minutes=1)
_LONGEST_MS = 253_402_300_799_000


@dataclass(frozen=True, slots=True)
class Token:
    """A token as told to its owner."""

    text: str
    expires_at: datetime

    def seconds_left(self) -> int:
        """Return the remaining life in whole seconds."""
        return max(0, int((self.expires_at - now()).total_seconds()))


def hash_of(text: str) -> bytes:
    """Return the hash under which a token or a proof is stored."""
    return hashlib.sha256(text.encode()).digest()


def check_clock(epoch_ms: int) -> None:
    """Refuse an instant that is further than ``CLOCK_SKEW`` from the server's clock (reason ``clock``)."""
    if not 0 <= epoch_ms <= _LONGEST_MS:
        raise Problem(
            ProblemCode.UNAUTHENTICATED, "the timestamp is not in epoch milliseconds", reason="clock"
        )
    away = from_ms(epoch_ms) - now()
    side = "ahead of" if away > timedelta() else "behind"
    if abs(away) > CLOCK_SKEW:
        raise Problem(
            ProblemCode.UNAUTHENTICATED,
            f"the timestamp is {abs(away).total_seconds():.0f} s {side}"
            f" the server's clock; {CLOCK_SKEW.total_seconds():.0f} s are allowed",
            hint="set the clock of the calling machine",
            reason="clock",
        )


def use_proof(conn: psycopg.Connection[Any], proof: str, epoch_ms: int) -> None:
    """Let ``proof`` count this once; refuse it where it counted before (reason ``replay``)."""
    row = conn.execute(
        queries.use_proof,
        {"hash": hash_of(proof), "present": now(), "expires_at": from_ms(epoch_ms) + CLOCK_SKEW + _MARGIN},
    ).fetchone()
    if row is None:
        raise Problem(
            ProblemCode.UNAUTHENTICATED,
            "the same signed request came before",
            hint="sign again with a new timestamp",
            reason="replay",
        )


def use_proof_fast(db: Database, proof: str, epoch_ms: int) -> None:
    """Do :func:`use_proof` in a transaction of its own that does not wait for the disk.

    A database that crashes within a fraction of a second may forget the proof; nothing else.
    """
    with db.transaction() as conn, conn.pipeline():
        conn.execute("set local synchronous_commit = off")
        use_proof(conn, proof, epoch_ms)


def present_token(conn: psycopg.Connection[Any], key_id: int, secret_key: str) -> Token:
    """Return the key pair's newest living token; make one where there is none."""
    _lock(conn, key_id)
    still_at = now() + timedelta(seconds=1)
    row = conn.execute(queries.newest_live_token, {"key_id": key_id, "still_at": still_at}).fetchone()
    if row is not None:
        return Token(_derive(secret_key, row.nonce), row.expires_at)
    return _issue(conn, key_id, secret_key)


def refreshed_token(conn: psycopg.Connection[Any], key_id: int, secret_key: str, old: str) -> Token:
    """Return a new token for the owner of the living token ``old``.

    Raises ``Problem(unauthenticated)`` with the reason ``token_expired``, or ``refresh`` where ``old`` is
    not a token of this key pair.
    """
    _lock(conn, key_id)
    row = conn.execute(queries.find_token_of_key, {"key_id": key_id, "hash": hash_of(old)}).fetchone()
    if row is None:
        raise Problem(ProblemCode.UNAUTHENTICATED, "the token is not one of this key pair", reason="refresh")
    if row.expires_at <= now():
        raise Problem(ProblemCode.UNAUTHENTICATED, "the access token has expired", reason="token_expired")
    live = conn.execute(queries.count_live_tokens, {"key_id": key_id, "still_at": now()}).fetchone()
    if live is not None and live.live >= MOST_LIVE_TOKENS:
        raise Problem(
            ProblemCode.TOO_MANY,
            f"the key pair has {live.live} living tokens",
            hint="use the newest token, or wait until older ones have ended",
            reason="refresh",
        )
    return _issue(conn, key_id, secret_key)


def _lock(conn: psycopg.Connection[Any], key_id: int) -> None:
    if conn.execute(queries.lock_live_key, {"key_id": key_id}).fetchone() is None:
        raise Problem(ProblemCode.UNAUTHENTICATED, "the key pair was revoked", reason="unknown_key")


def _issue(conn: psycopg.Connection[Any], key_id: int, secret_key: str) -> Token:
    nonce = secrets.token_bytes(16)
    issued_at = now()
    token = Token(_derive(secret_key, nonce), issued_at + LIFE)
    conn.execute(
        queries.insert_token,
        {
            "hash": hash_of(token.text),
            "key_id": key_id,
            "nonce": nonce,
            "issued_at": issued_at,
            "expires_at": token.expires_at,
        },
    )
    return token


def _derive(secret_key: str, nonce: bytes) -> str:
    digest = hmac.digest(secret_key.encode(), b"redrive access token" + nonce, "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

"""``Idempotency-Key``: a request that is sent again has its effect once and gets the same answer.

The key is taken in the very transaction that does the work and keeps its answer, so there is no moment at
which one exists without the other: a crash leaves neither, and the request can be sent again. A second
request with the key, while the first is at work, waits up to ``WAIT_SECONDS`` for its answer and then gets
409; one with another method, path, query or body gets 422. A refused request (any ``Problem``) does not use
up its key. Keys are the tenant's own and are kept for a day.

Calls about identities (``AccountOnce``) carry and answer secrets. Their kept answers are sealed with the master key,
are for the very caller that they were made for, and what is kept of their bodies says nothing about a password.

A route that changes something is written as::

    @router.post("/things")
    def create_thing(body: NewThing, once: Once) -> Response:
        return once.answer(lambda conn: (201, service.create(conn, ...)))
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import orjson
import psycopg
from fastapi import Depends
from psycopg import errors
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from redrive.database import Database, Queries
from redrive.errors import Problem, ProblemCode, invalid
from redrive.identity.access import NO_TENANT, Principal
from redrive.identity.sealing import SealBroken, Sealer
from redrive.wire.native.auth import AccountCaller, Caller

queries = Queries.beside(__file__, "idempotency.sql")

WAIT_SECONDS = 5
_LONGEST_KEY = 255

#: What the work of a route returns: HTTP status, and what to render as JSON.
Answer: TypeAlias = tuple[int, Any]


@dataclass(frozen=True, slots=True)
class OneRequest:
    """A request that changes something, with its key if it carried one."""

    db: Database
    tenant_id: int
    key: str | None
    request_hash: bytes
    #: Seals what is kept of the answer, where it may hold secrets.
    sealer: Sealer | None = None

    def answer(self, work: Callable[[psycopg.Connection[Any]], Answer]) -> Response:
        """Return the answer of ``work(conn)``, which runs in a transaction; or the one it gave before.

        ``work`` may be run again after a conflict between transactions, so all its effects go through
        ``conn``.
        """
        if self.key is None:
            return _render(*_bytes_of(self.db.run(work, repeat_lost_commit=False)))
        try:
            status, body, replayed = self.db.run(lambda conn: self._once(conn, work))
        except errors.LockNotAvailable:
            raise Problem(
                ProblemCode.CONFLICT,
                "a request with this Idempotency-Key is still at work",
                hint="send it again in a moment",
                reason="idempotency_key_busy",
            ) from None
        return _render(status, body, {"Idempotency-Replayed": "true"} if replayed else None)

    def kept(self) -> Response | None:
        """Return the answer that an earlier request with the key got, None where there is none.

        For work that looks at something outside of the database first, which may be gone by now.
        """
        if self.key is None:
            return None
        named = {"tenant_id": self.tenant_id, "key": self.key, "request_hash": self.request_hash}
        with self.db.transaction() as conn:
            found = conn.execute(queries.find, named).fetchone()
        if found is None or bytes(found.request_hash) != self.request_hash:
            return None
        return _render(found.status, self._opened(bytes(found.body)), {"Idempotency-Replayed": "true"})

    def _once(
        self, conn: psycopg.Connection[Any], work: Callable[[psycopg.Connection[Any]], Answer]
    ) -> tuple[int, bytes, bool]:
        named = {"tenant_id": self.tenant_id, "key": self.key, "request_hash": self.request_hash}
        with conn.pipeline():
            conn.execute(queries.sweep)
            conn.execute("select set_config('lock_timeout', %s, true)", (f"{WAIT_SECONDS}s",))
            claimed = conn.execute(queries.claim, named)
            conn.execute("set local lock_timeout to default")
        if claimed.fetchone() is None:
            return self._earlier(conn, named)
        status, body = _bytes_of(work(conn))
        kept = body if self.sealer is None else self.sealer.seal(body, self._place())
        conn.execute(queries.keep, {**named, "status": status, "body": kept})
        return status, body, False

    def _earlier(self, conn: psycopg.Connection[Any], named: dict[str, Any]) -> tuple[int, bytes, bool]:
        found = conn.execute(queries.find, named).fetchone()
        if found is None:
            raise errors.SerializationFailure("the key was swept meanwhile")
        if bytes(found.request_hash) != self.request_hash:
            raise Problem(
                ProblemCode.INVALID,
                "this Idempotency-Key came with another request before",
                hint="use a new key for a new request",
                reason="idempotency_key_reused",
            )
        return found.status, self._opened(bytes(found.body)), True

    def _place(self) -> str:
        return f"idempotency_keys.body/{self.tenant_id}/{self.key}"

    def _opened(self, kept: bytes) -> bytes:
        if self.sealer is None:
            return kept
        try:
            return self.sealer.open(kept, self._place())
        except SealBroken:
            raise Problem(
                ProblemCode.CONFLICT,
                "the answer was sealed with a master key that is gone; the request was done",
                hint="look what there is, and use a new key for a new request",
                reason="idempotency_answer_sealed",
            ) from None


async def one_request(request: Request, caller: Caller) -> OneRequest:
    """Return the request as something that can be done once. A FastAPI dependency."""
    return once_with(request, caller, await request.body())


def once_with(request: Request, caller: Principal, body: bytes) -> OneRequest:
    """Return the request as something that can be done once; ``body`` stands for what it carried."""
    db: Database = request.app.state.parts.db
    key = _key_of(request)
    if key is None:
        return OneRequest(db, caller.tenant_id, None, b"")
    digest = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode())
    digest.update(body)
    return OneRequest(db, caller.tenant_id, key, digest.digest())


Once: TypeAlias = Annotated[OneRequest, Depends(one_request)]


async def one_account_request(request: Request, caller: AccountCaller) -> OneRequest:
    """Return a request about identities as something that can be done once. A FastAPI dependency."""
    db: Database = request.app.state.parts.db
    sealer: Sealer = request.app.state.parts.sealer
    # Without a project the keys are the account's: numbers that no tenant has.
    place = caller.tenant_id if caller.tenant_id != NO_TENANT else -int(caller.account_id[:15], 16)
    key = _key_of(request)
    if key is None:
        return OneRequest(db, place, None, b"", sealer)
    head = f"{caller.user_id} {caller.access_key}\n{request.method} {request.url.path}?{request.url.query}\n"
    return OneRequest(db, place, key, sealer.fingerprint(head.encode() + await request.body()), sealer)


AccountOnce: TypeAlias = Annotated[OneRequest, Depends(one_account_request)]


def _key_of(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= _LONGEST_KEY and key.isascii() and key.isprintable()):
        raise invalid("Idempotency-Key", f"1 to {_LONGEST_KEY} printable ASCII characters", key)
    return key


def _bytes_of(answer: Answer) -> tuple[int, bytes]:
    status, value = answer
    if isinstance(value, BaseModel):
        return status, value.model_dump_json().encode()
    return status, b"" if value is None else orjson.dumps(value)


def _render(status: int, body: bytes, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status_code=status, headers=headers, media_type="application/json")

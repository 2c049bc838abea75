"""``Idempotency-Key``: a request that is sent again has its effect once and gets the same answer.

The key is taken in the very transaction that does the work and keeps its answer, so there is no moment at
which one exists without the other: a crash leaves neither, and the request can be sent again. A second
request with the key, while the first is at work, waits up to ``WAIT_SECONDS`` for its answer and then gets
409; one with another method, path, query or body gets 422. A refused request (any ``Problem``) does not use
up its key. Keys are the tenant's own and are kept for a day.

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
from redrive.identity.access import Principal
from redrive.wire.native.auth import Caller

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
        return _render(found.status, bytes(found.body), {"Idempotency-Replayed": "true"})

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
        conn.execute(queries.keep, {**named, "status": status, "body": body})
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
        return found.status, bytes(found.body), True


async def one_request(request: Request, caller: Caller) -> OneRequest:
    """Return the request as something that can be done once. A FastAPI dependency."""
    return once_with(request, caller, await request.body())


def once_with(request: Request, caller: Principal, body: bytes) -> OneRequest:
    """Return the request as something that can be done once; ``body`` stands for what it carried."""
    key = request.headers.get("idempotency-key")
    db: Database = request.app.state.parts.db
    if key is None:
        return OneRequest(db, caller.tenant_id, None, b"")
    if not 0 < len(key) <= _LONGEST_KEY or not key.isascii() or not key.isprintable():
        raise invalid("Idempotency-Key", f"1 to {_LONGEST_KEY} printable ASCII characters", key)
    digest = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode())
    digest.update(body)
    return OneRequest(db, caller.tenant_id, key, digest.digest())


Once: TypeAlias = Annotated[OneRequest, Depends(one_request)]


def _bytes_of(answer: Answer) -> tuple[int, bytes]:
    status, value = answer
    if isinstance(value, BaseModel):
        return status, value.model_dump_json().encode()
    return status, b"" if value is None else orjson.dumps(value)


def _render(status: int, body: bytes, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status_code=status, headers=headers, media_type="application/json")

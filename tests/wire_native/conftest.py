"""A first start, and an application that answers who called."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import httpx
import pytest
import uvicorn
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel
from starlette.responses import Response

from redrive.database import Database
from redrive.errors import FieldProblem, Problem
from redrive.identity.audit import Refusals
from redrive.identity.authentication import Authenticator
from redrive.identity.credentials import Credentials
from redrive.settings import Settings
from redrive.wire.native.auth import Admin, Caller
from redrive.wire.native.idempotency import Once
from redrive.wire.native.problems import PROBLEM_RESPONSES, NativeRoute, add_handlers
from redrive.wire.native.tokens import router as token_router


class Note(BaseModel):
    """What a test posts."""

    text: str
    times: int = 1


class Gate:
    """Lets a test hold a request in the middle of its work."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.reached = threading.Event()


@pytest.fixture
def gate() -> Gate:
    return Gate()


def notes_router(gate: Gate) -> APIRouter:
    router = APIRouter(route_class=NativeRoute, responses=PROBLEM_RESPONSES)

    @router.get("/v1/me")
    def me(caller: Caller) -> dict[str, object]:
        return {"actor": caller.actor, "admin": caller.is_admin, "tenant_id": str(caller.tenant_id)}

    @router.get("/v1/server")
    def server(caller: Admin) -> dict[str, str]:
        return {"actor": caller.actor}

    @router.post("/v1/notes")
    def add_note(body: Note, once: Once) -> Response:
        def work(conn: object) -> tuple[int, object]:
            if body.text == "held":
                gate.reached.set()
                assert gate.open.wait(10)
            if body.text == "refused":
                raise Problem("conflict", "not now", hint="later", reason="busy")
            if body.text == "bug":
                raise RuntimeError("a text that nobody may see")
            row = conn.execute("insert into notes (text) values (%s) returning id", (body.text,)).fetchone()  # type: ignore[attr-defined]
            return 201, {"id": row.id, "text": body.text}

        return once.answer(work)

    @router.get("/v1/problems/{code}")
    def problem(code: str) -> None:
        raise Problem(
            code, "what is wrong", hint="do this", reason="why", fields=[FieldProblem("f", "x", "y")]
        )

    return router


@pytest.fixture
def http(
    db: Database, settings: Settings, authenticator: Authenticator, gate: Gate
) -> Iterator[httpx.Client]:
    with db.transaction() as conn:
        conn.execute("create table notes (id bigint generated always as identity, text text)")
    app = FastAPI()
    app.state.parts = SimpleNamespace(
        db=db, refusals=Refusals(db), settings=settings, authenticator=authenticator
    )
    app.include_router(token_router)
    app.include_router(notes_router(gate))
    add_handlers(app, {"/elsewhere": lambda request, problem: Response(f"theirs: {problem.code}")})
    with serving(app) as url, httpx.Client(base_url=url) as client:
        yield client


@contextlib.contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """A real server on loopback for as long as the block runs; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=10)
            if hasattr(app.state, "parts"):
                app.state.parts.refusals.close()


@pytest.fixture
def known(http: httpx.Client, credentials: Credentials) -> httpx.Client:
    http.auth = httpx.BasicAuth(credentials.access_key, credentials.secret_key)
    return http

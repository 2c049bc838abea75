"""A caller of the gateway, and a small service behind it that tells what it saw."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Annotated, Any
from urllib.parse import parse_qsl

import httpx
import uvicorn
from fastapi import APIRouter, Depends, FastAPI
from starlette.requests import Request
from starlette.responses import Response

from redrive.database import Database
from redrive.identity.access import Action, Principal, Scope, require_assets
from redrive.identity.audit import Refusals
from redrive.identity.authentication import Authenticator
from redrive.identity.builtin import key_policy
from redrive.identity.keys import NewKeyPair, create_key, find_tenant
from redrive.identity.sealing import Sealer
from redrive.settings import Settings
from redrive.wire.enos.auth import enos_principal, enos_uploader, enos_writer
from redrive.wire.enos.envelope import GeneralRoute, TsdbRoute, answer, answer_general
from redrive.wire.enos.token import router as token_router

ECHO = "/tsdb-service/v2.1/echo"
WRITE = "/tsdb-service/v2.1/write"
UPLOAD = "/connect-service/v2.1/integration"


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


def echo_app(db: Database, settings: Settings, authenticator: Authenticator) -> FastAPI:
    """The token calls and three calls that answer who called and with what."""
    app = FastAPI()
    app.state.parts = SimpleNamespace(
        db=db, refusals=Refusals(db), settings=settings, authenticator=authenticator
    )
    tsdb = APIRouter(route_class=TsdbRoute)
    general = APIRouter(route_class=GeneralRoute)

    @tsdb.api_route(ECHO, methods=["GET", "POST", "PUT"])
    async def echo(request: Request, caller: Annotated[Principal, Depends(enos_principal)]) -> Response:
        body = (await request.body()).decode("utf-8", "replace")
        return answer({"caller": caller.actor, "body": body, "query": request.query_params.multi_items()})

    @tsdb.api_route(WRITE, methods=["POST", "PUT"])
    def write(caller: Annotated[Principal, Depends(enos_writer)], assetIds: str = "a1") -> Response:  # noqa: N803
        if assetIds == "bug":
            raise RuntimeError("a text that nobody may see")
        require_assets(caller, "write", assetIds.split(","))
        return answer({"caller": caller.actor})

    @general.post(UPLOAD)
    async def upload(request: Request, caller: Annotated[Principal, Depends(enos_uploader)]) -> Response:
        return answer_general(request, {"caller": caller.actor, "bytes": len(await request.body())})

    for router in (token_router, tsdb, general):
        app.include_router(router)
    return app


@dataclass
class Gateway:
    """A caller with a key pair; every call is signed as the vendor's pages say."""

    http: httpx.Client
    org_id: str
    access_key: str
    secret_key: str

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def token_body(self, **changed: Any) -> dict[str, Any]:
        timestamp = changed.pop("timestamp", self.now_ms())
        text = f"{self.access_key}{timestamp}{self.secret_key}"
        encryption = hashlib.sha256(text.encode()).hexdigest()
        return {"appKey": self.access_key, "encryption": encryption, "timestamp": timestamp} | changed

    def token_call(self, body: Any, verb: str = "get") -> dict[str, Any]:
        response = self.http.post(f"/apim-token-service/v2.0/token/{verb}", json=body)
        assert response.status_code == 200
        found = response.json()
        assert set(found) == {"status", "msg", "business", "data"}
        assert found["business"] == "apim-token-service"
        return dict(found)

    def token(self) -> str:
        got = self.token_call(self.token_body())
        assert got["status"] == 0, got
        return str(got["data"]["accessToken"])

    def signature(self, token: str, query: str, body: str | bytes, timestamp: str) -> str:
        """Written out of the vendor's page, without the server's code."""
        pairs = parse_qsl(query, keep_blank_values=True)
        names = sorted({name for name, _ in pairs})
        parameters = "".join(name + value for wanted in names for name, value in pairs if name == wanted)
        raw = body if isinstance(body, bytes) else body.encode()
        text = (token + parameters).encode() + raw + (timestamp + self.secret_key).encode()
        return hashlib.sha256(text).hexdigest()

    def headers(
        self, query: str, body: str | bytes = "", *, token: str = "", timestamp: str = ""
    ) -> dict[str, str]:
        token = token or self.token()
        timestamp = timestamp or str(self.now_ms())
        return {
            "apim-accesstoken": token,
            "apim-signature": self.signature(token, query, body, timestamp),
            "apim-timestamp": timestamp,
        }

    def call(
        self,
        method: str,
        path: str,
        query: str,
        body: str | bytes = "",
        headers: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        sent = self.headers(query, body) if headers is None else headers
        sent = {"content-type": "application/json"} | sent
        encoded = [(name, value.encode("latin-1")) for name, value in sent.items()]
        response = self.http.request(method, f"{path}?{query}", content=body, headers=encoded)
        assert response.status_code == 200, response.text
        return dict(json.loads(response.text))


def new_caller(db: Database, sealer: Sealer, gateway: Gateway, permissions: dict[Action, Scope]) -> Gateway:
    """A caller of the same organization with another key pair."""
    with db.transaction() as conn:
        tenant = find_tenant(conn, gateway.org_id)
        user = conn.execute("select id from users").fetchone()
        made: NewKeyPair = create_key(
            conn, sealer, tenant_id=tenant.id, user_id=user.id, name="app", policy=key_policy(permissions)
        )
    return Gateway(gateway.http, gateway.org_id, made.access_key, made.secret_key)

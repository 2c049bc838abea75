"""What happens to every request: it gets an id, and it is counted. Plain ASGI, so that bodies stream."""

from __future__ import annotations

import re
import time
import uuid
from typing import TYPE_CHECKING
from urllib.parse import unquote

from starlette.datastructures import MutableHeaders

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from redrive.wire.metrics import Metrics

_HEADER = "x-request-id"
#: An id of the caller's is taken over where it cannot do harm in a log.
_ENDPOINT = re.compile(rb"/access/([0-9a-f]{32})/(internet|dedicated)(/.*)", re.DOTALL)
_SLASH = re.compile("%2f", re.IGNORECASE)
_HARMLESS = re.compile(rb"^[A-Za-z0-9._-]{8,64}$")


class NameRequests:
    """Gives each request an id: ``scope["state"]["request_id"]`` and the header ``X-Request-Id``."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, named."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        name = _given_name(scope) or str(uuid.uuid4())
        scope.setdefault("state", {})["request_id"] = name

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).setdefault(_HEADER, name)
            await send(message)

        await self.app(scope, receive, send_named)


class AccessEndpoints:
    """Takes calls through the access endpoint of a workspace: ``/access/<workspace>/<way>/<path of the call>``.

    The call goes on without the prefix; what it came through stands in ``scope["state"]["through"]`` for those who
    check whether the caller may use it, and the path as it was signed in ``scope["state"]["raw_path"]``.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http" and scope["raw_path"].startswith(b"/access/"):
            found = _ENDPOINT.fullmatch(scope["raw_path"])
            if found is not None:
                workspace_id, way, rest = found.groups()
                state = scope.setdefault("state", {})
                state["through"] = workspace_id.decode(), way.decode()
                state["raw_path"] = scope["raw_path"]
                scope["raw_path"], scope["path"] = rest, unquote(rest.decode("latin-1"))
        await self.app(scope, receive, send)


class RawPaths:
    """Lets an encoded slash stay within its part of a path, under some prefixes.

    A server decodes a path before it is routed; an id with ``%2F`` in it would lead elsewhere. Such a part reaches
    its route with the slash still encoded.
    """

    def __init__(self, app: ASGIApp, prefixes: tuple[str, ...]) -> None:
        self.app = app
        self.prefixes = prefixes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http" and b"%2f" in scope["raw_path"].lower():
            raw = scope["raw_path"].decode("latin-1")
            if raw.startswith(self.prefixes):
                scope["path"] = "/".join(
                    "%2F".join(unquote(piece) for piece in _SLASH.split(part)) for part in raw.split("/")
                )
        await self.app(scope, receive, send)


class CountRequests:
    """Counts requests and their time by route template, method and status."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counted; a request that raises counts as 500."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = time.perf_counter()
        status = 500

        async def send_counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_counted)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self.metrics.request(route, scope["method"], status, time.perf_counter() - begun)


def _given_name(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _HARMLESS.match(value):
            return str(value.decode("ascii"))
    return None

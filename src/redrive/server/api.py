"""The API process: uvicorn on a socket that is already bound."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from redrive.kinds import all_kinds
from redrive.parts import open_parts
from redrive.server import logs
from redrive.server.lifeline import Watch
from redrive.server.preparation import arm_failpoints
from redrive.settings import Settings
from redrive.wire.app import create_app

#: Requests that run when the end is asked for have this long.
DRAIN_SECONDS = 5
CONNECTIONS = 24
#: A request waits this long for a database that is away (a restart takes about one), then it is refused.
WAIT_SECONDS = 5.0
#: A frozen API process must not keep locks that claims wait for; no request pauses so long in a transaction.
IDLE_SECONDS = 5.0


class _Server(uvicorn.Server):
    """Says when it accepts requests."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    def leave(self) -> None:
        """End now, in the middle of requests: whoever started this process is gone."""
        self.should_exit = True
        self.force_exit = True


def run_api(
    settings: Settings, listener: socket.socket, *, ready: Callable[[], None], watch: Watch | None = None
) -> None:
    """Serve until SIGTERM or SIGINT; requests that run then have ``DRAIN_SECONDS`` to end."""
    logs.configure(settings.log_level, part="api")
    arm_failpoints(settings)
    parts = open_parts(
        settings,
        name="redrive api",
        connections=CONNECTIONS,
        wait_seconds=WAIT_SECONDS,
        idle_seconds=IDLE_SECONDS,
    )
    try:
        config = uvicorn.Config(
            create_app(parts, all_kinds(parts)),
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            lifespan="off",
            timeout_graceful_shutdown=DRAIN_SECONDS,
            timeout_keep_alive=30,
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
        )
        server = _Server(config, ready)
        if watch is not None:
            watch(server.leave, patience_seconds=1.0)
        server.run(sockets=[listener])
    finally:
        parts.close()

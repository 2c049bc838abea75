"""``redrive serve`` and ``redrive worker``: one part in the foreground, on a PostgreSQL that others share."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable

from redrive.identity.credentials import endpoint_of
from redrive.server import logs, memory
from redrive.server.preparation import arm_failpoints, prepare_database
from redrive.settings import Settings, require_safe_listener


def serve(settings: Settings, *, announce: Callable[[str], None]) -> None:
    """Serve the API until SIGTERM or SIGINT. Several may start at once on one database."""
    memory.return_what_is_free()
    from redrive.server.api import run_api  # noqa: PLC0415
    from redrive.server.listening import listen, port_of  # noqa: PLC0415

    logs.configure(settings.log_level, part="api")
    require_safe_listener(settings)
    arm_failpoints(settings)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with listen(settings.host, settings.port) as listener:
        settings = dataclasses.replace(settings, port=port_of(listener))
        prepare_database(settings, given_up=lambda: False)
        run_api(settings, listener, ready=lambda: announce(f"Redrive is ready: {endpoint_of(settings)}"))


def work(settings: Settings, *, announce: Callable[[str], None]) -> None:
    """Run units until SIGTERM or SIGINT."""
    memory.return_what_is_free()
    from redrive.server.worker import run_worker  # noqa: PLC0415

    name = f"worker-{os.getpid()}"
    logs.configure(settings.log_level, part=name)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    prepare_database(settings, create=False, given_up=lambda: False)
    run_worker(settings, name=name, ready=lambda: announce("Redrive worker is ready"))

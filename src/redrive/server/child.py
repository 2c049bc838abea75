"""``python -m redrive.server.child api FD`` and ``... worker NAME``: what the supervisor starts.

Imports happen before the settings are read: the child is started first, and the database comes up meanwhile.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

from redrive.server import memory, quick_start  # before everything else
from redrive.server.lifeline import Lifeline


def main(arguments: list[str]) -> None:
    """Run one part until SIGTERM, or until the supervisor is gone."""
    role, argument = arguments
    memory.return_what_is_free()
    lifeline = Lifeline()
    # A terminal's Ctrl-C reaches the whole group; the supervisor alone decides when its children end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if role == "api":
        from redrive.server.api import run_api  # noqa: PLC0415 - a worker needs no web framework

        quick_start.imported()
        listener = socket.socket(fileno=int(argument))
        run_api(lifeline.settings(), listener, ready=lifeline.ready, watch=lifeline.watch)
    else:
        from redrive.server.worker import run_worker  # noqa: PLC0415

        quick_start.imported()
        run_worker(lifeline.settings(), name=argument, ready=lifeline.ready, watch=lifeline.watch)
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads of libraries must not keep a part from ending; everything of ours is closed.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])

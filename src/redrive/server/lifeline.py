"""The line between the supervisor and a child: settings come in, readiness goes out, its end means death.

A child is started before the database runs, so that it can import meanwhile. It then reads one line of JSON
(its ``REDRIVE_*`` variables; secrets never stand in an argument list) from standard input, which stays open.
When the supervisor is gone, however it died, the input ends. ``ready`` is one line on standard output; what
libraries print goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from redrive.settings import Settings, load

READY = b"ready\n"


class Watch(Protocol):
    """What calls ``leave`` when the supervisor is gone."""

    def __call__(self, leave: Callable[[], None], *, patience_seconds: float) -> None:
        """Watch in a thread."""


class Lifeline:
    """The child's end. Make it first, before anything prints."""

    def __init__(self) -> None:
        self._status = os.dup(1)
        os.dup2(2, 1)

    def settings(self) -> Settings:
        """Return the settings, once the supervisor gives them; leave where it died before."""
        line = sys.stdin.buffer.readline()
        if not line:
            sys.exit(0)
        return load({}, environ=json.loads(line), config=Path(os.devnull))

    def ready(self) -> None:
        """Tell the supervisor that this part works."""
        os.write(self._status, READY)

    def watch(self, leave: Callable[[], None], *, patience_seconds: float) -> None:
        """Call ``leave`` when the supervisor is gone, and end hard where that takes too long."""

        def wait_for_the_end() -> None:
            sys.stdin.buffer.read()
            leave()
            threading.Event().wait(patience_seconds)
            os._exit(1)

        threading.Thread(target=wait_for_the_end, name="lifeline", daemon=True).start()


def message(settings: Settings) -> bytes:
    """Return the line that gives ``settings`` to a child."""
    return json.dumps(settings.environment()).encode() + b"\n"

"""How a peer's process is called: ``script fill URL COUNT`` or ``script work URL``."""

from __future__ import annotations

import sys
from collections.abc import Callable


def run(fill: Callable[[str, int], None], work: Callable[[str], None]) -> None:
    """Fill, or say ``ready`` and work as soon as a line comes in; work lasts until the process is ended."""
    if sys.argv[1] == "fill":
        fill(sys.argv[2], int(sys.argv[3]))
        return
    print("ready", flush=True)
    sys.stdin.readline()
    work(sys.argv[2])

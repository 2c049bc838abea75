"""Processes that tests may kill, forked from one that has imported what they need: milliseconds, not seconds."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.timeseries.mover_process", "tests.timeseries.import_process"])


def start(work: Callable[..., None], *arguments: object) -> ForkServerProcess:
    """Start a process that calls ``work`` with ``arguments``; it dies with the test."""
    process = _context.Process(target=work, args=arguments, daemon=True)
    process.start()
    return process

"""Waiting in the event loop for what a thread does.

A group of requests is acknowledged at once; waking the loop for each of them costs a system call each, so they are
collected and the loop is woken once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import Future
from typing import TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")


class _Arrivals:
    """What became ready for one event loop since it was last woken."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ready: deque[asyncio.Event] = deque()
        self._woken = False

    def add(self, event: asyncio.Event) -> None:
        """Let ``event`` be set by the loop. Called in any thread."""
        self._ready.append(event)
        if not self._woken:
            self._woken = True
            self._loop.call_soon_threadsafe(self._set_all)

    def _set_all(self) -> None:
        # First, so that whatever is added from here on wakes the loop again.
        self._woken = False
        while self._ready:
            self._ready.popleft().set()


_arrivals: WeakKeyDictionary[asyncio.AbstractEventLoop, _Arrivals] = WeakKeyDictionary()


async def acknowledged(future: Future[T]) -> T:
    """Return the result of ``future``, or raise its error."""
    loop = asyncio.get_running_loop()
    arrivals = _arrivals.get(loop)
    if arrivals is None:
        arrivals = _arrivals[loop] = _Arrivals(loop)
    event = asyncio.Event()
    future.add_done_callback(lambda _: arrivals.add(event))
    await event.wait()
    return future.result()

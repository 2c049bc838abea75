"""Identifiers: positive 63-bit integers that grow with time, so that lists stay in order.

An id is ``milliseconds since 2020 << 21 | 21 bits``; the low bits count up from a random start within a
process, so ids of one process are strictly increasing and two processes rarely meet. The primary key
decides: an id that does collide is refused by the database and the request is repeated.
"""

from __future__ import annotations

import secrets
import threading
import time

_EPOCH_MS = 1_577_836_800_000
_LOW_BITS = 21

_lock = threading.Lock()
_last = 0


def new_id() -> int:
    """Return a new id: 18 digits until 2029, 19 after; strictly greater than the last one of this process."""
    return new_ids(1)[0]


def new_ids(count: int) -> range:
    """Return ``count`` consecutive new ids."""
    global _last
    with _lock:
        elapsed_ms = time.time_ns() // 1_000_000 - _EPOCH_MS
        fresh = (elapsed_ms << _LOW_BITS) | secrets.randbits(_LOW_BITS)
        first = max(fresh, _last + 1)
        _last = first + count - 1
    return range(first, first + count)

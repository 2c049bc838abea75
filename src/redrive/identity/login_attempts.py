"""Wrong passwords: whoever sends many for one user, from one address, has to wait, longer each time.

``MOST`` failures within ``WINDOW_SECONDS`` close a user for that address for ``FIRST_WAIT_SECONDS``; each failure
after that doubles the wait, up to ``LONGEST_WAIT_SECONDS``. A password is not even looked at meanwhile. Other
addresses of the same user are not concerned, so nobody can lock out the rightful user; names that no user has are
treated alike.

Kept in the memory of one process, at most ``MOST_KEPT`` pairs: each API process counts for itself, and starts anew
with nothing. Whoever has many addresses has ``MOST`` tries from each; against that help long passwords only.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from redrive.errors import Problem, ProblemCode

MOST = 10
WINDOW_SECONDS = 300.0
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 30.0, 900.0
MOST_KEPT = 10_000
#: The reason of the refusal.
REASON = "too_many_logins"


@dataclass(slots=True)
class _Failures:
    """Of one user from one address: how many since when, and until when it is closed."""

    since: float
    count: int = 0
    closed_until: float = 0.0


class LoginAttempts:
    """Counts wrong passwords; one per process, safe to share between threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, _Failures] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, user: str, address: str) -> None:
        """Count a try as a failure until ``succeeded`` says otherwise; refuse where ``address`` has to wait.

        It is counted before the password is looked at, so that a hundred tries at once are a hundred.
        """
        name, present = _name(user, address), time.monotonic()
        with self._lock:
            found = self._kept.pop(name, None)
            if found is None or _is_over(found, present):
                found = _Failures(present)
            # The latest last: those that leave first are those that have been quiet longest.
            self._kept[name] = found
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
            wait = found.closed_until - present
            if wait <= 0:
                found.count += 1
                if found.count >= MOST:
                    longer = FIRST_WAIT_SECONDS * 2.0 ** min(found.count - MOST, 10)
                    found.closed_until = present + min(longer, LONGEST_WAIT_SECONDS)
        if wait > 0:
            raise Problem(
                ProblemCode.TOO_MANY,
                "too many wrong passwords for this user from this address",
                hint=f"try again in {int(wait) + 1} s",
                reason=REASON,
            )

    def succeeded(self, user: str, address: str) -> None:
        """Forget the wrong passwords of a user who knows the right one."""
        with self._lock:
            self._kept.pop(_name(user, address), None)


def _is_over(found: _Failures, present: float) -> bool:
    """Return whether failures are so old that the next one counts as the first."""
    if found.closed_until:
        return present > found.closed_until + LONGEST_WAIT_SECONDS
    return present > found.since + WINDOW_SECONDS


def _name(user: str, address: str) -> bytes:
    # Of one size, whatever was sent as a name.
    return hashlib.sha256(f"{user}\0{address}".encode("utf-8", "replace")).digest()

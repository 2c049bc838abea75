"""Passwords of users: argon2id with the library's present parameters.

Checking one takes 64 MiB and a processor for tens of milliseconds, on purpose, and anybody may ask for it. So only
``AT_ONCE`` are checked at a time in a process and few others wait: who floods the call for tokens must not be able to
take the memory, or all threads, from those who are in.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterator
from functools import lru_cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from redrive.errors import Problem, ProblemCode

AT_ONCE, WITH_THOSE_WHO_WAIT = 4, 10

_hasher = PasswordHasher()
_at_work = threading.BoundedSemaphore(AT_ONCE)
_places = threading.BoundedSemaphore(WITH_THOSE_WHO_WAIT)


@contextlib.contextmanager
def turn() -> Iterator[None]:
    """Wait for a turn to check a password; refuse where too many wait."""
    if not _places.acquire(blocking=False):
        raise Problem(
            ProblemCode.TOO_MANY,
            "too many passwords are being checked",
            hint="try again in a moment",
            reason="busy",
        )
    try:
        with _at_work:
            yield
    finally:
        _places.release()


def new_password() -> str:
    """Return a random password of 24 characters."""
    return secrets.token_urlsafe(18)


def hash_password(password: str) -> str:
    """Return the hash to store; takes tens of milliseconds on purpose."""
    return _hasher.hash(password)


def password_fits(stored: str, password: str) -> bool:
    """Return whether ``stored`` is a hash of ``password``."""
    try:
        return _hasher.verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False


@lru_cache(maxsize=1)
def nobodys_hash() -> str:
    """Return the hash of a password that nobody has: checking against it takes as long as against any other."""
    return hash_password(new_password())

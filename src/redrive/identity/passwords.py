"""Passwords of users: argon2id with the library's present parameters."""

from __future__ import annotations

import secrets
from functools import lru_cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

_hasher = PasswordHasher()


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

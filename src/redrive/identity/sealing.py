"""The master key: seals secrets that the database keeps.

A sealed value is ``version (1 byte) | id of the master key (8) | nonce (12) | AES-256-GCM text and tag``. Its
*place* (``table.column/row``) is authenticated with it, so a sealed value that is copied to another row does
not open there.

The key file holds one base64 key of 32 bytes per line; lines that start with ``#`` are comments. The first
key seals, the others still open what they sealed: during a rotation the file holds two. A running process
notices that the file changed.

Refuses: a file that others can write; a default file that others can read; a file without a key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import stat
import threading
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from redrive.errors import Problem, ProblemCode

_VERSION = b"\x01"
_ID_BYTES = 8
_NONCE_BYTES = 12
_HEAD_BYTES = 1 + _ID_BYTES + _NONCE_BYTES
KEY_BYTES = 32


class SealBroken(Exception):
    """A sealed value does not open: another master key sealed it, it was changed, or it was moved."""


def key_id_of(key: bytes) -> bytes:
    """Return the 8 bytes that name ``key`` in sealed values; they tell nothing about it."""
    return hashlib.sha256(b"redrive master key" + key).digest()[:_ID_BYTES]


def sealed_with(sealed: bytes) -> bytes:
    """Return the id of the master key that sealed ``sealed``."""
    return sealed[1 : 1 + _ID_BYTES]


class Sealer:
    """Seals and opens values. Safe to share between threads."""

    def __init__(self, keys: Sequence[bytes], path: Path | None = None) -> None:
        self._path = path
        self._loading = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._take(keys)
        if path is not None:
            self._stamp = _stamp(path)

    @classmethod
    def from_file(cls, path: Path) -> Sealer:
        """Return a sealer with the keys in ``path``, which is read again whenever it changes."""
        return cls(read_key_file(path), path)

    @property
    def key_id(self) -> bytes:
        """The id of the key that seals new values."""
        return self._keys[0]

    @property
    def key_ids(self) -> tuple[bytes, ...]:
        """The ids of all keys at hand, the sealing one first."""
        return tuple(self._keys[1])

    def seal(self, plain: bytes, place: str) -> bytes:
        """Return ``plain`` sealed for ``place``."""
        self.reload_if_changed()
        active, ciphers = self._keys
        nonce = secrets.token_bytes(_NONCE_BYTES)
        body = ciphers[active].encrypt(nonce, plain, _VERSION + place.encode())
        return _VERSION + active + nonce + body

    def open(self, sealed: bytes, place: str) -> bytes:
        """Return the value that was sealed for ``place``; raise :class:`SealBroken` where it does not open."""
        if len(sealed) < _HEAD_BYTES or sealed[:1] != _VERSION:
            raise SealBroken(f"what is stored for {place} is not a sealed value")
        cipher = self._keys[1].get(sealed_with(sealed))
        if cipher is None:
            self.reload_if_changed()
            cipher = self._keys[1].get(sealed_with(sealed))
        if cipher is None:
            raise SealBroken(
                f"{place} was sealed with master key {sealed_with(sealed).hex()}, which is not at hand"
            )
        try:
            return cipher.decrypt(
                sealed[1 + _ID_BYTES : _HEAD_BYTES], sealed[_HEAD_BYTES:], _VERSION + place.encode()
            )
        except InvalidTag:
            raise SealBroken(f"what is stored for {place} was changed or moved") from None

    def fingerprint(self, data: bytes) -> bytes:
        """Return 32 bytes that tell ``data`` from others, but nothing about it to who has only the database.

        Another one after the master key was rotated.
        """
        return hmac.digest(self._fingerprints, data, "sha256")

    def reload_if_changed(self) -> None:
        """Read the key file again if it is not the one that was read."""
        if self._path is None or _stamp(self._path) == self._stamp:
            return
        with self._loading:
            stamp = _stamp(self._path)
            if stamp is not None and stamp != self._stamp:
                self._take(read_key_file(self._path))
                self._stamp = stamp

    def _take(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise ValueError("a sealer needs a key")
        # One attribute, so that a thread that seals meanwhile sees the old keys or the new ones.
        self._keys = (key_id_of(keys[0]), {key_id_of(key): AESGCM(key) for key in keys})
        self._fingerprints = hashlib.sha256(b"redrive fingerprints" + keys[0]).digest()


def new_key() -> bytes:
    """Return a new random master key."""
    return secrets.token_bytes(KEY_BYTES)


def read_key_file(path: Path, *, private: bool = False) -> list[bytes]:
    """Return the keys in ``path``; ``private`` also refuses a file that others can read."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        lines = path.read_text(encoding="ascii").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise _bad_file(path, f"cannot be read ({error.__class__.__name__})") from error
    if mode & (0o077 if private else 0o022):
        raise _bad_file(path, f"has mode {mode:04o}, so others can get at it", f"run: chmod 600 {path}")
    keys = [_decode(path, line.strip()) for line in lines if line.strip() and not line.startswith("#")]
    if not keys:
        raise _bad_file(path, "holds no key")
    return keys


def write_key_file(path: Path, keys: Sequence[bytes]) -> None:
    """Put ``keys`` into ``path`` (0600) as a whole or not at all, durable when this returns."""
    text = "# Redrive master key: whoever has it can open every secret in the database. Back it up.\n"
    text += "".join(base64.b64encode(key).decode() + "\n" for key in keys)
    write_private(path, text)


def write_private(path: Path, text: str) -> None:
    """Replace ``path`` by a file of mode 0600 with ``text``, as a whole or not at all, durable on return."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _decode(path: Path, line: str) -> bytes:
    try:
        key = base64.b64decode(line, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise _bad_file(path, "has a line that is not a base64 key of 32 bytes")
    return key


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _bad_file(path: Path, what: str, hint: str = "") -> Problem:
    return Problem(
        ProblemCode.UNAVAILABLE, f"the master key file {path} {what}", hint=hint, reason="master_key_file"
    )

"""A connection that ends: so many seconds and so many bytes per question, however the other side spaces them.

A time limit on a socket counts from byte to byte, so a server that sends one now and then would hold a worker for
ever; and ``ldap3`` believes whatever length a message says that it has.
"""

from __future__ import annotations

import socket
import time


class TooMuchError(OSError):
    """The other side sent more than an answer may have."""


class Bounded:
    """What ``ldap3`` uses of a socket, with limits; ``ask`` before each question."""

    def __init__(self, connection: socket.socket, *, seconds: float, most_bytes: int) -> None:
        self._connection = connection
        self._seconds = seconds
        self._most_bytes = most_bytes
        self._deadline = 0.0
        self._left = 0
        #: What ended the last question before its answer; ``ldap3`` makes exceptions of its own of it.
        self.trouble: OSError | None = None

    def ask(self) -> None:
        """Begin a question: the limits count from now."""
        self._deadline = time.monotonic() + self._seconds
        self._left = self._most_bytes
        self.trouble = None

    def recv(self, size: int) -> bytes:
        """Return what came, at most ``size`` bytes; nothing at the end."""
        try:
            self._set_timeout()
            data = self._connection.recv(size)
            self._left -= len(data)
            if self._left < 0:
                raise TooMuchError(f"an answer of more than {self._most_bytes} bytes")
        except OSError as error:
            self.trouble = error
            raise
        return data

    def sendall(self, data: bytes) -> None:
        """Send it all."""
        try:
            self._set_timeout()
            self._connection.sendall(data)
        except OSError as error:
            self.trouble = error
            raise

    def shutdown(self, how: int) -> None:
        """End one or both directions."""
        self._connection.shutdown(how)

    def close(self) -> None:
        """Close it; safe to repeat."""
        self._connection.close()

    def _set_timeout(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._connection.settimeout(left)

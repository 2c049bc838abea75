"""The socket of the API, bound by the supervisor and kept while API processes come and go."""

from __future__ import annotations

import errno
import socket
import time

from redrive.errors import Problem, ProblemCode

_BACKLOG = 2048
#: What a killed server left may hold the port for a moment.
PATIENCE_SECONDS = 2.0


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket on ``host``; a Problem where the address cannot be had."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return _bind(host, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            taken = error.errno == errno.EADDRINUSE
            raise Problem(
                ProblemCode.CONFLICT if taken else ProblemCode.INVALID,
                f"cannot listen on {host}:{port}: {error.strerror or error}",
                hint="stop what listens there, or choose another --port (0: any free one)" if taken else "",
                reason="address_taken" if taken else "",
            ) from None


def port_of(listener: socket.socket) -> int:
    """Return the port that ``listener`` is bound to."""
    port: int = listener.getsockname()[1]
    return port


def _bind(host: str, port: int) -> socket.socket:
    [first, *_] = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = first
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener

"""A domain controller that speaks TLS: the demonstration's directory behind a socket that decrypts."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.endpoints.certificates import authority, issued
from tests.workspaces.scene import directory_server


@contextlib.contextmanager
def controller(folder: Path, ca_file: Path) -> Iterator[int]:
    """Serve LDAPS as dc1.plant.example; the port. ``ca_file`` gets the certificate to trust."""
    root = authority()
    ca_file.write_text(root.pem)
    certificate, key = issued(root).write(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with directory_server(folder) as port, socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, context, port), daemon=True).start()
        yield listener.getsockname()[1]


def _accept(listener: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_serve, args=(connection, context, port), daemon=True).start()


def _serve(connection: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with (
        contextlib.suppress(OSError),
        context.wrap_socket(connection, server_side=True) as outside,
        socket.create_connection(("127.0.0.1", port)) as inside,
    ):
        threading.Thread(target=_copy, args=(inside, outside), daemon=True).start()
        _copy(outside, inside)


def _copy(come: socket.socket, go: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := come.recv(65_536):
            go.sendall(data)
        go.shutdown(socket.SHUT_WR)

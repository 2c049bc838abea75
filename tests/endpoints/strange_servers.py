"""Servers that do not behave, and one that stands between and cuts the line."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Behaviour = Callable[[socket.socket, threading.Event], None]


@contextmanager
def listening(behaviour: Behaviour, ip: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """Run ``behaviour`` for every connection; give the port. Its event says that the test is over."""
    over = threading.Event()
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            behaviour(connection, over)

    def accept() -> None:
        with suppress(OSError):
            while not over.is_set():
                connection, _ = server.accept()
                threads.append(threading.Thread(target=serve, args=(connection,)))
                threads[-1].start()

    with socket.create_server((ip, port)) as server:
        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield server.getsockname()[1]
        finally:
            over.set()
            server.shutdown(socket.SHUT_RDWR)
            acceptor.join()
            for thread in threads:
                thread.join()


def says(*parts: bytes, every_seconds: float = 0.0) -> Behaviour:
    """A server that waits for a question and says these parts, one after the other, whatever was asked."""

    def behave(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(4096)
        for part in parts:
            connection.sendall(part)
            over.wait(every_seconds)

    return behave


def says_nothing(connection: socket.socket, over: threading.Event) -> None:
    over.wait(30)


def hangs_up(connection: socket.socket, over: threading.Event) -> None:
    connection.recv(4096)


#: The first byte of an LDAP operation behind its message's head (RFC 4511): [APPLICATION 8] is an add.
_ADD = b"\x68"


def cuts_after_an_add(to: tuple[str, int], when_added: Callable[[], None]) -> Behaviour:
    """Pass everything on to a server; when an add has been passed on, call ``when_added`` and hang up, unanswered."""

    def behave(connection: socket.socket, over: threading.Event) -> None:
        with socket.create_connection(to) as server:
            while asked := connection.recv(65536):
                server.sendall(asked)
                if _operation(asked) == _ADD:
                    when_added()
                    return
                server.settimeout(5)
                connection.sendall(_whole(server, asked))

    return behave


def _operation(message: bytes) -> bytes:
    """Return the tag of the operation in an LDAP message: behind its head and its number."""
    at = 2 + (message[1] & 0x7F if message[1] & 0x80 else 0)
    at += 2 + message[at + 1]
    return message[at : at + 1]


#: Ends of answers: bind, search done, add, delete.
_LAST = {b"\x61", b"\x65", b"\x69", b"\x6b"}


def _whole(server: socket.socket, asked: bytes) -> bytes:
    """Return all that a server answers to one question (a farewell has no answer)."""
    if _operation(asked) == b"\x42":
        return b""
    answer = b""
    while True:
        answer += server.recv(65536)
        at = 0
        while at + 2 <= len(answer):
            size = answer[at + 1]
            head = 2
            if size & 0x80:
                head += size & 0x7F
                size = int.from_bytes(answer[at + 2 : at + head], "big")
            if at + head + size > len(answer):
                break
            if _operation(answer[at:]) in _LAST:
                return answer
            at += head + size

"""A directory behind a wire that is watched: what was asked of it that changes it, and how often."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.workspaces.scene import directory_server

ADD, DELETE = 0x68, 0x4A
_SHORT = 0x80


class Watched:
    """Counts the requests that change a directory.

    ``before`` is called with each before it is passed on, ``on`` when it has been answered.
    """

    def __init__(self) -> None:
        self.port = 0
        self.counts: Counter[int] = Counter()
        self.before: Callable[[int], None] = lambda _sort: None
        self.on: Callable[[int], None] = lambda _sort: None

    @property
    def added(self) -> int:
        return self.counts[ADD]

    @property
    def deleted(self) -> int:
        return self.counts[DELETE]

    def request(self, sort: int) -> None:
        if sort in (ADD, DELETE):
            self.counts[sort] += 1
            self.before(sort)


@contextlib.contextmanager
def watched_directory(folder: Path) -> Iterator[Watched]:
    """The demonstration's directory, watched."""
    watched = Watched()
    with directory_server(folder) as port, socket.create_server(("127.0.0.1", 0)) as listener:
        watched.port = listener.getsockname()[1]
        threading.Thread(target=_accept, args=(listener, port, watched), daemon=True).start()
        yield watched


def _accept(listener: socket.socket, port: int, watched: Watched) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_serve, args=(connection, port, watched), daemon=True).start()


def _serve(outside: socket.socket, port: int, watched: Watched) -> None:
    asked: list[int] = []
    with contextlib.suppress(OSError), outside, socket.create_connection(("127.0.0.1", port)) as inside:
        threading.Thread(target=_answers, args=(inside, outside, asked, watched), daemon=True).start()
        waiting = b""
        while data := outside.recv(65_536):
            waiting += data
            while (message := _message(waiting)) is not None:
                waiting = waiting[len(message) :]
                asked.append(_sort(message))
                watched.request(asked[-1])
            inside.sendall(data)
        inside.shutdown(socket.SHUT_WR)


def _answers(inside: socket.socket, outside: socket.socket, asked: list[int], watched: Watched) -> None:
    with contextlib.suppress(OSError):
        while data := inside.recv(65_536):
            answered = asked.pop() if asked and asked[-1] in (ADD, DELETE) else None
            outside.sendall(data)
            if answered is not None:
                watched.on(answered)
        outside.shutdown(socket.SHUT_WR)


def _head(data: bytes, at: int) -> tuple[int, int] | None:
    """Where the content of a BER element begins and ends; None where that is not there yet."""
    if len(data) < at + 2:
        return None
    first = data[at + 1]
    if first < _SHORT:
        return at + 2, at + 2 + first
    size = first - _SHORT
    if len(data) < at + 2 + size:
        return None
    begin = at + 2 + size
    return begin, begin + int.from_bytes(data[at + 2 : begin], "big")


def _message(data: bytes) -> bytes | None:
    head = _head(data, 0)
    return data[: head[1]] if head is not None and len(data) >= head[1] else None


def _sort(message: bytes) -> int:
    """The tag of the operation, which stands behind the number of the message (RFC 4511, 4.1.1)."""
    outer = _head(message, 0)
    assert outer is not None
    number = _head(message, outer[0])
    assert number is not None
    return message[number[1]]

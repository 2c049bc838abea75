"""An object store that fails: a proxy in front of a real server of the protocol, which spoils a share of the calls.

What it does to a call it spoils, in turn: it refuses with 503 and does nothing; it closes the connection and
does nothing; it lets the call happen and then closes the connection, so that the caller cannot know.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import random
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class BadStore:
    """``address`` is the proxy's; ``share`` of the calls are spoiled while it is above 0; ``spoiled`` counts."""

    def __init__(self, behind: tuple[str, int]) -> None:
        self.share = 0.0
        self.spoiled = {"refused": 0, "cut": 0, "answer lost": 0}
        self._turns = itertools.cycle(self.spoiled)
        self._random = random.Random(7)
        self._lock = threading.Lock()
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                with contextlib.suppress(ConnectionError):
                    super().handle_one_request()

            def _pass_on(self) -> None:
                body = self._body()
                harm = store.harm()
                if harm == "refused":
                    self._answer(
                        503, [("Content-Type", "application/xml")], b"<Error><Code>SlowDown</Code></Error>"
                    )
                    return
                if harm == "cut":
                    self.close_connection = True
                    return
                there = http.client.HTTPConnection(*behind, timeout=30)
                there.request(self.command, self.path, body, self._headers_with(len(body)))
                answer = there.getresponse()
                content = answer.read()
                if harm == "answer lost":
                    self.close_connection = True
                else:
                    self._answer(answer.status, answer.getheaders(), content)
                there.close()

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on  # noqa: N815

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = b""
                while size := int(self.rfile.readline().partition(b";")[0], 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def _headers_with(self, size: int) -> dict[str, str]:
                kept = {
                    name: value
                    for name, value in self.headers.items()
                    if name.lower() not in ("transfer-encoding", "content-length")
                }
                return {**kept, "Content-Length": str(size)}

            def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
                self.send_response_only(status)
                told = "0"
                for name, value in headers:
                    if name.lower() == "content-length":
                        told = value
                    elif name.lower() not in ("connection", "transfer-encoding", "keep-alive"):
                        self.send_header(name, value)
                self.send_header("Content-Length", told if self.command == "HEAD" else str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            def log_message(self, format: str, *arguments: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def harm(self) -> str | None:
        with self._lock:
            if self._random.random() >= self.share:
                return None
            turn = next(self._turns)
            self.spoiled[turn] += 1
            return turn

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> BadStore:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextlib.contextmanager
def before(behind: tuple[str, int]) -> Iterator[BadStore]:
    with BadStore(behind) as store:
        yield store

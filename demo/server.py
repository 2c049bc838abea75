"""The server of the demonstration: ``redrive up`` as a process of its own, on an empty folder."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

_READY = "Redrive is ready: "
_PATIENCE_SECONDS = 60.0


class NoServerError(Exception):
    """The server did not start."""


class Server:
    """A running ``redrive up``. ``credentials`` is what it wrote on its first start."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder.parent / "server.log"
        self.directory_port = _free_port()
        self.program = str(Path(sys.executable).with_name("redrive"))
        self.command = [
            *("redrive", "up", "--data-dir", str(folder), "--port", "0", "--workers", "2"),
            *("--worker-threads", "1", "--allow-failpoints"),
            *("--directory-ldap-port", str(self.directory_port)),
        ]
        self.credentials: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it says that it is ready."""
        with self.log.open("wb") as log:
            # A session of its own: Ctrl-C in the demonstration is not for the server, and it may stay.
            self._process = subprocess.Popen(
                [self.program, *self.command[1:]], stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not any(line.startswith(_READY) for line in self.log.read_text().splitlines()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise NoServerError(f"the server did not start; its log:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.02)
        self.credentials = json.loads((self.folder / "credentials.json").read_text())

    @property
    def endpoint(self) -> str:
        """Its address."""
        return self.credentials["endpoint"]

    @property
    def pid(self) -> int:
        """The process to stop."""
        return self._process.pid if self._process is not None else 0

    def native(self) -> Native:
        """Return a caller of the native API."""
        return Native(self.endpoint, self.credentials["access_key"], self.credentials["secret_key"])

    def run(self, *words: str, show: bool = True) -> str:
        """Run ``redrive WORDS`` for this server; its output is shown, or returned."""
        done = subprocess.run(
            [self.program, *words, "--data-dir", str(self.folder)],
            check=False,
            capture_output=not show,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"redrive {' '.join(words)} ended with {done.returncode}: {done.stderr or ''}")
        return done.stdout or ""

    def stop(self) -> None:
        """Stop it and all that it started."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


class Native:
    """Redrive's own API, with HTTP Basic."""

    def __init__(self, endpoint: str, access_key: str, secret_key: str) -> None:
        self._http = httpx.Client(base_url=endpoint, auth=(access_key, secret_key), timeout=60)

    def get(self, path: str, **query: str | int) -> dict[str, Any]:
        """Return an answer; an HTTP error raises."""
        return self._answer(self._http.get(path, params=query))

    def put(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Put something; an HTTP error raises."""
        return self._answer(self._http.put(path, json=body))

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Make something; an HTTP error raises."""
        return self._answer(self._http.post(path, json=body))

    def delete(self, path: str) -> dict[str, Any]:
        """Delete something; an HTTP error raises."""
        return self._answer(self._http.delete(path))

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _answer(self, response: httpx.Response) -> dict[str, Any]:
        if response.is_error:
            raise RuntimeError(f"{response.request.method} {response.url.path}: {response.text}")
        found: dict[str, Any] = response.json()
        return found

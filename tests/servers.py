"""Real servers: ``redrive`` as a process. The fixture ``launch`` (tests/conftest.py) starts and stops them."""

from __future__ import annotations

import base64
import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redrive.database import Database
from redrive.identity.bootstrap import bootstrap
from redrive.identity.sealing import Sealer
from redrive.settings import Settings


def first_start(db: Database, settings: Settings) -> Sealer:
    """What a first start makes, and the workspace open, as its registration leaves it; for tests without a worker."""
    sealer = bootstrap(db, settings)
    db.run(lambda conn: conn.execute("update tenants set open = true"))
    return sealer


REDRIVE = [sys.executable, "-m", "redrive.cli"]


@dataclass
class Server:
    """A running ``redrive``; ``line`` is what it printed when it was ready."""

    process: subprocess.Popen[str]
    data_dir: Path
    log: Path
    line: str = ""
    start_seconds: float = 0.0
    family: dict[int, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.line.removeprefix("Redrive is ready: ")

    def get(self, path: str, *, known: bool = False, timeout: float = 10.0) -> tuple[int, bytes]:
        """Ask the server; ``known`` shows the key pair of credentials.json."""
        request = urllib.request.Request(self.url + path)
        if known:
            keys = json.loads((self.data_dir / "credentials.json").read_text())
            pair = f"{keys['access_key']}:{keys['secret_key']}".encode()
            request.add_header("Authorization", "Basic " + base64.b64encode(pair).decode())
        context = ssl._create_unverified_context() if self.url.startswith("https") else None
        try:
            with urllib.request.urlopen(request, timeout=timeout, context=context) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def children(self, word: str = "") -> list[int]:
        """Return the process ids of its children whose command holds ``word``."""
        found = children_of(self.process.pid)
        self.family.update(found)
        return [pid for pid, command in found.items() if word in command]

    def said(self) -> list[dict[str, Any]]:
        """Return the lines of its log."""
        lines = self.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def stop(self, number: int = signal.SIGTERM) -> float:
        """End it with a signal and return how long that took."""
        self.children()
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(30)
        return time.monotonic() - began


def children_of(parent: int) -> dict[int, str]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                facts = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(facts[1]) == parent and facts[0] != "Z":
                    found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def eventually(condition: Callable[[], object], *, within: float, what: str) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(0.02)


Launch = Callable[..., Server]


def launching(folder: Path) -> Iterator[Launch]:
    servers: list[Server] = []

    def run(
        command: str = "up", *options: str, data_dir: Path | None = None, env: dict[str, str] | None = None
    ) -> Server:
        data_dir = data_dir or folder / "d"
        log = folder / f"{len(servers)}.log"
        port = [] if command == "worker" else ["--port", "0"]
        began = time.monotonic()
        with log.open("w") as file:
            process = subprocess.Popen(
                [*REDRIVE, command, "--data-dir", str(data_dir), *port, *options],
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                cwd=folder,
                env={**os.environ, **(env or {})},
            )
        server = Server(process, data_dir, log)
        servers.append(server)
        assert process.stdout is not None
        server.line = process.stdout.readline().strip()
        server.start_seconds = time.monotonic() - began
        server.children()
        return server

    yield run
    for server in servers:
        server.children()
        if server.process.poll() is None:
            server.process.terminate()
            try:
                server.process.wait(15)
            except subprocess.TimeoutExpired:
                server.process.kill()
                server.process.wait()
        for pid in server.family:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        if server.process.stdout is not None:
            server.process.stdout.close()

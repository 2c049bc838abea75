"""The vendor's published Python client, unmodified, as an outside program: it is GPL and never imported here."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

_PROGRAM = """
import json, sys
from poseidon import poseidon
asked = json.load(sys.stdin)
if asked["public_key"]:
    poseidon.pubkey = asked["public_key"].encode()
got = poseidon.urlopen(asked["key"], asked["secret"], asked["url"], asked["data"], asked["headers"], asked["method"])
print("ANSWER" + json.dumps(got))
"""


def installed(folder: Path) -> Path:
    """Make a Python of its own with the client; the test is skipped only where the registry cannot be reached."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=60)
    python = folder / "bin" / "python"
    done = subprocess.run(
        [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "enos-poseidon==0.2.0"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"the package registry is not reachable: {done.stderr.strip()[-200:]}")
    return python


@dataclass
class Client:
    """One call of the client per process."""

    python: Path
    url: str
    key: str
    secret: str
    public_key: str = ""
    told: list[str] = field(default_factory=list)

    def opens(
        self,
        call: str,
        data: object = None,
        headers: dict[str, str] | None = None,
        method: str | None = None,
    ) -> Any:
        asked = {
            "key": self.key,
            "secret": self.secret,
            "public_key": self.public_key,
            "url": self.url + call,
            "data": data,
            "headers": headers,
            "method": method,
        }
        done = subprocess.run(
            [self.python, "-c", _PROGRAM],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        before, _, answer = done.stdout.rpartition("ANSWER")
        assert before == "", before
        return json.loads(answer)

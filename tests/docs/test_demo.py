"""``make demo`` is a promise: it runs, in time, and everything in it is as it must be."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.torture
@pytest.mark.timeout(200)
def test_the_demonstration_shows_what_it_promises() -> None:
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "demo.demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=190,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-4000:]
    for promise in (
        "kill -9",
        "insurance claim",
        "Proved.",
        "5 steps were kept",
        "SUBSCRIBED",
        "All as it must be",
    ):
        assert promise in said
    assert re.search(r"redone +│ +[01] ", said), said[-2000:]
    assert time.monotonic() - begun < 90

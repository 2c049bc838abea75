"""The allocators give back what is free; what the environment says of them stands."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
from redrive.server import memory
import redrive.server.alone
memory.return_what_is_free()
import pyarrow
print(pyarrow.default_memory_pool().backend_name)
"""


@pytest.mark.parametrize(
    ("given", "used"), [({}, "system"), ({"ARROW_DEFAULT_MEMORY_POOL": "mimalloc"}, "mimalloc")]
)
def test_arrow_uses_the_systems_allocator_unless_told_otherwise(given: dict[str, str], used: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ARROW_DEFAULT_MEMORY_POOL"}
    told = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**environment, **given},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == used

"""The largest resident memory of a process, as the kernel counts it."""

from __future__ import annotations

from pathlib import Path


def peak_megabytes(process: int | str = "self") -> float:
    """Return the peak since the process started."""
    for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise AssertionError("the kernel tells every process's peak")

"""What a cluster's folder says about its server: ``postmaster.pid``, and whether that process is the one.

A pid file alone proves nothing: after a crash its number may belong to any other process (in a container it
nearly always does). A postmaster works *in* its cluster's folder, so that is what is compared.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
from pathlib import Path

_PROC = Path("/proc")
_PID_LINE, _PORT_LINE, _STATUS_LINE = 0, 3, 7


def find(cluster: Path) -> int | None:
    """Return the process id of the cluster's living postmaster."""
    lines = _pid_file(cluster)
    if not lines:
        return None
    try:
        pid = abs(int(lines[_PID_LINE]))
    except ValueError:
        return None
    return pid if alive(pid) and _works_in(pid, cluster) else None


def forget_dead(cluster: Path) -> None:
    """Remove what a postmaster that is gone left: another process may have its number by now."""
    for name in ("postmaster.pid", ".s.PGSQL.5432.lock", ".s.PGSQL.5432"):
        (cluster / name).unlink(missing_ok=True)


def status(cluster: Path) -> str:
    """Return ``starting``, ``ready``, ``stopping`` or ``standby``; empty while unknown."""
    lines = _pid_file(cluster)
    return lines[_STATUS_LINE].strip() if len(lines) > _STATUS_LINE else ""


def port(cluster: Path) -> int | None:
    """Return the port that the running server uses."""
    lines = _pid_file(cluster)
    return int(lines[_PORT_LINE]) if len(lines) > _PORT_LINE and lines[_PORT_LINE].strip() else None


def alive(pid: int) -> bool:
    """Return whether ``pid`` is a process that has not ended (one that only waits to be reaped has)."""
    if not (_PROC / "self").exists():
        return _answers(pid)
    try:
        facts = (_PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return facts.rpartition(")")[2].split()[0] not in "ZX"


@functools.cache
def major_version(programs: Path) -> int:
    """Return the major version of the programs in that folder."""
    answer = subprocess.run(
        [str(programs / "postgres"), "--version"], check=True, capture_output=True, text=True
    ).stdout
    match = re.search(r"\) (\d+)", answer)
    if match is None:
        raise ValueError(f"not PostgreSQL: {answer!r}")
    return int(match[1])


def _pid_file(cluster: Path) -> list[str]:
    try:
        return (cluster / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _works_in(pid: int, cluster: Path) -> bool:
    if not (_PROC / "self").exists():
        return True  # macOS: PostgreSQL's own look at the pid file has to do
    try:
        return (_PROC / str(pid) / "cwd").samefile(cluster)
    except OSError:
        return False

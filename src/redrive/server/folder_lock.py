"""One supervisor per data folder: ``D/redrive.lock``, held with flock.

The lock goes away with the process, however it ends; the file stays and names the last holder.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from redrive.errors import Problem, ProblemCode


class FolderLock:
    """Held within ``with``; a Problem that names the holder where another process has it."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._path = data_dir / "redrive.lock"
        self._fd: int | None = None

    def __enter__(self) -> FolderLock:
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(fd, 32).decode(errors="replace").strip() or "unknown"
            os.close(fd)
            raise Problem(
                ProblemCode.CONFLICT,
                f"a Redrive server already runs on {self._data_dir.absolute()} (process {holder})",
                hint=f"use it, stop it (kill {holder}), or choose another folder with --data-dir",
                reason="folder_locked",
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

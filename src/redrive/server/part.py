"""A child process of the supervisor that is started again when it dies."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from redrive.server.lifeline import READY

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0
#: A part that lived this long starts with the first pause again.
HEALTHY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Death:
    """The end of a child that nobody asked for. ``code`` is the exit code, or minus the signal."""

    name: str
    pid: int
    code: int
    lived_seconds: float
    again_in_seconds: float


class Part:
    """One child: ``start``, then ``give`` it its settings; ``terminate`` and ``kill`` end it for good.

    ``ready`` is set while the child works. ``failures`` counts deaths before it was first ready.
    """

    def __init__(self, name: str, arguments: Sequence[str], *, fds: Sequence[int] = ()) -> None:
        self.name = name
        self.ready = threading.Event()
        self.failures = 0
        self.on_death: Callable[[Death], None] = lambda _: None
        self._arguments = [sys.executable, "-m", "redrive.server.child", *arguments]
        self._fds = tuple(fds)
        self._message: bytes | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._keep_alive, name=f"part-{name}", daemon=True)

    @property
    def pid(self) -> int | None:
        """The process id of the present child."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the child; it imports and waits for ``give``."""
        self._spawn()
        self._thread.start()

    def give(self, message: bytes) -> None:
        """Hand over the settings, now and to each successor."""
        with self._lock:
            self._message = message
            self._write()

    def terminate(self) -> None:
        """Ask the child to end, and start no other."""
        self._ending.set()
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                self._process.terminate()

    def kill(self) -> None:
        """End the child at once, and start no other."""
        self._ending.set()
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                self._process.kill()

    def await_end(self, deadline: float) -> bool:
        """Return whether the child has ended by ``deadline`` (monotonic)."""
        process = self._process
        if process is None:
            return True
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return False
        return True

    def _spawn(self) -> None:
        with self._lock:
            if self._ending.is_set():
                return
            self._process = subprocess.Popen(
                self._arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=self._fds,
                start_new_session=True,
            )
            self._write()

    def _write(self) -> None:
        if self._message is None or self._process is None or self._process.stdin is None:
            return
        # A child that died at once is replaced, and the message is given to its successor.
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._process.stdin.write(self._message)
            self._process.stdin.flush()

    def _keep_alive(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while self._process is not None:
            process, begun = self._process, time.monotonic()
            was_ready = self._await_ready(process)
            code = process.wait()
            self.ready.clear()
            _close(process)
            if self._ending.is_set():
                return
            if not was_ready:
                self.failures += 1
            lived = time.monotonic() - begun
            pause = FIRST_PAUSE_SECONDS if lived > HEALTHY_SECONDS else min(pause * 2, LONGEST_PAUSE_SECONDS)
            self._tell(Death(self.name, process.pid, code, round(lived, 1), pause))
            if self._ending.wait(pause):
                return
            while not self._spawned():
                if self._ending.wait(LONGEST_PAUSE_SECONDS):
                    return

    def _tell(self, death: Death) -> None:
        try:
            self.on_death(death)
        except Exception:
            _log_exception("part.mourning_failed", self.name)

    def _spawned(self) -> bool:
        """Return whether there is a child again; a machine without memory has none for a while."""
        try:
            self._spawn()
        except OSError:
            _log_exception("part.not_started", self.name)
            return False
        return True

    def _await_ready(self, process: subprocess.Popen[bytes]) -> bool:
        if process.stdout is None or process.stdout.readline() != READY:
            return False
        self.ready.set()
        return True


def _log_exception(event: str, name: str) -> None:
    import structlog  # noqa: PLC0415 - the supervisor imports it later than this module

    structlog.get_logger(__name__).exception(event, part=name)


def _close(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()

"""``redrive up``: everything in one command. See the package for the picture.

The order keeps the start short: children are started first and import while this process imports and PostgreSQL
comes up; they get their settings when the database is migrated and the first account is made. So what this
module imports at its top is light.
"""

from __future__ import annotations

import dataclasses
import signal
import socket
import threading
import time
from collections.abc import Callable

from redrive.errors import Problem, ProblemCode
from redrive.server.folder_lock import FolderLock
from redrive.server.lifeline import message
from redrive.server.listening import listen, port_of
from redrive.server.part import Death, Part
from redrive.settings import Settings, require_safe_listener

#: From SIGTERM: children have this long to drain, then they are killed; then PostgreSQL has its part.
DRAIN_SECONDS = 6.5
POSTGRES_SECONDS = 1.5
READY_SECONDS = 60.0
#: A part that dies so often before it ever worked will not work.
HOPELESS = 3
_LOOK_SECONDS = 0.25


def up(settings: Settings, *, announce: Callable[[str], None]) -> None:
    """Run everything until SIGTERM, SIGINT or SIGHUP; ``announce`` gets the one line that says where."""
    require_safe_listener(settings)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    stop = _stop_on_signals()
    with FolderLock(settings.data_dir), listen(settings.host, settings.port) as listener:
        settings = dataclasses.replace(settings, port=port_of(listener))
        parts = _make_parts(settings, listener)
        supervisor = None
        try:
            for part in parts:
                part.start()
            supervisor = _Supervisor(settings, parts, stop)
            supervisor.run(announce)
        finally:
            listener.close()  # no new callers while those of now are served
            _drain(parts)
            if supervisor is not None:
                supervisor.stop_postgres()


class _Supervisor:
    """What runs once the children are on their way; its imports happen while theirs do."""

    def __init__(self, settings: Settings, parts: list[Part], stop: threading.Event) -> None:
        from redrive.server import quick_start  # noqa: I001, PLC0415
        import structlog  # noqa: PLC0415

        from redrive.database.embedded import EmbeddedPostgres  # noqa: PLC0415
        from redrive.server import logs, preparation  # noqa: PLC0415

        quick_start.imported()
        logs.configure(settings.log_level, part="supervisor")
        self._log = structlog.get_logger(__name__)
        self._preparation = preparation
        self._settings = settings
        self._parts = parts
        self._stop = stop
        self._postgres = None if settings.database_url else EmbeddedPostgres(settings.data_dir)

    def run(self, announce: Callable[[str], None]) -> None:
        """Start, announce, watch; return when a stop is asked for."""
        try:
            self._start()
            if self._await_ready():
                self._preparation.await_registration(self._settings, given_up=self._stop.is_set)
                endpoint = self._preparation.endpoint_of(self._settings)
                announce(f"Redrive is ready: {endpoint}")
                self._log.info("ready", endpoint=endpoint, workers=self._settings.workers)
                self._watch()
        except Problem:
            if not self._stop.is_set():
                raise
        self._log.info("stopping")

    def stop_postgres(self) -> None:
        """Stop the database where it is ours; call it when no part uses it."""
        if self._postgres is not None:
            self._postgres.stop(POSTGRES_SECONDS)

    def _start(self) -> None:
        self._preparation.arm_failpoints(self._settings)
        if self._postgres is not None:
            self._settings = self._settings.with_database(self._postgres.start(self._stop.is_set))
        self._preparation.prepare_database(self._settings, given_up=self._stop.is_set)
        for part in self._parts:
            part.on_death = self._mourn
            part.give(message(self._settings))

    def _await_ready(self) -> bool:
        """Return whether all work; False where a stop was asked for meanwhile."""
        deadline = time.monotonic() + READY_SECONDS
        while not all(part.ready.is_set() for part in self._parts):
            if self._stop.wait(0.01):
                return False
            for part in self._parts:
                if part.failures >= HOPELESS or time.monotonic() > deadline:
                    raise Problem(
                        ProblemCode.UNAVAILABLE, f"{part.name} does not start", hint="the log above says why"
                    )
        return True

    def _watch(self) -> None:
        """Wait for the stop; start PostgreSQL again where it dies. The parts watch themselves."""
        while not self._stop.wait(_LOOK_SECONDS):
            if self._postgres is None or self._postgres.running():
                continue
            self._log.error("postgres.died")
            try:
                self._postgres.start(self._stop.is_set)
                self._log.info("postgres.started", pid=self._postgres.pid)
            except Problem as problem:
                self._log.error("postgres.failed", detail=problem.detail, hint=problem.hint)
                self._stop.wait(1.0)
            except Exception:
                # Such as a full disk, which may have ended PostgreSQL as well: it may have room later.
                self._log.exception("postgres.failed")
                self._stop.wait(1.0)

    def _mourn(self, death: Death) -> None:
        self._log.warning("part.died", **dataclasses.asdict(death))
        if death.name.startswith("worker"):
            self._preparation.release_units_of(self._settings, death.pid)


def _make_parts(settings: Settings, listener: socket.socket) -> list[Part]:
    fd = listener.fileno()
    names = [f"worker-{number}" for number in range(1, settings.workers + 1)]
    return [Part("api", ["api", str(fd)], fds=[fd]), *(Part(name, ["worker", name]) for name in names)]


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup means it
            signal.signal(number, lambda *_: stop.set())
    return stop


def _drain(parts: list[Part]) -> None:
    """End all parts: they are asked, and killed where they take too long. Safe to repeat."""
    deadline = time.monotonic() + DRAIN_SECONDS
    for part in parts:
        part.terminate()
    for part in parts:
        if not part.await_end(deadline):
            part.kill()
    for part in parts:
        part.await_end(time.monotonic() + 1.0)

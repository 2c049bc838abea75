"""The other engines: an environment of their own, their processes, and what their tables say.

Made on first use in ``build/bench-peers`` from ``bench/peers/requirements.txt`` and kept.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg

from redrive.database.embedded import bundled_programs

HERE = Path(__file__).parent / "peers"
FOLDER = Path(__file__).parent.parent / "build" / "bench-peers"


class Question(NamedTuple):
    """``left``: whether jobs are left. ``done``: how many ended, and in how many seconds."""

    left: str
    done: str


QUESTIONS = {
    "dbos": Question(
        "select exists (select from dbos.workflow_status where status in ('ENQUEUED', 'PENDING'))",
        "select count(*), (max(completed_at) - min(started_at_epoch_ms)) / 1000.0"
        " from dbos.workflow_status where status = 'SUCCESS'",
    ),
    "procrastinate": Question(
        "select exists (select from procrastinate_jobs where status in ('todo', 'doing'))",
        "select count(*) filter (where type = 'succeeded'),"
        " extract(epoch from max(at) filter (where type = 'succeeded') - min(at) filter (where type = 'started'))"
        " from procrastinate_events",
    ),
    "absurd": Question(
        "select exists (select from absurd.t_bench where state in ('pending', 'running'))",
        "select count(completed_at), extract(epoch from max(completed_at) - min(started_at)) from absurd.r_bench",
    ),
    "pgqueuer": Question(
        "select exists (select from pgqueuer)",
        "select count(*) filter (where status = 'successful'), extract(epoch from"
        " max(created) filter (where status = 'successful') - min(created) filter (where status = 'picked'))"
        " from pgqueuer_log",
    ),
}


def python() -> Path:
    """Return the interpreter of the peers' environment; make that first where it is missing or outdated."""
    wanted = (HERE / "requirements.txt").read_text(encoding="utf-8")
    done = FOLDER / "installed.txt"
    found = FOLDER / "bin" / "python"
    if not done.exists() or done.read_text(encoding="utf-8") != wanted:
        print("installing the other engines into build/bench-peers ...", flush=True)
        venv.create(FOLDER, with_pip=True, clear=True)
        command = [str(found), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]
        subprocess.run([*command, str(HERE / "requirements.txt")], check=True)
        done.write_text(wanted, encoding="utf-8")
    return found


@contextlib.contextmanager
def working(name: str, url: str, count: int, workers: int) -> Iterator[None]:
    """Fill a peer's queue; then its workers work for as long as the block lasts."""
    script = [str(python()), str(HERE / f"with_{name}.py")]
    if name == "absurd":
        # Its schema comes with its own tool, which calls psql.
        path = f"{bundled_programs()}{os.pathsep}{os.environ['PATH']}"
        tool = str(FOLDER / "bin" / "absurdctl")
        subprocess.run(
            [tool, "init", "-d", url], check=True, env={**os.environ, "PATH": path}, stdout=sys.stderr
        )
    subprocess.run([*script, "fill", url, str(count)], check=True)
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("vacuum analyze")  # a long queue, as an old one would be known to the planner
    processes = [
        subprocess.Popen([*script, "work", url], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(workers)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            if process.stdout.readline() != b"ready\n":
                raise AssertionError(f"a worker of {name} did not start")
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
            process.stdin.flush()
        yield
    finally:
        for process in processes:
            process.kill()
            process.communicate()

"""The embedded PostgreSQL: private, and started again after whatever happened to it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from redrive.database import postmaster, unprivileged
from redrive.database.embedded import EmbeddedPostgres, bundled_programs
from redrive.errors import Problem

Start = Callable[[Path], EmbeddedPostgres]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a server on a folder; stopped at the end of the test."""
    servers = []

    def run(folder: Path) -> EmbeddedPostgres:
        server = EmbeddedPostgres(folder, settings={"fsync": "off", "shared_buffers": "16MB"})
        servers.append(server)
        server.start()
        return server

    yield run
    for server in servers:
        server.stop(timeout_seconds=2.0)


def keep(server: EmbeddedPostgres, text: str) -> None:
    with psycopg.connect(server.database_url()) as conn:
        conn.execute("CREATE TABLE IF NOT EXISTS notes (text text)")
        conn.execute("INSERT INTO notes VALUES (%s)", [text])


def kept(server: EmbeddedPostgres) -> list[str]:
    with psycopg.connect(server.database_url()) as conn:
        return [row[0] for row in conn.execute("SELECT text FROM notes ORDER BY text")]


def eventually_gone(server: EmbeddedPostgres) -> None:
    deadline = time.monotonic() + 10
    while server.running():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_private_and_writes_for_sure(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "d")
    url = server.start()
    try:
        assert mode(server.cluster) == 0o700
        assert mode(server.data_dir / "postgres.json") == 0o600
        assert mode(server.cluster / ".s.PGSQL.5432") == 0o700
        with psycopg.connect(url) as conn:
            wanted = {
                "fsync": "on",
                "synchronous_commit": "on",
                "full_page_writes": "on",
                "deadlock_timeout": "200ms",
                "listen_addresses": "",
            }
            found = {name: conn.execute(f"SHOW {name}").fetchone()[0] for name in wanted}
            assert found == wanted
            me = conn.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
            assert me == (False,)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(server.url("postgres", "guess", "postgres"))
    finally:
        server.stop()
    assert not (server.cluster / "postmaster.pid").exists()


def test_what_was_committed_outlives_a_kill(tmp_path: Path, start: Start) -> None:
    server = start(tmp_path)
    keep(server, "a")
    os.kill(server.pid or 0, signal.SIGKILL)
    while server.running():
        pass
    server.start()
    assert kept(server) == ["a"]


def test_a_pid_file_that_names_another_process_is_no_hindrance(tmp_path: Path, start: Start) -> None:
    server = start(tmp_path)
    keep(server, "a")
    server.stop()
    (server.cluster / "postmaster.pid").write_text(f"{os.getpid()}\n/somewhere\n1\n5432\n.\n\n0 0\nready\n")
    (server.cluster / ".s.PGSQL.5432.lock").write_text(f"{os.getpid()}\n")
    server.start()
    assert kept(server) == ["a"]


def test_a_server_that_outlived_its_parent_is_adopted(tmp_path: Path, start: Start) -> None:
    orphan = start(tmp_path)
    keep(orphan, "a")
    heir = EmbeddedPostgres(tmp_path)
    heir.start()
    assert heir.pid == orphan.pid
    assert kept(heir) == ["a"]
    heir.stop()
    assert not heir.running()
    assert not orphan.running()


def test_a_server_that_is_stopping_is_waited_for(tmp_path: Path, start: Start) -> None:
    server = start(tmp_path)
    keep(server, "a")
    first = server.pid
    with psycopg.connect(server.database_url()) as conn:
        conn.execute("SELECT 1")
        os.kill(first or 0, signal.SIGTERM)  # it waits for its clients to leave
        while postmaster.status(server.cluster) != "stopping":
            pass
    heir = start(tmp_path)
    assert heir.pid != first
    assert kept(heir) == ["a"]


def test_where_the_path_is_too_long_for_a_socket_it_listens_on_loopback(tmp_path: Path, start: Start) -> None:
    server = start(tmp_path / ("long" * 25))
    assert "@127.0.0.1:" in server.database_url()
    keep(server, "a")
    heir = EmbeddedPostgres(server.data_dir)
    heir.start()
    assert kept(heir) == ["a"]


def test_after_a_crash_it_comes_back_on_the_port_that_clients_know(tmp_path: Path, start: Start) -> None:
    server = start(tmp_path / ("long" * 25))
    told = server.database_url()
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    eventually_gone(server)
    assert server.start() == told


@pytest.mark.root
def test_a_link_in_the_cluster_leads_root_nowhere(tmp_path: Path, start: Start) -> None:
    treasure = tmp_path / "treasure"
    treasure.write_text("of root", encoding="utf-8")
    server = start(tmp_path / "d")
    server.stop()
    configuration = server.cluster / "postgresql.conf"
    configuration.unlink()
    configuration.symlink_to(treasure)
    server.start()
    assert treasure.read_text(encoding="utf-8") == "of root"
    assert not configuration.is_symlink()


def test_a_cluster_may_lie_on_another_disk(tmp_path: Path, start: Start) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other file system here")
    server = start(tmp_path / "d")
    keep(server, "before")
    server.stop()
    elsewhere = Path(tempfile.mkdtemp(dir=memory))
    elsewhere.chmod(0o711)
    try:
        shutil.move(server.cluster, elsewhere / "cluster")
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", "nobody", str(elsewhere / "cluster")], check=True)
        server.cluster.symlink_to(elsewhere / "cluster")
        server.start()
        assert kept(server) == ["before"]
        assert not list((elsewhere / "cluster").glob(".*.conf.*")), "no draft is left"
        server.stop()
    finally:
        shutil.rmtree(elsewhere)


def test_a_half_made_cluster_is_made_again(tmp_path: Path, start: Start) -> None:
    half = tmp_path / "postgres.new" / "data"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    server = start(tmp_path)
    keep(server, "a")
    assert not half.exists()


def test_a_folder_that_is_no_cluster_is_left_alone(tmp_path: Path, start: Start) -> None:
    precious = tmp_path / "postgres" / "precious"
    precious.parent.mkdir()
    precious.write_text("x")
    with pytest.raises(Problem, match="holds no PostgreSQL cluster"):
        start(tmp_path)
    assert precious.read_text() == "x"


def test_a_cluster_of_another_version_is_refused_with_the_way_out(tmp_path: Path, start: Start) -> None:
    server = start(tmp_path)
    server.stop()
    (server.cluster / "PG_VERSION").write_text("17\n")
    with pytest.raises(Problem, match="written by PostgreSQL 17, this program brings 18") as refused:
        server.start()
    assert "pg_dump" in refused.value.hint


def test_lost_passwords_are_said_before_anything_starts(tmp_path: Path, start: Start) -> None:
    server = start(tmp_path)
    server.stop()
    (tmp_path / "postgres.json").unlink()
    with pytest.raises(Problem, match=r"postgres\.json is missing"):
        server.start()
    assert not server.running()


def test_a_start_that_fails_says_what_the_server_said(tmp_path: Path, start: Start) -> None:
    server = start(tmp_path)
    server.stop()
    (server.cluster / "custom.conf").write_text("shared_buffers = plenty\n")
    with pytest.raises(Problem, match="shared_buffers"):
        server.start()


@pytest.mark.root
def test_as_root_it_runs_as_somebody_else_and_opens_no_folder(tmp_path: Path, start: Start) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    before = [(path, path.stat().st_mode, path.stat().st_uid) for path in (closed, *closed.parents)]
    server = start(closed / "d")
    keep(server, "a")
    assert [(path, path.stat().st_mode, path.stat().st_uid) for path, _, _ in before] == before
    assert Path(f"/proc/{server.pid}").stat().st_uid not in (0, None)
    capabilities = Path(f"/proc/{server.pid}/status").read_text()
    assert "CapEff:\t0000000000000000" in capabilities
    assert "CapAmb:\t0000000000000000" in capabilities
    server.stop()
    server.start()
    assert kept(server) == ["a"]


@pytest.mark.root
def test_as_root_programs_in_a_closed_folder_are_copied_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, shelf = tmp_path / "closed", Path("/var/tmp") / f"redrive-test-{os.getpid()}"
    package = bundled_programs().parent.parent
    for folder in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(folder, closed / folder.name, symlinks=True)
    programs = closed / package.name / "pginstall18" / "bin"
    closed.chmod(0o700)
    shelf.mkdir(mode=0o755)
    monkeypatch.setattr(unprivileged, "_COPY_FOLDERS", (str(shelf),))
    server = EmbeddedPostgres(tmp_path / "d", programs=programs, settings={"fsync": "off"})
    try:
        server.start()
        keep(server, "a")
        server.stop()
        [copied] = list(shelf.iterdir())
        assert (copied.stat().st_uid, mode(copied)) == (0, 0o755)
        server = EmbeddedPostgres(tmp_path / "d", programs=programs)
        server.start()
        assert kept(server) == ["a"]
        assert list(shelf.iterdir()) == [copied]
    finally:
        server.stop()
        shutil.rmtree(shelf)


@pytest.mark.root
def test_an_ordinary_user_runs_it_as_itself_and_another_user_is_refused() -> None:
    nobody = pwd.getpwnam("nobody")
    folder = Path("/var/tmp") / f"redrive-test-user-{os.getpid()}"
    folder.mkdir(mode=0o700)
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)

    def start_and_stop() -> str:
        server = EmbeddedPostgres(folder / "d", settings={"fsync": "off"})
        try:
            server.start()
        except Problem as problem:
            return problem.detail
        finally:
            server.stop()
        return f"owner {server.cluster.stat().st_uid}"

    try:
        assert said_by(nobody, start_and_stop) == f"owner {nobody.pw_uid}"
        # Root goes on with what the user made, as that user.
        assert start_and_stop() == f"owner {nobody.pw_uid}"
        os.chown(folder / "d" / "postgres", 12345, 12345)
        assert "belongs to 12345" in said_by(nobody, start_and_stop)
    finally:
        shutil.rmtree(folder)


def said_by(user: pwd.struct_passwd, work: Callable[[], str]) -> str:
    """Return what ``work`` returns when ``user`` does it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
            os.write(writing, work().encode())
        except BaseException as error:
            os.write(writing, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return said

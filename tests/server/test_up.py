"""``redrive up``: starts everything, keeps it alive, stops it, and recovers what a kill left behind."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import threading
import time
from pathlib import Path

import psycopg
import pytest

from redrive.database.embedded import EmbeddedPostgres
from tests.servers import REDRIVE, Launch, Server, alive, children_of, eventually


def working_workers(server: Server) -> int:
    _, text = server.get("/metrics", known=True)
    [line] = [line for line in text.decode().splitlines() if line.startswith("redrive_workers ")]
    return int(float(line.split()[1]))


def test_it_prints_one_line_serves_and_stops_all_it_started(launch: Launch) -> None:
    server = launch()
    assert server.line.startswith("Redrive is ready: http://127.0.0.1:")
    assert server.get("/healthz") == (200, b'{"status":"ok"}')
    assert server.get("/readyz") == (200, b'{"status":"ready"}')
    for path in ("/metrics", "/docs", "/openapi.json"):
        assert server.get(path)[0] == 401
        assert server.get(path, known=True)[0] == 200
    # A worker is ready a moment before it has signed in.
    eventually(lambda: working_workers(server) == 2, within=5, what="two workers")
    keys = json.loads((server.data_dir / "credentials.json").read_text())
    assert keys["endpoint"] == server.url
    for name in ("credentials.json", "master.key", "postgres.json"):
        assert stat.S_IMODE((server.data_dir / name).stat().st_mode) == 0o600
    assert len(server.children()) == 4  # PostgreSQL, the API, two workers

    assert server.stop() < 5
    assert server.process.returncode == 0
    assert server.process.stdout is not None
    assert server.process.stdout.read() == ""
    assert not [pid for pid in server.family if alive(pid)]

    again = launch()
    assert json.loads((again.data_dir / "credentials.json").read_text()) == {**keys, "endpoint": again.url}
    assert again.get("/metrics", known=True)[0] == 200


def test_a_second_start_on_the_folder_is_refused_with_the_process_id(launch: Launch) -> None:
    server = launch("up", "--workers", "0")
    second = launch("up")
    assert second.process.wait(10) == 2
    said = second.log.read_text()
    assert f"already runs on {server.data_dir} (process {server.process.pid})" in said
    assert f"kill {server.process.pid}" in said
    assert server.get("/readyz")[0] == 200


def test_what_dies_is_started_again_and_callers_only_wait(launch: Launch) -> None:
    server = launch("up", "--workers", "1")
    [api] = server.children("child api")
    [worker] = server.children("child worker")
    [postgres] = server.children("postgres -D")

    os.kill(api, signal.SIGKILL)
    assert server.get("/readyz")[0] == 200  # the socket is the supervisor's: this call waited
    assert server.children("child api") not in ([], [api])

    os.kill(worker, signal.SIGKILL)
    eventually(lambda: server.children("child worker") not in ([], [worker]), within=5, what="a new worker")

    os.kill(postgres, signal.SIGKILL)
    eventually(lambda: server.children("postgres -D") not in ([], [postgres]), within=5, what="PostgreSQL")
    eventually(lambda: server.get("/readyz")[0] == 200, within=10, what="ready again")
    eventually(lambda: server.get("/metrics", known=True)[0] == 200, within=10, what="known again")
    names = [line["event"] for line in server.said()]
    assert names.count("part.died") == 2
    assert names.count("postgres.died") == 1


def test_a_killed_server_leaves_nothing_that_the_next_start_minds(launch: Launch) -> None:
    server = launch("up", "--workers", "1")
    [api] = server.children("child api")
    [worker] = server.children("child worker")
    [postgres] = server.children("postgres -D")
    port = server.url.rpartition(":")[2]
    server.stop(signal.SIGKILL)

    again = launch("up", "--workers", "1", "--port", port)  # at once, on the very port
    assert again.url == server.url
    assert again.get("/readyz")[0] == 200
    eventually(lambda: not alive(api) and not alive(worker), within=8, what="orphans leave")
    assert alive(postgres), "PostgreSQL was adopted, not restarted"
    again.family[postgres] = "postgres"
    assert again.stop() < 10
    assert not alive(postgres)


def test_a_request_that_runs_may_end_and_new_ones_are_refused(launch: Launch) -> None:
    server = launch("up", "--workers", "0")
    database = EmbeddedPostgres(server.data_dir)
    answers = []
    with psycopg.connect(database.start()) as blocker:
        blocker.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
        asking = threading.Thread(target=lambda: answers.append(server.get("/metrics", known=True)))
        asking.start()
        time.sleep(0.5)
        server.process.terminate()
        time.sleep(0.5)
        with pytest.raises(OSError, match=r"refused|reset"):
            server.get("/healthz", timeout=2)
        blocker.rollback()
        asking.join(10)
    assert [status for status, _ in answers] == [200]
    assert server.process.wait(10) == 0


def test_with_nohup_it_outlives_its_terminal(launch: Launch) -> None:
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # inherited, as from nohup
    try:
        server = launch("up", "--workers", "1")
    finally:
        signal.signal(signal.SIGHUP, former)
    server.process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert server.get("/readyz")[0] == 200
    assert server.process.poll() is None


def test_a_frozen_worker_does_not_delay_the_end(launch: Launch) -> None:
    server = launch("up", "--workers", "1")
    [worker] = server.children("child worker")
    os.kill(worker, signal.SIGSTOP)
    assert server.stop() < 10
    assert not alive(worker)


def test_a_stop_while_it_starts_leaves_nothing(launch: Launch, tmp_path: Path) -> None:
    for seconds in (0.3, 0.6, 0.9):
        process = subprocess.Popen(
            [*REDRIVE, "up", "--port", "0", "--data-dir", str(tmp_path / "d")], stderr=subprocess.DEVNULL
        )
        time.sleep(seconds)
        family = children_of(process.pid)
        process.terminate()
        assert process.wait(10) in (0, -signal.SIGTERM)
        assert not [pid for pid in family if alive(pid)]
    assert launch("up", "--workers", "0").get("/readyz")[0] == 200


def test_up_on_a_database_of_the_users_brings_none_of_its_own(empty_url: str, launch: Launch) -> None:
    server = launch("up", "--workers", "1", "--database-url", empty_url)
    assert server.get("/readyz")[0] == 200
    assert len(server.children()) == 2
    assert not (server.data_dir / "postgres").exists()


@pytest.mark.parametrize(
    ("options", "env", "words"),
    [
        (["--host", "0.0.0.0"], {}, "there is no TLS"),
        (["--port", "99999"], {}, "expected 0 to 65535"),
        (["--tls-cert", "x.pem"], {}, "both tls_cert and tls_key"),
        ([], {"REDRIVE_FAILPOINTS": "engine.claimed=exit"}, "failpoints are not allowed"),
        (["--database-url", "postgresql://nobody@127.0.0.1:1/x"], {}, "the database cannot be used"),
    ],
)
def test_what_cannot_work_is_refused_in_one_sentence(
    launch: Launch, options: list[str], env: dict[str, str], words: str
) -> None:
    server = launch("up", *options, env=env)
    assert server.line == ""
    assert server.process.wait(20) == 2
    said = server.log.read_text()
    assert words in said
    assert "Traceback" not in said


def test_a_taken_port_is_said(launch: Launch) -> None:
    server = launch("up", "--workers", "0")
    port = server.url.rpartition(":")[2]
    other = launch("up", "--port", port, data_dir=server.data_dir.with_name("other"))
    assert other.process.wait(20) == 2
    assert f"cannot listen on 127.0.0.1:{port}" in other.log.read_text()


@pytest.mark.root
def test_root_may_have_its_data_in_a_closed_folder(launch: Launch) -> None:
    closed = Path("/root") / f".redrive-test-{os.getpid()}"
    closed.mkdir(mode=0o700)
    try:
        server = launch("up", "--workers", "0", data_dir=closed / "d")
        assert server.get("/readyz")[0] == 200
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
        server.stop()
    finally:
        subprocess.run(["rm", "-r", str(closed)], check=True)


def test_tls_is_spoken_where_a_certificate_is_given(launch: Launch, tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    subprocess.run([*make.split(), "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    options = ["--tls-cert", str(cert), "--tls-key", str(key), "--host", "0.0.0.0"]
    server = launch("up", "--workers", "0", *options)
    assert server.url.startswith("https://127.0.0.1:")
    assert server.get("/readyz")[0] == 200


def test_the_program_says_its_version() -> None:
    said = subprocess.run([*REDRIVE, "version"], check=True, capture_output=True, text=True)
    assert said.stdout.strip() == "0.1.0"

"""``redrive jobs``, ``verify``, ``failpoints`` against a real server on loopback."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import pty
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI
from pytest import TempPathFactory
from typer.testing import CliRunner

from redrive.cli import main
from redrive.cli.client import Api as Calls
from redrive.cli.client import Server, find_server
from redrive.cli.commands import app
from redrive.clock import now
from redrive.database import Database
from redrive.database.embedded import EmbeddedPostgres
from redrive.engine.kinds import Done, Kind
from redrive.engine.model import NewUnit, UnitState
from redrive.errors import Problem
from redrive.settings import Settings
from tests.wire_native.jobs_scene import SITUATIONS, Api, database_of_a_module, listening, serving_api


def _look(db: Database, job_id: int) -> dict[str, Any]:
    return {"verified": True, "rows_left": {}, "not_covered": ["backups", "archives"]}


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run(*arguments: str, stdin: str = "", **environ: str) -> Ran:
    """Run a command as the program does: a Problem is a sentence on standard error and status 2."""
    result = CliRunner().invoke(app, list(arguments), input=stdin, env=environ)
    if isinstance(result.exception, Problem):
        problem = result.exception
        return Ran(2, result.stdout, f"{problem.detail}\n{problem.hint}")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.stdout, result.stderr)


@pytest.fixture(scope="module")
def served(postgres: EmbeddedPostgres, database_url: str, tmp_path_factory: TempPathFactory) -> Iterator[Api]:
    proved = Kind("test.proved", "t", run=lambda work: Done(), verify=_look)
    folder = tmp_path_factory.mktemp("cli")
    with (
        database_of_a_module(postgres) as db,
        serving_api(db, folder, [proved], allow_failpoints=True) as api,
    ):
        yield api


@pytest.fixture
def api(served: Api, monkeypatch: pytest.MonkeyPatch) -> Api:
    served.clear()
    monkeypatch.setenv("REDRIVE_URL", served.url)
    monkeypatch.setenv("REDRIVE_ACCESS_KEY", served.credentials.access_key)
    monkeypatch.setenv("REDRIVE_SECRET_KEY", served.credentials.secret_key)
    return served


def test_list_shows_jobs_in_every_situation(api: Api) -> None:
    ids = {situation: str(api.job_in(situation)) for situation in SITUATIONS}
    shown = run("jobs", "list")
    assert shown.code == 0
    for situation, job_id in ids.items():
        [line] = [line for line in shown.out.splitlines() if line.startswith(job_id)]
        assert situation in line
    assert "source_gone: the table orders is gone" in shown.out
    listed = run("jobs", "list", "--state", "failed", "--state", "paused", "--json").json
    assert {job["id"] for job in listed["jobs"]} == {ids["failed"], ids["paused"]}
    assert run("jobs", "list", "--state", "failed", "--ids").out.split() == [ids["failed"]]
    assert "There are no such jobs" in run("jobs", "list", "--kind", "nothing").out
    assert "--before" in run("jobs", "list", "--limit", "3").out
    wrong = run("jobs", "list", "--state", "broken")
    assert wrong.code == 2 and "state" in wrong.err


def test_show_says_what_failed_and_what_to_do(api: Api) -> None:
    job_id = api.submit([NewUnit({}, label=f"part {n}") for n in range(3)])
    works = api.claim()
    api.settle(works[:2])
    api.settle(works[2:], UnitState.FAILED)
    shown = run("jobs", "show", str(job_id))
    assert shown.code == 0
    for text in (
        "the table orders is gone",
        "Bring it back, then retry.",
        "2/3, 1 failed",
        "part 2",
        f"redrive jobs retry {job_id}",
    ):
        assert text in shown.out
    body = run("jobs", "show", str(job_id), "--json").json
    assert (body["job"]["state"], len(body["attempts"]), len(body["failed_units"])) == ("failed", 1, 1)


def test_texts_of_others_are_neither_markup_nor_terminal_codes(api: Api) -> None:
    [job_id] = api.failed(detail="[bold]\x1b[31m[/nope] \x07boom", hint="[red]")
    for command in (
        ["jobs", "list"],
        ["jobs", "show", str(job_id)],
        ["jobs", "failures"],
        ["jobs", "watch", str(job_id)],
    ):
        shown = run(*command)
        assert "[bold]" in shown.out and "[/nope]" in shown.out
        assert "\x1b" not in shown.out and "\x07" not in shown.out


def test_an_unknown_job_is_said_so(api: Api) -> None:
    for command in ("show", "units", "events", "watch"):
        ran = run("jobs", command, "123")
        assert ran.code == 2 and "there is no job 123" in ran.err
    assert run("jobs", "show", "../../v1/workers").code == 2


def test_units_and_events_are_listed(api: Api) -> None:
    job_id = api.submit([NewUnit({}, label=f"part {n}") for n in range(5)], lanes=5)
    api.settle(api.claim())
    units = run("jobs", "units", str(job_id))
    assert units.out.count("rows 10") == 5 and "part 4" in units.out
    assert len(run("jobs", "units", str(job_id), "--limit", "2", "--json").json["units"]) == 2
    events = run("jobs", "events", str(job_id))
    assert "submitted" in events.out and "succeeded" in events.out


def test_retry_of_ids_says_why_not_and_ends_with_1(api: Api) -> None:
    ids = {situation: str(api.job_in(situation)) for situation in SITUATIONS}
    ran = run("jobs", "retry", *ids.values())
    assert ran.code == 1
    assert "2 of 8 jobs queued again" in ran.out
    assert f"{ids['succeeded']}: The job has succeeded" in ran.err and "(has_succeeded)" in ran.err
    assert api.job(ids["failed"])["state"] == api.job(ids["cancelled"])["state"] == "queued"


def test_retry_reads_ids_and_keeps_the_reason(api: Api) -> None:
    ids = [str(job_id) for job_id in api.failed(3)]
    assert run("jobs", "retry", "-", "--reason", "table is back", stdin="\n".join(ids)).code == 0
    [_, second] = api.http.get(f"/v1/jobs/{ids[0]}/attempts").json()["attempts"]
    assert second["reason"] == "table is back"


def test_retry_by_filter_counts_asks_and_does_it(api: Api) -> None:
    one = api.failed(3, kind="one")
    api.failed(2, kind="two", fingerprint="b" * 16)
    assert "3 jobs would be retried" in run("jobs", "retry", "--filter", "kind=one", "--dry-run").out
    assert (
        run("jobs", "retry", "--filter", "kind=one", "state=failed", "--dry-run", "--json").json["count"] == 3
    )
    unasked = run("jobs", "retry", "--filter", "kind=one")
    assert unasked.code == 2 and "--yes" in unasked.err
    assert api.job(one[0])["state"] == "failed"
    done = run("jobs", "retry", "--filter", "kind=one", "state=failed", f"fingerprint={'f' * 16}", "--yes")
    assert (done.code, done.out) == (0, "3 jobs are queued again.\n")
    assert run("jobs", "list", "--state", "failed", "--ids").out.count("\n") == 2
    for wrong in (
        ["--filter", "kin=one"],
        ["--filter", "kind"],
        ["--filter", "kind=a", "kind=b"],
        [],
        ["1", "kind=one"],
    ):
        assert run("jobs", "retry", "--yes", *wrong).code == 2
    wrong_state = run("jobs", "retry", "--filter", "state=running", "--yes")
    assert wrong_state.code == 2 and "states" in wrong_state.err


def test_the_verbs_answer_for_each_job(api: Api) -> None:
    queued, failed = str(api.job_in("queued")), str(api.job_in("failed"))
    paused = run("jobs", "pause", queued, failed, "123")
    assert paused.code == 1
    assert f"job {queued}: paused" in paused.out
    assert "The job has ended" in paused.err and "123" in paused.err
    assert run("jobs", "resume", queued).out == f"job {queued}: queued\n"
    assert run("jobs", "cancel", queued, "--reason", "no need").out == f"job {queued}: cancelled\n"
    [new] = run("jobs", "rerun", failed, "--json").json
    assert new["origin_id"] == failed


def test_watch_follows_a_job_to_its_end(api: Api) -> None:
    job_id = api.submit(4, lanes=1)

    def work() -> None:
        while works := api.claim():
            time.sleep(0.05)
            api.settle(works)

    worker = threading.Thread(target=work)
    worker.start()
    watched = run("jobs", "watch", str(job_id))
    worker.join()
    assert watched.code == 0
    assert f"job {job_id} succeeded: 4/4 units" in watched.out


def test_watch_ends_with_1_where_a_job_failed_and_says_why(api: Api) -> None:
    good, bad = api.job_in("succeeded"), api.job_in("failed")
    watched = run("jobs", "watch", str(good), str(bad))
    assert watched.code == 1
    assert "the table orders is gone" in watched.out and f"redrive jobs retry {bad}" in watched.out
    states = [json.loads(line)["state"] for line in run("jobs", "watch", str(bad), "--json").out.splitlines()]
    assert states == ["failed"]


def test_watch_draws_bars_in_a_terminal(api: Api) -> None:
    job_id = api.submit(20, lanes=2)
    ours, theirs = pty.openpty()
    program = [sys.executable, "-m", "redrive.cli", "jobs", "watch", str(job_id)]
    environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "140"}
    watching = subprocess.Popen(program, stdin=theirs, stdout=theirs, stderr=theirs, env=environ)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the end of the terminal
        while chunk := os.read(ours, 65536):
            shown += chunk
            if works := api.claim():
                api.settle(works)
            time.sleep(0.05)
    os.close(ours)
    assert watching.wait(10) == 0
    text = shown.decode()
    assert "\x1b[" in text and "━" in text and "units/s" in text
    assert f"job {job_id} " in text and "20/20 units" in text


def test_watch_gives_up_after_its_timeout(api: Api) -> None:
    watched = run("jobs", "watch", str(api.job_in("queued")), "--timeout", "0.3")
    assert watched.code == 2 and "have not ended in 0.3 s" in watched.err


def test_failures_show_causes(api: Api) -> None:
    assert "No job has failed" in run("jobs", "failures").out
    api.failed(4)
    shown = run("jobs", "failures")
    assert "source_gone" in shown.out and "f" * 16 in shown.out and "needs_input" in shown.out
    assert run("jobs", "failures", "--json").json["failures"][0]["jobs"] == 4


def test_verify_ends_with_1_where_nothing_is_proved(api: Api) -> None:
    job_id = api.submit(2, kind="test.proved")
    api.settle(api.claim("test.proved"))
    good = run("verify", str(job_id))
    assert good.code == 0 and "Proved." in good.out
    assert "rows in the ledger: 20" in good.out and "not covered: backups, archives" in good.out
    bad = run("verify", str(api.job_in("failed")))
    assert bad.code == 1 and "NOT proved." in bad.out and "The target was not looked at" in bad.out


def test_failpoints_are_listed_armed_and_cleared(api: Api) -> None:
    assert "engine.unit.before" in run("failpoints").out
    assert run("failpoints", "set", "engine.unit.before", "error:2").code == 0
    assert run("failpoints", "set", "engine.claimed", "delay:0.1,after=3").code == 0
    armed = {
        p["name"]: p["action"] for p in run("failpoints", "list", "--json").json["failpoints"] if p["action"]
    }
    assert armed == {"engine.unit.before": "error:2", "engine.claimed": "delay:0.1,after=3"}
    assert run("failpoints", "set", "engine.claimed", "explode").code == 2
    assert run("failpoints", "set", "engine.nowhere", "error").code == 2
    assert run("failpoints", "clear", "engine.claimed").code == 0
    assert "delay:0.1" not in run("failpoints").out
    run("failpoints", "clear")
    assert "error:2" not in run("failpoints").out


# -- finding the server


def test_without_a_server_the_way_to_one_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("REDRIVE_")}
    ran = run(
        "jobs", "list", "--data-dir", str(tmp_path), **dict.fromkeys(os.environ.keys() - environ.keys(), "")
    )
    assert ran.code == 2
    assert f"{tmp_path}/credentials.json does not exist" in ran.err and "redrive up" in ran.err


def test_a_server_that_does_not_run_is_said_so_by_the_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for name, value in (("URL", f"http://127.0.0.1:{port}"), ("ACCESS_KEY", "a"), ("SECRET_KEY", "b")):
        monkeypatch.setenv(f"REDRIVE_{name}", value)
    monkeypatch.setattr("sys.argv", ["redrive", "jobs", "list"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert f"no server answers at http://127.0.0.1:{port}" in said and "redrive up" in said
    assert "Traceback" not in said


def test_the_server_is_found_in_the_data_folder(api: Api) -> None:
    found = find_server(api.settings, {})
    assert found.access_key == api.credentials.access_key and found.url == api.credentials.endpoint


def test_keys_of_the_folder_are_not_sent_to_another_address(api: Api) -> None:
    with pytest.raises(Problem, match="REDRIVE_ACCESS_KEY and REDRIVE_SECRET_KEY not set"):
        find_server(api.settings, {"REDRIVE_URL": "http://elsewhere:1"})


def test_wrong_keys_name_where_they_are_from(api: Api) -> None:
    ran = run("jobs", "list", REDRIVE_SECRET_KEY="wrong")
    assert ran.code == 2 and "the keys are from the environment" in ran.err


def test_something_else_at_the_address_is_said_so() -> None:
    with _answering(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello") as url:
        with Calls(Server(url, "a", "b", "a test")) as calls, pytest.raises(Problem) as refused:
            calls.get("/v1/jobs")
    assert "not as Redrive does: hello" in refused.value.detail


def test_a_post_whose_answer_was_lost_is_made_again_with_the_same_key(api: Api) -> None:
    [job_id] = api.failed()
    sent: list[Any] = []
    with Calls(Server(api.url, api.credentials.access_key, api.credentials.secret_key, "a test")) as calls:
        post = calls._http.post

        def lossy(path: str, **more: Any) -> Any:
            sent.append(more["headers"])
            answer = post(path, **more)
            if len(sent) == 1:
                import httpx

                raise httpx.RemoteProtocolError("cut")
            return answer

        calls._http.post = lossy  # type: ignore[method-assign,assignment]
        assert calls.post(f"/v1/jobs/{job_id}/retry", {})["attempt"] == 2
    assert len(sent) == 2 and sent[0] == sent[1]
    assert api.job(job_id)["attempt"] == 2


def test_a_certificate_of_the_servers_own_is_trusted_where_it_is_named(tmp_path: Path) -> None:
    certificate, key = _self_signed(tmp_path)
    app = FastAPI()
    app.get("/v1/jobs")(lambda: {"jobs": []})
    with listening(app, ssl_certfile=certificate, ssl_keyfile=key) as url:
        with Calls(Server(url, "a", "b", "a test")) as calls, pytest.raises(Problem) as refused:
            calls.get("/v1/jobs")
        assert "is not trusted" in refused.value.detail and "SSL_CERT_FILE" in refused.value.hint
        with Calls(Server(url, "a", "b", "a test", certificate)) as calls:
            assert calls.get("/v1/jobs") == {"jobs": []}


def _self_signed(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "here")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now() - timedelta(days=1))
        .not_valid_after(now() + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return folder / "cert.pem", folder / "key.pem"


@contextlib.contextmanager
def _answering(raw: bytes) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    conn, _ = listener.accept()
                    with conn:
                        conn.recv(65536)
                        conn.sendall(raw)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_settings_of_the_server_can_name_its_certificate(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    environ = {"REDRIVE_URL": "ftp://x", "REDRIVE_ACCESS_KEY": "a", "REDRIVE_SECRET_KEY": "b"}
    with pytest.raises(Problem, match="is not an address"):
        Calls(find_server(settings, environ))

"""Where settings come from, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from redrive.errors import Problem
from redrive.server.lifeline import message
from redrive.settings import Settings, load, require_safe_listener


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(tmp_path: Path) -> None:
    config = tmp_path / "redrive.toml"
    config.write_text('port = 1\nworkers = 1\nhost = "127.0.0.2"\n')
    environ = {"REDRIVE_PORT": "2", "REDRIVE_WORKERS": "2"}
    settings = load({"port": 3, "host": None}, config=config, environ=environ)
    assert (settings.port, settings.workers, settings.host) == (3, 2, "127.0.0.2")
    assert settings.data_dir == Path("redrive-data")


def test_the_file_of_the_working_folder_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "redrive.toml").write_text('data-dir = "/d"\n')
    monkeypatch.chdir(tmp_path)
    assert load({}, environ={}).data_dir == Path("/d")


def test_a_misspelt_setting_in_the_file_is_named(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("prot = 1\n")
    with pytest.raises(Problem, match=r"c\.toml: no such setting: prot"):
        load({}, config=config, environ={})


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"REDRIVE_PORT": "http"}, "REDRIVE_PORT: expected a whole number, got http"),
        ({"REDRIVE_PORT": "70000"}, "port: expected 0 to 65535"),
        ({"REDRIVE_INSECURE": "perhaps"}, "REDRIVE_INSECURE: expected true or false"),
        ({"REDRIVE_TLS_CERT": "/dev/null"}, "both tls_cert and tls_key"),
        ({"REDRIVE_DATABASE_URL": "mysql://x"}, "database_url: expected postgresql://"),
        ({"REDRIVE_LOG_LEVEL": "loud"}, "log_level: expected one of debug"),
    ],
)
def test_a_bad_value_is_refused_with_its_source(environ: dict[str, str], words: str) -> None:
    with pytest.raises(Problem) as refused:
        load({}, environ=environ)
    assert words in refused.value.detail


def test_a_password_in_the_database_url_is_not_shown() -> None:
    assert "secret" not in repr(Settings(database_url="postgresql://u:secret@h/d"))


def test_a_child_process_gets_the_same_settings(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, port=0, insecure=True, database_url="postgresql:///x")
    assert load({}, environ=settings.environment()) == settings


def test_a_file_that_only_a_child_would_find_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data_dir=tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("redrive.toml").write_text('storage_url = "/elsewhere"\nimport_roots = "/"\n', encoding="utf-8")
    assert load({}, environ=settings.environment()) == settings
    Path("redrive.toml").write_text("not a setting", encoding="utf-8")
    told = subprocess.run(
        [sys.executable, "-c", "from redrive.server.lifeline import Lifeline; print(Lifeline().settings())"],
        input=message(settings),
        stderr=subprocess.PIPE,
        check=True,
    )
    assert str(tmp_path) in told.stderr.decode()


def refusal(settings: Settings) -> str | None:
    """Return why it is refused to listen like that; None where it is not."""
    try:
        require_safe_listener(settings)
    except Problem as problem:
        return problem.reason
    return None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_needs_no_tls(host: str) -> None:
    assert refusal(Settings(host=host)) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "example.org"])
def test_a_host_that_others_reach_needs_tls(host: str) -> None:
    with pytest.raises(Problem, match="no TLS"):
        require_safe_listener(Settings(host=host))
    assert refusal(Settings(host=host, insecure=True)) is None
    assert refusal(Settings(host=host, tls_cert=Path("c"), tls_key=Path("k"))) is None


def test_failpoints_are_for_this_machine_only() -> None:
    with pytest.raises(Problem, match="loopback"):
        require_safe_listener(Settings(host="0.0.0.0", insecure=True, allow_failpoints=True))

"""The first start makes one account and tells its keys; later starts and other processes change nothing."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from redrive.database import Database
from redrive.errors import Problem
from redrive.identity import bootstrap as bootstrap_module
from redrive.identity.authentication import Authenticator
from redrive.identity.bootstrap import bootstrap, rotate
from redrive.identity.credentials import Credentials, credentials_file, read_credentials
from redrive.identity.passwords import password_fits
from redrive.identity.sealing import Sealer
from redrive.settings import Settings

_FIELDS = [
    "endpoint", "domain_name", "user_name", "password", "project_id", "project_name", "org_id", "workspace_id",
    "access_key", "secret_key",
]  # fmt: skip


def count(db: Database, table: str) -> int:
    with db.transaction() as conn:
        row = conn.execute(f"select count(*) as n from {table}").fetchone()
    return int(row.n)


def test_the_first_start_writes_the_fixed_names_readable_by_the_owner_only(
    credentials: Credentials, settings: Settings
) -> None:
    path = credentials_file(settings)
    content = json.loads(path.read_text())
    assert list(content) == _FIELDS
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert content["endpoint"] == "http://127.0.0.1:8700"
    assert content["org_id"][0] == "o" and content["org_id"][1:].isdigit()
    assert len(content["project_id"]) == len(content["workspace_id"]) == 32
    assert [len(part) for part in content["access_key"].split("-")] == [8, 4, 4, 4, 12]
    assert [len(part) for part in content["secret_key"].split("-")] == [8, 4, 4, 4, 12]


def test_the_written_key_pair_is_an_admin_with_every_permission(
    db: Database, sealer: Sealer, credentials: Credentials
) -> None:
    caller = Authenticator(db, sealer).by_secret(credentials.access_key, credentials.secret_key)
    assert caller.is_admin
    assert caller.may("read", ["any"]) and caller.may("write", ["any"])
    assert (caller.org_id, caller.project_id) == (credentials.org_id, credentials.project_id)


def test_no_secret_lies_in_the_database_in_clear(db: Database, credentials: Credentials) -> None:
    with db.transaction() as conn:
        user = conn.execute("select password_hash from users").fetchone()
        pair = conn.execute("select secret from key_pairs").fetchone()
    assert user.password_hash.startswith("$argon2id$")
    assert password_fits(user.password_hash, credentials.password)
    assert not password_fits(user.password_hash, credentials.password + "x")
    assert credentials.secret_key.encode() not in bytes(pair.secret)


def test_a_second_start_changes_nothing(db: Database, credentials: Credentials, settings: Settings) -> None:
    bootstrap(db, settings)
    assert read_credentials(credentials_file(settings)) == credentials
    assert count(db, "accounts") == count(db, "key_pairs") == 1


def test_a_start_on_another_port_corrects_the_endpoint_in_the_file(
    db: Database, credentials: Credentials, settings: Settings
) -> None:
    bootstrap(db, replace(settings, port=9001))
    assert read_credentials(credentials_file(settings)) == replace(
        credentials, endpoint="http://127.0.0.1:9001"
    )


def test_a_deleted_file_stays_deleted_until_somebody_rotates(
    db: Database, credentials: Credentials, settings: Settings
) -> None:
    credentials_file(settings).unlink()
    bootstrap(db, settings)
    assert not credentials_file(settings).exists()


def test_a_crash_before_the_commit_leaves_no_account_and_the_next_start_makes_one(
    db: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_and_die(path: Path, made: Credentials) -> None:
        writing(path, made)
        raise KeyboardInterrupt

    writing = bootstrap_module.write_credentials
    monkeypatch.setattr(bootstrap_module, "write_credentials", write_and_die)
    with pytest.raises(KeyboardInterrupt):
        bootstrap(db, settings)
    lost = read_credentials(credentials_file(settings))
    assert count(db, "accounts") == 0
    monkeypatch.undo()
    sealer = bootstrap(db, settings)
    made = read_credentials(credentials_file(settings))
    assert made is not None and made != lost
    assert Authenticator(db, sealer).by_secret(made.access_key, made.secret_key).is_admin


_START = """
import sys
from pathlib import Path
from redrive.database import Database
from redrive.identity.bootstrap import bootstrap
from redrive.settings import Settings
with Database(sys.argv[1]) as db:
    sys.stdin.readline()
    bootstrap(db, Settings(data_dir=Path(sys.argv[2])))
"""


def test_two_processes_that_start_at_once_make_one_account(db: Database, tmp_path: Path) -> None:
    starting = [
        subprocess.Popen([sys.executable, "-c", _START, db.url, str(tmp_path / "D")], stdin=subprocess.PIPE)
        for _ in range(2)
    ]
    for process in starting:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for process in starting:
        process.communicate(timeout=30)
    assert [process.returncode for process in starting] == [0, 0]
    assert count(db, "accounts") == count(db, "tenants") == count(db, "users") == count(db, "key_pairs") == 1
    settings = Settings(data_dir=tmp_path / "D")
    made = read_credentials(credentials_file(settings))
    assert made is not None
    assert Authenticator(db, bootstrap(db, settings)).by_secret(made.access_key, made.secret_key).is_admin


def test_rotate_gives_new_keys_and_a_new_password_and_ends_the_old_ones(
    db: Database, sealer: Sealer, credentials: Credentials, settings: Settings
) -> None:
    made = rotate(db, settings, sealer)
    assert read_credentials(credentials_file(settings)) == made
    assert (made.org_id, made.project_id) == (credentials.org_id, credentials.project_id)
    authenticator = Authenticator(db, sealer)
    assert authenticator.by_secret(made.access_key, made.secret_key).is_admin
    with pytest.raises(Problem, match="not known"):
        authenticator.by_secret(credentials.access_key, credentials.secret_key)
    with db.transaction() as conn:
        user = conn.execute("select password_hash from users").fetchone()
    assert password_fits(user.password_hash, made.password)


def test_rotate_can_leave_the_old_pair_in_force(
    db: Database, sealer: Sealer, credentials: Credentials, settings: Settings
) -> None:
    rotate(db, settings, sealer, keep_old=True)
    assert Authenticator(db, sealer).by_secret(credentials.access_key, credentials.secret_key).is_admin


def test_rotate_before_the_first_start_says_what_to_do(db: Database, settings: Settings) -> None:
    from redrive.identity.master_key import open_sealer

    with pytest.raises(Problem) as refused:
        rotate(db, settings, open_sealer(db, settings))
    assert "redrive up" in refused.value.hint

"""``redrive identity`` and ``redrive keys``, as an operator types them."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key
from typer.testing import CliRunner

from redrive.cli.commands import app
from redrive.database import Database, migrate
from redrive.database.embedded import EmbeddedPostgres
from redrive.errors import Problem
from redrive.identity.access import parse_scope
from redrive.identity.authentication import Authenticator
from redrive.identity.bootstrap import bootstrap
from redrive.identity.credentials import Credentials, credentials_file, read_credentials
from redrive.identity.sealing import Sealer
from redrive.server.folder_lock import FolderLock
from redrive.settings import Settings


class Operator:
    """Types commands for one data folder and database."""

    def __init__(self, settings: Settings, url: str) -> None:
        self.folder = ["--data-dir", str(settings.data_dir)]
        self.database = [*self.folder, "--database-url", url]

    def types(self, *words: str, database: bool = True) -> str:
        result = CliRunner().invoke(app, [*words, *(self.database if database else self.folder)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout


@pytest.fixture
def operator(db: Database, settings: Settings, credentials: Credentials) -> Operator:
    assert credentials.access_key
    return Operator(settings, db.url)


def test_a_key_pair_is_made_listed_and_revoked(operator: Operator, db: Database, sealer: Sealer) -> None:
    made = json.loads(
        operator.types(
            "identity", "keys", "create", "scada", "--read", "--write", "--scope", "a1,s-*", "--json"
        )
    )
    caller = Authenticator(db, sealer).by_secret(made["access_key"], made["secret_key"])
    assert (caller.actor, caller.org_id, caller.is_admin) == ("scada", made["org_id"], False)
    assert caller.scope("read") == caller.scope("write") == parse_scope("a1,s-*")

    listed = json.loads(operator.types("identity", "keys", "list", "--json"))
    assert [(key["name"], key["read"], key["revoked_at"]) for key in listed] == [
        ("admin", "*", None),
        ("scada", "a1,s-*", None),
    ]
    assert made["secret_key"] not in json.dumps(listed)

    assert "within 5 s" in operator.types("identity", "keys", "revoke", made["access_key"])
    assert "before" in operator.types("identity", "keys", "revoke", made["access_key"])
    assert made["access_key"] in operator.types("identity", "keys", "list")
    with pytest.raises(Problem, match="not known"):
        Authenticator(db, sealer).by_access_key(made["access_key"])


def test_read_does_not_come_with_write_and_something_must_be_allowed(
    operator: Operator, db: Database, sealer: Sealer
) -> None:
    made = json.loads(operator.types("identity", "keys", "create", "eraser", "--write", "--json"))
    caller = Authenticator(db, sealer).by_access_key(made["access_key"]).principal
    assert caller.may("write", ["any"]) and not caller.may("read")
    with pytest.raises(Problem, match="--read, --write or both"):
        operator.types("identity", "keys", "create", "nothing")


def test_a_key_for_a_tenant_that_does_not_exist_is_refused(operator: Operator) -> None:
    with pytest.raises(Problem, match="no tenant o1"):
        operator.types("identity", "keys", "create", "x", "--read", "--tenant", "o1")


def test_show_hides_secrets_unless_asked(operator: Operator, credentials: Credentials) -> None:
    shown = operator.types("identity", "show", database=False)
    assert credentials.org_id in shown and credentials.secret_key not in shown
    whole = operator.types("identity", "show", "--secrets", "--json", database=False)
    assert Credentials(**json.loads(whole)) == credentials


def test_show_without_a_file_says_how_to_get_one(operator: Operator, settings: Settings) -> None:
    credentials_file(settings).unlink()
    with pytest.raises(Problem) as refused:
        operator.types("identity", "show", database=False)
    assert "identity rotate" in refused.value.hint
    operator.types("identity", "rotate")
    assert operator.types("identity", "show", database=False)


def test_rotate_keeps_the_endpoint_of_the_file(
    operator: Operator, settings: Settings, credentials: Credentials
) -> None:
    path = credentials_file(settings)
    path.write_text(path.read_text().replace(":8700", ":9321"))
    made = json.loads(operator.types("identity", "rotate", "--json"))
    assert made["endpoint"] == "http://127.0.0.1:9321" and made["access_key"] != credentials.access_key
    found = read_credentials(path)
    assert found is not None and found.secret_key == made["secret_key"]


def test_the_poseidon_key_is_one_rsa_key_for_good(operator: Operator) -> None:
    printed = operator.types("identity", "poseidon-key").strip()
    assert load_der_public_key(base64.b64decode(printed)).key_size == 2048  # type: ignore[union-attr]
    assert operator.types("identity", "poseidon-key").strip() == printed


def test_the_master_key_is_rotated_and_the_old_one_dropped(operator: Operator, settings: Settings) -> None:
    printed = operator.types("identity", "poseidon-key")
    assert "Sealed 3 secrets" in operator.types("keys", "rotate")
    assert "holds one key" in operator.types("keys", "prune")
    assert operator.types("identity", "poseidon-key") == printed


def test_a_folder_without_a_server_says_so(tmp_path: Path, empty_url: str) -> None:
    fresh = Operator(Settings(data_dir=tmp_path / "none"), empty_url)
    for database in (True, False):
        with pytest.raises(Problem) as refused:
            fresh.types("identity", "rotate", database=database)
        assert "redrive up" in refused.value.hint
    assert not (tmp_path / "none").exists()


def test_commands_work_on_a_folder_whose_server_is_stopped_or_runs(tmp_path: Path) -> None:
    folder = tmp_path / "D"
    server = EmbeddedPostgres(folder, settings={"fsync": "off"})
    settings = Settings(data_dir=folder)
    try:
        with Database(server.start()) as db:
            migrate(db)
            bootstrap(db, settings)
        with FolderLock(folder):  # as a running `redrive up` holds it
            typed(folder)
            assert server.running()
        server.stop()
        typed(folder)
        assert not server.running()
        with FolderLock(folder):
            pass
    finally:
        server.stop()


def typed(folder: Path) -> None:
    command = "from redrive.cli import main; main()"
    words = ["identity", "keys", "list", "--data-dir", str(folder)]
    done = subprocess.run(
        [sys.executable, "-c", command, *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "admin" in done.stdout

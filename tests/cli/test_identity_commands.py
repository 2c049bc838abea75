"""``redrive identity users|groups|policies|...`` and ``redrive audit``, as an operator types them."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from redrive.cli.commands import app
from redrive.database import Database
from redrive.errors import Problem
from redrive.identity.authentication import Authenticator
from redrive.identity.credentials import Credentials
from redrive.identity.passwords import password_fits
from redrive.identity.sealing import Sealer
from redrive.settings import Settings

READS = {"Version": "5.0", "Statement": [{"Effect": "Allow", "Action": ["enos:asset:read"]}]}
ME = pwd.getpwuid(os.getuid()).pw_name
PASSWORD = "a password that is long enough"


class Operator:
    """Types commands for one data folder and database."""

    def __init__(self, settings: Settings, db: Database) -> None:
        self.db = db
        self.place = ["--data-dir", str(settings.data_dir), "--database-url", db.url]

    def runs(self, *words: str, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(app, [*words, *self.place], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def types(self, *words: str, stdin: str | None = None) -> str:
        result = self.runs(*words, stdin=stdin)
        assert result.exit_code == 0, result.output
        return result.stdout

    def identity(self, *words: str, stdin: str | None = None) -> str:
        return self.types("identity", *words, stdin=stdin)

    def json(self, *words: str) -> Any:
        return json.loads(self.types(*words, "--json"))

    def rows(self, statement: str, *values: Any) -> list[Any]:
        with self.db.transaction() as conn:
            return conn.execute(statement, values).fetchall()


@pytest.fixture
def operator(db: Database, settings: Settings, credentials: Credentials) -> Operator:
    assert credentials.access_key
    return Operator(settings, db)


def test_a_user_is_made_shut_out_let_in_and_deleted(operator: Operator) -> None:
    said = operator.identity("users", "create", "anna", "--password-stdin", stdin=f"{PASSWORD}\n")
    assert PASSWORD not in said and "may do nothing yet" in said
    [row] = operator.rows("select * from users where name = 'anna'")
    assert password_fits(row.password_hash, PASSWORD)
    assert "disabled" in operator.identity("users", "disable", "anna")
    assert [(user["name"], user["enabled"]) for user in operator.json("identity", "users", "list")] == [
        ("admin", True),
        ("anna", False),
    ]
    assert "enabled" in operator.identity("users", "enable", "anna")
    assert json.loads(operator.identity("users", "show", "anna"))["id"] == row.id
    assert "anna" in operator.identity("users", "list")
    operator.identity("users", "delete", "anna")
    assert not operator.rows("select 1 from users where name = 'anna'")
    trail = operator.rows("select actor, surface, action from audit where resource = 'anna' order by id")
    assert [tuple(entry) for entry in trail] == [
        (ME, "command line", "iam:users:create"),
        (ME, "command line", "iam:users:update"),
        (ME, "command line", "iam:users:update"),
        (ME, "command line", "iam:users:delete"),
    ]


def test_a_password_is_made_and_printed_once_or_asked_for(operator: Operator) -> None:
    said = operator.identity("users", "create", "ben", "--generate")
    made = said.partition("Password: ")[2].split()[0]
    [row] = operator.rows("select password_hash from users where name = 'ben'")
    assert password_fits(row.password_hash, made)
    operator.identity("users", "password", "ben", stdin=f"{PASSWORD}\n{PASSWORD}\n")
    [row] = operator.rows("select password_hash from users where name = 'ben'")
    assert password_fits(row.password_hash, PASSWORD)
    with pytest.raises(Problem, match="not together"):
        operator.identity("users", "password", "ben", "--generate", "--password-stdin")
    with pytest.raises(Problem, match="12 to 128"):
        operator.identity("users", "password", "ben", "--password-stdin", stdin="short\n")


def test_no_command_takes_a_password_from_its_arguments(operator: Operator) -> None:
    for command in ("create", "password"):
        result = operator.runs("identity", "users", command, "anna", "--password", PASSWORD)
        assert result.exit_code != 0
        result = operator.runs("identity", "users", command, "anna", PASSWORD)
        assert result.exit_code != 0


def test_a_password_that_is_typed_does_not_show(operator: Operator) -> None:
    leader, follower = pty.openpty()
    command = "from redrive.cli import main; main()"
    words = [sys.executable, "-c", command, "identity", "users", "create", "carl", *operator.place]
    with subprocess.Popen(
        words, stdin=follower, stdout=follower, stderr=follower, start_new_session=True
    ) as process:
        os.close(follower)
        said = b""
        # The blank comes when the echo is off; what is typed before that is thrown away.
        for prompt in (b"Password: ", b"confirmation: "):
            while prompt not in said:
                said += os.read(leader, 1024)
            os.write(leader, f"{PASSWORD}\n".encode())
        with contextlib.suppress(OSError):
            while found := os.read(leader, 1024):
                said += found
        assert process.wait(30) == 0, said
    os.close(leader)
    assert PASSWORD.encode() not in said and b"Made the user carl" in said


def test_policies_are_written_attached_and_explained(operator: Operator, tmp_path: Path) -> None:
    document = tmp_path / "reads.json"
    document.write_text(json.dumps(READS))
    operator.identity("users", "create", "anna", "--generate")
    operator.identity("groups", "create", "night", "--description", "at night")
    operator.identity("groups", "add", "night", "anna")
    operator.identity("policies", "put", "reads", str(document), "--description", "reads")
    operator.identity("policies", "put", "reads", "-", stdin=json.dumps(READS))
    assert json.loads(operator.identity("policies", "show", "reads")) == READS
    operator.identity("attach", "reads", "--group", "night")
    operator.identity("attach", "timeseries-operator", "--user", "anna", "--project", "local-1")
    found = operator.json("identity", "attachments", "--user", "anna")
    assert found == [
        {"policy": "reads", "builtin": False, "project": None, "group": "night"},
        {"policy": "timeseries-operator", "builtin": True, "project": "local-1", "group": None},
    ]
    assert "night" in operator.identity("attachments", "--user", "anna")
    assert "every project" in operator.identity("attachments", "--group", "night")
    may = operator.runs("identity", "simulate", "enos:asset:read", "--user", "anna")
    assert may.exit_code == 0 and "allowed by identity-based policy" in may.stdout and "reads" in may.stdout
    not_ = operator.runs("identity", "simulate", "enos:asset:write", "enos:x:y:asset:a1", "--user", "anna")
    assert not_.exit_code == 1 and "NOT allowed: implicit deny" in not_.stdout
    nowhere = operator.runs("identity", "simulate", "redrive:jobs:retry", "--user", "anna")
    assert nowhere.exit_code == 1
    assert "it allows redrive:jobs:retry on redrive:*:*:job:timeseries.*" in nowhere.stdout
    somewhere = "redrive:*:*:job:timeseries.deletion"
    assert (
        operator.runs("identity", "simulate", "redrive:jobs:retry", somewhere, "--user", "anna").exit_code
        == 0
    )
    asked = operator.runs("identity", "simulate", "redrive:jobs:cancel", "--user", "anna", "--json")
    assert asked.exit_code == 1 and json.loads(asked.stdout)["decision"]["allowed"] is False
    operator.identity("detach", "timeseries-operator", "--user", "anna", "--project", "local-1")
    operator.identity("detach", "reads", "--group", "night")
    assert operator.json("identity", "attachments", "--user", "anna") == []
    operator.identity("policies", "delete", "reads")
    operator.identity("groups", "remove", "night", "anna")
    assert operator.json("identity", "groups", "list")[0]["members"] == []
    operator.identity("groups", "delete", "night")
    names = [policy["name"] for policy in operator.json("identity", "policies", "list")]
    assert "reads" not in names and "administrator" in names
    assert "administrator" in operator.identity("policies", "list")
    actions = {row.action for row in operator.rows("select action from audit where surface = 'command line'")}
    assert actions >= {
        f"iam:{verb}"
        for verb in (
            "groups:create", "groups:addUser", "groups:removeUser", "groups:delete", "policies:create",
            "policies:update", "policies:attach", "policies:detach", "policies:delete",
        )
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "[" * 100_000, '{"Version": "5.0"}'])
def test_what_is_no_policy_is_refused(operator: Operator, text: str) -> None:
    with pytest.raises(Problem):
        operator.identity("policies", "put", "mine", "-", stdin=text)
    with pytest.raises(Problem, match="a file that can be read"):
        operator.identity("policies", "put", "mine", "/nowhere/at/all")


def test_conditions_are_asked_with_their_context(operator: Operator) -> None:
    inside = {"IpAddress": {"g:SourceIp": "10.0.0.0/8"}}
    document = {"Version": "5.0", "Statement": [{"Effect": "Allow", "Action": "a:b:c", "Condition": inside}]}
    operator.identity("users", "create", "anna", "--generate")
    operator.identity("policies", "put", "inside", "-", stdin=json.dumps(document))
    operator.identity("attach", "inside", "--user", "anna")
    words = ("identity", "simulate", "a:b:c", "--user", "anna")
    assert operator.runs(*words).exit_code == 1
    assert operator.runs(*words, "--context", "g:SourceIp=10.1.2.3").exit_code == 0
    with pytest.raises(Problem, match="NAME=VALUE"):
        operator.runs(*words, "--context", "g:SourceIp")


def test_key_pairs_are_made_for_users_with_policies_and_rotated(
    operator: Operator, db: Database, sealer: Sealer
) -> None:
    operator.identity("users", "create", "anna", "--generate")
    operator.identity("attach", "timeseries-administrator", "--user", "anna")
    words = ("keys", "create", "scada", "--user", "anna", "--policy", "-", "--json")
    made = json.loads(operator.identity(*words, stdin=json.dumps(READS)))
    caller = Authenticator(db, sealer).by_secret(made["access_key"], made["secret_key"])
    assert (caller.user_name, caller.actor, caller.layers) == ("anna", "scada", (READS,))
    assert caller.may("read", ["a"]) and not caller.may("write", ["a"])

    kept = json.loads(operator.identity("keys", "rotate", made["access_key"], "--keep-old", "--json"))
    new = json.loads(operator.identity("keys", "rotate", made["access_key"], "--json"))
    authenticator = Authenticator(db, sealer)
    for pair in (kept, new):
        found = authenticator.by_secret(pair["access_key"], pair["secret_key"])
        assert (found.user_name, found.actor, found.layers) == ("anna", "scada", (READS,))
    with pytest.raises(Problem, match="not known"):
        authenticator.by_access_key(made["access_key"])
    with pytest.raises(Problem, match="is revoked"):
        operator.identity("keys", "rotate", made["access_key"])
    unlimited = json.loads(operator.identity("keys", "create", "whole", "--user", "anna", "--json"))
    assert not authenticator.by_access_key(unlimited["access_key"]).principal.limited
    with pytest.raises(Problem, match="not together"):
        operator.identity("keys", "create", "x", "--read", "--policy", "-", stdin="{}")
    operator.identity("keys", "revoke", new["access_key"])
    rows = operator.rows("select action, actor from audit where action like 'iam:credentials:%%' order by id")
    assert [(row.action.rpartition(":")[2], row.actor) for row in rows] == [
        ("create", ME), ("create", ME), ("create", ME), ("delete", ME), ("create", ME), ("delete", ME),
    ]  # fmt: skip


def test_a_rotation_of_the_first_key_pair_is_in_the_trail(
    operator: Operator, credentials: Credentials
) -> None:
    operator.identity("rotate")
    rows = operator.rows(
        "select action, resource, actor from audit where surface = 'command line' order by id"
    )
    assert [(row.action, row.actor) for row in rows] == [
        ("iam:users:resetPassword", ME),
        ("iam:credentials:create", ME),
        ("iam:credentials:delete", ME),
    ]
    assert rows[2].resource == credentials.access_key


def test_projects_are_made_and_listed(operator: Operator) -> None:
    assert "Made the project eu-1" in operator.identity("projects", "create", "eu-1")
    assert [one["name"] for one in operator.json("identity", "projects", "list")] == ["local-1", "eu-1"]
    assert "eu-1" in operator.identity("projects", "list")
    made = json.loads(operator.identity("keys", "create", "x", "--read", "--tenant", "eu-1", "--json"))
    assert made["org_id"] != operator.json("identity", "projects", "list")[0]["org_id"]


def test_the_trail_is_read_filtered_and_paged(operator: Operator) -> None:
    for name in ("anna", "ben"):
        operator.identity("users", "create", name, "--generate")
    operator.identity("attach", "reader", "--user", "ben")
    table = operator.types("audit")
    assert "iam:policies:attach" in table and ME in table and "command line" in table and "Z" in table
    found = operator.json("audit", "--action", "iam:users:*", "--outcome", "changed")
    assert [(entry["action"], entry["resource"]) for entry in found] == [
        ("iam:users:create", "ben"),
        ("iam:users:create", "anna"),
    ]
    assert operator.json("audit", "--actor", "nobody") == []
    assert len(operator.json("audit", "--since", "10m")) == 4, "the first start is there too"
    assert operator.json("audit", "--since", "2100-01-01") == []
    [last] = operator.json("audit", "--limit", "1")
    older = operator.json("audit", "--before", str(last["id"]))
    assert older and all(entry["id"] < last["id"] for entry in older)
    assert "There may be more" in operator.types("audit", "--limit", "1")
    assert "no such entries" in operator.types("audit", "--outcome", "refused")
    for wrong in (("--since", "yesterday"), ("--outcome", "allowed")):
        with pytest.raises(Problem):
            operator.types("audit", *wrong)


def test_texts_of_others_do_no_harm_in_a_terminal(operator: Operator) -> None:
    with operator.db.transaction() as conn:
        conn.execute(
            "insert into audit (actor, surface, action, outcome, reason) values (%s, 'native', 'a', 'refused', %s)",
            ("evil\x1b[2J[red]", "\x1b]0;x\x07"),
        )
    assert "\x1b" not in operator.types("audit") and "[red]" in operator.types("audit")


def test_everything_works_where_nobody_has_a_key_pair_any_more(operator: Operator) -> None:
    with operator.db.transaction() as conn:
        conn.execute("update key_pairs set revoked_at = now()")
    operator.identity("users", "create", "anna", "--generate")
    operator.identity("attach", "administrator", "--user", "anna")
    assert "anna" in operator.identity("users", "list")

"""Key pairs of before there were policies may afterwards exactly what they could before."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from redrive.database import Database, migrate, migrations
from redrive.identity.access import ADMIN, Principal, Verb
from redrive.identity.authentication import Authenticator
from redrive.identity.master_key import KEY_SECRETS, open_sealer
from redrive.settings import Settings

#: Key pairs: role, whether made by the first start, and permissions: action, all assets, ids, prefixes.
PAIRS: dict[str, tuple[str, bool, list[tuple[str, bool, list[str], list[str]]]]] = {
    "first admin": ("admin", True, [("asset:read", True, [], []), ("asset:write", True, [], [])]),
    "first admin without permissions": ("admin", True, []),
    "admin": ("admin", False, []),
    "admin with all": ("admin", False, [("asset:read", True, [], []), ("asset:write", True, [], [])]),
    "admin with scope": ("admin", False, [("asset:write", False, ["a1"], [])]),
    "member": ("member", False, []),
    "reads all": ("member", False, [("asset:read", True, [], [])]),
    "writes all": ("member", False, [("asset:write", True, [], [])]),
    "both": ("member", False, [("asset:read", True, [], []), ("asset:write", True, [], [])]),
    "reads all, writes some": (
        "member",
        False,
        [("asset:read", True, [], []), ("asset:write", False, ["a1", "b2"], ["s-"])],
    ),
    "ids": ("member", False, [("asset:read", False, ["a1", "b2"], [])]),
    "prefixes": ("member", False, [("asset:read", False, [], ["s-", "t-"])]),
}
ASSETS = ("a1", "b2", "a11", "s-", "s-1", "t-x", "x", "*")


@pytest.fixture
def old(empty_url: str, tmp_path: Path) -> Iterator[Database]:
    """A database as the program left it before rights were policies."""
    before = tmp_path / "migrations"
    before.mkdir()
    for path in sorted(migrations.FOLDER.glob("*.sql")):
        if int(path.name[:4]) <= 7:
            shutil.copy(path, before)
    with Database(empty_url) as db:
        migrate(db, before)
        yield db


def _fill(db: Database, settings: Settings) -> dict[str, tuple[str, str]]:
    sealer = open_sealer(db, settings)
    made = {}
    with db.transaction() as conn:
        conn.execute("insert into accounts (id, name) values (%s, 'redrive')", ("a" * 32,))
        for number, name in enumerate(("admin", "later")):
            conn.execute(
                """insert into users (id, account_id, name, password_hash, created_at)
                   values (%s, %s, %s, '', now() + make_interval(secs => %s))""",
                (str(number) * 32, "a" * 32, name, number),
            )
        conn.execute(
            """insert into tenants (id, account_id, project_id, project_name, org_id, workspace_id)
               values (1, %s, %s, 'local-1', 'o1', %s)""",
            ("a" * 32, "b" * 32, "c" * 32),
        )
        for number, (name, (role, first, permissions)) in enumerate(PAIRS.items(), start=1):
            access_key, secret = str(uuid.uuid4()), str(uuid.uuid4())
            conn.execute(
                """insert into key_pairs (id, tenant_id, user_id, name, access_key, secret, role, first)
                   values (%s, 1, %s, %s, %s, %s, %s, %s)""",
                (
                    number,
                    "0" * 32,
                    name,
                    access_key,
                    sealer.seal(secret.encode(), KEY_SECRETS.place(number)),
                    role,
                    first,
                ),
            )
            for action, every, ids, prefixes in permissions:
                conn.execute(
                    "insert into key_permissions values (%s, %s, %s, %s, %s)",
                    (number, action, every, ids, prefixes),
                )
            made[name] = (access_key, secret)
    return made


def _could(name: str) -> dict[str, Any]:
    """What a key pair could do, by the rules of before."""
    role, first, permissions = PAIRS[name]
    root = role == "admin" and first
    every = {action for action, all_assets, _, _ in permissions if all_assets}
    found: dict[str, Any] = {"admin": role == "admin"}
    for action in ("asset:read", "asset:write"):
        covered = {
            asset
            for granted, all_assets, ids, prefixes in permissions
            if granted == action
            for asset in ASSETS
            if all_assets or asset in ids or any(asset.startswith(prefix) for prefix in prefixes)
        }
        found[action] = set(ASSETS) if root else covered
    found["look"] = root or bool(every)
    found["act"] = root or "asset:write" in every
    return found


def _can(caller: Principal) -> dict[str, Any]:
    scopes = {verb: caller.job_scope(verb) for verb in Verb}
    covers = {verb: scope.covers("timeseries.deletion") for verb, scope in scopes.items()}
    looks = {covers[verb] for verb in (Verb.LIST, Verb.GET)}
    acts = {covers[verb] for verb in Verb if verb not in (Verb.LIST, Verb.GET)}
    assert len(looks) == len(acts) == 1
    return {
        "admin": caller.decide(ADMIN).allowed,
        "asset:read": {asset for asset in ASSETS if caller.may("read", [asset])},
        "asset:write": {asset for asset in ASSETS if caller.may("write", [asset])},
        "look": looks.pop(),
        "act": acts.pop(),
    }


def test_key_pairs_may_exactly_what_they_could_before(old: Database, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "D", database_url=old.url)
    pairs = _fill(old, settings)
    assert migrate(old)[0] == "0008_rights"
    authenticator = Authenticator(old, open_sealer(old, settings))
    for name, (access_key, secret) in pairs.items():
        caller = authenticator.by_secret(access_key, secret)
        assert _can(caller) == _could(name), name
        assert caller.actor == name and caller.user_name == "admin" and caller.root
        role, first, _ = PAIRS[name]
        assert caller.limited != (role == "admin" and first), name
        assert caller.decide("iam:users:create").allowed == (role == "admin"), name
        assert caller.decide("drs:migrationJobs:create").allowed == (role == "admin" and first), name
    with old.transaction() as conn:
        roots = conn.execute("select name, root, enabled from users order by name").fetchall()
        left = conn.execute("select to_regclass('key_permissions') as name").fetchone()
    assert [(row.name, row.root, row.enabled) for row in roots] == [
        ("admin", True, True),
        ("later", False, True),
    ]
    assert left.name is None


def test_a_database_without_anything_is_brought_up_to_date(old: Database) -> None:
    assert migrate(old)[0] == "0008_rights" and migrate(old) == []

"""Key pairs and what they may do."""

from __future__ import annotations

from typing import Any

import pytest

from redrive.database import Database
from redrive.errors import Problem
from redrive.identity import authentication
from redrive.identity.access import (
    EVERYTHING,
    Action,
    Scope,
    parse_scope,
    require_admin,
    require_assets,
    scope_words,
)
from redrive.identity.authentication import Authenticator
from redrive.identity.builtin import key_policy
from redrive.identity.credentials import Credentials
from redrive.identity.decisions import NOTHING, Reach
from redrive.identity.keys import NewKeyPair, create_key, find_tenant, list_keys, revoke_key
from redrive.identity.sealing import Sealer


def make_key(
    db: Database,
    sealer: Sealer,
    credentials: Credentials,
    permissions: dict[Action, Scope],
    name: str = "app",
) -> NewKeyPair:
    with db.transaction() as conn:
        tenant = find_tenant(conn, credentials.org_id)
        user = conn.execute("select id from users").fetchone()
        return create_key(
            conn, sealer, tenant_id=tenant.id, user_id=user.id, name=name, policy=key_policy(permissions)
        )


def test_a_key_pair_has_the_permissions_it_was_made_with(
    db: Database, sealer: Sealer, credentials: Credentials
) -> None:
    scope = parse_scope("a1, b2 ,station-*")
    made = make_key(db, sealer, credentials, {Action.READ: EVERYTHING, Action.WRITE: scope})
    caller = Authenticator(db, sealer).by_secret(made.access_key, made.secret_key)
    assert caller.actor == "app" and not caller.is_admin
    assert caller.may("read", ["anything"])
    assert caller.may("write", ["a1", "b2", "station-7"])
    assert not caller.may("write", ["a1", "a2"])
    assert not caller.may("write", ["Station-7"])
    assert scope_words(caller.scope("write")) == "a1,b2,station-*"


def test_write_does_not_include_read(db: Database, sealer: Sealer, credentials: Credentials) -> None:
    made = make_key(db, sealer, credentials, {Action.WRITE: EVERYTHING})
    caller = Authenticator(db, sealer).by_secret(made.access_key, made.secret_key)
    assert caller.may("write") and not caller.may("read")
    with pytest.raises(Problem) as refused:
        require_assets(caller, "read", [])
    assert refused.value.reason == "permission"


def test_one_asset_outside_the_scope_refuses_the_whole_call_and_is_named(
    db: Database, sealer: Sealer, credentials: Credentials
) -> None:
    made = make_key(db, sealer, credentials, {Action.WRITE: parse_scope("a1")})
    caller = Authenticator(db, sealer).by_secret(made.access_key, made.secret_key)
    require_assets(caller, "write", ["a1"])
    with pytest.raises(Problem, match="does not cover b2") as refused:
        require_assets(caller, "write", ["a1", "b2"])
    assert refused.value.reason == "scope"


def test_a_refusal_names_five_assets_and_counts_the_others(
    db: Database, sealer: Sealer, credentials: Credentials
) -> None:
    made = make_key(db, sealer, credentials, {Action.READ: parse_scope("x")})
    caller = Authenticator(db, sealer).by_secret(made.access_key, made.secret_key)
    with pytest.raises(Problem, match=r"n0, n1, n2, n3, n4 and 2995 more$"):
        require_assets(caller, "read", [f"n{number}" for number in range(3000)])


def test_a_member_is_no_admin(db: Database, sealer: Sealer, credentials: Credentials) -> None:
    made = make_key(db, sealer, credentials, {Action.READ: EVERYTHING})
    with pytest.raises(Problem, match="admin"):
        require_admin(Authenticator(db, sealer).by_secret(made.access_key, made.secret_key))


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("*", EVERYTHING),
        ("a,*", EVERYTHING),
        ("a", Scope((Reach(("a",)),))),
        ("a,b*", Scope((Reach(("a", "b*")),))),
    ],
)
def test_a_scope_is_all_or_ids_and_prefixes(text: str, scope: Scope) -> None:
    assert parse_scope(text) == scope


@pytest.mark.parametrize("text", ["", " , ", "a*b", "**", "*a", "a?"])
def test_a_scope_that_says_nothing_clear_is_refused(text: str) -> None:
    with pytest.raises(Problem):
        parse_scope(text)


def test_a_scope_says_itself_as_it_was_written() -> None:
    assert scope_words(parse_scope("b,a,c*")) == "b,a,c*"
    assert scope_words(EVERYTHING) == "*" and scope_words(NOTHING) == ""


def test_a_revoked_key_is_refused_at_once_here_and_soon_elsewhere(
    db: Database, sealer: Sealer, credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere = Authenticator(db, sealer), Authenticator(db, sealer)
    made = make_key(db, sealer, credentials, {Action.READ: EVERYTHING})
    key_id = here.by_secret(made.access_key, made.secret_key).key_id
    elsewhere.by_secret(made.access_key, made.secret_key)
    with db.transaction() as conn:
        tenant = find_tenant(conn, credentials.project_id)
        assert revoke_key(conn, tenant.id, made.access_key) == key_id
    here.forget(key_id)
    with pytest.raises(Problem, match="not known"):
        here.by_secret(made.access_key, made.secret_key)
    present = authentication.time.monotonic()
    monkeypatch.setattr(authentication.time, "monotonic", lambda: present + authentication.CACHE_SECONDS)
    with pytest.raises(Problem, match="not known"):
        elsewhere.by_secret(made.access_key, made.secret_key)


def test_revoking_is_safe_to_repeat_and_says_when_there_is_no_such_key(
    db: Database, sealer: Sealer, credentials: Credentials
) -> None:
    made = make_key(db, sealer, credentials, {Action.READ: EVERYTHING})
    with db.transaction() as conn:
        tenant = find_tenant(conn, credentials.project_name)
        revoke_key(conn, tenant.id, made.access_key)
        assert revoke_key(conn, tenant.id, made.access_key) is None
        with pytest.raises(Problem, match="no key pair"):
            revoke_key(conn, tenant.id, "00000000-0000-0000-0000-000000000000")
        with pytest.raises(Problem, match="no key pair"):
            revoke_key(conn, tenant.id + 1, credentials.access_key)
        listed = list_keys(conn, tenant.id)
    assert [key.access_key for key in listed] == [credentials.access_key, made.access_key]
    assert listed[0].revoked_at is None and listed[1].revoked_at is not None
    assert listed[1].layers == [key_policy({Action.READ: EVERYTHING})]


def test_a_busy_caller_costs_no_query(db: Database, sealer: Sealer, credentials: Credentials) -> None:
    authenticator = Authenticator(db, sealer)
    authenticator.by_secret(credentials.access_key, credentials.secret_key)
    db.close()
    for _ in range(100):
        assert authenticator.by_secret(credentials.access_key, credentials.secret_key).is_admin


def test_what_was_looked_up_before_a_change_is_not_kept_after_it(
    db: Database, sealer: Sealer, credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    authenticator = Authenticator(db, sealer)
    load = authenticator._load_key

    def overtaken(conn: Any, access_key: str) -> Any:
        row = load(conn, access_key)
        authenticator.forget_all()  # somebody changed rights meanwhile
        return row

    monkeypatch.setattr(authenticator, "_load_key", overtaken)
    authenticator.by_secret(credentials.access_key, credentials.secret_key)
    assert authenticator.kept_key(credentials.access_key) is None


def test_a_wrong_secret_and_a_strange_key_are_refused(
    db: Database, sealer: Sealer, credentials: Credentials
) -> None:
    authenticator = Authenticator(db, sealer)
    for access_key, secret_key, reason in [
        (credentials.access_key, credentials.secret_key + "x", "wrong_secret"),
        (credentials.access_key, "", "wrong_secret"),
        (credentials.access_key, "\N{SNOWMAN}", "wrong_secret"),
        ("", "", "unknown_key"),
        ("\0", "", "unknown_key"),
        ("'; drop table users; --", "", "unknown_key"),
    ]:
        with pytest.raises(Problem) as refused:
            authenticator.by_secret(access_key, secret_key)
        assert refused.value.reason == reason


def test_secrets_do_not_show_when_things_are_printed(
    db: Database, sealer: Sealer, credentials: Credentials
) -> None:
    credential = Authenticator(db, sealer).by_access_key(credentials.access_key)
    made = make_key(db, sealer, credentials, {})
    printed = f"{credential!r} {credentials!r} {made!r} {sealer!r}"
    assert credentials.secret_key not in printed and made.secret_key not in printed

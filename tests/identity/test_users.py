"""Users and groups, policies and attachments, in the database."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from redrive.database import Database
from redrive.errors import Problem
from redrive.identity import policy_store, projects, users
from redrive.identity.passwords import password_fits
from redrive.identity.policy_store import Target
from redrive.identity.sealing import Sealer
from tests.identity.scene import BEN, PASSWORD, Account, account_of

READS: dict[str, Any] = {"Version": "5.0", "Statement": [{"Effect": "Allow", "Action": ["enos:asset:read"]}]}


@pytest.fixture
def account(db: Database, sealer: Sealer) -> Account:
    assert sealer
    return account_of(db)


def test_a_user_is_stored_with_a_hash_and_recorded(account: Account) -> None:
    made = account.user("anna")
    [row] = account.rows("select * from users where id = %s", made.id)
    assert (row.name, row.account_id, row.enabled, row.root) == ("anna", account.id, True, False)
    assert password_fits(row.password_hash, PASSWORD)
    assert account.trail() == [("iam:users:create", "anna")]


def test_a_change_that_fails_leaves_neither_itself_nor_an_entry(account: Account) -> None:
    account.user("anna")
    with pytest.raises(RuntimeError), account.db.transaction() as conn:
        users.change_user(conn, account.id, "anna", who=BEN, enabled=False)
        raise RuntimeError
    [row] = account.rows("select enabled from users where name = 'anna'")
    assert row.enabled and account.trail() == [("iam:users:create", "anna")]


def test_a_name_is_taken_once_and_the_transaction_goes_on(account: Account) -> None:
    account.user("anna")
    with account.db.transaction() as conn:
        with pytest.raises(Problem, match="already"):
            users.create_user(conn, account.id, "anna", PASSWORD, who=BEN)
        users.create_group(conn, account.id, "night", who=BEN)
    assert account.rows("select 1 from groups where name = 'night'")


@pytest.mark.parametrize("name", ["", " a", "a\n", "ä", "a/b", "a" * 65, "0" * 32, "a\0"])
def test_what_is_no_name_is_refused(account: Account, name: str) -> None:
    with account.db.transaction() as conn, pytest.raises(Problem, match="name"):
        users.create_user(conn, account.id, name, PASSWORD, who=BEN)


@pytest.mark.parametrize("password", ["", "short", "x" * 129])
def test_what_is_no_password_is_refused_and_not_repeated(account: Account, password: str) -> None:
    with account.db.transaction() as conn, pytest.raises(Problem) as refused:
        users.create_user(conn, account.id, "anna", password, who=BEN)
    assert not password or password not in str(refused.value)


def test_disabling_ends_tokens_and_temporary_key_pairs_for_good(account: Account) -> None:
    made = account.user("anna")
    with account.db.transaction() as conn:
        conn.execute(
            "insert into user_tokens (hash, user_id, expires_at) values (%s, %s, now() + interval '1 hour')",
            (b"x" * 32, made.id),
        )
        conn.execute(
            """insert into key_pairs (id, tenant_id, user_id, name, access_key, secret, expires_at, token_hash)
               values (7, %s, %s, 'n', '00000000-0000-0000-0000-000000000000', '', now() + interval '1 hour', %s)""",
            (account.tenant_id, made.id, b"x" * 32),
        )
        users.change_user(conn, account.id, "anna", who=BEN, enabled=False)
        users.change_user(conn, account.id, "anna", who=BEN, enabled=True)
    assert not account.rows("select 1 from user_tokens")
    [row] = account.rows("select revoked_at from key_pairs where id = 7")
    assert row.revoked_at is not None


def test_a_user_leaves_its_groups_and_attachments_behind(account: Account) -> None:
    account.user("anna")
    with account.db.transaction() as conn:
        users.create_group(conn, account.id, "night", who=BEN)
        users.add_member(conn, account.id, "night", "anna", who=BEN)
        users.add_member(conn, account.id, "night", "anna", who=BEN)
        policy_store.attach(conn, account.id, "reader", Target(user="anna"), who=BEN)
        assert users.get_group(conn, account.id, "night").members == ["anna"]
        assert users.get_user(conn, account.id, "anna").groups == ["night"]
        users.delete_user(conn, account.id, "anna", who=BEN)
        assert users.get_group(conn, account.id, "night").members == []
    assert not account.rows("select 1 from policy_attachments")
    assert account.trail() == [
        ("iam:users:create", "anna"),
        ("iam:groups:create", "night"),
        ("iam:groups:addUser", "night"),
        ("iam:policies:attach", "reader"),
        ("iam:users:delete", "anna"),
    ]


def test_a_policy_keeps_its_description_and_the_trail_its_former_document(account: Account) -> None:
    other = {**READS, "Version": "1.1"}
    with account.db.transaction() as conn:
        first = policy_store.put_policy(conn, account.id, "mine", READS, who=BEN, description="reads")
        second = policy_store.put_policy(conn, account.id, "mine", other, who=BEN)
    assert (second.id, second.description, second.document) == (first.id, "reads", other)
    rows = account.rows("select detail from audit where resource = 'mine' order by id")
    assert [row.detail for row in rows] == [
        {"document": READS, "former": None},
        {"document": other, "former": READS},
    ]


def test_a_policy_is_attached_once_in_each_way_and_detached_in_just_that_way(account: Account) -> None:
    account.user("anna")
    everywhere, here = Target(user="anna"), Target(user="anna", tenant_id=account.tenant_id)
    with account.db.transaction() as conn:
        policy_store.put_policy(conn, account.id, "mine", READS, who=BEN)
        for target in (everywhere, here, here):
            policy_store.attach(conn, account.id, "mine", target, who=BEN)
        found = policy_store.attachments_of(conn, account.id, everywhere)
        assert [(each.policy, each.project) for each in found] == [("mine", None), ("mine", "local-1")]
        with pytest.raises(Problem, match="attached"):
            policy_store.delete_policy(conn, account.id, "mine", who=BEN)
        policy_store.detach(conn, account.id, "mine", everywhere, who=BEN)
        policy_store.detach(conn, account.id, "mine", everywhere, who=BEN)
        [left] = policy_store.attachments_of(conn, account.id, everywhere)
        assert left.project == "local-1"
        policy_store.detach(conn, account.id, "mine", here, who=BEN)
        policy_store.delete_policy(conn, account.id, "mine", who=BEN)
    assert [action for action, _ in account.trail()] == [
        "iam:users:create",
        "iam:policies:create",
        "iam:policies:attach",
        "iam:policies:attach",
        "iam:policies:detach",
        "iam:policies:detach",
        "iam:policies:delete",
    ]


def test_built_in_policies_count_their_attachments(account: Account) -> None:
    account.user("anna")
    with account.db.transaction() as conn:
        policy_store.attach(conn, account.id, "reader", Target(user="anna"), who=BEN)
        listed = {each.name: each.attachments for each in policy_store.list_builtin(conn, account.id)}
    assert listed["reader"] == 1 and listed["operator"] == 0


def test_a_policy_that_is_being_judged_waits_for_who_changes_it(account: Account) -> None:
    with account.db.transaction() as conn:
        policy_store.put_policy(conn, account.id, "mine", READS, who=BEN)
    seen: list[Any] = []

    def judge() -> None:
        with account.db.transaction() as conn:
            policy_store.lock_policy(conn, account.id, "mine")
            seen.append(policy_store.get_policy(conn, account.id, "mine").document)

    other = {**READS, "Version": "1.1"}
    with account.db.transaction() as conn:
        policy_store.lock_policy(conn, account.id, "mine")
        thread = threading.Thread(target=judge)
        thread.start()
        thread.join(0.3)
        assert not seen
        policy_store.put_policy(conn, account.id, "mine", other, who=BEN)
    thread.join(10)
    assert seen == [other]


def test_projects_are_found_by_id_and_name_and_made_once(account: Account) -> None:
    with account.db.transaction() as conn:
        made = projects.create_project(conn, account.id, "eu-1", who=BEN)
        assert projects.get_project(conn, account.id, "eu-1") == made
        assert projects.get_project(conn, account.id, made.project_id) == made
        for wanted in ("eu-2", "f" * 32, "\0", ""):
            with pytest.raises(Problem, match="no project"):
                projects.get_project(conn, account.id, wanted)
        with pytest.raises(Problem, match="already"):
            projects.create_project(conn, account.id, "eu-1", who=BEN)
        assert [each.project_name for each in projects.list_projects(conn, account.id)] == ["local-1", "eu-1"]
    assert account.trail() == [("iam:projects:create", "eu-1")]

"""Tokens that a user gets with its password."""

from __future__ import annotations

import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from redrive.database import Database
from redrive.errors import Problem
from redrive.identity import authentication, passwords, user_tokens, users
from redrive.identity.authentication import Authenticator
from redrive.identity.login_attempts import MOST, REASON, LoginAttempts
from redrive.identity.sealing import Sealer
from redrive.identity.user_tokens import Login, LoginRefused, check_login
from tests.identity.scene import BEN, PASSWORD, Account, account_of


@pytest.fixture
def account(db: Database, sealer: Sealer) -> Account:
    assert sealer
    return account_of(db)


def token(account: Account, name: str, tenant_id: int | None = None) -> str:
    user = check_login(account.db, Login(PASSWORD, name=name, account_id=account.id))
    with account.db.transaction() as conn:
        return user_tokens.issue(conn, user.id, tenant_id).text


def test_only_a_hash_of_a_token_is_kept(account: Account, authenticator: Authenticator) -> None:
    account.user("anna")
    text = token(account, "anna", account.tenant_id)
    found = authenticator.by_user_token(text)
    assert (found.principal.user_name, found.principal.tenant_id) == ("anna", account.tenant_id)
    assert found.expires_at - found.issued_at == user_tokens.LIFE
    [row] = account.rows("select t::text as row from user_tokens t")
    assert text not in row.row and text.removeprefix("rdu_") not in row.row and text not in repr(found)


def test_a_login_names_a_user_by_id_or_by_name_in_an_account(account: Account) -> None:
    user = account.user("anna")
    for login in (
        Login(PASSWORD, user_id=user.id),
        Login(PASSWORD, name="anna", account_id=account.id),
        Login(PASSWORD, name="anna", account_name="redrive"),
    ):
        assert check_login(account.db, login).id == user.id
        assert PASSWORD not in repr(login)


def test_whatever_is_wrong_is_said_in_one_way(account: Account) -> None:
    user = account.user("anna")
    account.user("gone")
    with account.db.transaction() as conn:
        users.change_user(conn, account.id, "gone", who=BEN, enabled=False)
    said = set()
    for login, whose in (
        (Login("wrong", name="anna", account_id=account.id), user.id),
        (Login(PASSWORD, name="nobody", account_id=account.id), None),
        (Login(PASSWORD, name="anna", account_id="f" * 32), None),
        (Login(PASSWORD, name="anna"), None),
        (Login(PASSWORD, name="an\0na", account_id=account.id), None),
        (Login("", user_id=user.id), user.id),
    ):
        with pytest.raises(LoginRefused) as refused:
            check_login(account.db, login)
        said.add((refused.value.code, refused.value.detail, refused.value.reason, refused.value.hint))
        assert refused.value.user_id == whose, "for the trail alone"
    with pytest.raises(LoginRefused):
        check_login(account.db, Login(PASSWORD, name="gone", account_id=account.id))
    assert len(said) == 1


def test_a_user_that_does_not_exist_takes_about_as_long(account: Account) -> None:
    account.user("anna")
    passwords.nobodys_hash()

    def median(name: str) -> float:
        took = []
        for _ in range(7):
            begun = time.perf_counter()
            with pytest.raises(LoginRefused):
                check_login(account.db, Login("a wrong password", name=name, account_id=account.id))
            took.append(time.perf_counter() - begun)
        return statistics.median(took)

    known, unknown = median("anna"), median("nobody")
    assert 1 / 3 < known / unknown < 3, (known, unknown)


def test_wrong_passwords_under_all_names_of_a_user_are_counted_together(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "password_fits", lambda stored, password: password == PASSWORD)
    user = account.user("anna")
    attempts = LoginAttempts()
    names = (
        {"user_id": user.id},
        {"name": "anna", "account_id": account.id},
        {"name": "anna", "account_name": "redrive"},
    )
    reasons = []
    for n in range(MOST + 3):
        login = Login("wrong", **names[n % len(names)])
        with pytest.raises(Problem) as refused:
            check_login(account.db, login, attempts=attempts, address="10.0.0.1")
        reasons.append(refused.value.reason)
    assert reasons[MOST:] == [REASON] * 3 and REASON not in reasons[:MOST]
    right = Login(PASSWORD, name="anna", account_id=account.id)
    assert check_login(account.db, right, attempts=attempts, address="10.0.0.2").id == user.id


def test_a_token_ends_after_a_day(account: Account, db: Database, sealer: Sealer) -> None:
    account.user("anna")
    text = token(account, "anna")
    with db.transaction() as conn:
        conn.execute("update user_tokens set expires_at = now() - interval '1 second'")
    with pytest.raises(Problem) as refused:
        Authenticator(db, sealer).by_user_token(text)
    assert refused.value.reason == "token_expired"


def test_a_token_that_is_kept_in_the_process_ends_too(
    account: Account, authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.user("anna")
    text = token(account, "anna")
    found = authenticator.by_user_token(text)
    monkeypatch.setattr(authentication, "now", lambda: found.expires_at)
    with pytest.raises(Problem) as refused:
        authenticator.by_user_token(text)
    assert refused.value.reason == "token_expired" and authenticator.kept_user_token(text) is None


@pytest.mark.parametrize("what", ["revoked", "disabled", "password"])
def test_a_token_ends_at_once_here_and_soon_elsewhere(
    account: Account, db: Database, sealer: Sealer, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere = Authenticator(db, sealer), Authenticator(db, sealer)
    account.user("anna")
    text = token(account, "anna")
    here.by_user_token(text), elsewhere.by_user_token(text)
    with db.transaction() as conn:
        if what == "revoked":
            user_tokens.revoke(conn, account.id, text)
        elif what == "disabled":
            users.change_user(conn, account.id, "anna", who=BEN, enabled=False)
        else:
            users.set_password(conn, account.id, "anna", "another password", who=BEN)
    here.forget_all()
    with pytest.raises(Problem, match="not known"):
        here.by_user_token(text)
    present = authentication.time.monotonic()
    monkeypatch.setattr(authentication.time, "monotonic", lambda: present + authentication.CACHE_SECONDS)
    with pytest.raises(Problem, match="not known"):
        elsewhere.by_user_token(text)


def test_a_token_of_another_account_is_not_known(account: Account) -> None:
    account.user("anna")
    text = token(account, "anna")
    with account.db.transaction() as conn, pytest.raises(Problem, match="not known"):
        user_tokens.revoke(conn, "f" * 32, text)
    assert account.rows("select 1 from user_tokens")


def test_a_flood_of_logins_takes_a_bounded_part_of_the_machine(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.user("anna")
    passwords.nobodys_hash()
    at_work, most, lock = 0, 0, threading.Lock()

    def slowly(stored: str, password: str) -> bool:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        time.sleep(0.1)
        with lock:
            at_work -= 1
        return password == PASSWORD

    monkeypatch.setattr(passwords, "password_fits", slowly)

    def one(_: int) -> str:
        try:
            return str(check_login(account.db, Login(PASSWORD, name="anna", account_id=account.id)).name)
        except Problem as problem:
            return problem.reason

    with ThreadPoolExecutor(40) as pool:
        found = list(pool.map(one, range(40)))
    assert most <= passwords.AT_ONCE
    assert set(found) == {"anna", "busy"} and found.count("anna") >= passwords.WITH_THOSE_WHO_WAIT
    assert one(0) == "anna", "all places are free again"


def test_living_tokens_have_a_limit(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_tokens, "MOST_LIVING", 3)
    user = account.user("anna")
    with account.db.transaction() as conn:
        for _ in range(3):
            user_tokens.issue(conn, user.id, None)
        with pytest.raises(Problem) as refused:
            user_tokens.issue(conn, user.id, None)
    assert refused.value.reason == "tokens"

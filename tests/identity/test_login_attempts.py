"""Who sends many wrong passwords waits; who has the right one, elsewhere, does not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from redrive.errors import Problem
from redrive.identity import login_attempts
from redrive.identity.login_attempts import FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS, MOST, LoginAttempts


class Clock:
    def __init__(self) -> None:
        self.present = 1_000.0

    def monotonic(self) -> float:
        return self.present


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(login_attempts, "time", clock)
    return clock


def waits(attempts: LoginAttempts, user: str = "redrive/anna", address: str = "10.0.0.1") -> bool:
    try:
        attempts.begin(user, address)
    except Problem as problem:
        assert problem.reason == "too_many_logins" and "try again in" in problem.hint
        return True
    return False


def test_ten_failures_close_a_user_for_the_address_and_for_no_other(clock: Clock) -> None:
    attempts = LoginAttempts()
    assert [waits(attempts) for _ in range(MOST + 2)] == [False] * MOST + [True, True]
    assert not waits(attempts, address="10.0.0.2"), "the rightful user elsewhere"
    assert not waits(attempts, user="redrive/ben")


def test_the_wait_grows_and_has_an_end(clock: Clock) -> None:
    attempts = LoginAttempts()
    for _ in range(MOST):
        waits(attempts)
    wait = FIRST_WAIT_SECONDS
    for _ in range(12):
        clock.present += wait - 0.1
        assert waits(attempts)
        clock.present += 0.2
        assert not waits(attempts)
        assert waits(attempts)
        wait = min(2 * wait, LONGEST_WAIT_SECONDS)
    clock.present += 3 * LONGEST_WAIT_SECONDS
    assert [waits(attempts) for _ in range(MOST + 1)] == [False] * MOST + [True]


def test_failures_are_forgotten_after_a_while_and_by_the_right_password(clock: Clock) -> None:
    attempts = LoginAttempts()
    for _ in range(MOST - 1):
        waits(attempts)
    attempts.succeeded("redrive/anna", "10.0.0.1")
    assert not any(waits(attempts) for _ in range(MOST - 1))
    clock.present += login_attempts.WINDOW_SECONDS + 1
    assert not any(waits(attempts) for _ in range(MOST))


def test_a_hundred_tries_at_once_are_a_hundred() -> None:
    attempts = LoginAttempts()
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: waits(attempts), range(100)))
    assert found.count(False) == MOST


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_attempts, "MOST_KEPT", 50)
    attempts = LoginAttempts()
    for number in range(500):
        waits(attempts, user="x" * 1_000_000 if number == 7 else f"redrive/{number}")
    assert len(attempts._kept) == 50 and all(len(name) == 32 for name in attempts._kept)

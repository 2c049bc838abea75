"""Tokens that a user gets with its password: opaque, random, 24 hours, revocable; the database keeps hashes only.

A user that does not exist takes as long to refuse as a wrong password, and both are refused in the same words. A new
token leaves older ones valid, up to ``MOST_LIVING``. Another password, disabling the user or revoking ends them:
at once here, elsewhere within ``authentication.CACHE_SECONDS``.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import psycopg

from redrive.clock import now
from redrive.database import Database, Queries, Row
from redrive.errors import Problem, ProblemCode
from redrive.identity import passwords, tokens
from redrive.identity.authentication import USER_TOKEN
from redrive.identity.login_attempts import LoginAttempts

queries = Queries.beside(__file__, "rights.sql")
principals = Queries.beside(__file__)

LIFE = timedelta(hours=24)
MOST_LIVING = 1_000

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Login:
    """Who somebody says to be: a user's id, or its name and its account's id or name."""

    password: str = field(repr=False)
    user_id: str | None = None
    name: str | None = None
    account_id: str | None = None
    account_name: str | None = None

    @property
    def who(self) -> str:
        """Whom the login names, as it names it."""
        return self.user_id or f"{self.account_id or self.account_name or ''}/{self.name or ''}"


@dataclass(frozen=True, slots=True)
class Project:
    """A project, as tokens are made for it."""

    tenant_id: int
    project_id: str
    project_name: str
    org_id: str
    account_id: str


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token that was just made: the only place where its text can be read."""

    text: str = field(repr=False)
    user_id: str
    issued_at: datetime
    expires_at: datetime


class LoginRefused(Problem):
    """A login that was not proved, the same for everybody outside; the trail keeps whose it was."""

    def __init__(self, login: Login, user: Row | None) -> None:
        super().__init__(
            ProblemCode.UNAUTHENTICATED, "The username or password is wrong.", reason="wrong_password"
        )
        self.tried = login.who
        self.account_id: str | None = user.account_id if user is not None else None
        self.user_id: str | None = user.id if user is not None else None


def check_login(
    db: Database, login: Login, *, attempts: LoginAttempts | None = None, address: str = ""
) -> Row:
    """Return the user that ``login`` proves to be (id, account_id, name); refuse it in one way whatever is wrong.

    Takes tens of milliseconds of a processor on purpose, and holds no connection for that time. ``attempts`` makes
    those wait who send many wrong passwords from ``address``.
    """
    with passwords.turn():
        if attempts is not None:
            attempts.begin(login.who, address)
        user = _proved(db, login)
    if attempts is not None:
        attempts.succeeded(login.who, address)
    return user


def _proved(db: Database, login: Login) -> Row:
    named = {
        "user_id": login.user_id,
        "name": login.name,
        "account_id": login.account_id,
        "account_name": login.account_name,
    }
    spare = passwords.nobodys_hash()
    with db.transaction() as conn:
        user = conn.execute(queries.user_for_login, named).fetchone() if names_something(named) else None
    stored = user.password_hash if user is not None else spare
    fits = passwords.password_fits(stored, login.password)
    if user is None or not fits or not user.enabled:
        raise LoginRefused(login, user)
    return user


def names_something(wanted: Mapping[str, str | None]) -> bool:
    """Return whether there can be something of these names: the database takes no text with a NUL."""
    return not any("\0" in value for value in wanted.values() if value is not None)


def issue(conn: Connection, user_id: str, tenant_id: int | None) -> IssuedToken:
    """Make a token for a user, for a project or (None) for its account."""
    living = conn.execute(queries.count_user_tokens, {"user_id": user_id}).fetchone()
    if living is not None and living.living >= MOST_LIVING:
        raise Problem(
            ProblemCode.TOO_MANY,
            f"the user has {living.living} living tokens",
            hint="use one of them, or revoke some",
            reason="tokens",
        )
    present = now()
    made = IssuedToken(USER_TOKEN + secrets.token_urlsafe(36), user_id, present, present + LIFE)
    conn.execute(
        queries.insert_user_token,
        {
            "hash": tokens.hash_of(made.text),
            "user_id": user_id,
            "tenant_id": tenant_id,
            "issued_at": made.issued_at,
            "expires_at": made.expires_at,
        },
    )
    return made


def revoke(conn: Connection, account_id: str, token: str) -> None:
    """End a token of a user of the account. A Problem where there is none such."""
    named = {"hash": tokens.hash_of(token), "account_id": account_id}
    if conn.execute(queries.revoke_user_token, named).fetchone() is None:
        raise Problem(ProblemCode.NOT_FOUND, "the token is not known", reason="not_found")


def projects(conn: Connection, account_id: str, wanted: Mapping[str, str | None]) -> list[Project]:
    """Return the account's projects; ``wanted``: only those with this ``project_id`` or ``name``."""
    if not names_something(wanted):
        return []
    named = {"account_id": account_id, "project_id": wanted.get("project_id"), "name": wanted.get("name")}
    rows = conn.execute(queries.projects, named).fetchall()
    return [Project(*row) for row in rows]

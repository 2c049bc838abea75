"""Users of an account, and their groups: made, shown, disabled, deleted. Every change is in the audit trail.

Names are unique in their account; a user is found by its name or its id. The account's root user may everything and
can neither be disabled nor deleted. Disabling a user ends its tokens and temporary key pairs; its key pairs are
refused within ``authentication.CACHE_SECONDS``, until it is enabled again. What belongs to another account answers as
if it did not exist.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from redrive.database import Queries
from redrive.errors import Problem, ProblemCode, invalid
from redrive.identity import passwords
from redrive.identity.audit import By, record_change

queries = Queries.beside(__file__, "rights.sql")
accounts = Queries.beside(__file__)

PAGE_LIMIT = 1000
SHORTEST_PASSWORD, LONGEST_PASSWORD = 12, 128
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_. @-]{0,63}")
_ID = re.compile(r"[0-9a-f]{32}")
_DESCRIPTION = 255

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class User:
    """A user as listed."""

    id: str
    name: str
    description: str
    enabled: bool
    root: bool
    created_at: datetime
    password_set_at: datetime
    groups: list[str]


@dataclass(frozen=True, slots=True)
class Group:
    """A group as listed."""

    id: str
    name: str
    description: str
    created_at: datetime
    members: list[str]


def list_users(
    conn: Connection,
    account_id: str,
    wanted: str | None = None,
    *,
    after: str | None = None,
    limit: int = PAGE_LIMIT,
) -> list[User]:
    """Return a page of the account's users in order of name, behind the name ``after``.

    ``wanted``: only the one with this name or id.
    """
    named = {"account_id": account_id, "wanted": wanted, "after": after, "limit": min(limit, PAGE_LIMIT)}
    return [User(*row) for row in conn.execute(queries.users, named).fetchall()]


def get_user(conn: Connection, account_id: str, wanted: str) -> User:
    """Return a user by name or id; a Problem where the account has none such."""
    for user in list_users(conn, account_id, wanted):
        return user
    raise _unknown("user", wanted)


def create_user(
    conn: Connection, account_id: str, name: str, password: str, *, who: By, description: str = ""
) -> User:
    """Make a user that may do nothing yet."""
    check_name(name)
    check_description(description)
    check_password(password)
    user_id = uuid.uuid4().hex
    try:
        with conn.transaction():
            conn.execute(
                accounts.insert_user,
                {
                    "id": user_id,
                    "account_id": account_id,
                    "name": name,
                    "password_hash": passwords.hash_password(password),
                    "description": description,
                    "root": False,
                },
            )
    except psycopg.errors.UniqueViolation:
        raise _taken("user", name) from None
    record_change(conn, who, "iam:users:create", name)
    return get_user(conn, account_id, user_id)


def change_user(
    conn: Connection,
    account_id: str,
    wanted: str,
    *,
    who: By,
    enabled: bool | None = None,
    description: str | None = None,
) -> User:
    """Enable or disable a user, or describe it anew; None leaves as it is. Safe to repeat."""
    user = get_user(conn, account_id, wanted)
    if user.root and enabled is False:
        raise _root("disabled")
    if description is not None:
        check_description(description)
    values = {"id": user.id, "account_id": account_id, "enabled": enabled, "description": description}
    conn.execute(queries.set_user, values)
    if enabled is False:
        conn.execute(queries.end_tokens_of_user, {"id": user.id})
    record_change(conn, who, "iam:users:update", user.name, detail=_said(enabled, description))
    return get_user(conn, account_id, user.id)


def _said(enabled: bool | None, description: str | None) -> dict[str, Any]:
    told = {"enabled": enabled, "description": description}
    return {name: value for name, value in told.items() if value is not None}


def set_password(conn: Connection, account_id: str, wanted: str, password: str, *, who: By) -> None:
    """Give a user another password; its tokens end, and the temporary key pairs got with them."""
    user = get_user(conn, account_id, wanted)
    check_password(password)
    conn.execute(accounts.set_password, {"id": user.id, "password_hash": passwords.hash_password(password)})
    record_change(conn, who, "iam:users:resetPassword", user.name)


def delete_user(conn: Connection, account_id: str, wanted: str, *, who: By) -> None:
    """Delete a user that has no key pairs (revoked ones stay in the history: disable such a user instead)."""
    user = get_user(conn, account_id, wanted)
    if user.root:
        raise _root("deleted")
    found = conn.execute(queries.has_keys, {"id": user.id}).fetchone()
    if found is not None and found.found:
        raise Problem(
            ProblemCode.CONFLICT,
            f"the user {user.name} has key pairs",
            hint="disable it instead: histories name its key pairs",
            reason="has_keys",
        )
    conn.execute(queries.delete_user, {"id": user.id, "account_id": account_id})
    record_change(conn, who, "iam:users:delete", user.name)


def list_groups(
    conn: Connection,
    account_id: str,
    wanted: str | None = None,
    *,
    after: str | None = None,
    limit: int = PAGE_LIMIT,
) -> list[Group]:
    """Return a page of the account's groups in order of name, behind the name ``after``.

    ``wanted``: only the one with this name or id.
    """
    named = {"account_id": account_id, "wanted": wanted, "after": after, "limit": min(limit, PAGE_LIMIT)}
    return [Group(*row) for row in conn.execute(queries.groups, named).fetchall()]


def get_group(conn: Connection, account_id: str, wanted: str) -> Group:
    """Return a group by name or id; a Problem where the account has none such."""
    for group in list_groups(conn, account_id, wanted):
        return group
    raise _unknown("group", wanted)


def create_group(conn: Connection, account_id: str, name: str, *, who: By, description: str = "") -> Group:
    """Make a group without members."""
    check_name(name)
    check_description(description)
    group_id = uuid.uuid4().hex
    values = {"id": group_id, "account_id": account_id, "name": name, "description": description}
    try:
        with conn.transaction():
            conn.execute(queries.insert_group, values)
    except psycopg.errors.UniqueViolation:
        raise _taken("group", name) from None
    record_change(conn, who, "iam:groups:create", name)
    return get_group(conn, account_id, group_id)


def delete_group(conn: Connection, account_id: str, wanted: str, *, who: By) -> None:
    """Delete a group; its members lose what was attached to it."""
    group = get_group(conn, account_id, wanted)
    conn.execute(queries.delete_group, {"id": group.id, "account_id": account_id})
    record_change(conn, who, "iam:groups:delete", group.name, detail={"members": group.members})


def add_member(conn: Connection, account_id: str, group: str, user: str, *, who: By) -> None:
    """Put a user into a group. Safe to repeat."""
    _change_member(conn, account_id, group, user, who, queries.insert_member, "iam:groups:addUser")


def remove_member(conn: Connection, account_id: str, group: str, user: str, *, who: By) -> None:
    """Take a user out of a group. Safe to repeat."""
    _change_member(conn, account_id, group, user, who, queries.delete_member, "iam:groups:removeUser")


def _change_member(
    conn: Connection, account_id: str, group: str, user: str, who: By, query: str, action: str
) -> None:
    of, member = get_group(conn, account_id, group), get_user(conn, account_id, user)
    if conn.execute(query, {"group_id": of.id, "user_id": member.id}).fetchone() is not None:
        record_change(conn, who, action, of.name, detail={"user": member.name})


def check_password(password: str) -> None:
    """Refuse a password that is too short to be one, or so long that it only costs time."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        # Not what was given: a password stands in no answer.
        raise invalid("password", f"{SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters")


def _unknown(what: str, wanted: str) -> Problem:
    return Problem(ProblemCode.NOT_FOUND, f"there is no {what} {wanted[:80]!a}", reason="not_found")


def check_name(name: str) -> None:
    """Refuse a name that could not be told from others at a glance."""
    if _NAME.fullmatch(name) is None:
        raise invalid("name", "1 to 64 letters, digits, blanks, _ . @ -, the first a letter or digit", name)
    if _ID.fullmatch(name) is not None:
        # Things are found by name or id: nobody may take the id of another for a name.
        raise invalid("name", "something else than 32 hex digits, which ids are", name)


def check_description(text: str) -> None:
    """Refuse a description that is no line of text."""
    if len(text) > _DESCRIPTION or not text.isprintable():
        raise invalid("description", f"at most {_DESCRIPTION} printable characters")


def _taken(what: str, name: str) -> Problem:
    return Problem(ProblemCode.CONFLICT, f"there is a {what} {name} already", reason="exists")


def _root(what: str) -> Problem:
    return Problem(ProblemCode.CONFLICT, f"the account's root user cannot be {what}", reason="root")

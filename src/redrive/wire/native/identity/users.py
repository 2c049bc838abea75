"""``/v1/identity/users`` and ``/v1/identity/groups``."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query
from starlette.requests import Request
from starlette.responses import Response

from redrive.errors import invalid
from redrive.identity import delegation, users
from redrive.identity.access import Principal, require
from redrive.identity.passwords import new_password
from redrive.identity.user_tokens import Login, check_login
from redrive.wire.callers import address_of
from redrive.wire.native.auth import AccountCaller
from redrive.wire.native.idempotency import AccountOnce, Answer
from redrive.wire.native.identity.answers import (
    CreatedUser,
    GroupBody,
    GroupPage,
    PasswordBody,
    UserBody,
    UserPage,
    created_user,
    group_body,
    user_body,
)
from redrive.wire.native.identity.guard import Connection, author, changed, db_of, identity_router, may, named
from redrive.wire.native.identity.shapes import NewGroup, NewUser, Page, PasswordChange, UserChange
from redrive.wire.native.shapes import NO_NUL

router = identity_router("")

UserName = Annotated[str, Path(max_length=64, pattern=NO_NUL, description="name or id")]
GroupName = Annotated[str, Path(max_length=64, pattern=NO_NUL, description="name or id")]


@router.get("/users", **may("iam:users:list"))
def list_users(request: Request, caller: AccountCaller, page: Annotated[Page, Query()]) -> UserPage:
    """List users in order of name."""
    with db_of(request).transaction() as conn:
        found = users.list_users(conn, caller.account_id, after=page.after, limit=page.limit)
    more = len(found) == page.limit
    return UserPage(users=[user_body(user) for user in found], next=found[-1].name if more else None)


@router.get("/users/{user}", **may("iam:users:get"))
def get_user(request: Request, caller: AccountCaller, user: UserName) -> UserBody:
    """Show a user."""
    with db_of(request).transaction() as conn:
        return user_body(users.get_user(conn, caller.account_id, user))


@router.post("/users", response_model=CreatedUser, status_code=201, **may("iam:users:create"))
def create_user(request: Request, caller: AccountCaller, once: AccountOnce, body: NewUser) -> Response:
    """Make a user that may do nothing yet. A password that was not given is made, and shown this once."""
    made = new_password() if body.password is None else None
    password = made or (body.password.get_secret_value() if body.password else "")

    def work(conn: Connection) -> Answer:
        by = author(request, caller)
        user = users.create_user(
            conn, caller.account_id, body.name, password, who=by, description=body.description
        )
        return 201, created_user(user, made)

    return changed(request, work, once)


@router.patch("/users/{user}", response_model=UserBody, **may("iam:users:update"))
def change_user(request: Request, caller: AccountCaller, user: UserName, body: UserChange) -> Response:
    """Enable, disable or describe a user. A disabled one's tokens end, and its key pairs are refused."""
    if body.enabled is None and body.description is None:
        raise invalid("enabled", "enabled or description")

    def work(conn: Connection) -> Answer:
        found = users.get_user(conn, caller.account_id, user)
        delegation.require_not_root(caller, found, "iam:users:update")
        changed_user = users.change_user(
            conn,
            caller.account_id,
            found.id,
            who=author(request, caller),
            enabled=body.enabled,
            description=body.description,
        )
        return 200, user_body(changed_user)

    return changed(request, work)


@router.post("/users/{user}/password", response_model=PasswordBody, **named("iam:users:resetPassword"))
def set_password(
    request: Request, caller: AccountCaller, once: AccountOnce, user: UserName, body: PasswordChange
) -> Response:
    """Give a user another password; its tokens end. One's own takes the old one, another's the right to do so."""
    with db_of(request).transaction() as conn:
        found = _password_of(conn, caller, user)
    kept = once.kept()
    if kept is not None:
        return kept
    if found.id == caller.user_id:
        _prove(request, found, body)
    made = new_password() if body.password is None else None
    password = made or (body.password.get_secret_value() if body.password else "")

    def work(conn: Connection) -> Answer:
        _password_of(conn, caller, found.id)
        users.set_password(conn, caller.account_id, found.id, password, who=author(request, caller))
        return 200, PasswordBody(user=found.name, password=made)

    return changed(request, work, once)


def _password_of(conn: Connection, caller: Principal, wanted: str) -> users.User:
    """Return the user whose password the caller may set."""
    if wanted not in (caller.user_id, caller.user_name):
        require(caller, "iam:users:resetPassword")
    found = users.get_user(conn, caller.account_id, wanted)
    if found.id != caller.user_id:
        require(caller, "iam:users:resetPassword")
        delegation.check_take_over(conn, caller, found, "iam:users:resetPassword")
    return found


def _prove(request: Request, user: users.User, body: PasswordChange) -> None:
    old = body.old_password.get_secret_value() if body.old_password is not None else ""
    if not old:
        raise invalid("old_password", "the present password, to set one's own")
    parts = request.app.state.parts
    login = Login(old, user_id=user.id)
    check_login(parts.db, login, attempts=parts.logins, address=address_of(request))


@router.delete("/users/{user}", status_code=204, response_class=Response, **may("iam:users:delete"))
def delete_user(request: Request, caller: AccountCaller, user: UserName) -> Response:
    """Delete a user that never had a key pair; disable the others."""

    def work(conn: Connection) -> Answer:
        users.delete_user(conn, caller.account_id, user, who=author(request, caller))
        return 204, None

    return changed(request, work)


@router.get("/groups", **may("iam:groups:list"))
def list_groups(request: Request, caller: AccountCaller, page: Annotated[Page, Query()]) -> GroupPage:
    """List groups in order of name."""
    with db_of(request).transaction() as conn:
        found = users.list_groups(conn, caller.account_id, after=page.after, limit=page.limit)
    more = len(found) == page.limit
    return GroupPage(groups=[group_body(group) for group in found], next=found[-1].name if more else None)


@router.post("/groups", response_model=GroupBody, status_code=201, **may("iam:groups:create"))
def create_group(request: Request, caller: AccountCaller, once: AccountOnce, body: NewGroup) -> Response:
    """Make a group without members."""

    def work(conn: Connection) -> Answer:
        by = author(request, caller)
        group = users.create_group(conn, caller.account_id, body.name, who=by, description=body.description)
        return 201, group_body(group)

    return changed(request, work, once)


@router.delete("/groups/{group}", status_code=204, response_class=Response, **may("iam:groups:delete"))
def delete_group(request: Request, caller: AccountCaller, group: GroupName) -> Response:
    """Delete a group; its members lose what is attached to it."""

    def work(conn: Connection) -> Answer:
        delegation.check_delete_group(conn, caller, group)
        users.delete_group(conn, caller.account_id, group, who=author(request, caller))
        return 204, None

    return changed(request, work)


@router.put("/groups/{group}/members/{user}", response_model=GroupBody, **may("iam:groups:addUser"))
def add_member(request: Request, caller: AccountCaller, group: GroupName, user: UserName) -> Response:
    """Put a user into a group. Safe to repeat."""

    def work(conn: Connection) -> Answer:
        delegation.check_join(conn, caller, group, user)
        users.add_member(conn, caller.account_id, group, user, who=author(request, caller))
        return 200, group_body(users.get_group(conn, caller.account_id, group))

    return changed(request, work)


@router.delete("/groups/{group}/members/{user}", response_model=GroupBody, **may("iam:groups:removeUser"))
def remove_member(request: Request, caller: AccountCaller, group: GroupName, user: UserName) -> Response:
    """Take a user out of a group. Safe to repeat."""

    def work(conn: Connection) -> Answer:
        delegation.check_leave(conn, caller, group, user)
        users.remove_member(conn, caller.account_id, group, user, who=author(request, caller))
        return 200, group_body(users.get_group(conn, caller.account_id, group))

    return changed(request, work)

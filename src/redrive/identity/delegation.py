"""Nobody gives away, or takes for itself, more than it has.

Who may make key pairs, attach policies or set passwords could otherwise make itself anything. So beside the action
itself (``iam:...``) each such call is checked for what it gives, and refused as a whole where the caller does not
have that itself (``containment``)::

    attach a policy, write one            what it allows, wherever it is (to be) attached
    put a user into a group               what is attached to the group
    detach, take out of a group, delete   what the policies that go away have denied
    set another's password                everything that the user may, in every project
    make or rotate another's key pair     what the pair's policy allows, or all that the user may in the project;
                                          of a pair without limits all that the user may, in every project

*Has* means: with the policies of its user in the very project that is concerned (*every project* counts as one of its
own), and within the policies that limit its key pair. A key pair that is limited has nothing outside of its project,
and whatever it makes is limited in the same way. What concerns the root user, only the root user itself does.

What is given to others is what one could take oneself: by a key pair, a password, a group. Therefore it does not
matter to whom.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from redrive.database import Queries, Row
from redrive.errors import Problem, ProblemCode
from redrive.identity.access import NO_TENANT, Denied, Principal, require
from redrive.identity.containment import beyond, beyond_without, denials_of
from redrive.identity.decisions import Decision, Rights
from redrive.identity.keys import OWN_POLICY, KeyPair, layers_of
from redrive.identity.policies import Policy, Statement, parse_policy
from redrive.identity.policy_store import (
    Attachment,
    StoredPolicy,
    Target,
    attachments_of,
    get_policy,
    lock_policy,
    scopes_of,
)
from redrive.identity.principals import policy_named, principal_of
from redrive.identity.users import User, get_group, get_user

queries = Queries.beside(__file__)
rights_queries = Queries.beside(__file__, "rights.sql")

Connection = psycopg.Connection[Any]
Document = Mapping[str, Any]


def caller_in(conn: Connection, caller: Principal, tenant_id: int | None) -> Principal:
    """Return the caller with the rights that it has in another project of its account (None: in every project)."""
    wanted = tenant_id if tenant_id is not None else NO_TENANT
    if wanted == caller.tenant_id:
        return caller
    if caller.limited:
        return replace(caller, tenant_id=wanted, rights=Rights())
    row = conn.execute(
        queries.principal_of_user, {"user_id": caller.user_id, "tenant_id": tenant_id}
    ).fetchone()
    if row is None or (tenant_id is not None and row.tenant_id is None):
        raise Problem(ProblemCode.NOT_FOUND, "there is no such project", reason="not_found")
    there = principal_of(row)
    return replace(
        there,
        key_id=caller.key_id,
        access_key=caller.access_key,
        actor=caller.actor,
        known={**caller.known, **there.known},
    )


@dataclass(frozen=True, slots=True)
class Gift:
    """What an action gives, in one project (``tenant_id`` None: in every one)."""

    tenant_id: int | None
    policies: Sequence[Policy] = ()
    #: Denials that go away.
    freed: Sequence[Statement] = ()


def require_gifts(
    conn: Connection, caller: Principal, action: str, resource: str, gifts: Iterable[Gift]
) -> None:
    """Refuse where an action gives what the caller does not have."""
    for gift in gifts:
        has = caller_in(conn, caller, gift.tenant_id).rights
        missing = beyond(has, gift.policies) or beyond_without(has, gift.freed)
        if missing is not None:
            raise _denied(
                caller,
                action,
                resource,
                f"{caller.user_name} does not have what this gives: {missing}",
                "only who has a right can give it; ask somebody who has, or the root user",
                "escalation",
            )


def require_not_root(caller: Principal, user: User, action: str) -> None:
    """Refuse where the root user is concerned and somebody else calls."""
    if user.root and user.id != caller.user_id:
        raise _root_only(caller, action, user.name)


def check_attach(conn: Connection, caller: Principal, policy: str, target: Target) -> None:
    """Refuse to attach what the caller does not have itself."""
    action = "iam:policies:attach"
    _require_target(conn, caller, target, action)
    lock_policy(conn, caller.account_id, policy)
    found = get_policy(conn, caller.account_id, policy)
    require_gifts(conn, caller, action, found.name, [Gift(target.tenant_id, _read(found))])


def check_detach(conn: Connection, caller: Principal, policy: str, target: Target) -> None:
    """Refuse to detach denials of what the caller does not have itself."""
    action = "iam:policies:detach"
    _require_target(conn, caller, target, action)
    lock_policy(conn, caller.account_id, policy)
    found = get_policy(conn, caller.account_id, policy)
    freed = denials_of(_read(found))
    require_gifts(conn, caller, action, found.name, [Gift(target.tenant_id, freed=freed)])


def check_put(conn: Connection, caller: Principal, name: str, document: Document) -> None:
    """Refuse a policy that gives more, wherever it is attached, and at least where the caller is.

    The right to the action itself, which is another one for a policy that is there, is checked too.
    """
    lock_policy(conn, caller.account_id, name)
    row = conn.execute(
        rights_queries.policy_by_name, {"account_id": caller.account_id, "name": name}
    ).fetchone()
    action = "iam:policies:create" if row is None else "iam:policies:update"
    require(caller, action)
    new = parse_policy(name, document)
    if row is None:
        require_gifts(conn, caller, action, name, [Gift(_here(caller), [new])])
        return
    former = get_policy(conn, caller.account_id, row.id)
    present = denials_of([new])
    freed = [each for each in denials_of(_read(former)) if not any(_same(each, kept) for kept in present)]
    scopes = dict.fromkeys([_here(caller), *scopes_of(conn, former)])
    require_gifts(conn, caller, action, name, [Gift(scope, [new], freed) for scope in scopes])


def check_join(conn: Connection, caller: Principal, group: str, user: str) -> None:
    """Refuse to put a user into a group that may what the caller may not."""
    action = "iam:groups:addUser"
    require_not_root(caller, get_user(conn, caller.account_id, user), action)
    found = attachments_of(conn, caller.account_id, Target(group=group))
    require_gifts(conn, caller, action, group, [Gift(each.tenant_id, _of(each)) for each in found])


def check_leave(conn: Connection, caller: Principal, group: str, user: str) -> None:
    """Refuse to take a user out of a group that keeps it from what the caller may not do either."""
    action = "iam:groups:removeUser"
    require_not_root(caller, get_user(conn, caller.account_id, user), action)
    _require_freed(conn, caller, action, group)


def check_delete_group(conn: Connection, caller: Principal, group: str) -> None:
    """Refuse to delete a group that keeps its members from what the caller may not do either."""
    action = "iam:groups:delete"
    _require_target(conn, caller, Target(group=group), action)
    _require_freed(conn, caller, action, group)


def check_take_over(conn: Connection, caller: Principal, user: User, action: str) -> None:
    """Refuse what would let the caller act as ``user``, unless it may everything that the user may."""
    require_not_root(caller, user, action)
    found = attachments_of(conn, caller.account_id, Target(user=user.id))
    require_gifts(conn, caller, action, user.name, [Gift(each.tenant_id, _of(each)) for each in found])


def layers_for(
    conn: Connection, caller: Principal, owner: User, tenant_id: int, layers: Sequence[Document]
) -> tuple[Document, ...]:
    """Return what limits a key pair for ``owner`` that is asked for with ``layers``; refuse one that may not be made.

    Of its own user a caller makes key pairs within the limits of its own. Of another user it makes such as may no
    more than itself: because of their policy, or because the user may no more. Without limits a key pair is its user,
    also in other projects: then those count too.
    """
    action = "iam:credentials:create"
    require_not_root(caller, owner, action)
    there = caller_in(conn, caller, tenant_id)
    require(there, action)
    limits = _joined(caller.layers, layers)
    if owner.id != caller.user_id and not limits:
        check_take_over(conn, caller, owner, action)
    elif owner.id != caller.user_id:
        own = [parse_policy(OWN_POLICY, each) for each in layers]
        if not any(beyond(there.rights, [each]) is None for each in own):
            rows = attachments_of(conn, caller.account_id, Target(user=owner.id))
            here = [policy for each in rows if each.tenant_id in (None, tenant_id) for policy in _of(each)]
            require_gifts(conn, caller, action, owner.name, [Gift(tenant_id, here)])
    return limits


def check_revoke(conn: Connection, caller: Principal, pair: KeyPair, tenant_id: int) -> None:
    """Refuse to revoke a key pair of the root user, unless it calls itself, and without the right there."""
    action = "iam:credentials:delete"
    require(caller_in(conn, caller, tenant_id), action)
    require_not_root(caller, get_user(conn, caller.account_id, pair.user_id), action)


def user_in(
    conn: Connection, account_id: str, user_id: str, tenant_id: int | None, *, key: Row | None = None
) -> Principal:
    """Return a user of the account as it stands in a project, or (None) for the account.

    ``key``: limited by this key pair of its (a row of the query ``rights_of_key``).
    """
    row = conn.execute(queries.principal_of_user, {"user_id": user_id, "tenant_id": tenant_id}).fetchone()
    if row is None or row.account_id != account_id:
        raise Problem(ProblemCode.NOT_FOUND, "there is no such user", reason="not_found")
    return principal_of(row, key)


def _joined(*parts: Sequence[Document]) -> tuple[Document, ...]:
    found: tuple[Document, ...] = ()
    for part in parts:
        for each in part:
            found = layers_of(each, found)
    return found


def _require_target(conn: Connection, caller: Principal, target: Target, action: str) -> None:
    """Refuse where the root user, or a group that it is in, is concerned and somebody else calls."""
    if target.user is not None:
        require_not_root(caller, get_user(conn, caller.account_id, target.user), action)
    elif target.group is not None and not caller.root:
        group = get_group(conn, caller.account_id, target.group)
        row = conn.execute(rights_queries.has_root, {"id": group.id}).fetchone()
        if row is not None and row.found:
            raise _root_only(caller, action, group.name)


def _require_freed(conn: Connection, caller: Principal, action: str, group: str) -> None:
    found = attachments_of(conn, caller.account_id, Target(group=group))
    gifts = [Gift(each.tenant_id, freed=denials_of(_of(each))) for each in found]
    require_gifts(conn, caller, action, group, gifts)


def _here(caller: Principal) -> int | None:
    return caller.tenant_id if caller.tenant_id != NO_TENANT else None


def _of(attachment: Attachment) -> list[Policy]:
    found = policy_named(attachment.policy, attachment.document)
    return [found] if found is not None else []


def _read(policy: StoredPolicy) -> list[Policy]:
    found = policy_named(policy.name, None if policy.builtin else policy.document)
    return [found] if found is not None else []


def _same(one: Statement, other: Statement) -> bool:
    return replace(one, place=0, sid="") == replace(other, place=0, sid="")


def _root_only(caller: Principal, action: str, resource: str) -> Denied:
    return _denied(
        caller,
        action,
        resource,
        "this concerns the account's root user, and only that one can do it",
        "ask who administers the account",
        "root",
    )


def _denied(caller: Principal, action: str, resource: str, detail: str, hint: str, reason: str) -> Denied:
    decision = Decision(False, f"{reason}: {detail}")
    return Denied(caller, action, resource, decision, detail, hint=hint, reason=reason)

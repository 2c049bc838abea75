"""From rows of the database to principals: who it is, its policies, what conditions can ask of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson
import structlog

from redrive.database import Row
from redrive.errors import Problem
from redrive.identity.access import NO_TENANT, Principal
from redrive.identity.builtin import POLICIES
from redrive.identity.decisions import Rights, context_of, rights_of
from redrive.identity.keys import OWN_POLICY
from redrive.identity.policies import Policy, parse_policy

log = structlog.get_logger(__name__)

_NOTHING = {"Version": "5.0", "Statement": [{"Sid": "unreadable", "Effect": "Deny", "Action": ["*"]}]}


def principal_of(row: Row, key: Row | None = None) -> Principal:
    """Return the principal in ``row`` (see the queries); ``key``: the row has a key pair's columns, too."""
    layers = key.layers if key is not None else None
    return Principal(
        tenant_id=row.tenant_id if row.tenant_id is not None else NO_TENANT,
        account_id=row.account_id,
        project_id=row.project_id or "",
        org_id=row.org_id or "",
        user_id=row.user_id,
        key_id=key.key_id if key is not None else 0,
        access_key=key.access_key if key is not None else "",
        actor=key.actor if key is not None else row.user_name,
        rights=rights_from(row.policies, root=row.root, layers=layers),
        project_name=row.project_name or "",
        account_name=row.account_name,
        user_name=row.user_name,
        workspace_id=row.workspace_id or "",
        open=bool(row.open),
        allowed_from=None if row.allowed_from is None else tuple(str(each) for each in row.allowed_from),
        endpoints={way: opened["from"] for way, opened in (row.endpoints or {}).items()},
        root=row.root,
        layers=tuple(layers or ()),
        known=context_of(
            {
                "g:UserName": row.user_name,
                "g:UserId": row.user_id,
                "g:DomainName": row.account_name,
                "g:DomainId": row.account_id,
                "g:PrincipalUrn": f"iam::{row.account_id}:user:{row.user_name}",
                "g:ProjectName": row.project_name,
                "g:MFAPresent": "false",
            }
        ),
    )


def rights_from(
    attached: Sequence[tuple[str, Mapping[str, Any] | None]],
    *,
    root: bool = False,
    layers: Sequence[Mapping[str, Any]] | None = None,
) -> Rights:
    """Return the rights of a user with these policies: names, and documents (None: a built-in one).

    ``layers`` limit its key pair: each of them must allow, too.
    """
    return _rights(orjson.dumps([sorted(attached, key=lambda each: each[0]), layers or None]), root)


@lru_cache(maxsize=4_096)
def _rights(stored: bytes, root: bool) -> Rights:
    # The same policies give the same object, which keeps what it has worked out.
    attached, layers = orjson.loads(stored)
    found = [policy for name, document in attached if (policy := policy_named(name, document)) is not None]
    key_policies = None if layers is None else [_parsed(OWN_POLICY, each) for each in layers]
    return rights_of(found, root=root, key_policies=key_policies)


def policy_named(name: str, document: Mapping[str, Any] | None) -> Policy | None:
    """Return an attached policy; None for a built-in one that this program does not have."""
    # Built-in policies only allow, so nothing is lost but rights.
    return POLICIES.get(name) if document is None else _parsed(name, document)


def _parsed(name: str, document: Mapping[str, Any]) -> Policy:
    """Return a stored policy; one that cannot be read any more denies everything."""
    try:
        return parse_policy(name, document)
    except Problem as problem:
        log.error("policy.unreadable", policy=name, detail=problem.detail)
        return parse_policy(name, _NOTHING)

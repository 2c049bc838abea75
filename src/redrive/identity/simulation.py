"""May somebody do something, and why: asked without doing it.

The answer is the very decision that the call would meet, for the user or key pair as it stands in the database now.
What is known of a request (address, time, agent) is not known here: name it as context, or conditions on it do not
hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from redrive.database import Queries
from redrive.errors import Problem, ProblemCode, invalid
from redrive.identity.access import NO_TENANT
from redrive.identity.decisions import Decision, Layer, context_of
from redrive.identity.delegation import user_in
from redrive.identity.policies import Effect
from redrive.identity.users import get_user

queries = Queries.beside(__file__)

_MOST_RESOURCES = 50

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Question:
    """Who (a user, by name or id, or a living key pair), what, on what. ``tenant_id`` None: for the account."""

    action: str
    resource: str = "*"
    user: str | None = None
    access_key: str | None = None
    tenant_id: int | None = None
    context: Mapping[str, str | Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LayerAnswer:
    """What one layer says, and the policies that it is made of.

    ``resources``: those that its statements allow the action on, where they name any.
    """

    name: str
    policies: list[str]
    decision: Decision
    resources: list[str]


@dataclass(frozen=True, slots=True)
class Answer:
    """The decision, and what each layer says; who cannot call at all is not allowed anything."""

    user: str
    access_key: str | None
    project: str | None
    enabled: bool
    decision: Decision
    layers: list[LayerAnswer]


def simulate(conn: Connection, account_id: str, asked: Question) -> Answer:
    """Return what would be decided."""
    if (asked.user is None) == (asked.access_key is None):
        raise invalid("user", "either a user or an access_key")
    key = None
    if asked.access_key is not None:
        named = {"access_key": asked.access_key, "account_id": account_id}
        key = conn.execute(queries.rights_of_key, named).fetchone() if "\0" not in asked.access_key else None
        if key is None:
            raise Problem(
                ProblemCode.NOT_FOUND, "there is no living key pair of this name", reason="not_found"
            )
        if asked.tenant_id not in (None, key.tenant_id):
            raise invalid("project", "none, or the key pair's own")
    user = get_user(conn, account_id, key.user_id if key is not None else str(asked.user))
    tenant_id = key.tenant_id if key is not None else asked.tenant_id
    principal = user_in(conn, account_id, user.id, tenant_id, key=key)
    known = {**principal.known, **context_of(asked.context)}
    each = principal.rights.decide_each(asked.action, asked.resource, known)
    decision = principal.rights.decide(asked.action, asked.resource, known)
    if not user.enabled:
        decision = Decision(False, "the user is disabled")
    return Answer(
        user=user.name,
        access_key=asked.access_key,
        project=principal.project_name if principal.tenant_id != NO_TENANT else None,
        enabled=user.enabled,
        decision=decision,
        layers=[
            LayerAnswer(
                layer.name, [one.name for one in layer.policies], said, _resources(layer, asked.action)
            )
            for layer, said in each
        ],
    )


def _resources(layer: Layer, action: str) -> list[str]:
    allowing = [each for _, each in layer.about(action) if each.effect is Effect.ALLOW]
    return list(dict.fromkeys(name for each in allowing for name in each.resources))[:_MOST_RESOURCES]

"""The policies that are always there, by name: reading, operating, administering each service. Pure.

``<service>-reader`` looks, ``<service>-operator`` also recovers what failed (retry, resume, pause, rerun) and creates
nothing, ``<service>-administrator`` does everything with the service. ``reader``, ``operator`` and ``administrator``
are the same over all services; only ``administrator`` also changes identities and the server itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from redrive.identity.access import ADMIN, Action, Verb
from redrive.identity.decisions import Scope
from redrive.identity.policies import Policy, parse_policy

Document = Mapping[str, Any]

#: Services: the prefix of their actions, and of their job kinds.
SERVICES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "timeseries": ("enos", "timeseries"),
        "streams": ("streaming", "streams"),
        "replication": ("drs", "replication"),
        "quality": ("DataArtsStudio", "quality"),
        "workspace": ("workspace", "workspace"),
    }
)
#: What a reader may do beside looking at jobs: these operations, whatever the type.
_LOOKING = ("get*", "list*", "check*", "read")
#: What an operator may do beside looking: never to create, change or delete.
_RECOVERING = ("retry", "resume", "pause", "rerun", "action", "start", "stop")
_READ_VERBS = (Verb.LIST, Verb.GET)
_OPERATE_VERBS = (*_READ_VERBS, Verb.RETRY, Verb.RESUME, Verb.PAUSE, Verb.RERUN)


def allow(actions: Iterable[str], resources: Iterable[str] = ()) -> dict[str, Any]:
    """Return a statement that allows ``actions``, on ``resources`` where any are named."""
    statement: dict[str, Any] = {"Effect": "Allow", "Action": [str(action) for action in actions]}
    named = list(resources)
    return {**statement, "Resource": named} if named else statement


def document(*statements: dict[str, Any]) -> Document:
    """Return an identity policy of these statements."""
    return {"Version": "5.0", "Statement": list(statements)}


def jobs_of(service: str) -> list[str]:
    """Return the URNs of a service's jobs, as a policy names them."""
    return [f"redrive:*:*:job:{SERVICES[service][1]}.*"]


def _of_service(service: str) -> dict[str, Document]:
    prefix, _ = SERVICES[service]
    looking = [f"{prefix}:*:{operation}" for operation in _LOOKING]
    recovering = [f"{prefix}:*:{operation}" for operation in _RECOVERING]
    jobs = jobs_of(service)
    return {
        f"{service}-reader": document(allow(looking), allow(_READ_VERBS, jobs)),
        f"{service}-operator": document(allow([*looking, *recovering]), allow(_OPERATE_VERBS, jobs)),
        f"{service}-administrator": document(allow([f"{prefix}:*"]), allow(Verb, jobs)),
    }


def _over_all(role: str) -> Document:
    statements = [
        each for service in SERVICES for each in _of_service(service)[f"{service}-{role}"]["Statement"]
    ]
    return document(*statements)


DOCUMENTS: Mapping[str, Document] = MappingProxyType(
    {
        **{name: found for service in SERVICES for name, found in _of_service(service).items()},
        "identity-reader": document(
            allow(["iam:*:get*", "iam:*:list*", "iam:*:simulate", "redrive:audit:list"])
        ),
        "identity-administrator": document(
            allow(["iam:*", "redrive:audit:list", "sts::decodeAuthorizationMessage"])
        ),
        "reader": _over_all("reader"),
        "operator": _over_all("operator"),
        "administrator": document(allow(["*"])),
    }
)

POLICIES: Mapping[str, Policy] = MappingProxyType(
    {name: parse_policy(name, found) for name, found in DOCUMENTS.items()}
)


def key_policy(permissions: Mapping[Action, Scope], *, admin: bool = False) -> Document:
    """Return the policy of a key pair that may do these things on assets, and, as ``admin``, change the server.

    Jobs tell of all assets and change any of them, so whoever may read or write all may look at time-series jobs,
    and whoever may write all may act on them.
    """
    statements = []
    for action, scope in permissions.items():
        (allowed,) = [reach.allowed for reach in scope.reaches] or [None]
        names = ["*"] if allowed is None else allowed
        statements.append(allow([action], [f"enos:*:*:asset:{name}" for name in names]))
    if any(scope.every for scope in permissions.values()):
        writes = permissions.get(Action.WRITE)
        verbs = tuple(Verb) if writes is not None and writes.every else _READ_VERBS
        statements.append(allow(verbs, jobs_of("timeseries")))
    if admin:
        statements.append(allow([ADMIN, "iam:*", "redrive:audit:list"]))
    return document(*statements) if statements else document({"Effect": "Deny", "Action": ["*"]})

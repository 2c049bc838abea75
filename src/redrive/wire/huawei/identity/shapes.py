"""Bodies of the identity calls, both ways. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from redrive.errors import invalid
from redrive.identity.access import Principal
from redrive.identity.user_tokens import Login, Project

_LONGEST = 1_000


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for a token: who, and for a project (by id or name) or for the account."""

    login: Login
    project: Mapping[str, str] | None
    domain: Mapping[str, str] | None


def asked_token(body: Mapping[str, Any]) -> Asked:
    """Return what a request for a token says; a Problem that names the field where it says it badly."""
    auth = _object(body, "auth", "auth")
    identity = _object(auth, "identity", "auth.identity")
    methods = identity.get("methods")
    if methods != ["password"]:
        raise invalid("auth.identity.methods", '["password"]', methods)
    user = _object(
        _object(identity, "password", "auth.identity.password"), "user", "auth.identity.password.user"
    )
    where = "auth.identity.password.user"
    password = _text(user, "password", where)
    login = Login(password=password, user_id=_optional(user, "id", where))
    if login.user_id is None:
        domain = _object(user, "domain", f"{where}.domain")
        account = _named(domain, f"{where}.domain")
        login = Login(
            password=password,
            name=_text(user, "name", where),
            account_id=account.get("id"),
            # One of the two, so that the same login is counted as the same.
            account_name=account.get("name") if "id" not in account else None,
        )
    scope = auth.get("scope")
    if scope in (None, "unscoped"):
        return Asked(login, None, None)
    if not isinstance(scope, dict):
        raise invalid("auth.scope", "an object", type(scope).__name__)
    if ("project" in scope) == ("domain" in scope):
        raise invalid("auth.scope", "either project or domain")
    if "project" in scope:
        project = _object(scope, "project", "auth.scope.project")
        return Asked(login, _named(project, "auth.scope.project"), None)
    return Asked(login, None, _named(_object(scope, "domain", "auth.scope.domain"), "auth.scope.domain"))


def token_body(
    principal: Principal,
    issued_at: datetime,
    expires_at: datetime,
    catalog: Sequence[Mapping[str, Any]] | None,
) -> dict[str, Any]:
    """Return what a token is good for."""
    domain = {"id": principal.account_id, "name": principal.account_name}
    token: dict[str, Any] = {
        "methods": ["password"],
        "issued_at": instant(issued_at),
        "expires_at": instant(expires_at),
        "user": {
            "id": principal.user_id,
            "name": principal.user_name,
            "domain": domain,
            "password_expires_at": "",
        },
        "roles": [{"id": "0", "name": name} for name in roles(principal)],
    }
    if principal.project_id:
        token["project"] = {"id": principal.project_id, "name": principal.project_name, "domain": domain}
    else:
        token["domain"] = domain
    if catalog is not None:
        token["catalog"] = list(catalog)
    return {"token": token}


def roles(principal: Principal) -> list[str]:
    """Return the names of the policies by which the caller has rights."""
    layers = principal.rights.layers[:1]
    names = [policy.name for layer in layers for policy in layer.policies]
    return ["root"] if any(layer.everything for layer in layers) else names


def instant(at: datetime) -> str:
    """Return an instant as Keystone writes it."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def project_body(project: Project, base: str) -> dict[str, Any]:
    """Return a project as listed."""
    return {
        "id": project.project_id,
        "name": project.project_name,
        "domain_id": project.account_id,
        "parent_id": project.account_id,
        "enabled": True,
        "is_domain": False,
        "description": "",
        "links": {"self": f"{base}/v3/projects/{project.project_id}"},
    }


def domain_body(principal: Principal, base: str) -> dict[str, Any]:
    """Return the caller's account as listed."""
    return {
        "id": principal.account_id,
        "name": principal.account_name,
        "enabled": True,
        "description": "",
        "links": {"self": f"{base}/v3/domains/{principal.account_id}"},
    }


def _object(body: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    found = body.get(name)
    if not isinstance(found, dict):
        raise invalid(where, "an object", type(found).__name__)
    return found


def _text(body: Mapping[str, Any], name: str, where: str) -> str:
    found = _optional(body, name, where)
    if found is None:
        raise invalid(f"{where}.{name}", f"1 to {_LONGEST} characters")
    return found


def _optional(body: Mapping[str, Any], name: str, where: str) -> str | None:
    found = body.get(name)
    if found is None:
        return None
    # What was given is not told: it can be a password.
    if not isinstance(found, str) or not 1 <= len(found) <= _LONGEST:
        raise invalid(f"{where}.{name}", f"1 to {_LONGEST} characters")
    return found


def _named(body: Mapping[str, Any], where: str) -> dict[str, str]:
    found = {name: value for name in ("id", "name") if (value := _optional(body, name, where)) is not None}
    if not found:
        raise invalid(where, "id or name")
    return found

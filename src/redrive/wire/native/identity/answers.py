"""What the calls about identities give: pydantic models, and pure functions from the services' values to them.

A secret (a password that was made, a secret key, a security token, a user's token) stands in the one answer that
makes it, nowhere else.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel

from redrive.identity import audit, simulation
from redrive.identity.decisions import Decision, Matched
from redrive.identity.keys import KeyPair
from redrive.identity.policy_store import Attachment, StoredPolicy
from redrive.identity.user_tokens import Project
from redrive.identity.users import Group, User
from redrive.wire.native.identity.shapes import Asking


class UserBody(BaseModel):
    """A user. ``password`` stands here once, where it was made."""

    id: str
    name: str
    description: str
    enabled: bool
    root: bool
    groups: list[str]
    created_at: datetime
    password_set_at: datetime


class CreatedUser(UserBody):
    """A user that was made; ``password`` where it was not given."""

    password: str | None = None


class PasswordBody(BaseModel):
    """The password that was made; null where it was given."""

    user: str
    password: str | None


class UserPage(BaseModel):
    """Users in order of name."""

    users: list[UserBody]
    next: str | None


class GroupBody(BaseModel):
    """A group and its members' names."""

    id: str
    name: str
    description: str
    members: list[str]
    created_at: datetime


class GroupPage(BaseModel):
    """Groups in order of name."""

    groups: list[GroupBody]
    next: str | None


class PolicyShown(BaseModel):
    """A policy; a built-in one has no dates."""

    id: str
    name: str
    description: str
    builtin: bool
    document: dict[str, Any]
    attachments: int
    created_at: datetime | None
    changed_at: datetime | None


class PolicyPage(BaseModel):
    """The account's own policies in order of name; with the first page those that are always there."""

    policies: list[PolicyShown]
    next: str | None


class AttachmentBody(BaseModel):
    """A policy where it is attached: in one project, or (null) in every one; through which group."""

    policy: str
    builtin: bool
    project: str | None
    group: str | None


class AttachmentList(BaseModel):
    """What is attached."""

    attachments: list[AttachmentBody]


class KeyBody(BaseModel):
    """A key pair. ``layers``: the policies that limit it, each of which must allow; null where none do."""

    access_key: str
    name: str
    user: str
    project: str
    layers: list[dict[str, Any]] | None
    created_at: datetime
    revoked_at: datetime | None


class KeyList(BaseModel):
    """Key pairs, oldest first, revoked ones too."""

    keys: list[KeyBody]


class CreatedKey(BaseModel):
    """A key pair that was made; its secret stands here once."""

    access_key: str
    secret_key: str
    name: str
    user: str
    project: str
    org_id: str
    layers: list[dict[str, Any]] | None


class RevokedKey(BaseModel):
    """A key pair that is revoked; whether by this call."""

    access_key: str
    revoked: bool


class TemporaryKeyBody(BaseModel):
    """A temporary key pair; secret and security token stand here once."""

    access_key: str
    secret_key: str
    security_token: str
    expires_at: datetime


class UserTokenBody(BaseModel):
    """A user's token; send it as ``Authorization: Bearer``."""

    token: str
    token_type: str = "bearer"  # noqa: S105
    user: str
    project: str | None
    issued_at: datetime
    expires_at: datetime


class ProjectBody(BaseModel):
    """A project."""

    id: str
    name: str
    org_id: str


class ProjectList(BaseModel):
    """Projects, oldest first."""

    projects: list[ProjectBody]


class MatchedBody(BaseModel):
    """The statement that a decision rests on."""

    policy: str
    statement: str


class LayerBody(BaseModel):
    """What one layer says: all of them must allow. ``resources``: those that it allows the action on."""

    name: str
    policies: list[str]
    allowed: bool
    reason: str
    matched: MatchedBody | None
    resources: list[str]


class SimulationBody(BaseModel):
    """What would be decided, and why."""

    allowed: bool
    reason: str
    matched: MatchedBody | None
    layers: list[LayerBody]
    user: str
    access_key: str | None
    project: str | None
    action: str
    resource: str


class AuditBody(BaseModel):
    """An entry of the trail; ``times``: so often within a moment."""

    id: str
    at: datetime
    outcome: str
    actor: str
    action: str
    resource: str
    reason: str
    times: int
    surface: str
    address: str
    request_id: str
    user_id: str | None
    access_key: str | None
    detail: dict[str, Any]


class AuditPage(BaseModel):
    """Entries, newest first."""

    entries: list[AuditBody]
    next: str | None


def user_body(user: User) -> UserBody:
    """Return a user as the API says it."""
    return UserBody(**_fields_of(user, UserBody))


def created_user(user: User, password: str | None) -> CreatedUser:
    """Return a user that was made."""
    return CreatedUser(**_fields_of(user, UserBody), password=password)


def group_body(group: Group) -> GroupBody:
    """Return a group as the API says it."""
    return GroupBody(**_fields_of(group, GroupBody))


def policy_body(policy: StoredPolicy) -> PolicyShown:
    """Return a policy as the API says it."""
    return PolicyShown(**_fields_of(policy, PolicyShown))


def attachment_body(attachment: Attachment) -> AttachmentBody:
    """Return an attachment as the API says it."""
    return AttachmentBody(**_fields_of(attachment, AttachmentBody))


def key_body(pair: KeyPair, project: str) -> KeyBody:
    """Return a key pair as the API says it."""
    return KeyBody(
        access_key=pair.access_key,
        name=pair.name,
        user=pair.user_name,
        project=project,
        layers=None if pair.layers is None else [dict(each) for each in pair.layers],
        created_at=pair.created_at,
        revoked_at=pair.revoked_at,
    )


def project_body(project: Project) -> ProjectBody:
    """Return a project as the API says it."""
    return ProjectBody(id=project.project_id, name=project.project_name, org_id=project.org_id)


def simulation_body(asked: Asking, answer: simulation.Answer) -> SimulationBody:
    """Return what would be decided as the API says it."""
    return SimulationBody(
        **_decision(answer.decision),
        layers=[
            LayerBody(
                name=layer.name,
                policies=layer.policies,
                resources=layer.resources,
                **_decision(layer.decision),
            )
            for layer in answer.layers
        ],
        user=answer.user,
        access_key=answer.access_key,
        project=answer.project,
        action=asked.action,
        resource=asked.resource,
    )


def audit_body(entry: audit.Entry) -> AuditBody:
    """Return an entry of the trail as the API says it."""
    return AuditBody(**{**_fields_of(entry, AuditBody), "id": str(entry.id)})


def _decision(decision: Decision) -> dict[str, Any]:
    return {"allowed": decision.allowed, "reason": decision.reason, "matched": _matched(decision.matched)}


def _matched(matched: Matched | None) -> MatchedBody | None:
    return None if matched is None else MatchedBody(policy=matched.policy, statement=matched.statement)


def _fields_of(value: object, body: type[BaseModel]) -> dict[str, Any]:
    return {name: getattr(value, name) for name in body.model_fields}

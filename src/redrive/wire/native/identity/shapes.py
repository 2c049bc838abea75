"""What the calls about identities take: pydantic models. A field that is not known is refused.

Passwords are taken as they are: what is wrong with one is said without repeating it.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from redrive.identity.users import PAGE_LIMIT
from redrive.wire.native.shapes import NO_NUL, Place

_DEPTH = 16

Name = Annotated[str, Field(min_length=1, max_length=64, pattern=NO_NUL)]
#: A user, group, policy or project: by name or id.
Wanted = Annotated[str, Field(min_length=1, max_length=64, pattern=NO_NUL)]
Description = Annotated[str, Field(max_length=255, pattern=NO_NUL)]
AccessKey = Annotated[str, Field(min_length=1, max_length=64, pattern=NO_NUL)]
Urn = Annotated[str, Field(min_length=1, max_length=512, pattern=NO_NUL)]
Text = Annotated[str, Field(max_length=512, pattern=NO_NUL)]
Limit = Annotated[int, Field(ge=1, le=PAGE_LIMIT)]


def _not_deep(document: dict[str, Any]) -> dict[str, Any]:
    level: list[Any] = [document]
    for _ in range(_DEPTH):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    if level:
        raise PydanticCustomError("too_deep", "a document of at most {depth} levels", {"depth": _DEPTH})
    return document


#: A policy; what it says is judged by ``identity.policies``.
Document = Annotated[dict[str, Any], AfterValidator(_not_deep)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Page(_Asked):
    """Which part of a list, in order of name."""

    after: Name | None = Field(default=None, description="`next` of the page before")
    limit: Limit = 100


class NewUser(_Asked):
    """A user to make. Without a password one is made, and shown in the answer."""

    name: Name
    password: SecretStr | None = Field(default=None, description="12 to 128 characters")
    description: Description = ""


class UserChange(_Asked):
    """What to change; what is left out stays."""

    enabled: bool | None = None
    description: Description | None = None


class PasswordChange(_Asked):
    """Another password; without one it is made, and shown in the answer. One's own takes the old one."""

    password: SecretStr | None = Field(default=None, description="12 to 128 characters")
    old_password: SecretStr | None = None


class NewGroup(_Asked):
    """A group to make."""

    name: Name
    description: Description = ""


class PolicyBody(_Asked):
    """What a policy says from now on."""

    document: Document
    description: Description | None = None


class AttachmentQuery(_Asked):
    """To whom, by name or id: a user (also through its groups) or a group."""

    user: Wanted | None = None
    group: Wanted | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> AttachmentQuery:
        if (self.user is None) == (self.group is None):
            raise PydanticCustomError("one_of_both", "either user or group")
        return self


class NewAttachment(AttachmentQuery):
    """A policy, by name or id, for a user or a group, in one project or (without one) in all."""

    policy: Wanted
    project: Wanted | None = Field(default=None, description="id or name; absent: every project")


class KeyQuery(_Asked):
    """Whose key pairs, for which project."""

    user: Wanted | None = None
    project: Wanted | None = Field(default=None, description="id or name; absent: the caller's")


class NewKey(_Asked):
    """A key pair for a user (absent: the caller's own) and a project (absent: the caller's).

    What it may is said by a ``policy``, or in short by ``read``, ``write``, ``scope`` and ``admin``; without either
    it may whatever its user may.
    """

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=NO_NUL)]
    user: Wanted | None = None
    project: Wanted | None = None
    policy: Document | None = None
    read: bool = False
    write: bool = False
    scope: Annotated[str, Field(max_length=10_000, pattern=NO_NUL)] | None = Field(
        default=None, description="assets: `*`, or ids and prefixes with commas; with read or write"
    )
    admin: bool = False

    @model_validator(mode="after")
    def _one_form(self) -> NewKey:
        short = self.read or self.write or self.admin
        if short and self.policy is not None:
            raise PydanticCustomError("one_of_both", "either policy or read, write, scope, admin")
        if self.scope is not None and not (self.read or self.write):
            raise PydanticCustomError("scope_of_nothing", "scope only with read or write")
        return self


class Rotation(_Asked):
    """Whether the old key pair stays in force until it is revoked."""

    keep_old: bool = False


class NewTemporaryKey(_Asked):
    """A key pair for a while. It may what the caller may, and with a policy only what that allows, too."""

    duration_seconds: Annotated[int, Field(ge=900, le=86_400)] = 3_600
    policy: Document | None = None


class LoginBody(_Asked):
    """Who asks for a token, and for which project; without one it is for the account."""

    user_name: Text
    password: SecretStr
    domain_name: Text | None = Field(default=None, description="absent: the account of the first start")
    project: Wanted | None = Field(default=None, description="id or name")


class NewProject(_Asked):
    """A project to make; its name is what programs take for the region."""

    name: Name


class Asking(_Asked):
    """May a user, or a key pair, do this? Without either: may the caller?"""

    action: Urn
    resource: Urn = "*"
    user: Wanted | None = None
    access_key: AccessKey | None = None
    project: Wanted | None = Field(default=None, description="id or name; absent: the caller's, or the key's")
    context: dict[Text, Text | list[Text]] = Field(
        default={}, max_length=50, examples=[{"g:SourceIp": "10.0.0.7"}]
    )


class AuditQuery(_Asked):
    """Which entries to list, newest first."""

    outcome: Annotated[str, Field(pattern=r"^(changed|refused)$")] | None = None
    actor: Text | None = None
    action: Text | None = Field(default=None, description="with * where wanted: `iam:users:*`")
    since: AwareDatetime | None = Field(default=None, description="inclusive")
    before: Place | None = Field(default=None, description="`next` of the page before")
    limit: Limit = 50
    strangers: bool = Field(default=False, description="also callers of no account; for administrators")

"""What the calls about workspaces take and tell. Fields that are not known are refused; no password is ever told."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from redrive.engine.model import JobState, UnitState
from redrive.services.workspaces import service
from redrive.services.workspaces.house import Workspace
from redrive.services.workspaces.model import Access, DirectoryKind, Status, WorkspaceSettings
from redrive.services.workspaces.service import Subnet
from redrive.services.workspaces.tasks import StepStatus, Task
from redrive.wire.native.shapes import NO_NUL, Reason

Name = Annotated[str, Field(max_length=64, pattern=NO_NUL)]
Cidr = Annotated[str, Field(max_length=32, pattern=NO_NUL)]
_NAMES_LIMIT, _CERTIFICATE_LIMIT = 64, 65_536


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


# -- what callers send


class DirectoryAsked(_Asked):
    """Whose users the workspace has: those of its account (`local`), or those of a directory that it joins."""

    kind: DirectoryKind = DirectoryKind.LOCAL
    domain_name: Name = ""
    admin_account: Name = ""
    password: SecretStr | None = Field(default=None, description="of the account; never told again")
    active_ip: Name = Field(default="", description="IPv4 address of the first controller")
    active_name: Name = ""
    standby_ip: Name = ""
    standby_name: Name = ""
    dns: list[Name] = Field(default=[], max_length=2, description="IPv4 addresses")
    delete_object: bool = Field(default=False, description="delete the computer object at deregistration")
    ldaps: bool = False
    ca_pem: str = Field(default="", max_length=_CERTIFICATE_LIMIT, pattern=NO_NUL)


class WorkspaceAsked(_Asked):
    """What a workspace is to be. A change takes the fields that it names and leaves the others."""

    directory: DirectoryAsked = Field(default=DirectoryAsked())
    vpc_id: Name = ""
    subnets: list[Name] = Field(
        default=[], max_length=_NAMES_LIMIT, description="names of subnets, or networks"
    )
    management_cidr: Cidr = ""
    access: Access = Access.INTERNET
    dedicated_subnets: list[Cidr] = Field(default=[], max_length=_NAMES_LIMIT)
    conflict_networks: list[Cidr] = Field(default=[], max_length=_NAMES_LIMIT)
    enterprise_id: Name = ""

    @property
    def password(self) -> str | None:
        """The directory's password, None where it is not given."""
        given = self.directory.password
        return None if given is None else given.get_secret_value()

    def upon(self, present: WorkspaceSettings) -> WorkspaceSettings:
        """Return ``present`` with what this names."""
        named = _named(self, but="directory")
        directory = replace(present.directory, **_named(self.directory, but="password"))
        return replace(present, **named, directory=directory)


def _named(asked: BaseModel, *, but: str) -> dict[str, Any]:
    given = {name: getattr(asked, name) for name in asked.model_fields_set if name != but}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


class LockAsked(_Asked):
    """Why a workspace is locked; callers are told."""

    reason: Annotated[str, Field(min_length=1, max_length=255, pattern=NO_NUL)]


class RetryAsked(_Asked):
    """Why a task is retried."""

    reason: Reason = ""


class SubnetAsked(_Asked):
    """The network that a subnet's name stands for."""

    cidr: Cidr
    vpc_id: Name = ""


# -- what they are told


class StepFailure(BaseModel):
    """Why a step, or a task, failed, and what to do."""

    code: str
    detail: str
    hint: str


class StepBody(BaseModel):
    """A step of a task. ``kept``: an earlier task of the same job did it, and nothing of it was done again."""

    name: str
    state: UnitState
    kept: bool
    started_at: datetime | None
    ended_at: datetime | None
    failure: StepFailure | None


class TaskBody(BaseModel):
    """One attempt of a registration, deregistration, change or unlocking. A retry makes a new one of the same job."""

    id: str
    job_id: str
    kind: str
    attempt: int
    state: JobState
    started_at: datetime
    ended_at: datetime | None
    failure: StepFailure | None
    steps: list[StepBody]


class TaskList(BaseModel):
    """The newest task of each job, newest first."""

    tasks: list[TaskBody]


class DirectoryBody(BaseModel):
    """The directory, without its password."""

    kind: DirectoryKind
    domain_name: str
    admin_account: str
    has_password: bool
    active_ip: str
    active_name: str
    standby_ip: str
    standby_name: str
    dns: list[str]
    delete_object: bool
    ldaps: bool
    ca_pem: str


class SettingsBody(BaseModel):
    """What was asked for."""

    directory: DirectoryBody
    vpc_id: str
    subnets: list[str]
    management_cidr: str
    access: Access
    dedicated_subnets: list[str]
    conflict_networks: list[str]
    enterprise_id: str


class WorkspaceBody(BaseModel):
    """Where a workspace stands. ``settings`` and ``task`` are null where it was never registered."""

    id: str
    project_id: str
    project_name: str
    status: Status
    open: bool = Field(description="data calls are answered")
    closable: bool
    why_not_closable: str | None
    locked_at: datetime | None
    lock_reason: str | None
    registered_at: datetime | None
    enterprise_id: str | None
    access_paths: dict[str, str] = Field(description="by way of access, the path below which calls come in")
    allowed_from: list[str] | None = Field(description="networks from which calls may come; null: any")
    settings: SettingsBody | None
    task: TaskBody | None


class SubnetBody(BaseModel):
    """A subnet by name."""

    id: str
    vpc_id: str
    cidr: str


class SubnetList(BaseModel):
    """Subnets in order of name."""

    subnets: list[SubnetBody]


def workspace_body(workspace: Workspace, task: Task | None, why_not_closable: str) -> WorkspaceBody:
    """Return what is told of a workspace."""
    return WorkspaceBody(
        id=workspace.id,
        project_id=workspace.project_id,
        project_name=workspace.project_name,
        status=service.status(workspace),
        open=workspace.open,
        closable=not why_not_closable,
        why_not_closable=why_not_closable or None,
        locked_at=workspace.locked_at,
        lock_reason=workspace.lock_reason or None,
        registered_at=workspace.registered_at,
        enterprise_id=workspace.enterprise_id,
        access_paths={way: str(endpoint["prefix"]) for way, endpoint in workspace.endpoints.items()},
        allowed_from=workspace.allowed_from,
        settings=None if workspace.settings is None else _settings(workspace, workspace.settings),
        task=None if task is None else task_body(task),
    )


def _settings(workspace: Workspace, settings: WorkspaceSettings) -> SettingsBody:
    told = settings.to_json()
    has_password = workspace.directory_password is not None or workspace.directory_secret is not None
    return SettingsBody.model_validate(
        {**told, "directory": {**told["directory"], "has_password": has_password}}
    )


def task_body(task: Task) -> TaskBody:
    """Return what is told of a task."""
    return TaskBody(
        id=task.id,
        job_id=str(task.job.id),
        kind=task.job.kind,
        attempt=task.attempt,
        state=task.state,
        started_at=task.started_at,
        ended_at=task.ended_at,
        failure=_failure(task.failure),
        steps=[_step(step) for step in task.steps],
    )


def _step(step: StepStatus) -> StepBody:
    return StepBody(
        name=step.name,
        state=step.state,
        kept=step.kept,
        started_at=step.started_at,
        ended_at=step.ended_at,
        failure=_failure(step.failure),
    )


def _failure(found: Any) -> StepFailure | None:
    if not found:
        return None
    return StepFailure(**{name: str(found.get(name, "")) for name in ("code", "detail", "hint")})


def subnet_body(subnet: Subnet) -> SubnetBody:
    """Return what is told of a subnet."""
    return SubnetBody(id=subnet.id, vpc_id=subnet.vpc_id, cidr=subnet.cidr)

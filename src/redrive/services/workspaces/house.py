"""What the steps work with: the workspace as it stands, and the parts of the process that they need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from psycopg import Connection

from redrive.database import Queries
from redrive.endpoints.directory import Controller, Directory, Reach
from redrive.engine.jobs import dump
from redrive.engine.kinds import Work
from redrive.errors import Problem, ProblemCode
from redrive.services.workspaces.model import DirectoryKind, WorkspaceSettings, settings_from

queries = Queries.beside(__file__, "workspaces.sql")

Json = Mapping[str, Any]

#: What is sealed here: table, key of the row, column. A rotation of the master key must know of it.
SEALED = (("tenant_keys", "tenant_id", "sealed"), ("workspaces", "tenant_id", "directory_password"))


class Seals(Protocol):
    """Seals secrets, each bound to its place (the master key's sealer)."""

    def seal(self, plain: bytes, place: str) -> bytes:
        """Return ``plain`` sealed for ``place``."""

    def open(self, sealed: bytes, place: str) -> bytes:
        """Return what was sealed for ``place``."""


@dataclass(frozen=True, slots=True)
class Belonging:
    """What another service keeps for a tenant, and how it comes and goes. All of it is safe to repeat.

    ``blocked`` says why it must not be erased now; ``stop`` ends the service's endless jobs and says whether nothing
    of it runs any more; ``erase`` returns what is gone, for the ledger.
    """

    name: str
    prepare: Callable[[Work, str, str], None]
    prepared: Callable[[str, str], bool]
    blocked: Callable[[Connection[Any], int], str]
    stop: Callable[[Connection[Any], int], bool]
    erase: Callable[[Work, str], Json]


@dataclass(frozen=True, slots=True)
class House:
    """The parts that steps need. ``reach``: how directories are reached.

    ``cache_seconds``: so long other processes may believe what they last read of a tenant.
    """

    seals: Seals
    reach: Reach
    belongings: Sequence[Belonging]
    endless: Sequence[str]
    cache_seconds: float


@dataclass(frozen=True, slots=True)
class Workspace:
    """A tenant's workspace as the database has it; ``settings`` None: it was never registered."""

    tenant_id: int
    id: str
    org_id: str
    project_id: str
    project_name: str
    open: bool
    allowed_from: list[str] | None
    settings: WorkspaceSettings | None
    revision: int
    directory_password: bytes | None
    job_id: int | None
    task_job_id: int | None
    registered_at: datetime | None
    enterprise_id: str | None
    schema_name: str | None
    role_name: str | None
    endpoints: Json
    locked_at: datetime | None
    lock_reason: str
    kind: str | None
    state: str | None
    attempt: int
    done_units: int
    total_units: int
    failure: Json | None
    known_subnets: Mapping[str, str]

    @property
    def wanted(self) -> WorkspaceSettings:
        """What was asked for."""
        if self.settings is None:
            raise Problem(
                ProblemCode.NOT_FOUND, "the workspace was never registered", reason="not_registered"
            )
        return self.settings


def load(conn: Connection[Any], tenant_id: int) -> Workspace:
    """Return the tenant's workspace."""
    row = conn.execute(queries.load, {"tenant_id": tenant_id}).fetchone()
    if row is None:
        raise Problem(ProblemCode.NOT_FOUND, "there is no such project", reason="not_found")
    return Workspace(
        tenant_id=row.tenant_id,
        id=row.id,
        org_id=row.org_id,
        project_id=row.project_id,
        project_name=row.project_name,
        open=row.open,
        allowed_from=None if row.allowed_from is None else [str(each) for each in row.allowed_from],
        settings=settings_from(row.settings) if row.settings is not None else None,
        revision=row.revision or 0,
        directory_password=bytes(row.directory_password) if row.directory_password is not None else None,
        job_id=row.job_id,
        task_job_id=row.task_job_id,
        registered_at=row.registered_at,
        enterprise_id=row.enterprise_id,
        schema_name=row.schema_name,
        role_name=row.role_name,
        endpoints=row.endpoints or {},
        locked_at=row.locked_at,
        lock_reason=row.lock_reason or "",
        kind=row.kind,
        state=row.state,
        attempt=row.attempt or 0,
        done_units=(row.done_units or 0) + (row.skipped_units or 0),
        total_units=row.total_units or 0,
        failure=row.failure,
        known_subnets=row.known_subnets,
    )


def password_place(tenant_id: int) -> str:
    """Return the place for which a directory's password is sealed."""
    return f"workspaces.directory_password/{tenant_id}"


def key_place(tenant_id: int) -> str:
    """Return the place for which a tenant's data key is sealed."""
    return f"tenant_keys.sealed/{tenant_id}"


def directory_of(house: House, workspace: Workspace) -> Directory | None:
    """Return the directory to join, with its password; None where the users are the account's own."""
    wanted = workspace.wanted.directory
    if wanted.kind is DirectoryKind.LOCAL:
        return None
    sealed = workspace.directory_password
    place = password_place(workspace.tenant_id)
    password = house.seals.open(sealed, place).decode() if sealed is not None else ""
    standby = [Controller(wanted.standby_ip, wanted.standby_name or "standby", standby=True)]
    return Directory(
        domain_name=wanted.domain_name,
        admin_account=wanted.admin_account,
        password=password,
        controllers=(
            Controller(wanted.active_ip, wanted.active_name or "active"),
            *(standby if wanted.standby_ip else ()),
        ),
        dns=wanted.dns,
        ldaps=wanted.ldaps,
        ca_pem=wanted.ca_pem or None,
    )


def as_json(value: object) -> str:
    """Return a value as text for a jsonb parameter."""
    return dump(value)

"""What the steps work with: the workspace as it stands, and the parts of the process that they need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from psycopg import Connection

from redrive.database import Database, Queries
from redrive.endpoints.directory import Controller, Directory, Reach
from redrive.engine.jobs import dump
from redrive.engine.kinds import Work
from redrive.errors import Problem, ProblemCode
from redrive.services.workspaces.model import DirectoryKind, WorkspaceSettings, settings_from

queries = Queries.beside(__file__, "workspaces.sql")

Json = Mapping[str, Any]

#: What the master key seals here: table, key of the row, column. A rotation of the master key must know of it.
SEALED = (("workspaces", "tenant_id", "directory_password"),)


class Seals(Protocol):
    """Seals secrets, each bound to its place (the master key's sealer)."""

    def seal(self, plain: bytes, place: str) -> bytes:
        """Return ``plain`` sealed for ``place``."""

    def open(self, sealed: bytes, place: str) -> bytes:
        """Return what was sealed for ``place``."""


class Keys(Protocol):
    """The tenants' data keys (identity's)."""

    def make(self, conn: Connection[Any], tenant_id: int) -> None:
        """Make the tenant's key where there is none."""

    def has(self, conn: Connection[Any], tenant_id: int) -> bool:
        """Return whether the tenant has a key."""

    def drop(self, conn: Connection[Any], tenant_id: int) -> None:
        """Drop the tenant's key."""

    def seal(self, conn: Connection[Any], tenant_id: int, plain: bytes, place: str) -> bytes:
        """Return ``plain`` sealed with the tenant's key."""

    def open(self, conn: Connection[Any], tenant_id: int, sealed: bytes, place: str) -> bytes:
        """Return what was sealed with the tenant's key."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """What seals a workspace's secrets: the master key until the workspace has a key of its own."""

    master: Seals
    keys: Keys

    def sealed(self, conn: Connection[Any], tenant_id: int, password: str) -> dict[str, bytes | None]:
        """Return a directory's password as its columns: under the data key where there is one."""
        plain = password.encode()
        if self.keys.has(conn, tenant_id):
            secret = self.keys.seal(conn, tenant_id, plain, _secret_place(tenant_id))
            return {"directory_password": None, "directory_secret": secret}
        return {
            "directory_password": self.master.seal(plain, password_place(tenant_id)),
            "directory_secret": None,
        }

    def password(self, conn: Connection[Any], workspace: Workspace) -> str:
        """Return the directory's password; empty where there is none."""
        tenant_id = workspace.tenant_id
        if workspace.directory_secret is not None:
            place = _secret_place(tenant_id)
            return self.keys.open(conn, tenant_id, workspace.directory_secret, place).decode()
        if workspace.directory_password is not None:
            return self.master.open(workspace.directory_password, password_place(tenant_id)).decode()
        return ""


@dataclass(frozen=True, slots=True)
class Belonging:
    """What another service keeps for a tenant, and how it comes and goes. All of it is safe to repeat.

    ``endless``: the kinds of its jobs that never end by themselves.
    ``blocked`` says why it must not be erased now; ``stop`` ends the service's endless jobs and says whether nothing
    of it runs any more; ``erase`` returns what is gone, for the ledger.
    """

    name: str
    endless: Sequence[str]
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

    secrets: Secrets
    reach: Reach
    belongings: Sequence[Belonging]
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
    directory_secret: bytes | None
    password_revision: int
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
        directory_password=_bytes(row.directory_password),
        directory_secret=_bytes(row.directory_secret),
        password_revision=row.password_revision or 0,
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


def _bytes(value: object) -> bytes | None:
    return bytes(value) if isinstance(value, bytes | memoryview) else None


def active_jobs(conn: Connection[Any], tenant_id: int, belongings: Sequence[Belonging]) -> tuple[int, str]:
    """Return how many jobs of other services are not over, those that never end aside; and the kind of one."""
    endless = [kind for belonging in belongings for kind in belonging.endless]
    row = conn.execute(queries.active_jobs, {"tenant_id": tenant_id, "endless": endless}).fetchone()
    return (row.n, row.kind) if row is not None and row.n else (0, "")


def blocked(conn: Connection[Any], tenant_id: int, belongings: Sequence[Belonging]) -> str:
    """Return why what the tenant has must not be erased now; empty where it may."""
    return "; ".join(filter(None, (belonging.blocked(conn, tenant_id) for belonging in belongings)))


def password_place(tenant_id: int) -> str:
    """Return the place for which the master key seals a directory's password."""
    return f"workspaces.directory_password/{tenant_id}"


def _secret_place(tenant_id: int) -> str:
    return f"workspaces.directory_secret/{tenant_id}"


def directory_of(house: House, db: Database, workspace: Workspace) -> Directory | None:
    """Return the directory to join, with its password; None where the users are the account's own."""
    wanted = workspace.wanted.directory
    if wanted.kind is DirectoryKind.LOCAL:
        return None
    with db.transaction() as conn:
        password = house.secrets.password(conn, workspace)
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

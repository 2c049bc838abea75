"""A project whose workspace is registered and deregistered for real: its database, its store, its directory."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redrive.database import Database
from redrive.endpoints.directory import Ports, Reach
from redrive.endpoints.guard import Guard
from redrive.engine import jobs
from redrive.engine.kinds import Kind
from redrive.engine.model import ENDED, Job, UnitState
from redrive.engine.worker import Worker
from redrive.identity.bootstrap import bootstrap
from redrive.identity.data_keys import DataKeys
from redrive.identity.sealing import Sealer
from redrive.services.timeseries import compaction, leaving, mover, retention
from redrive.services.timeseries.ingest import Ingest
from redrive.services.timeseries.storage import SampleStore
from redrive.services.workspaces import job as workspace_job
from redrive.services.workspaces import service
from redrive.services.workspaces.house import Belonging, House, Secrets, Workspace, load
from redrive.services.workspaces.model import Directory, DirectoryKind, Status, WorkspaceSettings
from redrive.settings import Settings
from tests.engine.scene import until, working

ROOT = Path(__file__).parent.parent.parent
DOMAIN, ACCOUNT, PASSWORD = "plant.example", "admin", "s3cret-of-the-plant"
PLANT = Directory(
    DirectoryKind.LDAP, domain_name=DOMAIN, admin_account=ACCOUNT, active_ip="127.0.0.1", active_name="dc1"
)


NOWHERE = Ports(1, 1, 1)
PLAIN = WorkspaceSettings()


@dataclass
class Project:
    """A project, and what a worker needs for its workspace."""

    db: Database
    sealer: Sealer
    store: SampleStore
    tenant_id: int
    org_id: str
    ports: Ports = NOWHERE

    @property
    def house(self) -> House:
        samples = leaving.Samples(self.store)
        belonging = Belonging(
            "samples",
            leaving.ENDLESS,
            samples.prepare,
            samples.prepared,
            samples.blocked,
            samples.stop,
            samples.erase,
        )
        reach = Reach(Guard(allow_loopback=True), self.ports, connect_seconds=2.0, answer_seconds=2.0)
        return House(Secrets(self.sealer, DataKeys(self.sealer)), reach, [belonging], cache_seconds=0.05)

    def kinds(self) -> tuple[Kind, ...]:
        return (
            *workspace_job.kinds(self.house),
            mover.kind(self.store),
            compaction.kind(self.store),
            retention.kind(self.store),
        )

    @contextlib.contextmanager
    def working(self) -> Iterator[Worker]:
        """A worker for as long as the block runs; failed steps are not tried again for long."""
        kinds = [
            dataclasses.replace(kind, retry=dataclasses.replace(kind.retry, max_tries=1))
            if kind.name.startswith("workspace.")
            else kind
            for kind in self.kinds()
        ]
        with working(self.db, *kinds) as worker:
            yield worker

    def workspace(self) -> Workspace:
        return self.db.run(lambda conn: load(conn, self.tenant_id))

    def status(self) -> Status:
        return service.status(self.workspace())

    def register(self, settings: WorkspaceSettings = PLAIN, password: str | None = None) -> int:
        return self.db.run(
            lambda conn: service.register(
                conn, self.tenant_id, settings, actor="tester", secrets=self.house.secrets, password=password
            )
        )

    def modify(self, settings: WorkspaceSettings, password: str | None = None) -> int | None:
        return self.db.run(
            lambda conn: service.modify(
                conn, self.tenant_id, settings, actor="tester", secrets=self.house.secrets, password=password
            )
        )

    def deregister(self) -> int:
        return self.db.run(
            lambda conn: service.deregister(
                conn, self.tenant_id, actor="tester", belongings=self.house.belongings
            )
        )

    def retry(self, job_id: int) -> int:
        """Retry by the last attempt of the job, as a caller who holds its task id does."""

        def again(conn: Any) -> int:
            attempt = jobs.get(conn, self.tenant_id, job_id).attempt
            return service.retry(conn, self.tenant_id, job_id, attempt, self.kinds(), actor="tester").attempt

        return self.db.run(again)

    def job(self, job_id: int) -> Job:
        return self.db.run(lambda conn: jobs.get(conn, self.tenant_id, job_id))

    def ended(self, job_id: int) -> Job:
        """Wait for the job's end."""
        until(lambda: self.job(job_id).state in ENDED, 30)
        return self.job(job_id)

    def steps(self, job_id: int) -> dict[str, UnitState]:
        job = self.job(job_id)
        return {unit.label: unit.state for unit in self.db.run(lambda conn: jobs.units(conn, job))}

    def ledger(self, job_id: int, step: str) -> dict[str, Any]:
        job = self.job(job_id)
        units = self.db.run(lambda conn: jobs.units(conn, job))
        return next(dict(unit.ledger or {}) for unit in units if unit.label == step)

    def one(self, question: str, *values: Any) -> Any:
        row = self.db.run(lambda conn: conn.execute(question, values).fetchone())
        return None if row is None else row[0]

    def has_schema(self) -> tuple[bool, bool]:
        name = f"ws_{self.workspace().id}"
        return (
            self.one("select exists (select from pg_namespace where nspname = %s)", name),
            self.one("select exists (select from pg_roles where rolname = %s)", name),
        )

    def accept(self, samples: Any) -> None:
        ingest = Ingest(self.db)
        try:
            ingest.accept(self.tenant_id, samples).result(10)
        finally:
            ingest.close()


@contextlib.contextmanager
def new_project(db: Database, settings: Settings, folder: Path) -> Iterator[Project]:
    """The project of a first start, without a workspace; its samples go into ``folder``."""
    sealer = bootstrap(db, settings)
    (tenant,) = db.run(lambda conn: conn.execute("select id, org_id from tenants").fetchall())
    store = SampleStore(str(folder / "samples"), None, db)
    try:
        yield Project(db, sealer, store, tenant.id, tenant.org_id)
    finally:
        store.close()


def sample_files(store: SampleStore) -> list[Path]:
    """The files of the store that hold samples: not those of the tables' logs."""
    found = Path(store.root_url).rglob("*.parquet")
    return [path for path in found if "_delta_log" not in path.parts]


@contextlib.contextmanager
def directory_server(folder: Path, port: int = 0, password: str = PASSWORD) -> Iterator[int]:
    """The demonstration's directory as a process; its port."""
    secret = folder / "directory-password"
    secret.write_text(f"{password}\n")
    words = ["--port", str(port), "--domain", DOMAIN, "--account", ACCOUNT, "--password-file", str(secret)]
    process = subprocess.Popen(
        [sys.executable, "-m", "demo.directory_server", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        ready = process.stdout.readline()
        yield int(ready.rpartition(":")[2])
    finally:
        process.kill()
        process.communicate()

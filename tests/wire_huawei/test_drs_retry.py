"""``batch-retry-task`` by the vendor's own client, from every status that a task can have."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import psycopg
import pytest
from psycopg import sql

from redrive.engine import recovery
from redrive.services.replication import service
from redrive.wire.huawei.drs.codes import STATUS_WORDS
from tests.engine.scene import until
from tests.replication.scene import Server, same
from tests.wire_huawei.drs_scene import PAIR, Drs
from tests.wire_huawei.scene import Cloud

GATE = 4711
#: In a target: rows of ``a`` wait while somebody holds the gate.
GATED = f"""
create function gate() returns trigger language plpgsql as $$
begin
    perform pg_advisory_xact_lock_shared({GATE});
    return new;
end $$;
create function make_gate() returns event_trigger language plpgsql as $$
begin
    if exists (select from pg_event_trigger_ddl_commands() where object_identity = 'public.a') then
        create trigger gate before insert on public.a for each row execute function public.gate();
    end if;
end $$;
create event trigger make_gate on ddl_command_end when tag in ('CREATE TABLE') execute function make_gate()
"""
OLD, NEW = "what the keeper had before", "what the keeper has now"
_numbers = itertools.count(1)


@dataclass
class Scene:
    """A source with a table, a target with an owner of its own, and a task that is to move one to the other."""

    drs: Drs
    server: Server
    #: What is held until the test is over, or lets it go.
    held: ExitStack
    source: str = ""
    target: str = ""
    keeper: str = field(default_factory=lambda: f"keeper_{next(_numbers)}")
    task: str = ""

    def __post_init__(self) -> None:
        self.source, self.target = self.server.make(PAIR), self.server.make()
        # The tests themselves read the target as the owner of the source.
        self.admin(sql.SQL("create role {0} login; grant {0} to mover").format(sql.Identifier(self.keeper)))
        self.set_password(OLD)
        self.admin(
            sql.SQL("alter database {} owner to {}").format(
                sql.Identifier(self.target), sql.Identifier(self.keeper)
            )
        )

    def admin(self, statement: str | sql.Composed) -> None:
        with psycopg.connect(self.server.superuser(self.target), autocommit=True) as conn:
            conn.execute(statement.encode() if isinstance(statement, str) else statement)

    def set_password(self, password: str) -> None:
        """Change the owner's password in the database, and cut what is connected with the former."""
        self.admin(
            sql.SQL("alter role {} password {}").format(sql.Identifier(self.keeper), sql.Literal(password))
        )
        self.admin(f"select pg_terminate_backend(pid) from pg_stat_activity where usename = '{self.keeper}'")

    def hold(self, database: str, statement: str) -> None:
        """Hold a lock that ``statement`` takes."""
        conn = self.held.enter_context(psycopg.connect(self.server.superuser(database)))
        conn.execute(statement.encode())

    def configured(self) -> str:
        self.task = self.drs.configured(
            self.source, self.target, f"task-{self.keeper}", db_user=self.keeper, db_password=OLD
        )
        return self.task

    def started(self, **more: str) -> None:
        self.configured()
        assert self.drs.start(self.task, **more).status == "success"

    # -- statuses

    def configuration(self) -> None:
        self.configured()

    def waiting_for_start(self) -> None:
        self.started(start_time="4102444800000")

    def starting(self) -> None:
        self.configured()
        self.hold(self.source, "lock table a in access exclusive mode")
        self.drs.start(self.task)

    def start_failed(self) -> None:
        self.configured()
        self.set_password(NEW)
        self.drs.start(self.task)

    def moving(self) -> None:
        self.admin(GATED)
        self.hold(self.target, f"select pg_advisory_xact_lock({GATE})")
        self.started()
        self.drs.awaited(self.task, "FULL_TRANSFER_STARTED")

    def moving_failed(self) -> None:
        self.moving()
        self.set_password(NEW)

    def complete(self) -> None:
        self.started()
        self.drs.awaited(self.task, "FULL_TRANSFER_COMPLETE")

    def paused(self) -> None:
        self.moving()
        assert self.drs.pause(self.task).status == "success"
        self.held.close()

    def releasing(self) -> None:
        self.complete()
        self.hold(self.target, "lock table redrive.replication_units in access exclusive mode")
        assert self.drs.end(self.task, "terminate").status == "success"

    def release_failed(self) -> None:
        self.complete()
        self.set_password(NEW)
        assert self.drs.end(self.task, "terminate").status == "success"

    def released(self) -> None:
        self.complete()
        assert self.drs.end(self.task, "terminate").status == "success"

    def reach(self, status: str) -> None:
        REACH[status](self)
        self.drs.awaited(self.task, status)


#: How a task gets there, and what a retry answers: None where it is accepted.
REACH: dict[str, Callable[[Scene], None]] = {
    "CONFIGURATION": Scene.configuration,
    "WAITING_FOR_START": Scene.waiting_for_start,
    "STARTJOBING": Scene.starting,
    "START_JOB_FAILED": Scene.start_failed,
    "FULL_TRANSFER_STARTED": Scene.moving,
    "FULL_TRANSFER_FAILED": Scene.moving_failed,
    "FULL_TRANSFER_COMPLETE": Scene.complete,
    "PAUSING": Scene.paused,
    "RELEASE_RESOURCE_STARTED": Scene.releasing,
    "RELEASE_RESOURCE_FAILED": Scene.release_failed,
    "RELEASE_RESOURCE_COMPLETE": Scene.released,
}
ANSWERS = {
    "CONFIGURATION": "DRS.M00304",
    "WAITING_FOR_START": "DRS.M00304",
    "STARTJOBING": "DRS.M00304",
    "START_JOB_FAILED": None,
    "FULL_TRANSFER_STARTED": "DRS.M00304",
    "FULL_TRANSFER_FAILED": None,
    "FULL_TRANSFER_COMPLETE": "DRS.M00304",
    "PAUSING": None,
    "RELEASE_RESOURCE_STARTED": "DRS.M05004",
    "RELEASE_RESOURCE_FAILED": "DRS.M05004",
    "RELEASE_RESOURCE_COMPLETE": "DRS.M05004",
}


@pytest.fixture
def scene(drs: Drs, server: Server) -> Iterator[Scene]:
    with ExitStack() as held:
        yield Scene(drs, server, held)


def test_every_status_is_tried() -> None:
    assert set(REACH) == set(ANSWERS) == set(STATUS_WORDS.values())


@pytest.mark.parametrize("status", REACH)
def test_a_retry_is_answered_by_where_the_task_stands(scene: Scene, status: str) -> None:
    scene.reach(status)
    [result] = scene.drs.retry(scene.task)
    assert (result.id, result.error_code) == (scene.task, ANSWERS[status])
    assert result.status == ("success" if ANSWERS[status] is None else "failed")
    assert bool(result.error_msg) is (ANSWERS[status] is not None)


@pytest.mark.parametrize("status", ["START_JOB_FAILED", "FULL_TRANSFER_FAILED"])
def test_a_password_that_was_changed_is_corrected_and_the_retry_finishes_the_task(
    scene: Scene,
    cloud: Cloud,
    status: str,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene.reach(status)
    drs, task = scene.drs, scene.task
    scene.held.close()
    [detail] = drs.details(task)
    assert detail.error_code == "credentials" and detail.error_message
    changed = drs.password(task, "ta", NEW)
    assert (changed.id, changed.status, changed.end_point_type) == (task, "success", "ta")
    [result] = drs.retry(task)
    assert (result.status, result.error_code) == ("success", None)
    drs.awaited(task, "FULL_TRANSFER_COMPLETE")
    same(scene.server, scene.source, scene.target, "a")

    told = repr([drs.details(task), drs.listed(), drs.progress(task), drs.precheck_result(task)])
    logged = "".join(capfd.readouterr()) + caplog.text
    for place, found in {"answers": told, "logs": logged, "rows": everything_in(cloud)}.items():
        for secret in (OLD, NEW):
            assert secret not in found and secret.encode().hex() not in found, place


def everything_in(cloud: Cloud) -> str:
    """Every row of Redrive's own database, as text."""
    with cloud.db.transaction() as conn:
        names = conn.execute(
            "select format('%I.%I', schemaname, tablename) as name from pg_tables "
            "where schemaname not in ('pg_catalog', 'information_schema')"
        ).fetchall()
        assert any(row.name.endswith("replication_tasks") for row in names)
        queries = [sql.SQL(f"select t::text as row from {row.name} t") for row in names]  # type: ignore[arg-type]
        return "\n".join(row.row for query in queries for row in conn.execute(query).fetchall())


def test_a_paused_task_goes_on_with_the_documented_call(scene: Scene) -> None:
    scene.reach("PAUSING")
    assert scene.drs.pause(scene.task).error_code == "DRS.M00304"
    [result] = scene.drs.retry(scene.task)
    assert result.status == "success"
    scene.drs.awaited(scene.task, "FULL_TRANSFER_COMPLETE")
    same(scene.server, scene.source, scene.target, "a")


@contextlib.contextmanager
def meanwhile(work: Callable[[], None]) -> Iterator[None]:
    """Do ``work`` beside the body, and wait for its end after it."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join(20)
    assert not thread.is_alive()


def test_a_task_that_somebody_else_retries_at_this_moment_is_busy(scene: Scene, cloud: Cloud) -> None:
    scene.reach("START_JOB_FAILED")
    task = cloud.db.run(lambda conn: service.find(conn, cloud.tenant_id, scene.task))
    assert task.job_id is not None
    answers = []
    with contextlib.ExitStack() as later:
        with cloud.db.transaction() as conn:
            recovery.retry(conn, cloud.tenant_id, task.job_id, actor="somebody else")
            later.enter_context(meanwhile(lambda: answers.extend(scene.drs.retry(scene.task))))
            until(lambda: answers or waits_for_a_lock(cloud))
    [result] = answers
    assert (result.status, result.error_code) == ("failed", "DRS.M01504")
    scene.drs.awaited(scene.task, "STARTJOBING", "START_JOB_FAILED")


def waits_for_a_lock(cloud: Cloud) -> bool:
    query = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    return bool(cloud.db.run(lambda conn: conn.execute(query).fetchall()))


def test_one_batch_takes_every_task_by_its_own_status(drs: Drs, server: Server) -> None:
    with ExitStack() as held:
        failed, paused, complete = (Scene(drs, server, held) for _ in range(3))
        complete.reach("FULL_TRANSFER_COMPLETE")
        failed.reach("START_JOB_FAILED")
        paused.reach("PAUSING")
    assert drs.password(failed.task, "ta", NEW).status == "success"
    results = drs.retry(paused.task, complete.task, failed.task)
    assert [(result.id, result.status, result.error_code) for result in results] == [
        (paused.task, "success", None),
        (complete.task, "failed", "DRS.M00304"),
        (failed.task, "success", None),
    ]
    for each in (paused, failed):
        drs.awaited(each.task, "FULL_TRANSFER_COMPLETE")
        same(server, each.source, each.target, "a")

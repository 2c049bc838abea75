"""What goes wrong with the users' databases, what a person is told, and that the retry goes on from there."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from redrive.endpoints.databases.model import Endpoint
from redrive.engine.model import JobState, UnitState
from redrive.errors import Problem
from redrive.services.replication import service
from redrive.services.replication.model import Chosen, End, Status
from tests.engine.scene import until
from tests.replication.scene import PASSWORD, Moving, Server, same
from tests.replication.test_moving import SHOP, TABLES

PAIR = """
create table a (id int primary key, t text);
insert into a select n, 'row ' || n from generate_series(1, 3000) n;
"""


def failed(moving: Moving, task: str) -> dict[str, Any]:
    job = moving.ended(task)
    assert job.state is JobState.FAILED and job.failure is not None
    assert job.failure["hint"] and PASSWORD not in str(job.failure)
    return dict(job.failure)


@pytest.mark.parametrize("end", list(End))
def test_a_wrong_password_is_told_and_a_new_one_with_a_retry_finishes_the_task(
    moving: Moving, server: Server, end: End
) -> None:
    source, target = server.make(SHOP), server.make()
    with moving.working():
        task = moving.configured(source, target)
        assert moving.precheck(task).passed
    moving.start(task)
    moving.password(task, end, "wrong")  # somebody has changed it in the database
    with moving.working():
        failure = failed(moving, task)
        assert failure["code"] == "credentials" and str(server.port) in failure["target"]
        assert moving.status(task) is Status.START_FAILED
        moving.password(task, end, PASSWORD)
        assert moving.retry(task) == {task: None}
        assert moving.ended(task).state is JobState.SUCCEEDED
    same(server, source, target, *TABLES)


GUARDED = """
create function refuse() returns event_trigger language plpgsql as $$
begin
    if exists (select from pg_event_trigger_ddl_commands() where object_identity = 'public.a') then
        alter table public.a add constraint small check (id <= 2500);
    end if;
end $$;
create event trigger refuse on ddl_command_end when tag in ('CREATE TABLE') execute function refuse()
"""


def test_a_target_that_refuses_rows_fails_one_chunk_and_the_retry_moves_only_what_is_left(
    moving: Moving, server: Server
) -> None:
    source = server.make(
        f"create table good (id int primary key); insert into good values (1); {PAIR} analyze"
    )
    target = server.make()
    with psycopg.connect(server.superuser(target), autocommit=True) as conn:
        conn.execute(GUARDED)
    with moving.working():
        task = moving.begun(source, target)
        failure = failed(moving, task)
        assert failure["code"] == "conflict" and "small" in failure["detail"]
        assert moving.status(task) is Status.LOAD_FAILED
        [left] = moving.units(task, UnitState.FAILED)
        assert left.label == "public.a 3 of 3"
        with psycopg.connect(server.superuser(target), autocommit=True) as conn:
            conn.execute("drop event trigger refuse; alter table a drop constraint small")
        assert moving.retry(task) == {task: None}
        job = moving.ended(task)
    assert (job.state, job.attempt, job.attempt_redone) == (JobState.SUCCEEDED, 2, 0)
    assert {unit.attempt for unit in moving.units(task) if unit.phase == 2} == {1, 2}
    assert not any((unit.ledger or {}).get("begun_anew") for unit in moving.units(task))
    same(server, source, target, "good", "a")


def test_connections_that_are_cut_are_made_again_and_nothing_is_lost(moving: Moving, server: Server) -> None:
    source, target = server.make(SHOP), server.make()
    stop = threading.Event()

    def cut() -> None:
        query = (
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'redrive %'"
        )
        with psycopg.connect(server.superuser(), autocommit=True) as conn:
            for _ in range(3):
                if stop.wait(0.4):
                    return
                conn.execute(query)

    with moving.working():
        task = moving.configured(source, target)
        assert moving.precheck(task).passed
        cutting = threading.Thread(target=cut)
        cutting.start()
        moving.start(task)
        job = moving.ended(task, 60)
        stop.set()
        cutting.join()
    assert job.state is JobState.SUCCEEDED, job.failure
    same(server, source, target, *TABLES)


def test_a_paused_task_goes_on_where_it_was(moving: Moving, server: Server) -> None:
    moving.chunk_rows = 50
    source, target = server.make(SHOP), server.make()
    with moving.working():
        task = moving.begun(source, target)
        until(lambda: moving.status(task) is Status.LOADING)
        moving.db.run(lambda conn: service.pause(conn, moving.tenant_id, task, actor="tester"))
        until(lambda: moving.status(task) is Status.PAUSED)
        done = len(moving.units(task, UnitState.DONE))
        time.sleep(0.3)
        assert len(moving.units(task, UnitState.DONE)) == done
        assert moving.retry(task) == {task: None}
        assert moving.ended(task).state is JobState.SUCCEEDED
    same(server, source, target, *TABLES)


@pytest.mark.parametrize(
    ("spoil", "item", "reason"),
    [
        ("create table a (x int)", "dstDbObjectConflict", "object_exists"),
        ("revoke", "dstDbPrivilegesIsEnough", "may_not_create"),
        ("unreadable", "srcDbPrivilegesIsEnough", "may_not_read"),
        ("missing", "userSelectObjectsCheck", "object_missing"),
        ("password", "srcDbConnection", "credentials"),
        ("database", "dstDbConnection", "database_unknown"),
        ("port", "srcDbConnection", "away"),
    ],
)
def test_a_precheck_finds_what_would_fail_and_nothing_is_started(
    moving: Moving, server: Server, spoil: str, item: str, reason: str
) -> None:
    source, target = server.make(PAIR), server.make()
    task = moving.create(objects=[Chosen("public", "gone")] if spoil == "missing" else None)
    user, there, here = "mover", server.endpoint(source), server.endpoint(target)
    with psycopg.connect(
        server.superuser(source if spoil == "unreadable" else target), autocommit=True
    ) as conn:
        if spoil.startswith("create"):
            conn.execute(spoil.encode())
        if spoil == "revoke":
            conn.execute(
                f"alter database {target} owner to postgres; revoke create on database {target} from public"
            )
        if spoil == "unreadable":
            conn.execute("alter table a owner to postgres; revoke all on a from public")
    if spoil == "database":
        here = Endpoint(here.engine, here.host, here.port, user, "no_such_database")
    if spoil == "port":
        there = Endpoint(there.engine, there.host, 1, user, source)
    moving.store(task, End.SOURCE, there, "wrong" if spoil == "password" else PASSWORD)
    moving.store(task, End.TARGET, here)
    with moving.working():
        result = moving.precheck(task)
    assert result.findings is not None and not result.passed
    [finding] = [found for found in result.findings if not found.ok and not found.warning]
    assert (finding.item, finding.reason) == (item, reason) and finding.detail and finding.hint
    with pytest.raises(Problem) as refused:
        moving.start(task)
    assert refused.value.reason == "not_prechecked"


def test_a_change_after_the_precheck_asks_for_another_one(moving: Moving, server: Server) -> None:
    source, target = server.make(PAIR), server.make()
    with moving.working():
        task = moving.configured(source, target)
        assert moving.precheck(task).passed
        moving.store(task, End.TARGET, server.endpoint(server.make()))
        with pytest.raises(Problem) as refused:
            moving.start(task)
        assert refused.value.reason == "not_prechecked"
        assert moving.precheck(task).passed
        moving.start(task)
        assert moving.ended(task).state is JobState.SUCCEEDED


def hide_rows(server: Server, source: str) -> None:
    with psycopg.connect(server.superuser(source), autocommit=True) as conn:
        conn.execute("alter table a owner to postgres; alter table a enable row level security")
        conn.execute("grant select on a to mover")
        conn.execute("create policy little on a for select using (id < 10)")


def test_rows_that_a_policy_hides_are_told_by_the_precheck(moving: Moving, server: Server) -> None:
    source = server.make(PAIR)
    hide_rows(server, source)
    with moving.working():
        result = moving.precheck(moving.configured(source, server.make()))
    assert result.findings is not None and not result.passed
    assert [finding.reason for finding in result.findings if not finding.ok] == ["may_not_read"]


def test_rows_that_are_hidden_later_are_an_error_and_not_left_out(moving: Moving, server: Server) -> None:
    source, target = server.make(PAIR), server.make()
    with moving.working():
        task = moving.configured(source, target)
        assert moving.precheck(task).passed
    hide_rows(server, source)
    moving.start(task)
    with moving.working():
        failure = failed(moving, task)
    assert failure["code"] == "privilege" and "row-level security" in failure["detail"]


def test_large_objects_are_told_by_the_precheck(moving: Moving, server: Server) -> None:
    source = server.make(PAIR + "select lo_from_bytea(0, 'x')")
    with moving.working():
        result = moving.precheck(moving.configured(source, server.make()))
    assert result.passed and result.findings is not None
    assert [finding.item for finding in result.findings if not finding.ok] == ["largeObjects"]


def test_of_many_starts_at_once_one_is_taken(moving: Moving, server: Server) -> None:
    source, target = server.make(PAIR), server.make()
    with moving.working():
        task = moving.configured(source, target)
        assert moving.precheck(task).passed

        def start(_: int) -> str:
            try:
                moving.start(task)
            except Problem as problem:
                return problem.reason
            return ""

        with ThreadPoolExecutor(4) as pool:
            reasons = sorted(pool.map(start, range(4)))
        assert reasons == ["", *["wrong_status"] * 3]
        assert moving.ended(task).state is JobState.SUCCEEDED
    same(server, source, target, "a")


# -- the end of a task


def records_there(server: Server, target: str) -> bool:
    return bool(server.rows(target, "select from pg_namespace where nspname = 'redrive'"))


def test_a_task_that_is_released_leaves_nothing_of_its_own_in_the_target(
    moving: Moving, server: Server
) -> None:
    source, target = server.make(PAIR), server.make()
    with moving.working():
        task = moving.begun(source, target)
        moving.ended(task)
        assert records_there(server, target)
        with pytest.raises(Problem, match="not allowed"):
            moving.delete(task)
        moving.release(task)
        until(lambda: moving.status(task) is Status.RELEASED)
    assert not records_there(server, target)
    same(server, source, target, "a")
    assert isinstance(moving.retry(task)[task], Problem)
    moving.delete(task)
    with pytest.raises(Problem, match="deleted"):
        moving.task(task)
    row = moving.db.run(lambda conn: conn.execute("select * from replication_tasks").fetchone())
    assert row.source_secret is None and row.target_secret is None


def test_a_task_that_moves_is_stopped_by_its_release(moving: Moving, server: Server) -> None:
    moving.chunk_rows = 20
    source, target = server.make(SHOP + "; analyze"), server.make()
    with moving.working():
        task = moving.begun(source, target)
        until(lambda: moving.status(task) is Status.LOADING)
        moving.release(task)
        until(lambda: moving.status(task) is Status.RELEASED)
    assert moving.job(task).state is JobState.CANCELLED and not records_there(server, target)


def release_failed(moving: Moving, source: str, target: str) -> str:
    """A task that was moved, and whose release found another password in the target."""
    task = moving.begun(source, target)
    moving.ended(task)
    moving.password(task, End.TARGET, "wrong")
    moving.release(task)
    until(lambda: moving.status(task) is Status.RELEASE_FAILED)
    return task


def test_a_target_that_is_gone_fails_the_release_which_is_tried_again_or_forced(
    moving: Moving, server: Server
) -> None:
    source, target = server.make(PAIR), server.make()
    with moving.working():
        task = release_failed(moving, source, target)
        moving.release(task, force=True)
        assert moving.status(task) is Status.RELEASED
    assert records_there(server, target)


def test_a_release_that_failed_is_called_again_when_its_password_is_mended(
    moving: Moving, server: Server
) -> None:
    source, target = server.make(PAIR), server.make()
    with moving.working():
        task = release_failed(moving, source, target)
        moving.password(task, End.TARGET, PASSWORD)
        moving.release(task)
        until(lambda: moving.status(task) is Status.RELEASED)
    assert not records_there(server, target)


def test_the_records_of_another_task_in_the_same_target_stay(moving: Moving, server: Server) -> None:
    target = server.make()
    first, second = (
        server.make(PAIR),
        server.make("create table b (id int primary key); insert into b values (1)"),
    )
    with moving.working():
        tasks = [moving.begun(first, target), moving.begun(second, target)]
        assert {moving.ended(task).state for task in tasks} == {JobState.SUCCEEDED}
        moving.release(tasks[0])
        until(lambda: moving.status(tasks[0]) is Status.RELEASED)
        assert server.rows(target, "select distinct task from redrive.replication_units") == [(tasks[1],)]
        moving.release(tasks[1])
        until(lambda: moving.status(tasks[1]) is Status.RELEASED)
    assert not records_there(server, target)

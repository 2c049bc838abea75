"""Two callers at once: one is served, the other told why not, and the workspace becomes what the one asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from redrive.engine import recovery
from redrive.engine.model import JobState
from redrive.errors import Problem
from redrive.services.workspaces import service
from redrive.services.workspaces.model import Access, Status, WorkspaceSettings
from tests.engine.scene import until
from tests.workspaces.scene import Project

WIDER = WorkspaceSettings(access=Access.BOTH, subnets=("10.1.0.0/16",))
UNKNOWN = WorkspaceSettings(subnets=("net-1",))
ROUNDS = 5


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Make the calls in threads that begin together; each one's answer, or the reason of its refusal."""
    begin = threading.Barrier(len(calls))
    answers: list[Any] = [None] * len(calls)

    def make(place: int, call: Callable[[], Any]) -> None:
        begin.wait(10)
        try:
            answers[place] = call()
        except Problem as problem:
            answers[place] = problem.reason

    threads = [threading.Thread(target=make, args=each) for each in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert None not in answers, answers
    return answers


def active(project: Project) -> list[str]:
    rows = project.db.run(
        lambda conn: conn.execute(
            """select kind from jobs where kind like 'workspace.%' and state in ('queued', 'running', 'paused')
               order by id"""
        ).fetchall()
    )
    return [row.kind.removeprefix("workspace.") for row in rows]


def settled(project: Project) -> Status:
    """Let a worker do what there is to do; where the workspace stands then."""
    with project.working():
        until(lambda: not active(project), 30)
    return project.status()


def registered(project: Project) -> int:
    job_id = project.register()
    assert settled(project) is Status.REGISTERED
    return job_id


def consistent(project: Project) -> None:
    """What the status says is there is there, and nothing else."""
    there = project.status() is Status.REGISTERED
    workspace = project.workspace()
    assert workspace.open is there and (workspace.registered_at is not None) is there
    assert project.has_schema() == (there, there)
    assert project.one("select count(*) from tenant_keys") == int(there)
    assert (workspace.enterprise_id is not None) is there and bool(workspace.endpoints) is there


def test_of_deregistrations_at_once_one_is_taken(project: Project) -> None:
    registered(project)
    answers = at_once(*[project.deregister] * 4)
    assert sorted(map(str, answers))[1:] == ["wrong_status"] * 3 and active(project) == ["deregistration"]
    assert project.status() is Status.DEREGISTERING and not project.workspace().open
    assert settled(project) is Status.CLOSED
    assert project.one("select count(*) from jobs where kind = 'workspace.deregistration'") == 1
    consistent(project)


@pytest.mark.parametrize("stands", [Status.REGISTERED, Status.REGISTRATION_FAILED, Status.CLOSED])
def test_of_a_registration_and_a_deregistration_at_once_the_one_that_fits_is_taken(
    project: Project, stands: Status
) -> None:
    if stands is Status.REGISTRATION_FAILED:
        project.register(UNKNOWN)
        settled(project)
    else:
        registered(project)
        if stands is Status.CLOSED:
            project.deregister()
            settled(project)
    assert project.status() is stands
    answers = at_once(project.register, project.deregister, project.register, project.deregister)
    taken = [answer for answer in answers if isinstance(answer, int)]
    assert len(taken) == 1 and answers.count("wrong_status") == 3, answers
    wanted = "registration" if stands is Status.CLOSED else "deregistration"
    assert active(project) == [wanted]
    assert settled(project) is (Status.REGISTERED if stands is Status.CLOSED else Status.CLOSED)
    consistent(project)


def test_of_a_change_and_a_deregistration_at_once_one_is_taken_and_the_other_told_why(
    project: Project,
) -> None:
    refusals = set()
    for number in range(ROUNDS):
        registered(project)
        calls = [lambda: project.modify(WIDER), project.deregister]
        first, second = at_once(*(calls if number % 2 else calls[::-1]))
        changed, closed = (first, second) if number % 2 else (second, first)
        assert isinstance(changed, int) is not isinstance(closed, int), (changed, closed)
        refusals |= {("change", changed), ("end", closed)} - {("change", None)}
        assert active(project) == (["modification"] if isinstance(changed, int) else ["deregistration"])
        if isinstance(changed, int):
            assert closed == "not_closable" and project.status() is Status.REGISTERED
            assert settled(project) is Status.REGISTERED
            assert project.workspace().allowed_from is None and "dedicated" in project.workspace().endpoints
            consistent(project)
            project.deregister()
        else:
            assert changed == "busy" and project.status() is Status.DEREGISTERING
        assert settled(project) is Status.CLOSED
        consistent(project)


def test_calls_of_every_sort_while_a_worker_works_leave_one_task_at_a_time_and_a_workspace_that_is_whole(
    project: Project,
) -> None:
    most: list[list[str]] = []
    with project.working():
        for _ in range(ROUNDS):
            answers = at_once(
                project.register,
                project.deregister,
                lambda: project.modify(WIDER) or "nothing to do",
                lambda: project.modify(WorkspaceSettings()) or "nothing to do",
                project.deregister,
            )
            most.append(active(project))
            refused = {answer for answer in answers if isinstance(answer, str)} - {"nothing to do"}
            assert refused <= {"wrong_status", "busy", "not_closable"}, answers
            until(lambda: not active(project), 30)
            assert project.status() in (Status.REGISTERED, Status.CLOSED)
            consistent(project)
    assert all(len(kinds) <= 1 for kinds in most), most
    assert project.one("select count(*) from jobs where kind ~ '^workspace' and state <> 'succeeded'") == 0


@pytest.mark.parametrize("what", ["registration", "change"])
def test_a_job_that_is_just_being_retried_as_a_job_is_seen_by_a_deregistration(
    project: Project, what: str
) -> None:
    if what == "registration":
        job_id = project.register(UNKNOWN)
    else:
        registered(project)
        job_id = project.modify(UNKNOWN) or 0
    settled(project)
    assert project.job(job_id).state is JobState.FAILED
    answers: list[Any] = []
    with project.db.transaction() as conn:
        recovery.retry(conn, project.tenant_id, job_id, actor="other")
        ending = threading.Thread(target=lambda: answers.extend(at_once(project.deregister)))
        ending.start()
        ending.join(0.5)
        assert ending.is_alive() and answers == [], "it waits for what is not decided yet"
    ending.join(20)
    assert answers == ["not_closable" if what == "change" else "wrong_status"]
    assert active(project) == ["registration" if what == "registration" else "modification"]
    assert project.job(job_id).superseded_by is None


def test_a_job_that_is_retried_while_a_deregistration_is_being_taken_is_superseded(project: Project) -> None:
    job_id = project.register(UNKNOWN)
    settled(project)
    answers: list[Any] = []

    def retry() -> Any:
        project.db.run(lambda conn: recovery.retry(conn, project.tenant_id, job_id, actor="other"))
        return "retried"

    with project.db.transaction() as conn:
        ending = service.deregister(
            conn, project.tenant_id, actor="tester", belongings=project.house.belongings
        )
        again = threading.Thread(target=lambda: answers.extend(at_once(retry)))
        again.start()
        again.join(0.5)
        assert again.is_alive() and answers == []
    again.join(20)
    assert answers == ["superseded"] and project.job(job_id).superseded_by == ending
    assert active(project) == ["deregistration"] and settled(project) is Status.CLOSED
    consistent(project)

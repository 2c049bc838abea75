"""What engine tests share: kinds made of plain functions, a worker in a thread, waiting by condition."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from redrive.database import Database
from redrive.engine import jobs
from redrive.engine.kinds import Done, Kind, Outcome, RetryPolicy, Work
from redrive.engine.model import Job, JobState, NewJob, NewUnit
from redrive.engine.worker import Worker

TENANT = 7
QUICK = RetryPolicy(max_tries=3, first_delay_seconds=0.01, longest_delay_seconds=0.05)


def done(work: Work) -> Outcome:
    return Done({"unit": str(work.unit_id)})


def kind(run: Callable[[Work], Outcome] = done, name: str = "test.kind", **more: Any) -> Kind:
    return Kind(name=name, title="a test", run=run, retry=more.pop("retry", QUICK), **more)


def submit(db: Database, units: int | list[NewUnit] = 1, **more: Any) -> int:
    made = [NewUnit({"n": n}) for n in range(units)] if isinstance(units, int) else units
    new = NewJob(
        **{"kind": "test.kind", "tenant_id": TENANT, "spec": {}, "actor": "tester", "units": made, **more}
    )
    return db.run(lambda conn: jobs.submit(conn, new))


def job(db: Database, job_id: int) -> Job:
    return db.run(lambda conn: jobs.get(conn, TENANT, job_id))


def until(condition: Callable[[], Any], seconds: float = 15.0) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError("the condition did not come true in time")


def ended(db: Database, job_id: int, seconds: float = 15.0) -> Job:
    final = {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}
    until(lambda: job(db, job_id).state in final, seconds)
    return job(db, job_id)


@contextlib.contextmanager
def working(db: Database, *kinds: Kind, **more: Any) -> Iterator[Worker]:
    worker = Worker(db, kinds, **more)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(20)
        assert not thread.is_alive()


def hurry(db: Database) -> None:
    """Let nothing wait any longer for its time."""
    db.run(lambda conn: conn.execute("update units set ready_at = now() where ready_at > now()"))


def check_counts(db: Database) -> None:
    """The counters of every job equal what its units say."""
    rows = db.run(
        lambda conn: conn.execute(
            """
            select j.id, j.total_units, j.done_units, j.failed_units, j.skipped_units, j.live_units, j.open_units,
                   j.state, count(u.id) as n, count(*) filter (where u.state = 'done') as done,
                   count(*) filter (where u.state = 'failed') as failed,
                   count(*) filter (where u.state = 'skipped') as skipped,
                   count(*) filter (where u.state in ('running', 'unknown')) as live,
                   count(*) filter (where u.phase = j.phase
                                    and u.state in ('waiting', 'running', 'unknown')) as open,
                   count(*) filter (where u.ready_at is not null
                                    and u.state in ('waiting', 'running', 'unknown')) as ready, j.lanes
            from jobs j left join units u on u.job_id = j.id group by j.id
            """
        ).fetchall()
    )
    for row in rows:
        counted = (row.n, row.done, row.failed, row.skipped, row.live, row.open)
        kept = (
            row.total_units,
            row.done_units,
            row.failed_units,
            row.skipped_units,
            row.live_units,
            row.open_units,
        )
        assert counted == kept, row
        assert row.ready <= row.lanes, row
        assert row.open_units > 0 or row.state in ("succeeded", "failed", "cancelled"), row

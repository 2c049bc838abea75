"""Random histories: whatever is submitted, claimed, settled, lapsed, paused, cancelled, resumed and retried in
whatever order, counters stay true, attempts never overlap, stale outcomes change nothing, and everything can
be brought to an end."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redrive.database import Database
from redrive.engine import claiming, maintenance, recovery
from redrive.engine.kinds import Work
from redrive.engine.model import NewUnit, UnitState
from redrive.engine.settling import Settlement, settle
from redrive.errors import Problem
from tests.engine.scene import TENANT, check_counts, hurry, submit

FAILURE = {"code": "x", "detail": "y", "class": "permanent", "fingerprint": "f"}
KINDS = ["test.kind"]

number = st.integers(0, 50)
operations = st.one_of(
    st.tuples(
        st.just("submit"),
        st.lists(st.integers(1, 3), min_size=1, max_size=6),
        st.integers(1, 3),
        st.booleans(),
    ),
    st.tuples(st.just("claim"), st.integers(1, 5)),
    st.tuples(
        st.just("settle"), number, st.sampled_from(["done", "failed", "again", "split", "done", "done"])
    ),
    st.tuples(st.just("lapse"), st.booleans()),
    st.tuples(st.just("stale"), number),
    st.tuples(st.sampled_from(["pause", "cancel", "resume", "retry"]), number),
)


class History:
    """One database and what a client of the engine would know of it."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.jobs: list[int] = []
        self.held: list[Work] = []
        self.lost: list[Work] = []
        with db.transaction() as conn:
            conn.execute("truncate jobs, units, attempts, events, vendor_ids cascade")

    def apply(self, operation: tuple[Any, ...]) -> None:
        getattr(self, operation[0])(*operation[1:])

    def submit(self, phases: list[int], lanes: int, capped: bool) -> None:
        more = {"subject": "s", "subject_cap": 2} if capped else {}
        self.jobs.append(submit(self.db, [NewUnit({}, phase=phase) for phase in phases], lanes=lanes, **more))

    def claim(self, count: int) -> None:
        self.held += claiming.claim(self.db, 1, KINDS, count, 60)

    def settle(self, which: int, how: str) -> None:
        if not self.held:
            return
        work = self.held.pop(which % len(self.held))
        assert settle(self.db, [self._outcome(work, how)]) == {(work.unit_id, work.claim)}
        self.lost.append(work)

    def _outcome(self, work: Work, how: str) -> Settlement:
        base = (work.unit_id, work.job_id, work.claim, work.attempt)
        match how:
            case "failed":
                return Settlement(*base, UnitState.FAILED, failure=FAILURE)
            case "again":
                return Settlement(*base, UnitState.WAITING, cursor={"at": work.claim})
            case "split" if work.claim < 3:
                parts = [NewUnit({}, phase=work.phase)] * 2
                return Settlement(*base, UnitState.SKIPPED, added=parts, phase=work.phase)
            case _:
                return Settlement(*base, UnitState.DONE)

    def lapse(self, probed: bool) -> None:
        with self.db.transaction() as conn:
            conn.execute(
                "update units set lease_until = clock_timestamp() - interval '1 s' where state = 'running'"
            )
        maintenance.put_back_lapsed(self.db, KINDS, KINDS if probed else [], 0)
        self.lost += self.held
        self.held = []

    def stale(self, which: int) -> None:
        if self.lost:
            work = self.lost[which % len(self.lost)]
            assert settle(self.db, [self._outcome(work, "done")]) == set()

    def _verb(self, verb: Any, which: int) -> None:
        if self.jobs:
            with contextlib.suppress(Problem):
                job_id = self.jobs[which % len(self.jobs)]
                self.db.run(lambda conn: verb(conn, TENANT, job_id, actor="tester"))

    def pause(self, which: int) -> None:
        self._verb(recovery.pause, which)

    def cancel(self, which: int) -> None:
        self._verb(recovery.cancel, which)

    def resume(self, which: int) -> None:
        self._verb(recovery.resume, which)

    def retry(self, which: int) -> None:
        self._verb(recovery.retry, which)

    def check(self) -> None:
        check_counts(self.db)
        with self.db.transaction() as conn:
            overlapping = conn.execute(
                "select job_id from attempts where ended_at is null group by job_id having count(*) > 1"
            ).fetchall()
            open_without_job = conn.execute(
                "select a.job_id from attempts a join jobs j on j.id = a.job_id where (a.ended_at is null)"
                " and (a.number <> j.attempt or j.state in ('succeeded', 'failed', 'cancelled'))"
            ).fetchall()
            gaps = conn.execute(
                "select job_id from attempts group by job_id having max(number) <> count(*)"
            ).fetchall()
            active = conn.execute(
                "select count(*) as n from jobs where capped and not held and state in ('queued', 'running')"
            ).fetchone()
        assert (overlapping, open_without_job, gaps) == ([], [], [])
        assert active.n <= 2

    def finish(self) -> None:
        """Bring everything to an end: nothing may be stuck."""
        for work in list(self.held):
            self.settle(0, "done")
            del work
        for _ in range(300):
            for job_id in self.jobs:
                with contextlib.suppress(Problem):
                    self.db.run(partial(recovery.resume, tenant_id=TENANT, job_id=job_id, actor="tester"))
            maintenance.admit_held(self.db)
            hurry(self.db)
            self.claim(50)
            if not self.held:
                break
            while self.held:
                self.settle(0, "done")
        with self.db.transaction() as conn:
            stuck = conn.execute(
                "select id, state, held, wanted, live_units, open_units, phase from jobs"
                " where state not in ('succeeded', 'failed', 'cancelled')"
            ).fetchall()
        assert stuck == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(operations, min_size=5, max_size=30))
def test_every_history_keeps_its_promises(db: Database, steps: list[tuple[Any, ...]]) -> None:
    history = History(db)
    for step in steps:
        history.apply(step)
        history.check()
    history.finish()
    history.check()

"""The verbs: retry, resume, pause, cancel, rerun. For one job, a list, or a filter; each set-based.

========  ==================  =================================================
verb      from                gives
========  ==================  =================================================
retry     failed, cancelled   a new attempt of the same job, done units kept
resume    paused              the same attempt goes on
rerun     any ended job       a new job from the same spec, linked
pause     queued, running     a flag, then the state
cancel    queued, running,    a flag, then the state
          paused
========  ==================  =================================================

A list answers per job and never raises for one; what is refused has a reason from a closed list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from psycopg import Connection

from redrive.database import Queries
from redrive.engine import jobs
from redrive.engine.admission import admit
from redrive.engine.kinds import Kind
from redrive.engine.model import ENDED, JobState, NewJob, NewUnit
from redrive.engine.settling import queries as settling_queries
from redrive.engine.settling import stop_where_wanted
from redrive.errors import Problem, ProblemCode

queries = Queries.beside(__file__, "recovery.sql")

RETRYABLE = (JobState.FAILED, JobState.CANCELLED)


class Refusal(StrEnum):
    """Why a verb is refused. Closed: every reason that there is."""

    NOT_FOUND = "not_found"
    STILL_QUEUED = "still_queued"
    STILL_RUNNING = "still_running"
    IS_PAUSED = "is_paused"
    NOT_PAUSED = "not_paused"
    STOPPING = "stopping"
    HAS_SUCCEEDED = "has_succeeded"
    HAS_ENDED = "has_ended"
    NOT_ENDED = "not_ended"
    ONE_ONLY = "one_only"
    SUPERSEDED = "superseded"
    ASK_ANEW = "ask_anew"


#: The same as a sentence, with the way out.
SENTENCES: dict[Refusal, str] = {
    Refusal.NOT_FOUND: "There is no such job.",
    Refusal.STILL_QUEUED: "The job has not failed: it is queued and will run by itself.",
    Refusal.STILL_RUNNING: "The job has not failed: its present attempt is still running.",
    Refusal.IS_PAUSED: "The job is paused: resume it instead.",
    Refusal.NOT_PAUSED: "Only a paused job can be resumed.",
    Refusal.STOPPING: "The job is about to stop: wait until it has.",
    Refusal.HAS_SUCCEEDED: "The job has succeeded: there is nothing to retry; rerun makes a new job.",
    Refusal.HAS_ENDED: "The job has ended: there is nothing left to pause or cancel.",
    Refusal.NOT_ENDED: "The job has not ended: only an ended job can be rerun.",
    Refusal.ONE_ONLY: "There is one job of this kind for each organization: retry it instead.",
    Refusal.SUPERSEDED: "Another job has taken the place of this one: look there.",
    Refusal.ASK_ANEW: "A job of this kind is not rerun: ask for the work anew by its service's own call.",
}

_RETRY_REFUSED = {
    JobState.QUEUED: Refusal.STILL_QUEUED,
    JobState.RUNNING: Refusal.STILL_RUNNING,
    JobState.PAUSED: Refusal.IS_PAUSED,
    JobState.SUCCEEDED: Refusal.HAS_SUCCEEDED,
}


class Standing(Protocol):
    """Where a job stands: all that decides whether it can be retried."""

    @property
    def state(self) -> JobState:
        """Its state."""

    @property
    def wanted(self) -> str | None:
        """Whether it is asked to pause or to end."""

    @property
    def superseded_by(self) -> int | None:
        """The job that has taken its place."""


def why_not_retry(job: Standing) -> Refusal | None:
    """Return why a job cannot be retried, None where it can."""
    if job.wanted is not None:
        return Refusal.STOPPING
    if job.state in RETRYABLE and job.superseded_by is not None:
        return Refusal.SUPERSEDED
    return _RETRY_REFUSED.get(job.state)


def refuse(refusal: Refusal, job_id: int) -> Problem:
    """Return the problem that says why not."""
    code = ProblemCode.NOT_FOUND if refusal is Refusal.NOT_FOUND else ProblemCode.CONFLICT
    return Problem(code, f"job {job_id}: {SENTENCES[refusal]}", reason=refusal.value)


@dataclass(frozen=True, slots=True)
class RetryFilter:
    """Which failed or cancelled jobs to retry; None means any. ``ids`` and the rest narrow each other."""

    ids: Sequence[int] | None = None
    states: Sequence[JobState] = RETRYABLE
    kinds: Sequence[str] | None = None
    subject: str | None = None
    fingerprint: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None

    def parameters(self, tenant_id: int) -> dict[str, Any]:
        """Return the parameters of the filter's SQL."""
        return {
            "tenant_id": tenant_id,
            "ids": list(self.ids) if self.ids is not None else None,
            "states": [state.value for state in self.states],
            "kinds": list(self.kinds) if self.kinds is not None else None,
            "subject": self.subject,
            "fingerprint": self.fingerprint,
            "created_from": self.created_from,
            "created_to": self.created_to,
        }


def count_retryable(conn: Connection[Any], tenant_id: int, wanted: RetryFilter) -> int:
    """Return how many jobs the filter means now, without changing anything."""
    row = conn.execute(queries.count_retryable, wanted.parameters(tenant_id)).fetchone()
    return int(row.n) if row is not None else 0


def retry_many(
    conn: Connection[Any],
    tenant_id: int,
    wanted: RetryFilter,
    *,
    actor: str,
    reason: str = "",
    run_at: datetime | None = None,
) -> tuple[int, set[int]]:
    """Start a new attempt of every job that the filter means; return how many, and which of ``ids``.

    One set-based statement in the caller's transaction: all or nothing, done units kept. Repeating it finds
    the jobs queued and changes nothing.
    """
    if wanted.ids is None:
        # A filter may mean a million jobs: sort and join them in memory.
        conn.execute("set local work_mem = '256MB'")
    row = conn.execute(
        queries.retry,
        {**wanted.parameters(tenant_id), "actor": actor, "reason": reason, "run_at": run_at},
    ).fetchone()
    if row is None or row.retried == 0:
        return 0, set()
    if row.capped:
        admit(conn, tenant_id)
    conn.execute(jobs.queries.wake)
    return row.retried, set(row.ids or ())


def retry_each(
    conn: Connection[Any], tenant_id: int, job_ids: Sequence[int], *, actor: str, reason: str = ""
) -> dict[int, Refusal | None]:
    """Retry a list of jobs; return for each None (a new attempt) or why not. Never raises for one."""
    _, retried = retry_many(conn, tenant_id, RetryFilter(ids=job_ids), actor=actor, reason=reason)
    left = [job_id for job_id in job_ids if job_id not in retried]
    states = _states(conn, tenant_id, left)
    if moved := [job_id for job_id, job in states.items() if not why_not_retry(job)]:
        # They failed anew while this call waited for them: what the caller asks for is still meant.
        _, more = retry_many(conn, tenant_id, RetryFilter(ids=moved), actor=actor, reason=reason)
        retried |= more
    answers: dict[int, Refusal | None] = {}
    for job_id in job_ids:
        if job_id in retried:
            answers[job_id] = None
        elif job_id not in states:
            answers[job_id] = Refusal.NOT_FOUND
        else:
            answers[job_id] = why_not_retry(states[job_id]) or Refusal.STOPPING
    return answers


def retry(conn: Connection[Any], tenant_id: int, job_id: int, *, actor: str, reason: str = "") -> None:
    """Retry one job; a Problem with the reason where it cannot be."""
    refusal = retry_each(conn, tenant_id, [job_id], actor=actor, reason=reason)[job_id]
    if refusal is not None:
        raise refuse(refusal, job_id)


def redo_changed(conn: Connection[Any], tenant_id: int, kinds: Iterable[Kind], *, actor: str) -> None:
    """Let done units whose input has changed be done again, of the jobs that this transaction retried.

    Call it after a retry, in its transaction. Such a unit finds what it had done in ``Work.former``.
    """
    changing = {kind.name: kind.changed for kind in kinds if kind.changed is not None}
    if not changing:
        return
    named = {"tenant_id": tenant_id, "kinds": list(changing)}
    for row in conn.execute(queries.just_retried, named).fetchall():
        job = jobs.get(conn, tenant_id, row.id)
        find = changing[job.kind]
        unit_ids = list(find(conn, job)) if find is not None else []
        if not unit_ids:
            continue
        again = {"job_id": job.id, "unit_ids": unit_ids, "actor": actor}
        if conn.execute(queries.redo, again).fetchone() is not None:
            conn.execute(settling_queries.release, {"job_ids": [job.id], "counts": [job.lanes]})


def supersede(conn: Connection[Any], tenant_id: int, job_ids: Sequence[int], by: int) -> None:
    """Say that another job has taken the place of these: they cannot be retried any more. Safe to repeat."""
    conn.execute(queries.supersede, {"tenant_id": tenant_id, "ids": list(job_ids), "by": by})


@dataclass(frozen=True, slots=True)
class _Standing:
    state: JobState
    wanted: str | None
    superseded_by: int | None


def _states(conn: Connection[Any], tenant_id: int, job_ids: Sequence[int]) -> dict[int, _Standing]:
    if not job_ids:
        return {}
    rows = conn.execute(queries.states_of, {"tenant_id": tenant_id, "ids": list(job_ids)}).fetchall()
    return {row.id: _Standing(JobState(row.state), row.wanted, row.superseded_by) for row in rows}


def _parameters(tenant_id: int, job_ids: Sequence[int], actor: str, reason: str) -> dict[str, Any]:
    return {"tenant_id": tenant_id, "ids": list(job_ids), "actor": actor, "reason": reason}


def pause(conn: Connection[Any], tenant_id: int, job_id: int, *, actor: str, reason: str = "") -> None:
    """Ask a job to pause: running units reach their next commit point first. Safe to repeat."""
    _want(conn, tenant_id, job_id, "pause", actor=actor, reason=reason)


def cancel(conn: Connection[Any], tenant_id: int, job_id: int, *, actor: str, reason: str = "") -> None:
    """Ask a job to end as cancelled: running units reach their next commit point first. Safe to repeat."""
    _want(conn, tenant_id, job_id, "cancel", actor=actor, reason=reason)


def _want(
    conn: Connection[Any], tenant_id: int, job_id: int, wanted: str, *, actor: str, reason: str
) -> None:
    parameters = {**_parameters(tenant_id, [job_id], actor, reason), "wanted": wanted}
    if conn.execute(queries.want, parameters).fetchall():
        stop_where_wanted(conn, [job_id])
        return
    if wanted == "cancel" and conn.execute(queries.cancel_paused, parameters).fetchall():
        return
    states = _states(conn, tenant_id, [job_id])
    if job_id not in states:
        raise refuse(Refusal.NOT_FOUND, job_id)
    job = states[job_id]
    satisfied = {"pause": JobState.PAUSED, "cancel": JobState.CANCELLED}[wanted]
    if job.state is satisfied or job.wanted == wanted:
        return
    raise refuse(Refusal.STOPPING if job.wanted is not None else Refusal.HAS_ENDED, job_id)


def resume(conn: Connection[Any], tenant_id: int, job_id: int, *, actor: str, reason: str = "") -> None:
    """Let a paused job go on, in the same attempt."""
    rows = conn.execute(queries.resume, _parameters(tenant_id, [job_id], actor, reason)).fetchall()
    if not rows:
        states = _states(conn, tenant_id, [job_id])
        raise refuse(Refusal.NOT_PAUSED if job_id in states else Refusal.NOT_FOUND, job_id)
    if rows[0].capped:
        admit(conn, tenant_id)
    else:
        conn.execute(settling_queries.release, {"job_ids": [job_id], "counts": [rows[0].lanes]})
    conn.execute(jobs.queries.wake)


def rerun(
    conn: Connection[Any],
    tenant_id: int,
    job_id: int,
    *,
    actor: str,
    reason: str = "",
    spec: Mapping[str, Any] | None = None,
    kind: Kind | None = None,
) -> int:
    """Submit a new job from an ended job's spec (or ``spec``), linked by its origin; return its id.

    Nothing is kept: units that a plan computed are planned anew. ``kind`` is that of the job, where it may have
    a say.
    """
    job = jobs.get(conn, tenant_id, job_id)
    if kind is not None and kind.endless:
        raise refuse(Refusal.ONE_ONLY, job_id)
    if kind is not None and not kind.reruns:
        raise refuse(Refusal.ASK_ANEW, job_id)
    if job.state not in ENDED:
        raise refuse(Refusal.NOT_ENDED, job_id)
    rows = conn.execute(queries.units_as_submitted, {"job_id": job_id}).fetchall()
    (caps,) = conn.execute(queries.subject_cap, {"job_id": job_id}).fetchall()
    new = NewJob(
        kind=job.kind,
        tenant_id=tenant_id,
        spec=spec if spec is not None else job.spec,
        actor=actor,
        units=tuple(NewUnit(row.spec, row.phase, row.label) for row in rows),
        subject=job.subject,
        subject_cap=caps.subject_cap,
        lanes=job.lanes,
        priority=job.priority,
        origin_id=job_id,
    )
    made = jobs.submit_many(conn, [new], cause="rerun", reason=reason)[0]
    if kind is not None and kind.adopt is not None:
        kind.adopt(conn, made)
    return made

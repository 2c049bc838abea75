"""``/v1/jobs``: list, look, and the verbs.

Every query is bound to the caller's tenant; an id that is another tenant's, or none at all, is simply not found.
What the caller may do is said by job kind; who may look at none is refused before an id is looked up. Reading never
changes anything. A verb, its place in the history and the answer kept for its
``Idempotency-Key`` are one transaction.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any

import psycopg
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from redrive.database import Database
from redrive.engine import jobs, recovery
from redrive.engine.jobs import JobFilter
from redrive.engine.kinds import Kind
from redrive.engine.model import Job, JobState
from redrive.engine.progress import pace
from redrive.engine.recovery import Refusal, RetryFilter
from redrive.engine.verification import verify
from redrive.errors import Problem, ProblemCode
from redrive.identity.access import Principal, Verb, require_admin, require_jobs, require_open
from redrive.services.workspaces.model import KINDS as WORKSPACE_KINDS
from redrive.wire.native.auth import SECURITY, Caller
from redrive.wire.native.idempotency import Once, OneRequest
from redrive.wire.native.problems import PROBLEM_RESPONSES, NativeRoute
from redrive.wire.native.shapes import (
    AttemptList,
    CheckBody,
    EventPage,
    EventsQuery,
    FilterBody,
    JobBody,
    JobDetail,
    JobPage,
    JobsQuery,
    RetryAnswer,
    RetryBody,
    RetryResult,
    UnitPage,
    UnitsQuery,
    VerbBody,
    VerificationBody,
    attempt_body,
    event_body,
    job_body,
    job_detail,
    unit_body,
    why_not,
)

router = APIRouter(
    prefix="/v1/jobs",
    route_class=NativeRoute,
    responses=PROBLEM_RESPONSES,
    dependencies=SECURITY,
    tags=["jobs"],
)

_ID = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
#: A verb may come without a body.
NO_REASON = VerbBody()
_LARGEST_ID = (1 << 63) - 1

#: So many verifications run at a time in one process; each keeps a thread of the API, and they read a lot.
VERIFICATIONS = 4
_VERIFYING = threading.BoundedSemaphore(VERIFICATIONS)

Connection = psycopg.Connection[Any]

#: What lets a job run again.
_GOING_ON = (Verb.RETRY, Verb.RESUME, Verb.RERUN)


def _as_number(text: str) -> int | None:
    """Return an id as a number, None where no job can have it."""
    number = int(text) if _ID.fullmatch(text) else 0
    return number if 0 < number <= _LARGEST_ID else None


def _job_number(text: str) -> int:
    number = _as_number(text)
    if number is None:
        raise Problem(ProblemCode.NOT_FOUND, f"there is no job {text[:40]}", reason=Refusal.NOT_FOUND)
    return number


def _place(text: str) -> int:
    """Return where a page begins; its form was checked."""
    return min(int(text), _LARGEST_ID)


def _db(request: Request) -> Database:
    db: Database = request.app.state.parts.db
    return db


def covered_kinds(
    conn: Connection, caller: Principal, verb: Verb, asked: Sequence[str] | None
) -> Sequence[str] | None:
    """Return the kinds with whose jobs the caller may do ``verb``, of those asked for; None: all."""
    scope = require_jobs(caller, verb)
    if scope.every and (caller.open or verb is Verb.LIST):
        return asked
    kinds = asked if asked is not None else jobs.kinds_in_use(conn, caller.tenant_id)
    return [kind for kind in kinds if scope.covers(kind) and (verb is Verb.LIST or _runs(caller, kind))]


def _runs(caller: Principal, kind: str) -> bool:
    """Return whether jobs of a kind may go on: those of a workspace always, others where it is open."""
    return caller.open or kind in WORKSPACE_KINDS


def _job(conn: Connection, caller: Principal, verb: Verb, job_id: str) -> Job:
    """Return a job to which the caller may do ``verb``."""
    require_jobs(caller, verb)
    job = jobs.get(conn, caller.tenant_id, _job_number(job_id))
    require_jobs(caller, verb, job.kind)
    if verb in _GOING_ON and not _runs(caller, job.kind):
        require_open(caller)
    return job


# -- looking


@router.get("")
def list_jobs(request: Request, caller: Caller, wanted: Annotated[JobsQuery, Query()]) -> JobPage:
    """List jobs, newest first."""

    def read(conn: Connection) -> list[Job]:
        asked = JobFilter(
            kinds=covered_kinds(conn, caller, Verb.LIST, wanted.kind),
            states=wanted.state,
            subject=wanted.subject,
            fingerprint=wanted.fingerprint,
            before=None if wanted.before is None else _place(wanted.before),
            limit=wanted.limit + 1,
        )
        return jobs.listing(conn, caller.tenant_id, asked)

    found = _db(request).run(read)
    page = found[: wanted.limit]
    more = len(found) > len(page)
    return JobPage(jobs=[job_body(job) for job in page], next=str(page[-1].id) if more else None)


@router.get("/{job_id}")
def get_job(request: Request, caller: Caller, job_id: str) -> JobDetail:
    """Show a job: its state, its progress, why it failed, whether it can be retried."""

    def read(conn: Connection) -> JobDetail:
        job = _job(conn, caller, Verb.GET, job_id)
        return job_detail(job, pace(conn, job))

    return _db(request).run(read)


@router.get("/{job_id}/attempts")
def list_attempts(request: Request, caller: Caller, job_id: str) -> AttemptList:
    """List all attempts of a job, first to last."""

    def read(conn: Connection) -> AttemptList:
        job = _job(conn, caller, Verb.GET, job_id)
        return AttemptList(attempts=[attempt_body(attempt) for attempt in jobs.attempts(conn, job)])

    return _db(request).run(read)


@router.get("/{job_id}/units")
def list_units(
    request: Request, caller: Caller, job_id: str, wanted: Annotated[UnitsQuery, Query()]
) -> UnitPage:
    """List the units of a job in order of phase and id."""
    after = (-1, 0) if wanted.after is None else _unit_place(wanted.after)

    def read(conn: Connection) -> UnitPage:
        job = _job(conn, caller, Verb.GET, job_id)
        found = jobs.units(conn, job, after=after, states=wanted.state, limit=wanted.limit + 1)
        page = found[: wanted.limit]
        more = len(found) > len(page)
        return UnitPage(
            units=[unit_body(unit) for unit in page],
            next=f"{page[-1].phase}-{page[-1].id}" if more else None,
        )

    return _db(request).run(read)


def _unit_place(text: str) -> tuple[int, int]:
    phase, _, unit = text.partition("-")
    return int(phase), _place(unit)


@router.get("/{job_id}/events")
def list_events(
    request: Request, caller: Caller, job_id: str, wanted: Annotated[EventsQuery, Query()]
) -> EventPage:
    """List what happened to a job, oldest first."""
    after = 0 if wanted.after is None else _place(wanted.after)

    def read(conn: Connection) -> EventPage:
        job = _job(conn, caller, Verb.GET, job_id)
        found = jobs.events(conn, job, after=after, limit=wanted.limit + 1)
        page = found[: wanted.limit]
        more = len(found) > len(page)
        return EventPage(
            events=[event_body(event) for event in page], next=str(page[-1].id) if more else None
        )

    return _db(request).run(read)


@router.get("/{job_id}/verify")
def verify_job(request: Request, caller: Caller, job_id: str) -> VerificationBody:
    """Check a job's ledger against its target. Changes nothing; may take long, so only a few run at a time."""
    _db(request).run(lambda conn: _job(conn, caller, Verb.GET, job_id))
    if not _VERIFYING.acquire(blocking=False):
        raise Problem(
            ProblemCode.TOO_MANY,
            f"{VERIFICATIONS} jobs are being verified",
            hint="ask again when one is done",
        )
    try:
        return _verified(request, caller, job_id)
    finally:
        _VERIFYING.release()


def _verified(request: Request, caller: Principal, job_id: str) -> VerificationBody:
    proof = verify(_db(request), request.app.state.kinds, caller.tenant_id, _job_number(job_id))
    return VerificationBody(
        job_id=str(proof.job.id),
        kind=proof.job.kind,
        state=proof.job.state,
        ok=proof.ok,
        target_checked=proof.target_checked,
        checks=[CheckBody(name=check.name, ok=check.ok, detail=check.detail) for check in proof.checks],
        totals=dict(proof.totals),
        findings=dict(proof.findings),
    )


# -- the verbs for one


def _once(
    once: OneRequest, caller: Principal, verb: Verb, job_id: str, act: Callable[[Connection, Job], object]
) -> Response:
    require_jobs(caller, verb)

    def work(conn: Connection) -> tuple[int, JobBody]:
        job = _job(conn, caller, verb, job_id)
        act(conn, job)
        return 200, job_body(jobs.get(conn, caller.tenant_id, job.id))

    return once.answer(work)


@router.post("/{job_id}/retry", response_model=JobBody)
def retry_job(
    request: Request, caller: Caller, once: Once, job_id: str, body: VerbBody = NO_REASON
) -> Response:
    """Start a new attempt of a failed or cancelled job; done units are kept unless their input has changed."""

    def retry(conn: Connection, job: Job) -> None:
        recovery.retry(conn, caller.tenant_id, job.id, actor=caller.actor, reason=body.reason)
        _redo_changed(request, conn, caller)

    return _once(once, caller, Verb.RETRY, job_id, retry)


def _redo_changed(request: Request, conn: Connection, caller: Principal) -> None:
    kinds: dict[str, Kind] = request.app.state.kinds
    recovery.redo_changed(conn, caller.tenant_id, kinds.values(), actor=caller.actor)


@router.post("/{job_id}/pause", response_model=JobBody)
def pause_job(
    request: Request, caller: Caller, once: Once, job_id: str, body: VerbBody = NO_REASON
) -> Response:
    """Ask a job to pause; ``wanted`` says so until its running units have reached a commit point."""

    def pause(conn: Connection, job: Job) -> None:
        _protect_upkeep(request, caller, job)
        recovery.pause(conn, caller.tenant_id, job.id, actor=caller.actor, reason=body.reason)

    return _once(once, caller, Verb.PAUSE, job_id, pause)


@router.post("/{job_id}/resume", response_model=JobBody)
def resume_job(caller: Caller, once: Once, job_id: str, body: VerbBody = NO_REASON) -> Response:
    """Let a paused job go on, in the same attempt."""
    who = {"actor": caller.actor, "reason": body.reason}
    return _once(
        once,
        caller,
        Verb.RESUME,
        job_id,
        lambda conn, job: recovery.resume(conn, caller.tenant_id, job.id, **who),
    )


@router.post("/{job_id}/cancel", response_model=JobBody)
def cancel_job(
    request: Request, caller: Caller, once: Once, job_id: str, body: VerbBody = NO_REASON
) -> Response:
    """Ask a job to end as cancelled; ``wanted`` says so until its running units have reached a commit point."""

    def cancel(conn: Connection, job: Job) -> None:
        _protect_upkeep(request, caller, job)
        recovery.cancel(conn, caller.tenant_id, job.id, actor=caller.actor, reason=body.reason)

    return _once(once, caller, Verb.CANCEL, job_id, cancel)


def _protect_upkeep(request: Request, caller: Principal, job: Job) -> None:
    """Only an administrator stops what the organization lives on, such as the job that moves its samples."""
    kind = _kind_of(request, job)
    if kind is not None and kind.endless:
        require_admin(caller)


def _kind_of(request: Request, job: Job) -> Kind | None:
    kinds: dict[str, Kind] = request.app.state.kinds
    return kinds.get(job.kind)


@router.post("/{job_id}/rerun", response_model=JobBody, status_code=201)
def rerun_job(
    request: Request, caller: Caller, once: Once, job_id: str, body: VerbBody = NO_REASON
) -> Response:
    """Submit a new job with the spec of an ended one; the answer is the new job, its ``origin_id`` the old one."""
    require_jobs(caller, Verb.RERUN)

    def work(conn: Connection) -> tuple[int, JobBody]:
        job = _job(conn, caller, Verb.RERUN, job_id)
        kind = _kind_of(request, job)
        made = recovery.rerun(
            conn, caller.tenant_id, job.id, actor=caller.actor, reason=body.reason, kind=kind
        )
        jobs.log_event(conn, job.id, "rerun", caller.actor, {"job": str(made), "reason": body.reason})
        return 201, job_body(jobs.get(conn, caller.tenant_id, made))

    return once.answer(work)


# -- the verbs for many


@router.post("/retry", response_model=RetryAnswer)
def retry_jobs(request: Request, caller: Caller, once: Once, body: RetryBody) -> Response:
    """Retry a list of jobs, or all that a filter means.

    A list answers for each id and is never refused for one of them. A filter is one operation, all or nothing;
    by default it means failed jobs only, not cancelled ones.
    """
    require_jobs(caller, Verb.RETRY)
    if body.ids is not None:
        ids = body.ids
        return once.answer(lambda conn: (200, _retry_listed(request, conn, caller, ids, body)))
    wanted = _retry_filter(body.filter or FilterBody())
    return once.answer(lambda conn: (200, _retry_filtered(request, conn, caller, wanted, body)))


def _retry_filter(asked: FilterBody) -> RetryFilter:
    return RetryFilter(
        states=[JobState(state) for state in asked.states],
        kinds=[asked.kind] if asked.kind is not None else None,
        subject=asked.subject,
        fingerprint=asked.fingerprint,
        created_from=asked.created_from,
        created_to=asked.created_to,
    )


def _retry_filtered(
    request: Request, conn: Connection, caller: Principal, wanted: RetryFilter, body: RetryBody
) -> RetryAnswer:
    wanted = replace(wanted, kinds=covered_kinds(conn, caller, Verb.RETRY, wanted.kinds))
    if body.dry_run:
        count = recovery.count_retryable(conn, caller.tenant_id, wanted)
    else:
        count, _ = recovery.retry_many(conn, caller.tenant_id, wanted, actor=caller.actor, reason=body.reason)
        _redo_changed(request, conn, caller)
    return RetryAnswer(count=count, dry_run=body.dry_run, results=None)


def _retry_listed(
    request: Request, conn: Connection, caller: Principal, ids: Sequence[str], body: RetryBody
) -> RetryAnswer:
    numbers = {text: number for text in ids if (number := _as_number(text)) is not None}
    known = _covered(conn, caller, list(numbers.values()))
    if body.dry_run:
        found = jobs.by_ids(conn, caller.tenant_id, known)
        answers = {number: _refusal(found.get(number)) for number in known}
    else:
        answers = recovery.retry_each(conn, caller.tenant_id, known, actor=caller.actor, reason=body.reason)
        _redo_changed(request, conn, caller)
    results = []
    for text in dict.fromkeys(ids):
        refusal = answers.get(numbers.get(text, 0), Refusal.NOT_FOUND)
        results.append(RetryResult(id=text, retried=refusal is None, why_not=why_not(refusal)))
    count = sum(result.retried for result in results)
    return RetryAnswer(count=count, dry_run=body.dry_run, results=results)


def _covered(conn: Connection, caller: Principal, numbers: list[int]) -> list[int]:
    """Return those of the jobs that the caller may retry; another's kind is as if it did not exist."""
    scope = require_jobs(caller, Verb.RETRY)
    if scope.every and caller.open:
        return numbers
    found = jobs.by_ids(conn, caller.tenant_id, numbers)
    covered = {n for n, job in found.items() if scope.covers(job.kind) and _runs(caller, job.kind)}
    return [number for number in numbers if number in covered]


def _refusal(job: Job | None) -> Refusal | None:
    return Refusal.NOT_FOUND if job is None else recovery.why_not_retry(job)

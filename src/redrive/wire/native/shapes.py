"""What the native API says about jobs: pydantic models, and pure functions from the engine's values to them.

Ids are strings (they do not fit a JavaScript number), instants RFC 3339 in UTC. A request with a field that is
not known is refused: a misspelt filter must not mean all jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from redrive.engine.model import Attempt, Event, Job, JobState, Unit, UnitState
from redrive.engine.progress import Pace
from redrive.engine.recovery import SENTENCES, Refusal, why_not_retry
from redrive.errors import FailureClass

PAGE_LIMIT = 500
IDS_LIMIT = 10_000

#: PostgreSQL has no text with the character NUL.
NO_NUL = r"^[^\x00]*$"
Word = Annotated[str, Field(min_length=1, max_length=200, pattern=NO_NUL)]
Subject = Annotated[str, Field(min_length=1, max_length=1000, pattern=NO_NUL)]
#: Where a page begins: behind an id, or behind a phase and an id.
Place = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,18}$")]
UnitPlace = Annotated[str, Field(pattern=r"^[0-9]{1,5}-[1-9][0-9]{0,18}$")]
Reason = Annotated[str, Field(max_length=1000, pattern=NO_NUL, description="kept in the job's history")]
Limit = Annotated[int, Field(ge=1, le=PAGE_LIMIT)]


class _Asked(BaseModel):
    """What callers send."""

    model_config = ConfigDict(extra="forbid")


# -- what callers send


class JobsQuery(_Asked):
    """Which jobs to list, newest first."""

    kind: list[Word] | None = Field(default=None, description="repeatable")
    state: list[JobState] | None = Field(default=None, description="repeatable")
    subject: Subject | None = None
    fingerprint: Word | None = Field(default=None, description="of the failure; see /v1/failures")
    before: Place | None = Field(default=None, description="`next` of the page before")
    limit: Limit = 50


class UnitsQuery(_Asked):
    """Which units to list, in order of phase and id."""

    state: list[UnitState] | None = Field(default=None, description="repeatable")
    after: UnitPlace | None = Field(default=None, description="`next` of the page before")
    limit: Limit = 50


class EventsQuery(_Asked):
    """Which events to list, oldest first."""

    after: Place | None = Field(default=None, description="`next` of the page before")
    limit: Limit = 50


class FailuresQuery(_Asked):
    """Which failures to list, the one with most jobs first."""

    kind: Word | None = None
    limit: Limit = 50


class VerbBody(_Asked):
    """Why a person does this."""

    reason: Reason = ""


class FilterBody(_Asked):
    """Which jobs to retry; what is left out means any. Together they narrow each other."""

    states: list[Literal["failed", "cancelled"]] = Field(default=["failed"], min_length=1, max_length=2)
    kind: Word | None = None
    subject: Subject | None = None
    fingerprint: Word | None = None
    created_from: AwareDatetime | None = Field(default=None, description="inclusive")
    created_to: AwareDatetime | None = Field(default=None, description="exclusive")


class RetryBody(_Asked):
    """What to retry: either ``ids`` or ``filter``. ``dry_run`` changes nothing."""

    ids: list[Word] | None = Field(default=None, max_length=IDS_LIMIT)
    filter: FilterBody | None = None
    dry_run: bool = False
    reason: Reason = ""

    @model_validator(mode="after")
    def _one_of_both(self) -> RetryBody:
        if (self.ids is None) == (self.filter is None):
            raise PydanticCustomError("one_of_both", "either ids or filter")
        return self


class FailpointsBody(_Asked):
    """The failpoints to arm, by name; all others are disarmed."""

    failpoints: dict[Word, Word] = Field(examples=[{"engine.unit.before": "error:1"}], max_length=100)


# -- what they get


class FailureBody(BaseModel):
    """Why a job, an attempt or a unit failed."""

    model_config = ConfigDict(serialize_by_alias=True)

    code: str
    detail: str
    hint: str = Field(description="what the operator can do")
    failure_class: FailureClass = Field(serialization_alias="class")
    target: str = Field(description="what the work was done to")
    fingerprint: str = Field(description="the same for failures with the same cause")


class WhyNot(BaseModel):
    """Why a job cannot be retried."""

    reason: Refusal
    sentence: str


class Progress(BaseModel):
    """Units counted. The rate is that of the latest units; null where nobody can tell."""

    total: int
    done: int
    failed: int
    skipped: int
    running: int
    units_per_second: float | None = None
    seconds_left: float | None = None


class JobBody(BaseModel):
    """A job. ``wanted``: a pause or cancellation that waits for the running units' next commit point."""

    id: str
    kind: str
    subject: str | None
    state: JobState
    wanted: Literal["pause", "cancel"] | None
    held: bool = Field(description="waits until a cap on active jobs leaves room")
    attempt: int
    phase: int
    lanes: int
    priority: int
    progress: Progress
    units_redone: int = Field(description="in the present attempt")
    failure: FailureBody | None
    retryable: bool
    why_not: WhyNot | None
    origin_id: str | None = Field(description="the job that this one is a rerun of")
    superseded_by: str | None = Field(
        description="the job that has taken the place of this one; it is not retried"
    )
    actor: str
    run_at: datetime
    created_at: datetime
    started_at: datetime | None = Field(description="of the present attempt")
    ended_at: datetime | None


class JobDetail(JobBody):
    """A job with what was asked."""

    spec: dict[str, Any]


class JobPage(BaseModel):
    """Jobs, newest first. ``next`` is the ``before`` of the next page, null on the last one."""

    jobs: list[JobBody]
    next: str | None


class AttemptBody(BaseModel):
    """One try of a job. The counts are filled in when it ends."""

    number: int
    id: str
    cause: str
    actor: str
    reason: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    outcome: str | None
    failure: FailureBody | None
    units_done: int
    units_redone: int
    units_failed: int


class AttemptList(BaseModel):
    """All attempts of a job, first to last."""

    attempts: list[AttemptBody]


class UnitBody(BaseModel):
    """A unit: the smallest piece that is committed or redone as a whole. ``ledger`` is the proof of its work."""

    id: str
    phase: int
    label: str
    state: UnitState
    attempt: int
    claim: int
    tries: int
    spec: dict[str, Any]
    cursor: dict[str, Any] | None
    ledger: dict[str, Any] | None
    failure: FailureBody | None
    ready_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None


class UnitPage(BaseModel):
    """Units in order of phase and id. ``next`` is the ``after`` of the next page."""

    units: list[UnitBody]
    next: str | None


class EventBody(BaseModel):
    """Something that happened to a job."""

    id: str
    at: datetime
    attempt: int
    name: str
    actor: str
    data: dict[str, Any] | None


class EventPage(BaseModel):
    """Events, oldest first. ``next`` is the ``after`` of the next page."""

    events: list[EventBody]
    next: str | None


class RetryResult(BaseModel):
    """What became of one id: a new attempt, or why not."""

    id: str
    retried: bool
    why_not: WhyNot | None


class RetryAnswer(BaseModel):
    """``count`` jobs were put back (with ``dry_run``: would be). ``results`` only for a list of ids."""

    count: int
    dry_run: bool
    results: list[RetryResult] | None


class CauseBody(BaseModel):
    """Failed jobs with one cause. ``sample`` is the failure of the newest one."""

    fingerprint: str
    kind: str
    jobs: int
    sample: FailureBody
    first_seen: datetime
    last_seen: datetime
    examples: list[str] = Field(description="the newest jobs, five at most")


class CauseList(BaseModel):
    """Causes, the one with most jobs first."""

    failures: list[CauseBody]
    more: bool = Field(description="there are more causes than `limit`")


class CheckBody(BaseModel):
    """One thing that was compared."""

    name: str
    ok: bool
    detail: str


class VerificationBody(BaseModel):
    """The verdict on a job. ``totals`` sums up the ledgers of its done units."""

    job_id: str
    kind: str
    state: JobState
    ok: bool
    target_checked: bool = Field(description="the kind looked at the target itself")
    checks: list[CheckBody]
    totals: dict[str, float | int]
    findings: dict[str, Any]


# -- from the engine's values


def failure_or_none(stored: Mapping[str, Any] | None) -> FailureBody | None:
    """Return a stored failure where there is one."""
    return None if stored is None else failure_body(stored)


def failure_body(stored: Mapping[str, Any]) -> FailureBody:
    """Return a stored failure."""
    return FailureBody(
        code=stored.get("code", ""),
        detail=stored.get("detail", ""),
        hint=stored.get("hint", ""),
        failure_class=stored.get("class", FailureClass.UNCLASSIFIED),
        target=stored.get("target", ""),
        fingerprint=stored.get("fingerprint", ""),
    )


def why_not(refusal: Refusal | None) -> WhyNot | None:
    """Return a refusal as a word and a sentence."""
    return None if refusal is None else WhyNot(reason=refusal, sentence=SENTENCES[refusal])


def _job_fields(job: Job, pace: Pace) -> dict[str, Any]:
    refusal = why_not_retry(job)
    return {
        "id": str(job.id),
        "kind": job.kind,
        "subject": job.subject,
        "state": job.state,
        "wanted": job.wanted,
        "held": job.held,
        "attempt": job.attempt,
        "phase": job.phase,
        "lanes": job.lanes,
        "priority": job.priority,
        "progress": Progress(
            total=job.total_units,
            done=job.done_units,
            failed=job.failed_units,
            skipped=job.skipped_units,
            running=job.live_units,
            units_per_second=pace.units_per_second,
            seconds_left=pace.seconds_left,
        ),
        "units_redone": job.attempt_redone,
        "failure": failure_or_none(job.failure),
        "retryable": refusal is None,
        "why_not": why_not(refusal),
        "origin_id": None if job.origin_id is None else str(job.origin_id),
        "superseded_by": None if job.superseded_by is None else str(job.superseded_by),
        "actor": job.actor,
        "run_at": job.run_at,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "ended_at": job.ended_at,
    }


def job_body(job: Job) -> JobBody:
    """Return a job as it stands in a list, and as the answer of a verb."""
    return JobBody(**_job_fields(job, Pace()))


def job_detail(job: Job, pace: Pace) -> JobDetail:
    """Return a job with its spec and its pace."""
    return JobDetail(**_job_fields(job, pace), spec=dict(job.spec))


def attempt_body(attempt: Attempt) -> AttemptBody:
    """Return an attempt."""
    return AttemptBody(
        number=attempt.number,
        id=str(attempt.id),
        cause=attempt.cause,
        actor=attempt.actor,
        reason=attempt.reason,
        created_at=attempt.created_at,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        outcome=attempt.outcome,
        failure=failure_or_none(attempt.failure),
        units_done=attempt.units_done,
        units_redone=attempt.units_redone,
        units_failed=attempt.units_failed,
    )


def unit_body(unit: Unit) -> UnitBody:
    """Return a unit."""
    return UnitBody(
        id=str(unit.id),
        phase=unit.phase,
        label=unit.label,
        state=unit.state,
        attempt=unit.attempt,
        claim=unit.claim,
        tries=unit.tries,
        spec=dict(unit.spec),
        cursor=None if unit.cursor is None else dict(unit.cursor),
        ledger=None if unit.ledger is None else dict(unit.ledger),
        failure=failure_or_none(unit.failure),
        ready_at=unit.ready_at,
        started_at=unit.started_at,
        ended_at=unit.ended_at,
    )


def event_body(event: Event) -> EventBody:
    """Return an event."""
    return EventBody(
        id=str(event.id),
        at=event.at,
        attempt=event.attempt,
        name=event.name,
        actor=event.actor,
        data=None if event.data is None else dict(event.data),
    )

"""Jobs, units, attempts: the words of the engine, as frozen values.

::

    job (what is asked) ──< attempt (one try, numbered)
     └──< unit (the smallest piece that is committed or redone as a whole)

    job:   queued ─► running ─► succeeded | failed | cancelled        retry: failed, cancelled ─► queued
              └───────┴──► paused ─► queued (resume)                   rerun: a new job, linked
    unit:  waiting ─► running ─► done | failed | skipped
                        ├─► waiting   (a transient failure, a lapsed lease, a pause, or it goes on later)
                        └─► unknown ─► (probe) ─► done | waiting

What is guaranteed:

* A unit is claimed with a lease on the database's clock and a claim number that only grows. Every write of
  a running unit names (attempt, claim); a stale one changes nothing.
* A worker that vanishes loses its leases; its units run elsewhere. Where a kind has a ``probe``, such a unit
  is *unknown* until the target has been looked at, and the attempt cannot end before.
* Units of phase n+1 can be claimed when all of phase n are done. At most ``lanes`` units of a job are ready
  or running at once. Independent units go on after one failed; then the attempt fails.
* Pause and cancel are flags first (``wanted``); running units reach their next commit point.
* Attempts and events are never overwritten or deleted by a retry.
* A job that was superseded by another (its service says so) is history: it is never retried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

Json = Mapping[str, Any]


class JobState(StrEnum):
    """Where a job stands. Waiting is ``queued`` with a ``run_at``."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


class UnitState(StrEnum):
    """Where a unit stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class NewUnit:
    """A unit to insert. ``phase`` counts from 1; phase 0 is the plan's. ``label`` names it for people."""

    spec: Json = field(default_factory=dict)
    phase: int = 1
    label: str = ""


#: The unit that computes the others where a kind's plan is not fixed.
PLAN_UNIT = NewUnit({}, phase=0, label="plan")


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to submit. ``units`` are inserted with it; without any, the kind's plan computes them first.

    ``subject`` names what is worked on; at most ``subject_cap`` of a subject's jobs are active at once.
    """

    kind: str
    tenant_id: int
    spec: Json
    actor: str
    units: Sequence[NewUnit] = (PLAN_UNIT,)
    subject: str | None = None
    subject_cap: int | None = None
    lanes: int = 4
    priority: int = 0
    run_at: datetime | None = None
    origin_id: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A job as stored; counts are of units."""

    id: int
    tenant_id: int
    kind: str
    subject: str | None
    spec: Json
    priority: int
    lanes: int
    state: JobState
    wanted: str | None
    held: bool
    attempt: int
    phase: int
    total_units: int
    live_units: int
    done_units: int
    skipped_units: int
    failed_units: int
    attempt_done: int
    attempt_redone: int
    failure: Json | None
    fingerprint: str | None
    origin_id: int | None
    superseded_by: int | None
    actor: str
    run_at: datetime
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as stored."""

    id: int
    job_id: int
    phase: int
    label: str
    spec: Json
    state: UnitState
    attempt: int
    claim: int
    tries: int
    ready_at: datetime | None
    cursor: Json | None
    ledger: Json | None
    failure: Json | None
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a job; ``started_at`` and the counts of the present attempt are filled in when it ends."""

    job_id: int
    number: int
    id: str
    cause: str
    actor: str
    reason: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    outcome: str | None
    failure: Json | None
    units_done: int
    units_redone: int
    units_failed: int


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job; kept for good."""

    id: int
    job_id: int
    at: datetime
    attempt: int
    name: str
    actor: str
    data: Json | None

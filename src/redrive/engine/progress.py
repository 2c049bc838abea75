"""How far a job is, how fast it goes, and how long it will take.

The rate is that of the units that were let out last, counted until now: it follows a change of speed, it falls
while nothing ends, and a pause is forgotten after 30 s. Without a plan, before the first unit ended, or while
nothing runs there is no rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from redrive.database import Queries
from redrive.engine.model import Job, JobState

queries = Queries.beside(__file__, "progress.sql")

#: A rate is taken from as many units.
_SAMPLE = 200
#: What ended longer ago does not count where this much ended lately.
_LATELY_SECONDS = 30.0
_ENOUGH = 5
_SHORTEST_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class Pace:
    """Units per second and the seconds that the rest takes at that rate; None: nobody can tell."""

    units_per_second: float | None = None
    seconds_left: float | None = None


def units_left(job: Job) -> int:
    """Return how many units are neither done nor skipped nor failed."""
    return job.total_units - job.done_units - job.skipped_units - job.failed_units


def pace(conn: Connection[Any], job: Job) -> Pace:
    """Return how fast a running job goes."""
    if job.state is not JobState.RUNNING or job.phase == 0 or job.started_at is None:
        return Pace()
    row = conn.execute(
        queries.recent_units,
        {"job_id": job.id, "phase": job.phase, "since": job.started_at, "sample": _SAMPLE},
    ).fetchone()
    if row is None or row.ended == 0 or row.seconds is None:
        return Pace()
    if row.seconds > _LATELY_SECONDS and row.lately >= _ENOUGH:
        rate = row.lately / _LATELY_SECONDS
    else:
        rate = row.ended / max(row.seconds, _SHORTEST_SECONDS)
    return Pace(rate, units_left(job) / rate)

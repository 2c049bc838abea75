"""Proof: does the target hold what a job's ledger says?

Two parts. The engine checks its own record: the counters of the job against its units, a ledger for every done
unit, attempts that follow each other. Then the kind looks at its target (``Kind.verify``); where a kind has no
such function, the answer says that the target was not looked at.

``Kind.verify`` returns a mapping. ``verified`` in it is its verdict and ``checks``, where it has any, a list of
``{name, ok, detail}``; the rest is passed on as ``findings``. Nothing is changed by a verification.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from psycopg import Connection

from redrive.database import Database, Queries
from redrive.engine import jobs
from redrive.engine.kinds import Kind
from redrive.engine.model import Job, JobState, Json

queries = Queries.beside(__file__, "verification.sql")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was compared, and how it came out."""

    name: str
    ok: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Verification:
    """The verdict on a job. ``target_checked``: the kind looked at the target itself."""

    job: Job
    ok: bool
    target_checked: bool
    checks: tuple[Check, ...]
    totals: Json
    findings: Json


def verify(db: Database, kinds: Mapping[str, Kind], tenant_id: int, job_id: int) -> Verification:
    """Check a job's record and, through its kind, its target. Reads only; may take long on a large target."""

    def read(conn: Connection[Any]) -> tuple[Job, list[Check], dict[str, int | float]]:
        job = jobs.get(conn, tenant_id, job_id)
        return job, _record_checks(conn, job), _totals(conn, job)

    job, checks, totals = db.run(read)
    kind = kinds.get(job.kind)
    look = kind.verify if kind is not None else None
    findings = dict(look(db, job.id)) if look is not None else {}
    target_checks = [
        Check(str(item.get("name", "")), bool(item.get("ok")), str(item.get("detail", "")))
        for item in findings.pop("checks", ())
    ]
    verdict = bool(findings.pop("verified", True))
    checks = [*checks, *target_checks]
    return Verification(
        job=job,
        ok=verdict and all(check.ok for check in checks),
        target_checked=look is not None,
        checks=tuple(checks),
        totals=totals,
        findings=findings,
    )


def _record_checks(conn: Connection[Any], job: Job) -> list[Check]:
    [units] = conn.execute(queries.units_counted, {"job_id": job.id}).fetchall()
    [attempts] = conn.execute(queries.gaps_in_attempts, {"job_id": job.id}).fetchall()
    counted = (units.total, units.done, units.failed, units.skipped, units.live)
    kept = (job.total_units, job.done_units, job.failed_units, job.skipped_units, job.live_units)
    ended_well = job.state is JobState.SUCCEEDED
    return [
        Check("the job has succeeded", ended_well, f"it is {job.state}"),
        Check(
            "the counters agree with the units",
            counted == kept,
            "total {}, done {}, failed {}, skipped {}, running {}".format(*counted)
            + ("" if counted == kept else ", but the job says {}, {}, {}, {}, {}".format(*kept)),
        ),
        Check(
            "every done unit has a ledger",
            units.without_ledger == 0,
            f"{units.done - units.without_ledger} of {units.done}",
        ),
        Check("attempts follow each other", attempts.gaps == 0, f"{job.attempt} in all"),
    ]


def _totals(conn: Connection[Any], job: Job) -> dict[str, int | float]:
    rows = conn.execute(queries.ledger_totals, {"job_id": job.id}).fetchall()
    return {row.name: _number(row.total) for row in rows}


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)

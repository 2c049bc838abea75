"""One unit, from claim to settlement: probe where needed, run, and turn what happened into data."""

from __future__ import annotations

import psycopg
import structlog

from redrive.database import is_outage, is_retryable
from redrive.engine import failpoints, failures
from redrive.engine.claiming import LeaseLostError
from redrive.engine.jobs import dump
from redrive.engine.kinds import Again, Done, Kind, Outcome, Planned, Replaced, Stopped, Work
from redrive.engine.model import UnitState
from redrive.engine.settling import Settlement
from redrive.errors import Failure, FailureClass

log = structlog.get_logger(__name__)


def execute(kind: Kind, work: Work) -> Settlement | None:
    """Run one claimed unit and return its settlement, None where the claim was lost on the way."""
    try:
        if work.probing:
            found = _probe(kind, work)
            if found is not None:
                settlement = _settlement(work, found, redone=False)
                check_storable(settlement)
                return settlement
            work.probing = False
        if work.lapses >= kind.retry.max_lapses:
            raise failures.of_lapses(work.lapses)
        if work.stop_requested():
            return give_back(work)
        failpoints.hit("engine.unit.before")
        result = kind.run(work)
        failpoints.hit("engine.unit.after")
        settlement = _settlement(work, result, redone=work.lapsed)
        check_storable(settlement)
    except LeaseLostError as lost:
        log.warning("unit.lease_lost", unit=work.unit_id, job=work.job_id, detail=str(lost))
        return None
    except BaseException as error:  # a panic of an extension module is no Exception
        return _failed(kind, work, _explained(work, error))
    return settlement


def check_storable(settlement: Settlement) -> None:
    """Refuse what the database would refuse, here where it fails one unit and not a whole batch."""
    texts = [dump(value) for value in (settlement.ledger, settlement.cursor) if value]
    texts += [dump([unit.spec, unit.label]) for unit in settlement.added]
    if any("\\u0000" in text for text in texts):
        raise ValueError("a NUL character in an outcome")


def refused(kind: Kind, work: Work) -> Settlement:
    """Return the settlement of a unit whose outcome the database refused."""
    return _failed(kind, work, failures.of_bug(ValueError("an outcome that cannot be stored")))


def _explained(work: Work, error: BaseException) -> Failure:
    """Return what went wrong as a failure; what is neither that nor an outage is a bug and is logged."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, psycopg.Error) and (is_outage(error) or is_retryable(error)):
        return failures.of_outage()
    log.exception("unit.bug", unit=work.unit_id, job=work.job_id, kind=work.kind)
    return failures.of_bug(error)


def _probe(kind: Kind, work: Work) -> Done | None:
    failpoints.hit("engine.probe.before")
    if kind.probe is None:
        return None
    return kind.probe(work)


def give_back(work: Work) -> Settlement:
    """Return the settlement of a unit that did not run: as it was, at once, with its lapses."""
    state = UnitState.UNKNOWN if work.probing else UnitState.WAITING
    return Settlement(work.unit_id, work.job_id, work.claim, work.attempt, state, tries=work.tries, ran=False)


def _settlement(work: Work, outcome: Outcome, *, redone: bool) -> Settlement:
    base = (work.unit_id, work.job_id, work.claim, work.attempt)
    match outcome:
        case Done(ledger):
            return Settlement(*base, UnitState.DONE, ledger=ledger, redone=redone)
        case Planned(units, ledger):
            return Settlement(
                *base, UnitState.DONE, ledger=ledger, redone=redone, added=units, phase=work.phase
            )
        case Replaced(units, ledger):
            return Settlement(
                *base, UnitState.SKIPPED, ledger=ledger, redone=redone, added=units, phase=work.phase
            )
        case Again(cursor, after_seconds, progress):
            tries = 0 if progress else work.tries
            return Settlement(
                *base,
                UnitState.WAITING,
                delay_seconds=after_seconds,
                tries=tries,
                cursor=cursor,
                redone=redone,
            )
        case Stopped(cursor):
            return Settlement(*base, UnitState.WAITING, tries=work.tries, cursor=cursor, redone=redone)


def _worth_a_note(tries: int) -> bool:
    """Return whether a try is told in the job's history: what goes on for days is told ever more rarely."""
    return tries <= 10 or tries & (tries - 1) == 0


def _failed(kind: Kind, work: Work, failure: Failure) -> Settlement:
    data = failures.as_data(kind.name, work.phase, failure)
    base = (work.unit_id, work.job_id, work.claim, work.attempt)
    tries = work.tries + 1
    if work.probing:
        # What is unknown stays unknown until the target could be looked at; no budget ends that.
        note = ("probe_failed", {"try": tries, "failure": data})
        delay = kind.retry.delay_seconds(tries)
        return Settlement(*base, UnitState.UNKNOWN, delay_seconds=delay, tries=tries, failure=data, note=note)
    if kind.endless or (failure.kind is FailureClass.TRANSIENT and tries < kind.retry.max_tries):
        delay = kind.retry.delay_seconds(tries)
        of = None if kind.endless else kind.retry.max_tries
        again = {"try": tries, "of": of, "again_in_seconds": round(delay, 3), "failure": data}
        return Settlement(
            *base,
            UnitState.WAITING,
            delay_seconds=delay,
            tries=tries,
            failure=data,
            redone=work.lapsed,
            note=("unit_will_retry", again) if _worth_a_note(tries) else None,
        )
    return Settlement(*base, UnitState.FAILED, tries=tries, failure=data, redone=work.lapsed)

"""What a job kind is: a name, functions and limits. No base class, no registration: one visible list.

``run(work)`` does one unit and returns an outcome; it raises :class:`~redrive.errors.Failure` when the unit
ended badly. It must be safe to run again from the start after a crash, or the kind has a ``probe`` that
looks at the target first.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg import Connection

from redrive.database import Database
from redrive.engine.model import Job, Json, NewUnit


@dataclass(frozen=True, slots=True)
class Done:
    """The unit's effect is committed. ``ledger`` (counts, checksums) is kept as proof."""

    ledger: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Planned:
    """The plan unit computed these units; they are inserted with its outcome or not at all."""

    units: Sequence[NewUnit]
    ledger: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Replaced:
    """The unit had no effect and gives way to these, in its own phase."""

    units: Sequence[NewUnit]
    ledger: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Again:
    """Continuous work: go on from ``cursor`` after ``after_seconds``. Progress restarts the tries."""

    cursor: Json
    after_seconds: float = 0.0
    progress: bool = True


@dataclass(frozen=True, slots=True)
class Stopped:
    """The unit reached a commit point and stopped because pause, cancel or shutdown is wanted."""

    cursor: Json | None = None


Outcome = Done | Planned | Replaced | Again | Stopped


@dataclass(slots=True)
class Work:
    """One claimed unit in the hands of a runner. (attempt, claim) fence everything that it writes.

    ``lapses``: so many claims of this unit vanished in a row; what the last one did may be there in part.
    """

    db: Database
    job_id: int
    tenant_id: int
    kind: str
    spec: Json
    unit_id: int
    phase: int
    label: str
    unit_spec: Json
    attempt: int
    claim: int
    tries: int
    cursor: Json | None
    lapses: int = 0
    probing: bool = False
    _stop: threading.Event = field(default_factory=threading.Event)

    @property
    def lapsed(self) -> bool:
        """Whether the last claim of this unit vanished."""
        return self.lapses > 0

    @property
    def former(self) -> Json | None:
        """What a unit that is done again had recorded before; None where it was never done."""
        return (self.cursor or {}).get("former")

    def stop_requested(self) -> bool:
        """Return whether the unit should stop at its next commit point (or has lost its lease)."""
        return self._stop.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep, but not longer than until a stop is requested; return whether it was."""
        return self._stop.wait(seconds)

    def request_stop(self) -> None:
        """Ask the runner to stop at its next commit point; safe to repeat."""
        self._stop.set()


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Automatic tries of a unit within one attempt, with exponential back-off and jitter.

    ``max_lapses``: a unit whose worker vanishes so many times in a row is taken to kill its worker, and fails.
    """

    max_tries: int = 5
    max_lapses: int = 20
    first_delay_seconds: float = 0.5
    longest_delay_seconds: float = 30.0

    def delay_seconds(self, tries: int) -> float:
        """Return how long to wait after try number ``tries`` (from 1) failed."""
        # What is tried for ever has its thousandth try some day: two to the power of that is no number.
        ceiling = min(self.longest_delay_seconds, self.first_delay_seconds * 2.0 ** min(tries - 1, 60))
        return ceiling * random.uniform(0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Kind:
    """A job kind. ``name`` is written by hand and stored; renaming code never orphans jobs.

    ``probe(work)`` is called for a unit whose worker vanished: it must first make sure that the vanished
    claim can do nothing more, then say ``Done`` where its effect is there, None where it is not.
    ``verify(db, job)`` checks the ledger of an ended job against the target and returns findings.
    ``adopt(conn, job)`` is called in the transaction that makes a rerun, to give it rows of its own like those of
    its origin. ``changed(conn, job)`` is called in the transaction of a retry and names the done units whose input is
    no longer what they were done with: they are done again, and find in ``Work.former`` what they had done.
    ``endless``: a tenant has one job of the kind, which runs for as long as there is work: whatever
    fails is tried again until it is mended, only an administrator stops it, and there is no rerun.
    ``reruns`` False: another job of the kind is asked for by its service's own call only.
    """

    name: str
    title: str
    run: Callable[[Work], Outcome]
    probe: Callable[[Work], Done | None] | None = None
    retry: RetryPolicy = RetryPolicy()
    verify: Callable[[Database, int], Json] | None = None
    adopt: Callable[[Connection[Any], int], None] | None = None
    changed: Callable[[Connection[Any], Job], Sequence[int]] | None = None
    endless: bool = False
    reruns: bool = True

"""The worker: claims units, runs them in threads, settles their outcomes in sets.

::

    claim loop ──► queue ──► runner threads ──► outcomes ──► settler thread
        ▲  woken by LISTEN/NOTIFY, polling only as a fallback     │ one transaction a batch
        └── heartbeat thread (leases), maintenance thread (lapsed leases, held jobs)

How much is claimed ahead follows how long units take: quick units by the hundred, slow ones a thread each.
What waited here too long goes back to the queue, so that a slow unit never holds others.

A worker that lost the database waits for it and goes on; units whose lease was lost meanwhile are left to
whoever has them now.
"""

from __future__ import annotations

import itertools
import os
import queue
import socket
import threading
import time
from collections.abc import Sequence

import psycopg
import structlog

from redrive.database import Database, is_outage
from redrive.engine import claiming, failpoints, maintenance
from redrive.engine.execution import execute, give_back, refused
from redrive.engine.kinds import Kind, Work
from redrive.engine.settling import Hold, Settlement, settle
from redrive.errors import Failure
from redrive.ids import new_id

log = structlog.get_logger(__name__)

POLL_SECONDS = 1.0
MAINTENANCE_SECONDS = 1.0
#: Held jobs are admitted when a job ends; this is for crashes and for jobs whose time comes.
ADMIT_EVERY_ROUNDS = 3
CLAIM_AHEAD_SECONDS = 0.1
CLAIM_LIMIT = 500
SETTLE_LIMIT = 500
HELD_BACK_SECONDS = 1.0
DATABASE_RETRY_SECONDS = 0.5


class Worker:
    """One worker of this process. ``run()`` blocks until ``stop()``; both are safe to call once.

    ``threads`` units run at a time. ``lease_seconds`` is only changed by tests.
    """

    def __init__(
        self,
        db: Database,
        kinds: Sequence[Kind],
        *,
        threads: int = 4,
        lease_seconds: float = claiming.LEASE_SECONDS,
        allow_failpoints: bool = False,
    ) -> None:
        self._db = db
        self._kinds = {kind.name: kind for kind in kinds}
        self._probed = [kind.name for kind in kinds if kind.probe is not None]
        self._threads = threads
        self._lease_seconds = lease_seconds
        self._allow_failpoints = allow_failpoints
        self._id = new_id()
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._todo: queue.SimpleQueue[tuple[float, Work] | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[Settlement | None] = queue.SimpleQueue()
        self._held: dict[int, Work] = {}
        self._started: set[int] = set()
        self._lock = threading.Lock()
        self._seconds_per_unit = 1.0

    def run(self) -> None:
        """Work until ``stop()``; then let running units reach a commit point, settle, and return."""
        self._register()
        runners = [threading.Thread(target=self._run_units, name=f"runner-{i}") for i in range(self._threads)]
        settler = threading.Thread(target=self._settle_outcomes, name="settler")
        helpers = [
            threading.Thread(target=self._listen, name="listener", daemon=True),
            threading.Thread(target=self._beat, name="heartbeat", daemon=True),
            threading.Thread(target=self._maintain, name="maintenance", daemon=True),
        ]
        for thread in [*runners, settler, *helpers]:
            thread.start()
        self._claim_units()
        for _ in runners:
            self._todo.put(None)
        for thread in runners:
            thread.join()
        self._outcomes.put(None)
        settler.join()
        self._deregister()

    def stop(self) -> None:
        """Ask for the end: no more claims, running units stop at their next commit point."""
        self._stopping.set()
        self._wake.set()
        with self._lock:
            held = list(self._held.values())
        for work in held:
            work.request_stop()

    # -- claim loop

    def _claim_units(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            wanted = self._room()
            if wanted <= 0:
                self._wake.wait(0.002 if self._seconds_per_unit < 0.01 else 0.05)
                continue
            try:
                claimed = claiming.claim(self._db, self._id, list(self._kinds), wanted, self._lease_seconds)
                pause = 0.0 if claimed else self._idle_seconds()
            except Exception as error:
                self._note(error, "claim")
                claimed, pause = [], DATABASE_RETRY_SECONDS
            self._take(claimed)
            if pause:
                self._wake.wait(pause)

    def _room(self) -> int:
        ahead = int(self._threads * CLAIM_AHEAD_SECONDS / max(self._seconds_per_unit, 1e-6))
        target = max(self._threads, min(CLAIM_LIMIT, ahead))
        free = target - len(self._held)
        # Many small claims cost more than a few large ones: wait until half the room is free.
        return free if free >= max(1, target // 2) or len(self._held) < self._threads else 0

    def _idle_seconds(self) -> float:
        soon = claiming.seconds_until_next(self._db, list(self._kinds))
        return POLL_SECONDS if soon is None else min(POLL_SECONDS, max(soon, 0.001))

    def _take(self, claimed: Sequence[Work]) -> None:
        if not claimed:
            return
        with self._lock:
            self._held.update((work.unit_id, work) for work in claimed)
        failpoints_hit("engine.claimed")
        now = time.monotonic()
        for work in claimed:
            self._todo.put((now, work))

    # -- runners

    def _run_units(self) -> None:
        while (item := self._todo.get()) is not None:
            taken, work = item
            begun = time.monotonic()
            if self._stopping.is_set() or begun - taken > HELD_BACK_SECONDS:
                self._outcomes.put(give_back(work))
                continue
            try:
                settlement = self._execute(work)
            except BaseException:
                # Even its failure cannot be told: its lease runs out, and the thread lives.
                log.exception("worker.fault", unit=work.unit_id, job=work.job_id)
                settlement = None
            took = time.monotonic() - begun
            self._seconds_per_unit += (took - self._seconds_per_unit) * 0.1
            if settlement is None:
                self._forget([(work.unit_id, work.claim)])
            else:
                self._outcomes.put(settlement)

    def _execute(self, work: Work) -> Settlement | None:
        try:
            return execute(self._kinds[work.kind], work)
        except BaseException:
            # A fault in the engine itself: the unit fails, the thread lives.
            log.exception("worker.fault", unit=work.unit_id, job=work.job_id)
            return refused(self._kinds[work.kind], work)

    def _forget(self, holds: Sequence[Hold]) -> None:
        """Drop what is held by these claims; the claim loop may have taken the same units again meanwhile."""
        with self._lock:
            for unit_id, claim in holds:
                if (work := self._held.get(unit_id)) is not None and work.claim == claim:
                    del self._held[unit_id]

    # -- settler

    def _settle_outcomes(self) -> None:
        ended = False
        while not ended:
            batch: list[Settlement] = []
            item = self._outcomes.get()
            while True:
                if item is None:
                    ended = True
                    break
                batch.append(item)
                if len(batch) >= SETTLE_LIMIT or self._outcomes.empty():
                    break
                item = self._outcomes.get()
            if batch:
                self._settle(batch)

    def _settle(self, batch: Sequence[Settlement]) -> None:
        ours: set[Hold] = set()
        try:
            ours = self._settle_patiently(batch)
        except Exception:
            log.exception("settle.refused", units=len(batch))
            if len(batch) > 1:
                for item in batch:
                    self._settle([item])
                return
            self._settle_refused(batch[0])
        for item in batch:
            if item.hold not in ours:
                log.warning("settle.stale", unit=item.unit_id, job=item.job_id, claim=item.claim)
        self._forget([item.hold for item in batch])
        self._wake.set()

    def _settle_patiently(self, batch: Sequence[Settlement]) -> set[Hold]:
        """Settle; wait for a database that is away, as long as a claim could still be ours."""
        give_up = time.monotonic() + 10 * self._lease_seconds
        while True:
            try:
                return settle(self._db, batch)
            except (psycopg.OperationalError, Failure) as error:
                log.warning("settle.again", error=str(error), units=len(batch))
                if time.monotonic() > give_up:
                    return set()
                time.sleep(DATABASE_RETRY_SECONDS)

    def _settle_refused(self, item: Settlement) -> None:
        """Fail the unit whose outcome the database refused; where even that fails, its lease runs out."""
        with self._lock:
            work = self._held.get(item.unit_id)
        if work is None or work.claim != item.claim:
            return
        try:
            settle(self._db, [refused(self._kinds[work.kind], work)])
        except Exception:
            log.exception("settle.lost", unit=item.unit_id, job=item.job_id)

    # -- threads beside the work

    def _beat(self) -> None:
        every = self._lease_seconds / 3
        while not self._stopping.wait(every) or self._held:
            with self._lock:
                held = {work.unit_id: work for work in self._held.values()}
            try:
                self._db.run(lambda conn: conn.execute(claiming.queries.worker_seen, {"id": self._id}))
                if held:
                    self._prolong(held)
            except Exception as error:
                self._note(error, "heartbeat")
            if self._stopping.is_set():
                time.sleep(min(every, 0.2))

    def _prolong(self, held: dict[int, Work]) -> None:
        pairs = [(work.unit_id, work.claim) for work in held.values()]
        wanted = claiming.heartbeat(self._db, pairs, self._lease_seconds)
        for unit_id, work in held.items():
            # A unit that is missing was settled meanwhile or lost its lease; either way it may stop.
            if unit_id not in wanted or wanted[unit_id] is not None:
                work.request_stop()

    def _maintain(self) -> None:
        for turn in itertools.count():
            if self._stopping.wait(MAINTENANCE_SECONDS):
                return
            try:
                maintenance.put_back_lapsed(self._db, list(self._kinds), self._probed, self._lease_seconds)
                if turn % ADMIT_EVERY_ROUNDS == 0:
                    maintenance.admit_held(self._db)
            except Exception as error:
                self._note(error, "maintenance")

    def _listen(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._db.connect() as conn:
                    for channel in ("redrive_ready", "redrive_wanted", "redrive_failpoints"):
                        conn.execute(f"listen {channel}")
                    self._load_failpoints()
                    self._wake.set()
                    while not self._stopping.is_set():
                        for notice in conn.notifies(timeout=1.0):
                            self._hear(notice.channel, notice.payload)
            except Exception as error:
                self._note(error, "listen")
                self._stopping.wait(DATABASE_RETRY_SECONDS)

    def _hear(self, channel: str, payload: str) -> None:
        if channel == "redrive_ready":
            self._wake.set()
        elif channel == "redrive_failpoints":
            self._load_failpoints()
        else:
            with self._lock:
                concerned = [work for work in self._held.values() if str(work.job_id) == payload]
            for work in concerned:
                work.request_stop()

    def _note(self, error: Exception, doing: str) -> None:
        """Log why a round of a thread failed. No error ends a thread: the worker would go deaf in part."""
        if is_outage(error):
            if not self._stopping.is_set():
                log.warning("database.unreachable", doing=doing, error=str(error))
        else:
            log.error("worker.round_failed", doing=doing, exc_info=error)

    def _load_failpoints(self) -> None:
        if self._allow_failpoints:
            rows = self._db.run(lambda conn: conn.execute(claiming.queries.armed_failpoints).fetchall())
            failpoints.replace({row.name: row.action for row in rows})

    # -- the worker's own row

    def _register(self) -> None:
        row = {"id": self._id, "host": socket.gethostname(), "pid": os.getpid(), "kinds": list(self._kinds)}
        while not self._stopping.is_set():
            try:
                self._db.run(lambda conn: conn.execute(claiming.queries.register_worker, row))
                return
            except psycopg.OperationalError as error:
                log.warning("database.unreachable", error=str(error))
                self._stopping.wait(DATABASE_RETRY_SECONDS)

    def _deregister(self) -> None:
        try:
            self._db.run(lambda conn: conn.execute(claiming.queries.worker_stopped, {"id": self._id}))
        except psycopg.OperationalError as error:
            log.warning("deregister.failed", error=str(error))


def failpoints_hit(name: str) -> None:
    """Hit a failpoint in the claim loop, where an ``error`` has no unit to fail: only a kill means something."""
    try:
        failpoints.hit(name)
    except Failure as failure:
        log.warning("failpoint", name=name, detail=failure.detail)

"""The audit trail: every refusal and every change of rights. Append-only, also by triggers in the database.

A change of rights is recorded in the transaction that makes it. A refusal changes nothing, so it is recorded a
moment later, by a thread (``Refusals``): within ``FLUSH_SECONDS``, and when the process ends in peace; one that is
killed may lose that much. The same refusal again and again within that time is one row that says how often, and a
process writes at most ``MOST_AT_ONCE`` rows each time and counts the others in a row of their own: whoever sends
garbage must not be able to fill the disk. What waits for a database that is away is kept, up to ``MOST_KEPT`` rows.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import orjson
import psycopg
import structlog

from redrive.database import Database, Queries, is_outage
from redrive.identity.access import NO_TENANT, Principal

log = structlog.get_logger(__name__)
queries = Queries.beside(__file__, "audit.sql")

FLUSH_SECONDS = 0.5
MOST_AT_ONCE = 100
#: Of these, so many of callers who are not known: they must not displace what is told of those who are.
MOST_OF_STRANGERS = 5
MOST_KEPT = 10_000
PAGE_LIMIT = 1000
_LAST_ID = (1 << 63) - 1
_TEXT = 500


@dataclass(frozen=True, slots=True)
class By:
    """Who did something, and from where. ``account_id`` None: nobody known."""

    actor: str
    surface: str
    account_id: str | None = None
    tenant_id: int | None = None
    user_id: str | None = None
    access_key: str | None = None
    address: str = ""
    request_id: str = ""


def by(principal: Principal, surface: str, *, address: str = "", request_id: str = "") -> By:
    """Return a principal as the one who did something."""
    return By(
        actor=principal.actor,
        surface=surface,
        account_id=principal.account_id,
        tenant_id=principal.tenant_id if principal.tenant_id != NO_TENANT else None,
        user_id=principal.user_id,
        access_key=principal.access_key or None,
        address=address,
        request_id=request_id,
    )


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the trail."""

    id: int
    at: datetime
    account_id: str | None
    tenant_id: int | None
    actor: str
    user_id: str | None
    access_key: str | None
    surface: str
    address: str
    request_id: str
    action: str
    resource: str
    outcome: str
    reason: str
    detail: Mapping[str, Any]
    times: int


def record_change(
    conn: psycopg.Connection[Any],
    who: By,
    action: str,
    resource: str,
    *,
    reason: str = "",
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Record a change of rights; call it in the transaction that makes it."""
    conn.execute(queries.insert_audit, _row(who, action, resource, "changed", reason, detail or {}, 1))


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries to list, newest first. ``action`` may end in ``*``; ``before`` is the last id of a page."""

    outcome: str | None = None
    actor: str | None = None
    action: str | None = None
    since: datetime | None = None
    before: int | None = None
    limit: int = 50


def listing(
    conn: psycopg.Connection[Any], account_id: str, wanted: AuditFilter, *, strangers: bool = False
) -> list[Entry]:
    """Return a page of an account's trail; ``strangers``: also what callers did who are in no account."""
    rows = conn.execute(
        queries.list_audit,
        {
            "account_id": account_id,
            "strangers": strangers,
            "before": wanted.before if wanted.before is not None else _LAST_ID,
            "outcome": wanted.outcome,
            "actor": wanted.actor,
            "action": _like(wanted.action) if wanted.action is not None else None,
            "since": wanted.since,
            "limit": min(wanted.limit, PAGE_LIMIT),
        },
    ).fetchall()
    return [Entry(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal, ready to be recorded."""

    who: By
    action: str
    resource: str
    reason: str
    detail: Mapping[str, Any] = field(default_factory=dict, hash=False, compare=False)

    def same(self) -> Refusal:
        """Return what makes two refusals the same: not the request."""
        return replace(self, who=replace(self.who, request_id=""))


class Refusals:
    """Records refusals; one per process, safe to share between threads. ``close()`` it at the end."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._waiting: dict[Refusal, tuple[Refusal, int]] = {}
        self._left_out = 0
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, refusal: Refusal) -> None:
        """Record a refusal soon; never waits, never fails."""
        with self._lock:
            same = refusal.same()
            first, times = self._waiting.get(same, (refusal, 0))
            if times or self._has_room_for(refusal):
                self._waiting[same] = (first, times + 1)
            else:
                self._left_out += 1
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._write_for_ever, name="audit", daemon=True)
                self._thread.start()
        self._wake.set()

    def _has_room_for(self, refusal: Refusal) -> bool:
        if refusal.who.account_id is not None:
            return len(self._waiting) < MOST_AT_ONCE
        strangers = sum(each.who.account_id is None for each in self._waiting)
        return strangers < MOST_OF_STRANGERS and len(self._waiting) < MOST_AT_ONCE

    def flush(self) -> None:
        """Write what waits; raises where the database does not take it, and then keeps it.

        On return also what another thread was just writing is there.
        """
        with self._writing:
            self._write()

    def _write(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, {}
            left_out, self._left_out = self._left_out, 0
        rows = [
            _row(first.who, first.action, first.resource, "refused", first.reason, first.detail, times)
            for first, times in waiting.values()
        ]
        if left_out:
            rows.append(_row(By("others", "server"), "", "", "refused", "too many to list", {}, left_out))
        if not rows:
            return
        try:
            with self._db.transaction() as conn:
                for row in rows:
                    conn.execute(queries.insert_audit, row)
        except BaseException as error:
            self._keep(waiting if is_outage(error) else {}, left_out)
            if not is_outage(error):
                # Rows that the database does not take must not keep later ones from it.
                self._keep({}, sum(times for _, times in waiting.values()))
            raise

    def _keep(self, waiting: Mapping[Refusal, tuple[Refusal, int]], left_out: int) -> None:
        with self._lock:
            self._left_out += left_out
            for same, (first, times) in waiting.items():
                _, since = self._waiting.get(same, (first, 0))
                if since or len(self._waiting) < MOST_KEPT:
                    self._waiting[same] = (first, times + since)
                else:
                    self._left_out += times

    def close(self) -> None:
        """Write what waits and end the thread; safe to repeat."""
        self._closed.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _write_for_ever(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            last = self._closed.is_set()
            try:
                self.flush()
            except Exception as error:
                log.warning("audit.not_written", detail=str(error))
                self._wake.set()
            if last:
                return
            if self._closed.wait(FLUSH_SECONDS):
                self._wake.set()


def _row(
    who: By, action: str, resource: str, outcome: str, reason: str, detail: Mapping[str, Any], times: int
) -> dict[str, Any]:
    return {
        "account_id": who.account_id,
        "tenant_id": who.tenant_id,
        "actor": _storable(who.actor),
        "user_id": who.user_id,
        "access_key": None if who.access_key is None else _storable(who.access_key),
        "surface": who.surface,
        "address": _storable(who.address),
        "request_id": _storable(who.request_id),
        "action": _storable(action),
        "resource": _storable(resource),
        "outcome": outcome,
        "reason": _storable(reason),
        "detail": orjson.dumps(_writable(detail)).decode(),
        "times": times,
    }


def _writable(value: Any) -> Any:
    """Return a value of JSON without the characters that the database does not take."""
    if isinstance(value, str):
        return value.replace("\0", "").encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_writable(name): _writable(each) for name, each in value.items()}
    return [_writable(each) for each in value] if isinstance(value, list | tuple) else value


def _storable(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", "replace").decode()[:_TEXT]


def _like(pattern: str) -> str:
    escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%")

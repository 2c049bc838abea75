"""The processes that run units: who they are, and which failpoints they are told to arm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from psycopg import Connection

from redrive.database import Queries
from redrive.engine import failpoints
from redrive.errors import invalid

queries = Queries.beside(__file__, "fleet.sql")


class WorkerState(StrEnum):
    """Alive: heard of within 10 s. Lost: not heard of and never said goodbye."""

    ALIVE = "alive"
    LOST = "lost"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """A worker process as the others see it; ``units`` are running there now."""

    id: int
    state: WorkerState
    host: str
    pid: int
    kinds: tuple[str, ...]
    units: int
    started_at: datetime
    seen_at: datetime
    stopped_at: datetime | None


def workers(conn: Connection[Any]) -> list[WorkerSeen]:
    """Return the workers of the last day, newest first; of stopped ones those of the last hour."""
    return [
        WorkerSeen(
            row.id,
            WorkerState(row.state),
            row.host,
            row.pid,
            tuple(row.kinds),
            row.units,
            row.started_at,
            row.seen_at,
            row.stopped_at,
        )
        for row in conn.execute(queries.workers).fetchall()
    ]


def armed(conn: Connection[Any]) -> dict[str, str]:
    """Return the failpoints that every worker is told to arm: name to action."""
    return {row.name: row.action for row in conn.execute(queries.armed_failpoints).fetchall()}


def arm_everywhere(conn: Connection[Any], actions: Mapping[str, str]) -> None:
    """Tell every worker to arm exactly ``actions``, now and after a restart; ``off`` is left out."""
    wanted: dict[str, str] = {}
    for name, action in actions.items():
        if name not in failpoints.NAMES:
            raise invalid(f"failpoints.{name}", "one of the names that GET /v1/failpoints lists", name)
        if failpoints.parse(action) is not None:
            wanted[name] = action
    conn.execute(queries.disarm_failpoints)
    conn.execute(queries.arm_failpoints, {"names": list(wanted), "actions": list(wanted.values())})
    conn.execute(queries.announce_failpoints)

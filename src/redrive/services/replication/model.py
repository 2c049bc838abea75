"""What a replication task is asked for, what is wrong with that, and where it stands. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from redrive.errors import invalid

TRANSFER, PRECHECK, RELEASE = "replication.transfer", "replication.precheck", "replication.release"

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{3,49}", re.ASCII)
_DESCRIPTION_LIMIT = 256
_NOT_IN_DESCRIPTION = set("!<>'&\"\\")
OBJECTS_LIMIT = 10_000


class Mode(StrEnum):
    """What a task moves: what is there, that and what changes from then on, or only what changes."""

    FULL = "full"
    FULL_AND_CHANGES = "full_and_changes"
    CHANGES = "changes"


class Use(StrEnum):
    """What a task is for."""

    MIGRATION = "migration"
    SYNC = "sync"
    RECOVERY = "recovery"


class End(StrEnum):
    """An end of a task."""

    SOURCE = "source"
    TARGET = "target"


class Conflict(StrEnum):
    """What becomes of a row that the target has already."""

    STOP = "stop"
    IGNORE = "ignore"
    OVERWRITE = "overwrite"


class Phase:
    """Phases of a transfer. Phase 0 is the plan's."""

    STRUCTURE, ROWS, KEYS, LINKS, END = 1, 2, 3, 4, 5


@dataclass(frozen=True, slots=True)
class Chosen:
    """A table to move: ``schema`` and ``name`` in the source's database; without a name all tables of the schema."""

    schema: str
    name: str


@dataclass(frozen=True, slots=True)
class TaskSettings:
    """What was asked for. ``notes``: what a vendor's call named and nothing of ours depends on."""

    name: str
    use: Use
    mode: Mode
    engine: str
    description: str = ""
    conflict: Conflict = Conflict.STOP
    #: None: everything.
    objects: tuple[Chosen, ...] | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON."""
        return asdict(self)


def settings_from(data: Mapping[str, Any]) -> TaskSettings:
    """Return what ``TaskSettings.to_json`` gave."""
    objects = data["objects"]
    return TaskSettings(
        **{
            **data,
            "use": Use(data["use"]),
            "mode": Mode(data["mode"]),
            "conflict": Conflict(data["conflict"]),
            "objects": None if objects is None else tuple(Chosen(**each) for each in objects),
        }
    )


def checked(settings: TaskSettings) -> TaskSettings:
    """Return the settings; a Problem that names the field where one cannot be meant."""
    if _NAME.fullmatch(settings.name) is None:
        raise invalid("name", "4 to 50 letters, digits, - and _, the first a letter", settings.name)
    if len(settings.description) > _DESCRIPTION_LIMIT or _NOT_IN_DESCRIPTION & set(settings.description):
        raise invalid(
            "description", f"at most {_DESCRIPTION_LIMIT} characters, none of !<>'&\"\\", settings.description
        )
    if settings.objects is not None and not 1 <= len(settings.objects) <= OBJECTS_LIMIT:
        raise invalid("objects", f"1 to {OBJECTS_LIMIT} tables", len(settings.objects))
    return settings


class Status(StrEnum):
    """Where a task stands."""

    CONFIGURING = "configuring"
    SCHEDULED = "scheduled"
    STARTING = "starting"
    START_FAILED = "start_failed"
    LOADING = "loading"
    LOAD_FAILED = "load_failed"
    LOADED = "loaded"
    PAUSED = "paused"
    RELEASING = "releasing"
    RELEASE_FAILED = "release_failed"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Standing:
    """What decides where a task stands: its job's state and phase, and whether it was told to stop for good.

    ``release``: the state of the job that clears up in the target; None where there is nothing to clear up.
    """

    state: str | None
    phase: int
    failed_phase: int | None
    scheduled: bool
    releasing: bool
    release: str | None = None


def status_of(standing: Standing) -> Status:
    """Return where a task stands. Total."""
    if standing.releasing:
        if standing.release in ("failed", "cancelled"):
            return Status.RELEASE_FAILED
        over = (None, "succeeded", "failed", "cancelled")
        is_over = standing.state in over and standing.release in over
        return Status.RELEASED if is_over else Status.RELEASING
    if standing.state is None:
        return Status.CONFIGURING
    if standing.state == "queued" and standing.scheduled:
        return Status.SCHEDULED
    before, after = _OF_STATE[standing.state]
    phase = standing.failed_phase if standing.state == "failed" else standing.phase
    return after if (phase or 0) >= Phase.ROWS else before


#: By the state of its job, before and after the first rows.
_OF_STATE: Mapping[str, tuple[Status, Status]] = {
    "queued": (Status.STARTING, Status.LOADING),
    "running": (Status.STARTING, Status.LOADING),
    "paused": (Status.PAUSED, Status.PAUSED),
    "succeeded": (Status.LOADED, Status.LOADED),
    "failed": (Status.START_FAILED, Status.LOAD_FAILED),
    "cancelled": (Status.RELEASED, Status.RELEASED),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a precheck has found: ``ok``, or a ``reason`` (a stable word) with a sentence and what to do."""

    item: str
    group: str
    ok: bool
    reason: str = ""
    detail: str = ""
    hint: str = ""
    #: Whether the task can be started all the same.
    warning: bool = False


def passed(findings: Sequence[Finding]) -> bool:
    """Return whether a task may start."""
    return all(finding.ok or finding.warning for finding in findings)

"""What a step is, and what steps are written with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from psycopg import Connection

from redrive.engine import claiming
from redrive.engine.kinds import Work
from redrive.errors import Failure, FailureClass
from redrive.services.workspaces.house import House, Json, Workspace

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Step:
    """A step. ``do`` returns what it made, ``find`` the same where it is there, ``undo`` what it took back."""

    name: str
    title: str
    inputs: Callable[[Workspace], Json]
    do: Callable[[House, Work, Workspace], Json]
    find: Callable[[House, Work, Workspace], Json | None]
    undo: Callable[[House, Work, Workspace, Json], Json]
    #: Doing it again replaces what is there in one statement: it is not undone first, so nothing lies open between.
    replaces: bool = False


def fenced(work: Work, write: Callable[[Connection[Any]], T]) -> T:
    """Write into our database in one transaction that commits only while the claim is good."""

    def behind_the_fence(conn: Connection[Any]) -> T:
        claiming.fence(conn, work)
        return write(conn)

    return work.db.run(behind_the_fence)


def needs_input(code: str, detail: str, hint: str, target: str) -> Failure:
    """Return the failure of a step that somebody must do something about."""
    return Failure(code, detail, hint=hint, kind=FailureClass.NEEDS_INPUT, target=target)


def nothing(house: House, work: Work, workspace: Workspace, made: Json) -> Json:
    """Undo a step that leaves nothing behind."""
    return {}


def no_inputs(workspace: Workspace) -> Json:
    """Nothing that was asked for changes the step."""
    return {}


def never_found(house: House, work: Work, workspace: Workspace) -> Json | None:
    """Look for a step that makes nothing: it is done again."""
    return None

"""``/v1/timeseries/holds``: legal holds. ``PUT`` answers when the hold binds every deletion."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter
from psycopg import Connection
from pydantic import AwareDatetime, BaseModel, Field
from starlette.requests import Request

from redrive.clock import from_ms, to_ms
from redrive.errors import invalid
from redrive.identity.access import Action, Principal, require_assets
from redrive.services.timeseries import holds
from redrive.services.timeseries.boxes import Box, Points
from redrive.wire.native.auth import SECURITY, Caller
from redrive.wire.native.problems import PROBLEM_RESPONSES, NativeRoute
from redrive.wire.native.shapes import NO_NUL

router = APIRouter(
    prefix="/v1/timeseries/holds",
    route_class=NativeRoute,
    responses=PROBLEM_RESPONSES,
    dependencies=SECURITY,
    tags=["time series"],
)

#: A hold without an end reaches to the last instant that a sample can have.
_FOREVER_MS = 253_402_300_800_000
_BEGINNING_MS = -62_135_596_800_000

Name = Annotated[str, Field(min_length=1, max_length=256, pattern=NO_NUL)]


class HoldRange(BaseModel):
    """What is kept: assets by points by time, ``start`` included, ``end`` not."""

    assets: list[Name] = Field(min_length=1, max_length=10_000)
    points: list[Name] | None = Field(default=None, max_length=10_000, description="absent: every point")
    start: AwareDatetime | None = Field(default=None, description="absent: from the beginning")
    end: AwareDatetime | None = Field(default=None, description="absent: for good")
    reason: str = Field(min_length=1, max_length=holds.REASON_LIMIT, pattern=NO_NUL)


class HoldBody(BaseModel):
    """A hold; ``lifted_at`` is null while it is in force."""

    id: str
    name: str
    reason: str
    assets: list[str]
    points: list[str] | None
    start: datetime | None
    end: datetime | None
    placed_by: str
    placed_at: datetime
    lifted_by: str | None
    lifted_at: datetime | None


class HoldList(BaseModel):
    """Holds, newest first."""

    holds: list[HoldBody]


def _box(wanted: HoldRange) -> Box:
    points = Points.all() if wanted.points is None else Points.only(wanted.points)
    start_ms = _BEGINNING_MS if wanted.start is None else to_ms(wanted.start)
    end_ms = _FOREVER_MS if wanted.end is None else to_ms(wanted.end)
    for name, ms, given in (("start", start_ms, wanted.start), ("end", end_ms, wanted.end)):
        if not _BEGINNING_MS <= ms <= _FOREVER_MS:
            raise invalid(name, "an instant of the years 1 to 9999 in UTC", given)
    if start_ms >= end_ms:
        raise invalid("end", "an instant after start", wanted.end)
    if points.is_none:
        raise invalid("points", "at least one point, or no such field for every point")
    return Box(frozenset(wanted.assets), points, start_ms, end_ms)


def _body(hold: holds.Hold) -> HoldBody:
    box = hold.box
    return HoldBody(
        id=str(hold.id),
        name=hold.name,
        reason=hold.reason,
        assets=sorted(box.assets),
        points=None if box.points.is_all else sorted(box.points.names),
        start=None if box.start_ms == _BEGINNING_MS else from_ms(box.start_ms),
        end=None if box.end_ms == _FOREVER_MS else from_ms(box.end_ms),
        placed_by=hold.actor,
        placed_at=hold.created_at,
        lifted_by=hold.lifted_by,
        lifted_at=hold.lifted_at,
    )


@router.put("/{name}")
def place(name: Name, body: HoldRange, request: Request, caller: Caller) -> HoldBody:
    """Place a hold; from the answer on no deletion and no retention removes what it keeps."""
    require_assets(caller, Action.WRITE, body.assets)
    db = request.app.state.parts.db
    return _body(holds.place(db, caller.tenant_id, name, _box(body), body.reason, actor=caller.actor))


@router.get("")
def listing(request: Request, caller: Caller, lifted: bool = False) -> HoldList:
    """Return the holds in force; with ``lifted`` also those of the past."""
    require_assets(caller, Action.READ, [])
    with request.app.state.parts.db.transaction() as conn:
        found = (holds.history if lifted else holds.live)(conn, caller.tenant_id)
    return HoldList(holds=[_body(hold) for hold in found if caller.may(Action.READ, hold.box.assets)])


@router.get("/{name}")
def get(name: Name, request: Request, caller: Caller) -> HoldBody:
    """Return one hold in force."""
    require_assets(caller, Action.READ, [])
    with request.app.state.parts.db.transaction() as conn:
        return _body(_visible(conn, caller, Action.READ, name))


@router.delete("/{name}")
def lift(name: Name, request: Request, caller: Caller) -> HoldBody:
    """Lift a hold; jobs that failed on it can be retried."""
    db = request.app.state.parts.db
    require_assets(caller, Action.WRITE, [])
    with db.transaction() as conn:
        _visible(conn, caller, Action.WRITE, name)
    return _body(holds.lift(db, caller.tenant_id, name, actor=caller.actor))


def _visible(conn: Connection[Any], caller: Principal, action: Action, name: str) -> holds.Hold:
    """Return a hold in force; one on assets outside the caller's scope is not there."""
    hold = holds.get(conn, caller.tenant_id, name)
    if not caller.may(action, hold.box.assets):
        raise holds.unknown(name)
    return hold

"""The read calls of the time-series service. Where the pages are silent: ``docs/decisions/0030-reads.md``.

``POST /latest`` reads, or with ``action=delete`` in its query deletes; this module owns the path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeAlias, TypeVar

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from redrive.errors import invalid
from redrive.identity.access import Action, Principal, require_assets
from redrive.services.timeseries import latest
from redrive.services.timeseries.assets import StorageType
from redrive.services.timeseries.reads.aggregates import AggregateQuery, read_aggregates, read_current_day
from redrive.services.timeseries.reads.answer import Answer
from redrive.services.timeseries.reads.conditions import (
    ChangeQuery,
    DurationQuery,
    read_changes,
    read_durations,
)
from redrive.services.timeseries.reads.newest import check_dead, read_last_changed, read_latest
from redrive.services.timeseries.reads.samples import Boundary, SampleQuery, read_samples
from redrive.services.timeseries.reads.selection import Reader, Selection, check_model
from redrive.wire.enos.auth import enos_principal, enos_writer
from redrive.wire.enos.descriptions import parameter
from redrive.wire.enos.envelope import TsdbRoute, answer
from redrive.wire.enos.parameters import boolean, integer, json_object, only, optional_text
from redrive.wire.enos.tsdb import codes, parameters, shapes
from redrive.wire.enos.tsdb.descriptions import described
from redrive.wire.enos.tsdb.parameters import AGGREGATE, BOUNDARY, FILTER, LATEST, SERIES, SHOWN, SPAN

T = TypeVar("T")

router = APIRouter(prefix="/tsdb-service/v2.1", route_class=TsdbRoute, tags=["enos tsdb"])


async def reader_or_writer(request: Request) -> Principal:
    """Return who calls: as a reader, or as a writer where ``action`` says that something is deleted."""
    if request.query_params.getlist("action"):
        return await enos_writer(request)
    return await enos_principal(request)


_POINTS = (*SERIES, *SPAN, *SHOWN, *BOUNDARY, "pageSize", "withQuality")
_ORDERED = (*_POINTS, "orderBy")
_UNFORMATTED = (*SERIES, *SPAN, *SHOWN, "pageSize", "orderBy")
_AGGREGATES = (*AGGREGATE, *SPAN, *SHOWN)
_TODAY = (*SERIES, *SHOWN)
_CHANGES = (*SERIES, *SPAN, *SHOWN, "autoInterpolate")
_DURATIONS = (*SERIES, *SPAN, *SHOWN, "status", "ifWithUnknown")
_LATEST = (*SERIES, *SHOWN, *LATEST)
_ACTION = parameter("action", {"type": "string", "enum": ["delete"]}, about="without it the call reads")
_FILTER = (*FILTER, *LATEST, *SHOWN)
_LAST_CHANGED = (*SERIES, *SHOWN, "ifWithLocalTime")
_DEAD = ("payload",)

Caller: TypeAlias = Annotated[Principal, Depends(enos_principal)]
Body: TypeAlias = Annotated[dict[str, Any], Depends(json_object)]


@router.post("/ai", openapi_extra=described(_POINTS))
def ai_raw(request: Request, caller: Caller, body: Body) -> Response:
    """Get Asset AI Raw Data."""
    parameters.check_keys(body, _POINTS)
    return _samples(request, caller, body, codes.AI)


@router.post("/generic", openapi_extra=described(_POINTS))
def generic(request: Request, caller: Caller, body: Body) -> Response:
    """Get Asset Generic Data."""
    parameters.check_keys(body, _POINTS)
    return _samples(request, caller, body, codes.GENERIC)


@router.post("/raw", openapi_extra=described(_ORDERED))
def raw(request: Request, caller: Caller, body: Body) -> Response:
    """Get Asset Raw Data by Time Range."""
    parameters.check_keys(body, _ORDERED)
    return _samples(request, caller, body, codes.RAW)


@router.post("/unified-raw", openapi_extra=described(_ORDERED))
def unified_raw(request: Request, caller: Caller, body: Body) -> Response:
    """Get Asset Unified Raw Data: standard and non-standard points."""
    parameters.check_keys(body, _ORDERED)
    return _samples(request, caller, body, codes.UNIFIED_RAW)


@router.post("/unformatted", openapi_extra=described(_UNFORMATTED))
def unformatted(request: Request, caller: Caller, body: Body) -> Response:
    """Get Asset Unformatted Data: one point of any assets."""
    parameters.check_keys(body, _UNFORMATTED)
    return _samples(request, caller, body, codes.UNFORMATTED, most_points=1)


@router.post("/ai-normalized", openapi_extra=described(_AGGREGATES, "interval"))
def ai_normalized(request: Request, caller: Caller, body: Body) -> Response:
    """Get Asset AI Data with Aggregation Logic."""
    return _aggregates(request, caller, body, codes.AI_NORMALIZED)


@router.post("/electric-power", openapi_extra=described(_AGGREGATES, "interval"))
def electric_power(request: Request, caller: Caller, body: Body) -> Response:
    """Get Asset Electric Power Data."""
    return _aggregates(request, caller, body, codes.ELECTRIC_POWER)


@router.post("/electric-power/current-day", openapi_extra=described(_TODAY))
def current_day(request: Request, caller: Caller, body: Body) -> Response:
    """Get Asset Current Day Electric Power."""
    parameters.check_keys(body, _TODAY)
    selection = _permitted(caller, parameters.selection(body))
    display = parameters.display(body)
    return _items(_read(request, caller, lambda reader: read_current_day(reader, selection)), display)


@router.post("/di", openapi_extra=described(_CHANGES))
def di(request: Request, caller: Caller, body: Body) -> Response:
    """Get Asset DI Data: changes of state only."""
    parameters.check_keys(body, _CHANGES)
    selection = _permitted(caller, parameters.selection(body, limit=parameters.STATE_SERIES_LIMIT))
    query = ChangeQuery(
        selection,
        parameters.span(body),
        _share_of_result(selection),
        look_back=boolean(body, "autoInterpolate"),
    )
    display = parameters.display(body)
    return _items(_read(request, caller, lambda reader: read_changes(reader, query)), display)


@router.post("/di/duration", openapi_extra=described(_DURATIONS))
def di_duration(request: Request, caller: Caller, body: Body) -> Response:
    """Get Asset DI Data Duration."""
    parameters.check_keys(body, _DURATIONS)
    selection = _permitted(caller, parameters.selection(body, limit=parameters.STATE_SERIES_LIMIT))
    parameters.display(body)
    states = parameters.statuses(body)
    query = DurationQuery(
        selection,
        parameters.span(body),
        _share_of_result(selection),
        states,
        # The pages' text lets a filter drop it, their sample asks for both and shows it.
        with_unknown=boolean(body, "ifWithUnknown", default=not states),
    )
    found = _read(request, caller, lambda reader: read_durations(reader, query))
    return answer(shapes.durations(found), submsg=None)


@router.post("/latest", openapi_extra=described(_LATEST, query=[_ACTION]))
def latest_or_delete(
    request: Request, caller: Annotated[Principal, Depends(reader_or_writer)], body: Body
) -> Response:
    """Get Asset Latest Data; with ``action=delete`` Delete Asset Latest Data."""
    actions = request.query_params.getlist("action")
    if actions:
        if actions != ["delete"]:
            raise invalid("action", "delete, or no action to read", ", ".join(actions))
        return _delete_latest(request, caller, body)
    parameters.check_keys(body, _LATEST)
    selection = _permitted(caller, parameters.selection(body))
    minutes, display = parameters.window(body), parameters.display(body, always_local=False)
    found = _read(request, caller, lambda reader: read_latest(reader, selection, window_minutes=minutes))
    return _items(found, display)


@router.post("/latest/filter", openapi_extra=described(_FILTER, "modelId"))
def latest_filter(request: Request, caller: Caller, body: Body) -> Response:
    """Filter Asset Latest Data."""
    parameters.check_keys(body, _FILTER)
    selection = _permitted(caller, parameters.selection(body, points="pointId", most=1))
    if selection.model is None:
        raise invalid("modelId", "the model of the assets")
    condition, minutes = parameters.condition(body), parameters.window(body)
    display = parameters.display(body, always_local=False)
    found = _read(
        request,
        caller,
        lambda reader: read_latest(reader, selection, window_minutes=minutes, condition=condition),
    )
    return _items(found, display)


@router.post("/data/last-changed", openapi_extra=described(_LAST_CHANGED))
def last_changed(request: Request, caller: Caller, body: Body) -> Response:
    """Get Last Changed Data; values are texts, as in the pages' sample."""
    parameters.check_keys(body, _LAST_CHANGED)
    selection = _permitted(caller, parameters.selection(body))
    display = parameters.display(body, always_local=False)
    found = _read(request, caller, lambda reader: read_last_changed(reader, selection))
    return _items(shapes.as_texts(found), display)


@router.post("/data/latest/check-dead", openapi_extra=described(_DEAD))
def dead(request: Request, caller: Caller, body: Body) -> Response:
    """Check Dead Data."""
    parameters.check_keys(body, _DEAD)
    watches = parameters.watches(body)
    require_assets(caller, Action.READ, [watch.series.asset for watch in watches])
    found = _read(request, caller, lambda reader: check_dead(reader, watches))
    return answer(shapes.liveness(found), submsg=None)


def _samples(
    request: Request,
    caller: Principal,
    body: dict[str, Any],
    types: frozenset[StorageType],
    *,
    most_points: int | None = None,
) -> Response:
    selection = _permitted(caller, parameters.selection(body, most=most_points))
    boundary = parameters.word(body, "boundaryType", codes.BOUNDARIES, default="inside")
    seconds = 0
    if boundary is Boundary.SAMPLE:
        seconds = integer(body, "interval", low=1, high=parameters.LONGEST_STEP_SECONDS)
    query = SampleQuery(
        selection,
        types,
        parameters.span(body),
        parameters.page_size(body, len(selection.assets) * len(selection.points)),
        descending=parameters.word(body, "orderBy", codes.ORDERS, default="timestamp asc"),
        with_quality=boolean(body, "withQuality"),
        boundary=boundary,
        step_ms=seconds * 1000,
        interpolation=parameters.word(body, "interpolation", codes.INTERPOLATIONS, default="linear"),
    )
    display = parameters.display(body)
    found = _read(request, caller, lambda reader: read_samples(reader, query))
    return _items(found, display, descending=query.descending)


def _aggregates(
    request: Request, caller: Principal, body: dict[str, Any], types: frozenset[StorageType]
) -> Response:
    parameters.check_keys(body, _AGGREGATES)
    minutes, expressions = parameters.expressions(body)
    points = tuple(dict.fromkeys(one.point for one in expressions))
    assets = parameters.asset_ids(body)
    parameters.check_series(len(assets), len(expressions), parameters.SERIES_LIMIT, "pointIdsWithLogic")
    selection = _permitted(caller, Selection(assets, points, optional_text(body, "modelId")))
    span = parameters.span(body)
    most = parameters.page_size(body, len(assets) * len(expressions))
    display = parameters.display(body)
    if minutes == 0:
        plain = SampleQuery(selection, types, span, most, by_minute=True)
        return _items(_read(request, caller, lambda reader: read_samples(reader, plain)), display)
    query = AggregateQuery(selection, types, span, expressions, minutes, most)
    return _items(_read(request, caller, lambda reader: read_aggregates(reader, query)), display)


def _delete_latest(request: Request, caller: Principal, body: dict[str, Any]) -> Response:
    only(request.query_params, ("orgId", "action"))
    only(body, SERIES)
    selection = parameters.selection(body)
    require_assets(caller, Action.WRITE, selection.assets)
    _read(request, caller, lambda reader: check_model(reader, selection))
    with request.app.state.parts.db.transaction() as conn:
        latest.delete(conn, caller.tenant_id, selection.assets, selection.points)
    return answer(None, submsg="")


def _permitted(caller: Principal, selection: Selection) -> Selection:
    require_assets(caller, Action.READ, selection.assets)
    return selection


def _share_of_result(selection: Selection) -> int:
    """Return how many records each series may give or cost where there is no pageSize."""
    return parameters.RESULT_LIMIT // (len(selection.assets) * len(selection.points))


def _read(request: Request, caller: Principal, compute: Callable[[Reader], T]) -> T:
    reads = request.app.state.parts.reads
    found: T = reads.answer(caller.tenant_id, caller.org_id, compute)
    return found


def _items(found: Answer, display: shapes.Display, *, descending: bool = False) -> Response:
    return answer(shapes.items(found, display, descending=descending), submsg=None)

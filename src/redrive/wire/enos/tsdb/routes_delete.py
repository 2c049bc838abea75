"""Deletion as the vendor's pages call it: jobs (submit, details, resubmit) and point metadata.

Where the pages are silent: ``docs/decisions/0040-deletion.md``. Job ids are a number in the answer of submit
and text in lists, as documented; both are the id of our job.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from redrive.errors import Problem, ProblemCode, invalid
from redrive.identity.access import Action, Principal, require_assets, require_every_asset
from redrive.services.timeseries import deletion, point_removal
from redrive.wire.enos import parameters
from redrive.wire.enos.auth import enos_principal, enos_writer
from redrive.wire.enos.descriptions import TEXT, call, fields, parameter
from redrive.wire.enos.envelope import TsdbRoute, answer
from redrive.wire.enos.tsdb import deletion_shapes as shapes

router = APIRouter(prefix="/tsdb-service/v2.1/data", route_class=TsdbRoute, tags=["enos tsdb"])

Reader: TypeAlias = Annotated[Principal, Depends(enos_principal)]
Writer: TypeAlias = Annotated[Principal, Depends(enos_writer)]
Body: TypeAlias = Annotated[dict[str, Any], Depends(parameters.json_object)]

#: Epoch milliseconds of the years 1 to 9999.
_EARLIEST_MS, _LATEST_MS = -62_135_596_800_000, 253_402_300_799_999
PAGE_SIZE, PAGE_SIZE_LIMIT, PAGE_LIMIT = 10, 1000, 1_000_000

_INSTANT = {"type": "string", "pattern": "^-?[0-9]{1,15}$", "description": "epoch milliseconds, inclusive"}
_SUBMIT = call(
    body=fields(
        {
            "modelId": TEXT,
            "pointId": {**TEXT, "description": "without it every point is deleted"},
            "pointIds": {**TEXT, "description": "accepted for pointId where it names one point"},
            "assetIds": {**TEXT, "description": "assets, separated by commas"},
            "startTime": _INSTANT,
            "endTime": _INSTANT,
        },
        ["modelId", "assetIds", "startTime", "endTime"],
    )
)
_DETAILS = call(
    query=[
        parameter("queryId", TEXT, about="a model, point or job"),
        parameter("id", TEXT, about="the same"),
        parameter("pageNo", {"type": "integer", "minimum": 1, "maximum": PAGE_LIMIT, "default": 1}),
        parameter(
            "pageSize", {"type": "integer", "minimum": 1, "maximum": PAGE_SIZE_LIMIT, "default": PAGE_SIZE}
        ),
    ]
)
_RESUBMIT = call(query=[parameter("JobId", {"type": "string", "pattern": "^[0-9]{1,19}$"}, required=True)])
_REMOVE_POINT = call(body=fields({"modelId": TEXT, "pointId": TEXT}, ["modelId", "pointId"]))


def _keys_of(described: dict[str, Any]) -> frozenset[str]:
    return frozenset(described["requestBody"]["content"]["application/json"]["schema"]["properties"])


_SUBMIT_KEYS, _REMOVE_POINT_KEYS = _keys_of(_SUBMIT), _keys_of(_REMOVE_POINT)


@router.post("/tsdb-delete", openapi_extra=_SUBMIT)
def submit(request: Request, principal: Writer, body: Body) -> Response:
    """Store a deletion job and answer its id; nothing is deleted before it runs."""
    parameters.only(request.query_params, ("orgId",))
    parameters.only(body, _SUBMIT_KEYS)
    _refuse_what_may_narrow(body)
    wanted = deletion.Request(
        model_id=parameters.text(body, "modelId"),
        point_id=_point(body),
        asset_ids=parameters.id_list(body, "assetIds", most=deletion.ASSETS_LIMIT),
        start_ms=parameters.integer(body, "startTime", low=_EARLIEST_MS, high=_LATEST_MS),
        end_ms=parameters.integer(body, "endTime", low=_EARLIEST_MS, high=_LATEST_MS),
    )
    require_assets(principal, Action.WRITE, wanted.asset_ids)
    parts = request.app.state.parts
    job_id = deletion.submit(parts.db, principal.tenant_id, principal.org_id, wanted, actor=principal.actor)
    return answer(job_id)


def _refuse_what_may_narrow(body: dict[str, Any]) -> None:
    """Refuse a ``pointId`` that is empty: it would delete every point."""
    for key in ("pointId", "pointIds"):
        if key in body and parameters.optional_text(body, key) is None:
            raise invalid(key, "a point", body[key] or "", hint=f"to delete every point leave {key} out")


def _point(body: dict[str, Any]) -> str | None:
    """Return the point to delete, None for all.

    The vendor's Java sample says ``pointIds``; ignoring it would delete every point, so it is understood
    where it names one point and refused where it names more.
    """
    one = parameters.optional_text(body, "pointId")
    if "pointIds" not in body:
        return one
    alias = parameters.id_list(body, "pointIds")
    if len(alias) > 1 or (one is not None and alias != [one]):
        raise invalid(
            "pointIds", "one point (the field is pointId; without it every point is deleted)", alias
        )
    return alias[0]


@router.get("/delete-detail", openapi_extra=_DETAILS)
def details(request: Request, principal: Reader) -> Response:
    """List deletion jobs, newest first; those on assets outside the caller's scope are not shown."""
    query = request.query_params
    found = parameters.optional_text(query, "queryId")
    alias = parameters.optional_text(query, "id")
    if found is not None and alias is not None and found != alias:
        raise invalid("queryId", "the same id as in id, or only one of the two", found)
    page = parameters.integer(query, "pageNo", default=1, low=1, high=PAGE_LIMIT)
    size = parameters.integer(query, "pageSize", default=PAGE_SIZE, low=1, high=PAGE_SIZE_LIMIT)
    require_assets(principal, Action.READ, [])
    scope = principal.scope(Action.READ)
    with request.app.state.parts.db.transaction() as conn:
        listed = deletion.listing(
            conn,
            principal.tenant_id,
            query=found or alias,
            scope=[(reach.allowed, reach.denied) for reach in scope.reaches],
            page=page,
            page_size=size,
        )
    return answer(shapes.page(listed, page, size))


@router.put("/resubmit", openapi_extra=_RESUBMIT)
def resubmit(request: Request, principal: Writer) -> Response:
    """Give a failed job another attempt under the same id; what it has erased stays erased."""
    job_id = parameters.integer(request.query_params, "JobId", low=1, high=2**63 - 1)
    parts = request.app.state.parts
    try:
        assets = deletion.assets_of(parts.db, principal.tenant_id, job_id)
    except Problem as problem:
        raise _as_job_id(problem, job_id) from None
    scope = principal.scope(Action.READ)
    if not principal.may(Action.WRITE, assets) and scope.outside(assets):
        # A job that the caller cannot see is a job that does not exist.
        raise _unknown(job_id)
    require_assets(principal, Action.WRITE, assets)
    try:
        deletion.resubmit(parts.db, principal.tenant_id, job_id, actor=principal.actor)
    except Problem as problem:
        raise _as_job_id(problem, job_id) from None
    return answer("success")


@router.post("/meta-delete", openapi_extra=_REMOVE_POINT)
def remove_point(request: Request, principal: Writer, body: Body) -> Response:
    """Store a job that takes a point out of its model, and answer the job's id; samples are not touched."""
    parameters.only(request.query_params, ("orgId",))
    parameters.only(body, _REMOVE_POINT_KEYS)
    model_id, point_id = parameters.text(body, "modelId"), parameters.text(body, "pointId")
    require_every_asset(principal, Action.WRITE)
    db = request.app.state.parts.db
    return answer(point_removal.submit(db, principal.tenant_id, model_id, point_id, actor=principal.actor))


def _as_job_id(problem: Problem, job_id: int) -> Problem:
    if problem.code is ProblemCode.NOT_FOUND:
        return _unknown(job_id)
    return problem


def _unknown(job_id: int) -> Problem:
    return invalid("JobId", "the id of a data deletion job of the organization", job_id)

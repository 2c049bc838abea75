"""HTTP message integration: ``POST /connect-service/v2.1/integration?action=postMeasurepoint&orgId=``.

Source of the form, limits and answer: the vendor's page "Upload measurement points" (HTTP integration, v2.1).
Decisions where it is silent, and what is refused on purpose (files): ``docs/decisions/0020-ingest.md``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeAlias

import pyarrow as pa
from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from redrive.database import Database
from redrive.errors import FieldProblem, Problem, ProblemCode, invalid
from redrive.identity.access import Action, Principal, require_assets
from redrive.ingest import Channel, rows, values
from redrive.services.timeseries import registry
from redrive.wire.acknowledgement import acknowledged
from redrive.wire.enos import parameters
from redrive.wire.enos.auth import enos_uploader
from redrive.wire.enos.descriptions import NUMBERED, call, fields, parameter
from redrive.wire.enos.envelope import GeneralRoute, answer_general
from redrive.wire.enos.form import Form, read_form

router = APIRouter(prefix="/connect-service/v2.1", route_class=GeneralRoute, tags=["enos connect"])

Uploader: TypeAlias = Annotated[Principal, Depends(enos_uploader)]

ACTION = "postMeasurepoint"
METHOD = "integration.measurepoint.post"
VERSION = "1.1"

#: A message that is longer is read in a thread, so that others are answered meanwhile.
_SHORT_BYTES = 64 * 1024
_LOCAL = "local://"
_DIGITS = re.compile(r"-?[0-9]{1,16}", re.ASCII)


_MESSAGE = {
    "type": "string",
    "format": "binary",
    "description": f"JSON: method {METHOD}, version {VERSION}, params: a list of {{assetId, time, measurepoints}}",
}
_DESCRIBED = call(
    query=[
        parameter("action", {"type": "string", "enum": [ACTION]}, required=True),
        parameter("realTimeIntegration", {"type": "boolean", "default": True}, about="false: backfill"),
    ],
    body=fields({"enos-message": _MESSAGE}, ["enos-message"]),
    form="multipart/form-data",
    answer=NUMBERED,
)


@router.post("/integration", openapi_extra=_DESCRIBED)
async def integration(request: Request, principal: Uploader) -> Response:
    """Store the measurement points of a message: all of them, durable when this answers, or none."""
    action = request.query_params.get("action")
    if not action:
        raise Problem(ProblemCode.INVALID, "action:action is missing")
    if action != ACTION:
        raise invalid("action", ACTION, action)
    channel = _channel(request.query_params)
    form = await read_form(request)
    db: Database = request.app.state.parts.db
    if len(form.message) <= _SHORT_BYTES and b'"deviceKey"' not in form.message:
        batch = batch_of(form, principal, db)
    else:
        batch = await run_in_threadpool(batch_of, form, principal, db)
    accepted = request.app.state.parts.ingest.accept(principal.tenant_id, batch, channel)
    await acknowledged(accepted)
    return answer_general(request, {})


def _channel(query: Mapping[str, str]) -> Channel:
    """Return the channel; ``realTimeIntegration=false`` is how we spell what the vendor's builder only names."""
    realtime = parameters.boolean(query, "realTimeIntegration", default=True)
    return Channel.REALTIME if realtime else Channel.OFFLINE


def batch_of(form: Form, principal: Principal, db: Database) -> pa.Table:
    """Return the samples of a message, checked, the caller's right to write to all its assets too."""
    items = _items(form)
    for number, item in enumerate(items):
        _check_item(item, f"params[{number}]")
    require_assets(principal, Action.WRITE, [])
    asset_ids = _asset_ids(items, principal, db)
    require_assets(principal, Action.WRITE, dict.fromkeys(asset_ids))
    groups = [item["measurepoints"] for item in items]
    batch = rows.wide_batch(
        asset_ids,
        [_time(item["time"]) for item in items],
        groups,
        lambda row, point: f"params[{row}]" + (f".measurepoints.{point}" if point else ""),
    )
    if batch.num_rows == 0:
        raise invalid("params", "at least one measurement point")
    return batch


def _items(form: Form) -> list[Any]:
    try:
        message = values.parse(form.message)
    except Problem as problem:
        raise invalid("enos-message", "valid JSON", problem.detail) from None
    if not isinstance(message, dict):
        raise invalid("enos-message", "a JSON object")
    if message.get("method") != METHOD:
        raise invalid("method", METHOD, message.get("method", ""))
    if str(message.get("version")) != VERSION:
        raise invalid("version", VERSION, message.get("version", ""))
    items = message.get("params")
    if not isinstance(items, list) or not items:
        raise invalid("params", "an array with at least one element")
    if form.files or message.get("files") or _LOCAL.encode() in form.message:
        _refuse_files(form, message, items)
    return items


def _refuse_files(form: Form, message: Mapping[str, Any], items: Sequence[Any]) -> None:
    """Refuse a message with files as a whole: a point that refers to a file would lose it."""
    referred = [
        f"params[{number}].measurepoints.{point}"
        for number, item in enumerate(items)
        if isinstance(item, dict) and isinstance(item.get("measurepoints"), dict)
        for point, value in item["measurepoints"].items()
        if _is_local(value)
    ]
    if form.files or message.get("files") or referred:
        name = referred[0] if referred else "enos-file" if form.files else "files"
        field = FieldProblem(name, "no file: this server does not store files of points")
        raise Problem(ProblemCode.INVALID, field.sentence(), fields=(field,), reason="files")


def _is_local(value: Any) -> bool:
    if isinstance(value, dict):
        value = value.get("value")
    return isinstance(value, str) and value.startswith(_LOCAL)


def _check_item(item: Any, where: str) -> None:
    if not isinstance(item, dict):
        raise invalid(where, "a JSON object")
    points = item.get("measurepoints")
    if not isinstance(points, dict) or not points:
        raise invalid(f"{where}.measurepoints", "an object with at least one point")
    if "time" not in item:
        raise invalid(f"{where}.time", "epoch milliseconds")
    if isinstance(item["time"], str) and _DIGITS.fullmatch(item["time"]) is None:
        raise invalid(f"{where}.time", "epoch milliseconds", item["time"])
    names = [name for name in ("assetId", "productKey", "deviceKey") if item.get(name)]
    if names != ["assetId"] and not {"productKey", "deviceKey"} <= set(names):
        raise invalid(f"{where}.assetId", "assetId, or productKey and deviceKey")
    for name in names:
        if not isinstance(item[name], str):
            raise invalid(f"{where}.{name}", "a text", item[name])


def _time(time: Any) -> Any:
    return int(time) if isinstance(time, str) else time


def _asset_ids(items: Sequence[Any], principal: Principal, db: Database) -> list[str]:
    """Return the asset id of each item; by device where it is not given."""
    devices = {(item["productKey"], item["deviceKey"]) for item in items if not item.get("assetId")}
    if not devices:
        return [item["assetId"] for item in items]
    with db.transaction() as conn:
        known = registry.assets_of_devices(conn, principal.tenant_id, devices)
    # A device whose asset the caller may not write to is told as one that is not there.
    scope = principal.scope(Action.WRITE)
    known = {device: asset_id for device, asset_id in known.items() if scope.covers(asset_id)}
    unknown = sorted(devices - known.keys())
    if unknown:
        product_key, device_key = unknown[0]
        raise Problem(
            ProblemCode.NOT_FOUND,
            f"productKey {product_key[:80]} deviceKey {device_key[:80]}: there is no such device",
            reason="unknown_device",
        )
    return [item.get("assetId") or known[item["productKey"], item["deviceKey"]] for item in items]

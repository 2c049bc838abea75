"""``POST /v1/timeseries/samples``: samples in bulk, as an Arrow IPC stream or as NDJSON.

The answer comes when the samples are durable; they can be read from then on. Sending the same samples again
changes nothing, so a request can simply be repeated; with an ``Idempotency-Key`` the answer is the same too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pyarrow as pa
from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from redrive.errors import invalid
from redrive.identity.access import Action, Principal, require_assets
from redrive.ingest import Channel, arrow, rows
from redrive.ingest.samples import names
from redrive.services.timeseries.ingest import Ingest
from redrive.wire.acknowledgement import acknowledged
from redrive.wire.bodies import body_within, require_plain
from redrive.wire.native.auth import data_principal, seen_lately
from redrive.wire.native.idempotency import once_with
from redrive.wire.native.problems import PROBLEM_RESPONSES, StreamingRoute
from redrive.wire.native.timeseries_shapes import AcceptedBody

# The call that comes thousands of times a second: what the framework would do for each is said here once.
_DOCUMENTED = {
    "security": [{"key pair": []}, {"access token": []}],
    "parameters": [
        {
            "name": "channel",
            "in": "query",
            "description": "offline: later than it happened; streams do not see it",
            "schema": {
                "type": "string",
                "enum": [channel.value for channel in Channel],
                "default": "realtime",
            },
        }
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/vnd.apache.arrow.stream": {"schema": {"type": "string", "format": "binary"}},
            "application/x-ndjson": {"schema": {"type": "string"}},
        },
    },
}

router = APIRouter(
    prefix="/v1/timeseries", route_class=StreamingRoute, responses=PROBLEM_RESPONSES, tags=["time series"]
)

BODY_BYTES = 64 * 1024 * 1024
ARROW = "application/vnd.apache.arrow.stream"
NDJSON = "application/x-ndjson"
_FORMS: dict[str, Callable[[bytes], pa.Table]] = {ARROW: arrow.stream_batch, NDJSON: rows.ndjson_batch}

#: What is not longer is read within a millisecond or two, by the event loop itself.
_SHORT_BYTES = {ARROW: 128 * 1024, NDJSON: 128 * 1024}


@router.post("/samples", response_model=AcceptedBody, openapi_extra=_DOCUMENTED)
async def add_samples(request: Request) -> Response:
    """Store samples, all of them or none.

    An Arrow stream has the columns `asset`, `point`, `time` and `value`; a line of NDJSON is
    `{"asset", "point", "time", "value"}` or `{"asset", "time", "values": {point: value}}`.
    """
    form = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if form not in _FORMS:
        raise invalid("Content-Type", f"{ARROW} or {NDJSON}", form)
    require_plain(request)
    channel = _channel(request)
    told = request.headers.get("content-length", "")
    if told.isdigit() and int(told) <= _SHORT_BYTES[form] and seen_lately(request):
        # A thread would cost more than the work.
        body = await body_within(request, _SHORT_BYTES[form])
        principal = data_principal(request)
        batch = _checked_batch(principal, form, body)
    else:
        # Nobody unknown makes the server keep a large body.
        principal = await run_in_threadpool(data_principal, request)
        body = await body_within(request, BODY_BYTES)
        batch = await run_in_threadpool(_checked_batch, principal, form, body)
    if "idempotency-key" in request.headers:
        return await _add_once(request, principal, body, batch, channel)
    ingest: Ingest = request.app.state.parts.ingest
    seq = await acknowledged(ingest.accept(principal.tenant_id, batch, channel))
    return _answer(seq, batch)


def _channel(request: Request) -> Channel:
    if not request.scope["query_string"]:
        return Channel.REALTIME
    try:
        return Channel(request.query_params.get("channel", Channel.REALTIME))
    except ValueError:
        raise invalid("channel", " or ".join(Channel), request.query_params["channel"]) from None


def _checked_batch(principal: Principal, form: str, body: bytes) -> pa.Table:
    require_assets(principal, Action.WRITE, [])
    batch = _FORMS[form](body)
    if not principal.scope(Action.WRITE).every:
        require_assets(principal, Action.WRITE, names(batch["asset"]))
    return batch


async def _add_once(
    request: Request, principal: Principal, body: bytes, batch: pa.Table, channel: Channel
) -> Response:
    """Store under an ``Idempotency-Key``: in the transaction that keeps the answer, not in a group."""
    once = once_with(request, principal, body)
    ingest: Ingest = request.app.state.parts.ingest
    after_commit: list[Callable[[], None]] = []

    def add(conn: psycopg.Connection[Any]) -> tuple[int, AcceptedBody]:
        seq, after = ingest.append(conn, principal.tenant_id, batch, channel)
        after_commit[:] = [after]
        return 200, AcceptedBody(seq=str(seq), accepted=batch.num_rows)

    answer = await run_in_threadpool(once.answer, add)
    for step in after_commit:
        step()
    return answer


def _answer(seq: int, batch: pa.Table) -> Response:
    return Response(b'{"seq":"%d","accepted":%d}' % (seq, batch.num_rows), media_type="application/json")

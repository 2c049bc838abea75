"""``POST /v1/timeseries/imports``: a file becomes a job ``timeseries.import``; watch it at ``/v1/jobs/{id}``.

Either the body is the file itself, streamed into the organization's staging folder (never kept in memory as a
whole), or it is JSON that names a file of the server's machine below a folder that the administrator allowed. What
can be seen of the file at once, its columns, is checked before the answer. A file may hold any asset, so the
caller must be allowed to write on all of them.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import Any

import orjson
import psycopg
import pyarrow as pa
from fastapi import APIRouter
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from redrive.errors import Problem, ProblemCode, invalid
from redrive.identity.access import Principal, require_every_asset
from redrive.ids import new_id
from redrive.services.timeseries import imports, sources
from redrive.services.timeseries.mapping import Columns, wanted_columns
from redrive.services.timeseries.sources import Format, Source
from redrive.services.timeseries.storage.folder import Folder, as_failure
from redrive.wire.bodies import body_within, require_plain, too_large
from redrive.wire.native.auth import SECURITY, data_principal
from redrive.wire.native.idempotency import once_with
from redrive.wire.native.problems import PROBLEM_RESPONSES, StreamingRoute

FILE_BYTES = 64 * 1024**3
PARQUET, CSV, JSON = "application/vnd.apache.parquet", "text/csv", "application/json"

_FORMATS = {PARQUET: Format.PARQUET, CSV: Format.CSV}
_JSON_BYTES = 1024 * 1024
_WRITE_BYTES = 4 * 1024 * 1024

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_LOCAL = {
    "type": "object",
    "properties": {
        "path": {"type": "string", "description": "a file of the server's machine"},
        "mapping": {"type": "object"},
    },
    "required": ["path"],
}
_DOCUMENTED: dict[str, Any] = {
    "parameters": [
        {
            "name": "mapping",
            "in": "query",
            "description": "JSON: which column is what (asset or asset_id, time, point, value, quality, points, "
            "time_unit, floor_times)",
            "schema": {"type": "string"},
        },
        {
            "name": "name",
            "in": "query",
            "description": "the file's name, for people",
            "schema": {"type": "string"},
        },
    ],
    "requestBody": {
        "required": True,
        "content": {PARQUET: _BINARY, CSV: _BINARY, JSON: {"schema": _LOCAL}},
    },
}

router = APIRouter(
    prefix="/v1/timeseries",
    route_class=StreamingRoute,
    responses=PROBLEM_RESPONSES,
    dependencies=SECURITY,
    tags=["time series"],
)


class ImportBody(BaseModel):
    """The job that imports a file."""

    job_id: str


@router.post("/imports", status_code=202, response_model=ImportBody, openapi_extra=_DOCUMENTED)
async def import_file(request: Request) -> Response:
    """Import a Parquet or CSV file: the body itself, or a file of the server's machine."""
    principal = await run_in_threadpool(data_principal, request)
    require_every_asset(principal, "write")
    require_plain(request)
    form = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if form == JSON:
        return await _import_local(request, principal)
    if form not in _FORMATS:
        raise invalid("Content-Type", f"{PARQUET}, {CSV} or {JSON}", form)
    return await _import_upload(request, principal, _FORMATS[form])


async def _import_local(request: Request, principal: Principal) -> Response:
    raw = await body_within(request, _JSON_BYTES)
    body = _object("body", raw)
    unknown = sorted(body.keys() - {"path", "mapping"})
    if unknown or not isinstance(body.get("path"), str):
        raise invalid(unknown[0] if unknown else "path", "path and perhaps mapping")
    wanted = _mapping(body.get("mapping"))

    def start() -> Response:
        # The file may have been moved away since.
        if (kept := once_with(request, principal, raw).kept()) is not None:
            return _located(kept)
        roots = request.app.state.parts.settings.import_folders
        source = sources.local_source(body["path"], roots)
        return _submit(request, principal, source, wanted, raw)

    return await run_in_threadpool(start)


async def _import_upload(request: Request, principal: Principal, form: Format) -> Response:
    given = request.query_params.get("mapping")
    wanted = _mapping(_object("mapping", given.encode()) if given else None)
    name = request.query_params.get("name") or f"upload.{form}"
    if len(name) > 200 or not name.isprintable():
        raise invalid("name", "at most 200 printable characters", ascii(name))
    folder: Folder = request.app.state.parts.store.staging(principal.org_id)
    path = f"{new_id()}/file.{form}"
    size, digest = await _stage(request, folder, path)
    source = Source(path, form, name, size, staged=True)
    try:
        answer = await run_in_threadpool(_submit, request, principal, source, wanted, digest)
    except BaseException:
        await run_in_threadpool(folder.remove, [path])
        raise
    if "idempotency-replayed" in answer.headers:
        await run_in_threadpool(folder.remove, [path])
    return answer


async def _stage(request: Request, folder: Folder, path: str) -> tuple[int, bytes]:
    """Stream the body into a new file; return its size and digest. Nothing stays of one that breaks off."""
    digest, size, waiting = hashlib.sha256(), 0, bytearray()
    context = folder.create(path)

    def write(sink: Any, data: bytes) -> None:
        digest.update(data)
        sink.write(data)

    try:
        sink = await run_in_threadpool(context.__enter__)
        try:
            async for chunk in request.stream():
                size += len(chunk)
                if size > FILE_BYTES:
                    raise too_large("body", FILE_BYTES)
                waiting += chunk
                if len(waiting) >= _WRITE_BYTES:
                    await run_in_threadpool(write, sink, bytes(waiting))
                    waiting.clear()
            await run_in_threadpool(write, sink, bytes(waiting))
        except BaseException as error:
            with suppress(BaseException):
                context.__exit__(type(error), error, error.__traceback__)
            folder.remove([path])
            raise
        await run_in_threadpool(context.__exit__, None, None, None)
    except OSError as error:
        failure = as_failure(error, "uploads")
        raise Problem(ProblemCode.UNAVAILABLE, failure.detail, hint=failure.hint, reason="storage") from error
    return size, digest.digest()


def _submit(request: Request, principal: Principal, source: Source, wanted: Columns, body: bytes) -> Response:
    """Look at the file, submit its job and answer."""
    parts = request.app.state.parts
    try:
        staging = parts.store.staging(principal.org_id)
        with sources.opened(source, staging, parts.settings.import_folders) as file:
            columns = sources.check(file, source, wanted)
    except (pa.ArrowException, OSError) as error:
        detail = str(error).partition("\n")[0][:300]
        raise invalid(
            "body" if source.staged else "path", f"a file that can be read as {source.format}", detail
        ) from None

    def submit(conn: psycopg.Connection[Any]) -> tuple[int, ImportBody]:
        tenant = principal.tenant_id, principal.org_id
        job_id = imports.submit(conn, *tenant, source, columns, actor=principal.actor)
        return 202, ImportBody(job_id=str(job_id))

    return _located(once_with(request, principal, body).answer(submit))


def _located(answer: Response) -> Response:
    answer.headers["Location"] = f"/v1/jobs/{orjson.loads(bytes(answer.body))['job_id']}"
    return answer


def _mapping(given: Any) -> Columns:
    if given is not None and not isinstance(given, dict):
        raise invalid("mapping", "a JSON object")
    return wanted_columns(given or {})


def _object(name: str, text: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise invalid(name, "valid JSON", str(error)) from None
    if not isinstance(found, dict):
        raise invalid(name, "a JSON object")
    return found

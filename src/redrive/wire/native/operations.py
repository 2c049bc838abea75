"""What operators and their tools ask: health, readiness, metrics, and the description of the API."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import fastapi_offline
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends
from fastapi.openapi.docs import get_swagger_ui_html
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response

from redrive.database import Database
from redrive.errors import Problem, ProblemCode
from redrive.wire.native.auth import SECURITY, native_principal
from redrive.wire.native.problems import PROBLEM_RESPONSES, NativeRoute

router = APIRouter(route_class=NativeRoute, responses=PROBLEM_RESPONSES, tags=["operation"])
_known = [Depends(native_principal), *SECURITY]


@router.get("/healthz")
async def health() -> dict[str, str]:
    """Say that the process answers. Open to everybody."""
    return {"status": "ok"}


#: Not the threads that requests wait for: a busy server is still ready.
_READINESS = CapacityLimiter(2)


@router.get("/readyz")
async def readiness(request: Request) -> dict[str, str]:
    """Say whether requests can be served: the database answers. Open to everybody."""
    db: Database = request.app.state.parts.db
    answers = await to_thread.run_sync(partial(db.answers, within_seconds=2.0), limiter=_READINESS)
    if not answers:
        raise Problem(ProblemCode.UNAVAILABLE, "the database does not answer", hint="try again later")
    return {"status": "ready"}


@router.get(
    "/metrics",
    dependencies=_known,
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics(request: Request) -> Response:
    """Return the figures of this process and of the queue, for Prometheus."""
    return Response(request.app.state.metrics.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/openapi.json", dependencies=_known, include_in_schema=False)
def openapi(request: Request) -> Response:
    """Return the description of every endpoint."""
    return JSONResponse(request.app.openapi())


_ASSETS = Path(fastapi_offline.__file__).parent / "static"
_SCRIPT, _STYLE = "swagger-ui-bundle.js", "swagger-ui.css"


@router.get("/docs", dependencies=_known, include_in_schema=False)
def docs(request: Request) -> Response:
    """Return a page to read and try the API; all it needs comes from this server."""
    return get_swagger_ui_html(
        openapi_url="/openapi.json",
        title=f"{request.app.title} API",
        swagger_js_url=f"/docs/{_SCRIPT}",
        swagger_css_url=f"/docs/{_STYLE}",
        swagger_favicon_url="/docs/favicon.png",
    )


@router.get("/docs/{name}", dependencies=_known, include_in_schema=False)
def docs_asset(name: str) -> Response:
    """Return a script, style or picture of the page."""
    if name not in (_SCRIPT, _STYLE, "favicon.png"):
        raise Problem(ProblemCode.NOT_FOUND, f"there is no {name[:40]!r} here")
    return FileResponse(_ASSETS / name)

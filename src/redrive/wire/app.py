"""The web application: every edge in one visible list, and what all requests have in common.

Guarantees: each answer carries ``X-Request-Id`` (the one that the log and an internal error name); ``/healthz`` and
``/readyz`` alone are open, everything else of ours asks who calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, FastAPI

import redrive
from redrive.engine.kinds import Kind
from redrive.wire.enos import connect
from redrive.wire.enos import token as enos_token
from redrive.wire.enos.tsdb import routes_delete, routes_read
from redrive.wire.enos.unknown_calls import UNKNOWN_CALLS
from redrive.wire.huawei.drs import routes as huawei_drs
from redrive.wire.huawei.envelope import UNKNOWN_CALLS as UNKNOWN_HUAWEI_CALLS
from redrive.wire.huawei.identity import routes as huawei_identity
from redrive.wire.huawei.workspace import routes as huawei_workspace
from redrive.wire.metrics import Metrics
from redrive.wire.native import (
    failpoints,
    failures,
    holds,
    identity,
    imports,
    jobs,
    operations,
    samples,
    timeseries,
    tokens,
    workspace,
)
from redrive.wire.native.problems import add_handlers
from redrive.wire.requests import AccessEndpoints, CountRequests, NameRequests, RawPaths

#: Everything that answers. Routes are tried in order: the calls that come thousands of times a second go first.
ROUTERS: tuple[APIRouter, ...] = (
    samples.router,
    connect.router,
    operations.router,
    tokens.router,
    *identity.ROUTERS,
    jobs.router,
    failures.router,
    failpoints.router,
    holds.router,
    timeseries.router,
    imports.router,
    workspace.router,
    enos_token.router,
    routes_delete.router,
    routes_read.router,
    huawei_identity.keystone,
    huawei_identity.iam,
    huawei_identity.sts,
    huawei_workspace.router,
    huawei_drs.router,
)


def create_app(parts: Any, kinds: Sequence[Kind] = ()) -> FastAPI:
    """Return the application over the open ``parts`` of this process (``redrive.parts.Parts``).

    ``kinds`` are the job kinds whose targets can be looked at (``GET /v1/jobs/{id}/verify``).
    """
    app = FastAPI(
        title="Redrive",
        version=redrive.__version__,
        summary="A server for long-running data jobs that survive failure.",
        # Served by operations.router, which asks who calls.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        # A path with a slash too many is another path: a redirect would go wherever the Host header says.
        redirect_slashes=False,
    )
    app.state.parts = parts
    app.state.kinds = {kind.name: kind for kind in kinds}
    app.state.metrics = Metrics(parts.db)
    for router in ROUTERS:
        app.include_router(router)
    add_handlers(app, {**UNKNOWN_CALLS, **UNKNOWN_HUAWEI_CALLS})
    app.add_middleware(CountRequests, metrics=app.state.metrics)
    app.add_middleware(RawPaths, prefixes=tuple(UNKNOWN_HUAWEI_CALLS))
    app.add_middleware(AccessEndpoints)
    app.add_middleware(NameRequests)
    return app

"""``/v1/failures``: what is broken, by cause."""

from __future__ import annotations

from typing import Annotated, Any

import psycopg
from fastapi import APIRouter, Query
from starlette.requests import Request

from redrive.database import Database
from redrive.engine.causes import Cause, causes
from redrive.identity.access import Verb
from redrive.wire.native.auth import SECURITY, Caller
from redrive.wire.native.jobs import covered_kinds
from redrive.wire.native.problems import PROBLEM_RESPONSES, NativeRoute
from redrive.wire.native.shapes import CauseBody, CauseList, FailuresQuery, failure_body

router = APIRouter(
    prefix="/v1", route_class=NativeRoute, responses=PROBLEM_RESPONSES, dependencies=SECURITY, tags=["jobs"]
)


@router.get("/failures")
def list_failures(request: Request, caller: Caller, wanted: Annotated[FailuresQuery, Query()]) -> CauseList:
    """List the causes of the jobs that are failed now, the one with most jobs first.

    Retry all of one cause with its ``fingerprint``: POST /v1/jobs/retry, ``{"filter": {"fingerprint": ...}}``.
    """
    db: Database = request.app.state.parts.db

    def read(conn: psycopg.Connection[Any]) -> list[Cause]:
        asked = [wanted.kind] if wanted.kind is not None else None
        kinds = covered_kinds(conn, caller, Verb.LIST, asked)
        return causes(conn, caller.tenant_id, kinds=kinds, limit=wanted.limit + 1)

    found = db.run(read)
    return CauseList(
        failures=[_body(cause) for cause in found[: wanted.limit]], more=len(found) > wanted.limit
    )


def _body(cause: Cause) -> CauseBody:
    return CauseBody(
        fingerprint=cause.fingerprint,
        kind=cause.kind,
        jobs=cause.jobs,
        sample=failure_body(cause.failure),
        first_seen=cause.first_seen,
        last_seen=cause.last_seen,
        examples=[str(job_id) for job_id in cause.examples],
    )

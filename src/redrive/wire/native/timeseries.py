"""``/v1/timeseries``: models and assets. A model concerns every asset that has it, so changing one needs the
permission to write on all assets.
"""

from __future__ import annotations

from typing import Annotated, Any

import psycopg
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from redrive.database import Database
from redrive.errors import Problem, ProblemCode
from redrive.identity.access import Action, require_assets, require_every_asset
from redrive.ingest.samples import check_assets
from redrive.services.timeseries import registry
from redrive.wire.native.auth import SECURITY, DataCaller
from redrive.wire.native.idempotency import Once
from redrive.wire.native.problems import PROBLEM_RESPONSES, NativeRoute
from redrive.wire.native.timeseries_shapes import (
    AppliedBody,
    AssetBody,
    AssetFields,
    AssetPage,
    Limit,
    ModelBody,
    ModelFields,
    ModelPage,
    RegistryBody,
    asset_body,
    asset_of,
    model_body,
    model_of,
)


class RegistryRoute(NativeRoute):
    """A route that takes a whole registry."""

    body_bytes = 32 * 1024 * 1024


router = APIRouter(
    prefix="/v1/timeseries",
    route_class=RegistryRoute,
    responses=PROBLEM_RESPONSES,
    dependencies=SECURITY,
    tags=["time series"],
)

After = Annotated[str, Query(max_length=128, description="`next` of the page before")]
ModelId = Annotated[str | None, Query(max_length=128)]


@router.put("/models/{model_id:path}")
def put_model(model_id: str, body: ModelFields, request: Request, caller: DataCaller) -> ModelBody:
    """Make or replace a model with its points. Safe to repeat."""
    require_every_asset(caller, Action.WRITE)
    model = model_of(model_id, body)
    _db(request).run(lambda conn: registry.put_model(conn, caller.tenant_id, model))
    return model_body(model)


@router.get("/models/{model_id:path}")
def get_model(model_id: str, request: Request, caller: DataCaller) -> ModelBody:
    """Return a model."""
    require_assets(caller, Action.READ, [])
    _check_id("model", model_id)
    with _db(request).transaction() as conn:
        return model_body(registry.model(conn, caller.tenant_id, model_id))


@router.get("/models")
def list_models(request: Request, caller: DataCaller, after: After = "", limit: Limit = 100) -> ModelPage:
    """Return models in order of id."""
    require_assets(caller, Action.READ, [])
    _check_after(after)
    with _db(request).transaction() as conn:
        found = registry.list_models(conn, caller.tenant_id, after=after, limit=limit + 1)
    page = found[:limit]
    return ModelPage(
        models=[model_body(model) for model in page], next=page[-1].id if len(found) > limit else None
    )


@router.delete("/models/{model_id:path}", status_code=204)
def delete_model(model_id: str, request: Request, caller: DataCaller) -> None:
    """Remove a model; refused while an asset has it. Samples stay."""
    require_every_asset(caller, Action.WRITE)
    _check_id("model", model_id)
    _db(request).run(lambda conn: registry.delete_model(conn, caller.tenant_id, model_id))


@router.put("/assets/{asset_id:path}")
def put_asset(asset_id: str, body: AssetFields, request: Request, caller: DataCaller) -> AssetBody:
    """Make or replace an asset. Safe to repeat."""
    require_assets(caller, Action.WRITE, [asset_id])
    asset = asset_of(asset_id, body)
    _db(request).run(lambda conn: registry.put_asset(conn, caller.tenant_id, asset))
    return asset_body(asset)


@router.get("/assets/{asset_id:path}")
def get_asset(asset_id: str, request: Request, caller: DataCaller) -> AssetBody:
    """Return an asset."""
    require_assets(caller, Action.READ, [asset_id])
    _check_id("asset", asset_id)
    with _db(request).transaction() as conn:
        return asset_body(registry.asset(conn, caller.tenant_id, asset_id))


@router.get("/assets")
def list_assets(
    request: Request, caller: DataCaller, after: After = "", limit: Limit = 100, model_id: ModelId = None
) -> AssetPage:
    """Return the assets that the caller may read, in order of id."""
    require_assets(caller, Action.READ, [])
    _check_after(after)
    _check_after(model_id or "")
    scope = caller.scope(Action.READ)
    with _db(request).transaction() as conn:
        found = registry.list_assets(
            conn,
            caller.tenant_id,
            after=after,
            limit=limit + 1,
            model_id=model_id,
            scope=[(reach.allowed, reach.denied) for reach in scope.reaches],
        )
    page = found[:limit]
    return AssetPage(
        assets=[asset_body(asset) for asset in page], next=page[-1].id if len(found) > limit else None
    )


@router.delete("/assets/{asset_id:path}", status_code=204)
def delete_asset(asset_id: str, request: Request, caller: DataCaller) -> None:
    """Remove an asset from the registry. Its samples stay, and its next sample adds it anew."""
    require_assets(caller, Action.WRITE, [asset_id])
    _check_id("asset", asset_id)
    _db(request).run(lambda conn: registry.delete_asset(conn, caller.tenant_id, asset_id))


@router.post("/registry", response_model=AppliedBody)
def apply(body: RegistryBody, caller: DataCaller, once: Once) -> Response:
    """Put many models and assets at once, all or none; what is not named stays as it is."""
    if body.models:
        require_every_asset(caller, Action.WRITE)
    require_assets(caller, Action.WRITE, [asset.id for asset in body.assets])
    models = [model_of(model.id, model) for model in body.models]
    assets = [asset_of(asset.id, asset) for asset in body.assets]

    def put(conn: psycopg.Connection[Any]) -> tuple[int, AppliedBody]:
        done = registry.apply(conn, caller.tenant_id, models, assets)
        return 200, AppliedBody(created=done.created, changed=done.changed)

    return once.answer(put)


def _db(request: Request) -> Database:
    db: Database = request.app.state.parts.db
    return db


def _check_id(what: str, name: str) -> None:
    """Answer an id that nothing can have as one that nothing has."""
    try:
        check_assets([name])
    except Problem:
        raise Problem(
            ProblemCode.NOT_FOUND, f"there is no {what} {name[:128]!a}", reason="not_found"
        ) from None


def _check_after(after: str) -> None:
    if after:
        check_assets([after], "after")

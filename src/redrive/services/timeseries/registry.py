"""The registry: which models and assets a tenant has, and what it says of their points.

Guarantees: an asset is there from its first sample on (ingest adds it, without a model, in UTC); putting the
same model or asset again changes nothing; ids of other tenants do not exist.

Refuses: removing a model that assets have; two assets with one product key and device key.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection, errors

from redrive.database import Queries
from redrive.errors import Problem, ProblemCode, invalid
from redrive.ingest import log
from redrive.services.timeseries.assets import (
    Asset,
    Model,
    Point,
    Policies,
    StorageType,
    ValueType,
    check_asset,
    check_model,
)
from redrive.services.timeseries.scopes import Patterns, scope_parameters

__all__ = ["Asset", "Model", "Point", "Policies", "StorageType", "ValueType"]

queries = Queries.beside(__file__, "registry.sql")

#: One more than the largest page that is shown: whoever asks sees whether there are more.
PAGE_LIMIT = 1001
#: Models and assets in one bulk call.
APPLY_LIMIT = 100_000


@dataclass(frozen=True, slots=True)
class Applied:
    """What a bulk call did."""

    created: int
    changed: int


def put_model(conn: Connection[Any], tenant_id: int, model: Model) -> bool:
    """Make or replace a model with its points; return whether it is new. Safe to repeat."""
    check_model(model)
    (row,) = conn.execute(
        queries.put_model,
        {"tenant_id": tenant_id, "id": model.id, "name": model.name, "retention_days": model.retention_days},
    ).fetchall()
    points = sorted(model.points, key=lambda point: point.id)
    named = {"tenant_id": tenant_id, "model_id": model.id, "ids": [point.id for point in points]}
    conn.execute(queries.drop_other_points, named)
    conn.execute(
        queries.put_points,
        {
            **named,
            "value_types": [point.value_type.value for point in points],
            "storage_types": [
                None if point.storage_types is None else ",".join(sorted(point.storage_types))
                for point in points
            ],
            "retention_days": [point.retention_days for point in points],
        },
    )
    return bool(row.created)


def models(conn: Connection[Any], tenant_id: int, ids: Collection[str]) -> dict[str, Model]:
    """Return those of the models that exist."""
    found = conn.execute(queries.models_by_ids, {"tenant_id": tenant_id, "ids": list(ids)}).fetchall()
    return {model.id: model for model in _models(conn, tenant_id, found)}


def model(conn: Connection[Any], tenant_id: int, model_id: str) -> Model:
    """Return a model; a Problem (not found) where there is none."""
    found = models(conn, tenant_id, [model_id])
    if model_id not in found:
        raise _missing("model", model_id)
    return found[model_id]


def list_models(conn: Connection[Any], tenant_id: int, *, after: str = "", limit: int = 100) -> list[Model]:
    """Return a page of models in order of id, behind ``after``."""
    found = conn.execute(
        queries.models_page, {"tenant_id": tenant_id, "after": after, "limit": min(limit, PAGE_LIMIT)}
    ).fetchall()
    return _models(conn, tenant_id, found)


def delete_model(conn: Connection[Any], tenant_id: int, model_id: str) -> None:
    """Remove a model. Refused while an asset has it."""
    named = {"tenant_id": tenant_id, "id": model_id}
    if conn.execute(queries.lock_model, named).fetchone() is None:
        raise _missing("model", model_id)
    used = conn.execute(queries.asset_of_model, named).fetchone()
    if used is not None:
        raise Problem(
            ProblemCode.CONFLICT,
            f"the asset {used.id} is of the model {model_id}",
            hint="give its assets another model, or none, first",
            reason="model_in_use",
        )
    conn.execute(queries.delete_model, named)


def points_of(conn: Connection[Any], tenant_id: int, model_id: str) -> tuple[str, ...]:
    """Return the ids of the points that a model names; none where the model is not known."""
    found = models(conn, tenant_id, [model_id]).get(model_id)
    return tuple(point.id for point in found.points) if found is not None else ()


def delete_point(conn: Connection[Any], tenant_id: int, model_id: str, point_id: str) -> bool:
    """Take a point out of a model, not its samples; return whether it was there."""
    named = {"tenant_id": tenant_id, "model_id": model_id, "id": point_id}
    return conn.execute(queries.delete_point, named).fetchone() is not None


def put_asset(conn: Connection[Any], tenant_id: int, asset: Asset) -> bool:
    """Make or replace an asset; return whether it is new. Safe to repeat."""
    return _put_assets(conn, tenant_id, [asset]).created == 1


def assets(conn: Connection[Any], tenant_id: int, ids: Collection[str]) -> dict[str, Asset]:
    """Return those of the assets that are known."""
    found = conn.execute(queries.assets_by_ids, {"tenant_id": tenant_id, "ids": list(ids)}).fetchall()
    return {row.id: _asset(row) for row in found}


def asset(conn: Connection[Any], tenant_id: int, asset_id: str) -> Asset:
    """Return an asset; a Problem (not found) where there is none."""
    found = assets(conn, tenant_id, [asset_id])
    if asset_id not in found:
        raise _missing("asset", asset_id)
    return found[asset_id]


def list_assets(
    conn: Connection[Any],
    tenant_id: int,
    *,
    after: str = "",
    limit: int = 100,
    model_id: str | None = None,
    scope: Sequence[Patterns] = (),
) -> list[Asset]:
    """Return a page of assets in order of id, behind ``after``; ``scope``: only what all these patterns cover."""
    found = conn.execute(
        queries.assets_page,
        {
            "tenant_id": tenant_id,
            "after": after,
            "limit": min(limit, PAGE_LIMIT),
            "model_id": model_id,
            **scope_parameters(scope),
        },
    ).fetchall()
    return [_asset(row) for row in found]


def delete_asset(conn: Connection[Any], tenant_id: int, asset_id: str) -> None:
    """Remove an asset from the registry, not its samples; its next sample adds it anew."""
    # Writers keep in their processes which assets are registered; they lock the head before any asset, too.
    log.move_epoch(conn, tenant_id)
    if conn.execute(queries.delete_asset, {"tenant_id": tenant_id, "id": asset_id}).fetchone() is None:
        raise _missing("asset", asset_id)


def apply(
    conn: Connection[Any], tenant_id: int, new_models: Sequence[Model], new_assets: Sequence[Asset]
) -> Applied:
    """Put models and assets, all or none, models first; what is not named stays. Safe to repeat."""
    if len(new_models) + len(new_assets) > APPLY_LIMIT:
        raise Problem(ProblemCode.TOO_LARGE, f"at most {APPLY_LIMIT} models and assets in one call")
    for name, ids in (("models", [m.id for m in new_models]), ("assets", [a.id for a in new_assets])):
        if len(set(ids)) != len(ids):
            raise invalid(name, "each id once")
    ordered = sorted(new_models, key=lambda item: item.id)
    created = sum(put_model(conn, tenant_id, item) for item in ordered)
    put = _put_assets(conn, tenant_id, new_assets) if new_assets else Applied(0, 0)
    total = len(new_models) + len(new_assets)
    return Applied(created + put.created, total - created - put.created)


def add_seen(conn: Connection[Any], tenant_id: int, ids: Iterable[str]) -> None:
    """Add assets that were seen in ingest, with nothing said about them; known ones stay as they are."""
    conn.execute(queries.add_seen_assets, {"tenant_id": tenant_id, "ids": list(ids)})


def assets_of_devices(
    conn: Connection[Any], tenant_id: int, devices: Collection[tuple[str, str]]
) -> dict[tuple[str, str], str]:
    """Return the asset id of each known (product key, device key)."""
    pairs = list(devices)
    found = conn.execute(
        queries.devices,
        {
            "tenant_id": tenant_id,
            "product_keys": [product for product, _ in pairs],
            "device_keys": [device for _, device in pairs],
        },
    ).fetchall()
    return {(row.product_key, row.device_key): row.id for row in found}


def policies(conn: Connection[Any], tenant_id: int, asset_ids: Collection[str]) -> Policies:
    """Return how the points of these assets are stored, and their time zones."""
    found = assets(conn, tenant_id, asset_ids)
    model_ids = {item.model_id for item in found.values() if item.model_id is not None}
    return Policies(found, models(conn, tenant_id, model_ids) if model_ids else {})


def _put_assets(conn: Connection[Any], tenant_id: int, items: Sequence[Asset]) -> Applied:
    for item in items:
        check_asset(item)
    items = sorted(items, key=lambda item: item.id)
    try:
        # In a savepoint, so that the caller's transaction is not spoiled.
        with conn.transaction():
            stored = conn.execute(
                queries.put_assets,
                {
                    "tenant_id": tenant_id,
                    "ids": [item.id for item in items],
                    "names": [item.name for item in items],
                    "model_ids": [item.model_id for item in items],
                    "model_paths": [item.model_path for item in items],
                    "time_zones": [item.time_zone for item in items],
                    "product_keys": [item.product_key for item in items],
                    "device_keys": [item.device_key for item in items],
                },
            ).fetchall()
    except errors.ForeignKeyViolation:
        wanted = {item.model_id for item in items if item.model_id is not None}
        unknown = ", ".join(sorted(wanted - models(conn, tenant_id, wanted).keys()))
        raise Problem(
            ProblemCode.INVALID,
            f"model_id: there is no model {unknown[:200]}",
            hint="put the model first",
            reason="unknown_model",
        ) from None
    except errors.UniqueViolation:
        raise Problem(
            ProblemCode.CONFLICT,
            "another asset has the same product_key and device_key",
            hint="a device is one asset; find the other one in the list of assets",
            reason="device_taken",
        ) from None
    created = sum(row.created for row in stored)
    return Applied(created, len(stored) - created)


def _models(conn: Connection[Any], tenant_id: int, rows: Sequence[Any]) -> list[Model]:
    points: dict[str, list[Point]] = {row.id: [] for row in rows}
    found = conn.execute(queries.points_of_models, {"tenant_id": tenant_id, "ids": list(points)}).fetchall()
    for row in found:
        points[row.model_id].append(_point(row))
    return [Model(row.id, row.name, tuple(points[row.id]), row.retention_days) for row in rows]


def _point(row: Any) -> Point:
    types = row.storage_types
    return Point(
        row.id,
        ValueType(row.value_type),
        None if types is None else frozenset(StorageType(name) for name in types),
        row.retention_days,
    )


def _asset(row: Any) -> Asset:
    return Asset(
        row.id, row.name, row.model_id, row.model_path, row.time_zone, row.product_key, row.device_key
    )


def _missing(what: str, name: str) -> Problem:
    return Problem(ProblemCode.NOT_FOUND, f"there is no {what} {name[:200]}", reason="not_found")

"""What the native API says about models, points and assets: pydantic models, and pure functions both ways."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from redrive.services.timeseries.assets import (
    LONGEST_RETENTION_DAYS,
    Asset,
    Model,
    Point,
    StorageType,
    ValueType,
)
from redrive.services.timeseries.registry import APPLY_LIMIT

PAGE_LIMIT = 1000

Name = Annotated[str, Field(min_length=1, max_length=128)]
Days = Annotated[int, Field(ge=1, le=LONGEST_RETENTION_DAYS)]
Limit = Annotated[int, Field(ge=1, le=PAGE_LIMIT)]


class _Strict(BaseModel):
    """A field that is not known is refused: a misspelt one must not be dropped."""

    model_config = ConfigDict(extra="forbid")


class PointBody(_Strict):
    """A point of a model."""

    id: Name
    value_type: ValueType = ValueType.ANY
    storage_types: list[StorageType] | None = Field(
        default=None, description="how it can be read; null: in every way; empty: the policy is cancelled"
    )
    retention_days: Days | None = Field(default=None, description="null: as the model says")


class ModelFields(_Strict):
    """A model without its id."""

    name: str = Field(default="", max_length=256)
    points: list[PointBody] = Field(default_factory=list, max_length=10_000)
    retention_days: Days | None = Field(
        default=None, description="from the moment of storage; null: for good"
    )


class ModelBody(ModelFields):
    """A model."""

    id: Name


class ModelPage(BaseModel):
    """Models in order of id; ``next`` is the ``after`` of the next page, null on the last."""

    models: list[ModelBody]
    next: str | None


class AssetFields(_Strict):
    """An asset without its id."""

    name: str = Field(default="", max_length=256)
    model_id: Name | None = Field(
        default=None, description="null: the asset fits every model id of a request"
    )
    model_path: str = Field(default="", max_length=1024)
    time_zone: str = Field(default="UTC", max_length=64, examples=["Europe/Berlin"])
    product_key: Name | None = None
    device_key: Name | None = None


class AssetBody(AssetFields):
    """An asset."""

    id: Name


class AssetPage(BaseModel):
    """Assets in order of id; ``next`` is the ``after`` of the next page, null on the last."""

    assets: list[AssetBody]
    next: str | None


class RegistryBody(_Strict):
    """Models and assets to put, all or none."""

    models: list[ModelBody] = Field(default_factory=list, max_length=APPLY_LIMIT)
    assets: list[AssetBody] = Field(default_factory=list, max_length=APPLY_LIMIT)


class AppliedBody(BaseModel):
    """What a bulk call did."""

    created: int
    changed: int


class AcceptedBody(BaseModel):
    """Samples that are durable; ``seq`` is the place of their batch in the organization's history."""

    seq: str
    accepted: int


def model_of(model_id: str, fields: ModelFields) -> Model:
    """Return the model that a caller sent."""
    points = tuple(
        Point(
            point.id,
            point.value_type,
            None if point.storage_types is None else frozenset(point.storage_types),
            point.retention_days,
        )
        for point in fields.points
    )
    return Model(model_id, fields.name, points, fields.retention_days)


def model_body(model: Model) -> ModelBody:
    """Return a model as told."""
    points = [
        PointBody(
            id=point.id,
            value_type=point.value_type,
            storage_types=None if point.storage_types is None else sorted(point.storage_types),
            retention_days=point.retention_days,
        )
        for point in model.points
    ]
    return ModelBody(id=model.id, name=model.name, points=points, retention_days=model.retention_days)


def asset_of(asset_id: str, fields: AssetFields) -> Asset:
    """Return the asset that a caller sent."""
    return Asset(
        id=asset_id,
        name=fields.name,
        model_id=fields.model_id,
        model_path=fields.model_path,
        time_zone=fields.time_zone,
        product_key=fields.product_key,
        device_key=fields.device_key,
    )


def asset_body(asset: Asset) -> AssetBody:
    """Return an asset as told."""
    return AssetBody(
        id=asset.id,
        name=asset.name,
        model_id=asset.model_id,
        model_path=asset.model_path,
        time_zone=asset.time_zone,
        product_key=asset.product_key,
        device_key=asset.device_key,
    )

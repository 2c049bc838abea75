"""Models, points and assets: frozen values, no database.

A *model* describes assets of one sort: its points, their value and storage types, how long samples are kept.
An asset without a model, and a point that its model does not name, are stored and read in every way: who
configures nothing misses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from zoneinfo import available_timezones

from redrive.errors import Problem, ProblemCode, invalid
from redrive.ingest.samples import check_assets, check_points

_NAME_LENGTH = 256
_PATH_LENGTH = 1024
#: Twenty years, the longest retention that the vendor's pages know.
LONGEST_RETENTION_DAYS = 7305


class StorageType(StrEnum):
    """A way in which the stored samples of a point can be read."""

    AI_RAW = "AI_RAW"
    AI_NORMALIZED = "AI_NORMALIZED"
    DI = "DI"
    PI = "PI"
    GENERIC = "GENERIC"
    UNFORMATTED = "UNFORMATTED"
    LAST_CHANGED = "LAST_CHANGED"


#: Of a point without a policy.
EVERY_TYPE = frozenset(StorageType)


class ValueType(StrEnum):
    """What values a point is meant to have. It describes; ingest stores what comes."""

    ANY = "any"
    DOUBLE = "double"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    STRING = "string"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a model. ``storage_types`` None: no policy, so every type; empty: the policy was cancelled."""

    id: str
    value_type: ValueType = ValueType.ANY
    storage_types: frozenset[StorageType] | None = None
    retention_days: int | None = None

    @property
    def types(self) -> frozenset[StorageType]:
        """The ways in which the point can be read."""
        return EVERY_TYPE if self.storage_types is None else self.storage_types


@dataclass(frozen=True, slots=True)
class Model:
    """A sort of asset. ``retention_days`` None: samples are kept for good; a point's own goes first."""

    id: str
    name: str = ""
    points: tuple[Point, ...] = ()
    retention_days: int | None = None


@dataclass(frozen=True, slots=True)
class Asset:
    """Something that has samples. Without a model it fits every model id that a request names."""

    id: str
    name: str = ""
    model_id: str | None = None
    model_path: str = ""
    time_zone: str = "UTC"
    product_key: str | None = None
    device_key: str | None = None


@dataclass(frozen=True, slots=True)
class Policies:
    """How the points of some assets are stored: what the registry says, with its defaults."""

    assets: Mapping[str, Asset] = field(default_factory=dict)
    models: Mapping[str, Model] = field(default_factory=dict)

    def point(self, asset_id: str, point_id: str) -> Point | None:
        """Return what the asset's model says of the point, None where it says nothing."""
        asset = self.assets.get(asset_id)
        model = self.models.get(asset.model_id) if asset is not None and asset.model_id is not None else None
        if model is None:
            return None
        return next((point for point in model.points if point.id == point_id), None)

    def types(self, asset_id: str, point_id: str) -> frozenset[StorageType]:
        """Return the ways in which the point of that asset can be read."""
        point = self.point(asset_id, point_id)
        return EVERY_TYPE if point is None else point.types

    def time_zone(self, asset_id: str) -> str:
        """Return the asset's IANA time zone."""
        asset = self.assets.get(asset_id)
        return asset.time_zone if asset is not None else "UTC"


def check_model(model: Model) -> None:
    """Refuse a model that could not be stored or asked for."""
    check_assets([model.id], "id")
    _check_length("name", model.name, _NAME_LENGTH)
    check_points([point.id for point in model.points], "points.id")
    names = [point.id for point in model.points]
    if len(set(names)) != len(names):
        raise invalid("points", "each point once", next(name for name in names if names.count(name) > 1))
    for days in (model.retention_days, *(point.retention_days for point in model.points)):
        if days is not None and not 1 <= days <= LONGEST_RETENTION_DAYS:
            raise invalid("retention_days", f"1 to {LONGEST_RETENTION_DAYS}, or null", days)


def check_asset(asset: Asset) -> None:
    """Refuse an asset that could not be stored or asked for."""
    check_assets([asset.id], "id")
    _check_length("name", asset.name, _NAME_LENGTH)
    _check_length("model_path", asset.model_path, _PATH_LENGTH)
    if asset.model_id is not None:
        check_assets([asset.model_id], "model_id")
    if asset.time_zone not in _time_zones():
        raise invalid("time_zone", "an IANA time zone such as Europe/Berlin", asset.time_zone)
    if (asset.product_key is None) != (asset.device_key is None):
        raise invalid("device_key", "product_key and device_key, or neither")
    for name, key in (("product_key", asset.product_key), ("device_key", asset.device_key)):
        if key is not None:
            check_assets([key], name)


def require_model(assets: Mapping[str, Asset], model_id: str, asset_ids: list[str]) -> None:
    """Refuse where an asset has another model than ``model_id``; one without a model fits."""
    for asset_id in asset_ids:
        asset = assets.get(asset_id)
        if asset is not None and asset.model_id is not None and asset.model_id != model_id:
            raise Problem(
                ProblemCode.INVALID,
                f"modelId: the asset {asset_id} is of the model {asset.model_id}, not of {model_id}",
                reason="other_model",
            )


def _check_length(name: str, value: str, most: int) -> None:
    if len(value) > most or "\0" in value or not value.isprintable():
        raise invalid(name, f"printable text of at most {most} characters", ascii(value))


@lru_cache(maxsize=1)
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones())

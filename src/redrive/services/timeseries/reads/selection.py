"""Which series a read is about: what was asked, less what the storage types leave out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from redrive import clock
from redrive.services.timeseries.assets import StorageType
from redrive.services.timeseries.reads.buckets import whole_minutes
from redrive.services.timeseries.reads.frame import I64, Mask, Series
from redrive.services.timeseries.reads.source import Catalog, SampleSource, every_series
from redrive.services.timeseries.reads.spans import Span

STANDARD = frozenset(
    {
        StorageType.AI_RAW,
        StorageType.AI_NORMALIZED,
        StorageType.DI,
        StorageType.PI,
        StorageType.GENERIC,
    }
)
ANY = STANDARD | {StorageType.UNFORMATTED}
#: Types that keep one record a minute. A point that has another one too is kept as it came.
BY_MINUTE = frozenset({StorageType.AI_NORMALIZED, StorageType.PI})
_AS_IT_CAME = ANY - BY_MINUTE


@dataclass(frozen=True, slots=True)
class Reader:
    """With what reads work: the samples and the registry of one organization, and the time."""

    source: SampleSource
    catalog: Catalog
    now: Callable[[], datetime] = field(default=clock.now)

    @property
    def now_ms(self) -> int:
        """The present instant in epoch milliseconds."""
        return clock.to_ms(self.now())


@dataclass(frozen=True, slots=True)
class Selection:
    """What a caller asks for: assets by points, each in the order given and once; the model to check."""

    assets: tuple[str, ...]
    points: tuple[str, ...]
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """The series that an endpoint serves, with the instants of their spans and the zones of all assets.

    ``minutes``: read as minute-normalized data; their spans are whole minutes.
    """

    series: tuple[Series, ...]
    starts: I64
    ends: I64
    minutes: Mask
    types: tuple[frozenset[StorageType], ...]
    zones: Mapping[str, str]


def choose(
    reader: Reader,
    selection: Selection,
    types: frozenset[StorageType],
    span: Span,
    *,
    minutes: bool | None = None,
) -> Chosen:
    """Return the series with one of ``types``. ``minutes`` None: by the types of each point."""
    check_model(reader, selection)
    zones = reader.catalog.zones_of(selection.assets)
    asked = every_series(selection.assets, selection.points)
    types_of = reader.catalog.types_of(asked)
    series = tuple(one for one in asked if types_of[one] & types)
    held = tuple(types_of[one] for one in series)
    by_minute = [_is_by_minute(one) if minutes is None else minutes for one in held]
    of_zone = {zone: span.on(zone) for zone in set(zones.values())}
    spans = {asset: of_zone[zones[asset]] for asset in selection.assets}
    ends = [
        whole_minutes(*spans[one.asset]) if cut else spans[one.asset]
        for one, cut in zip(series, by_minute, strict=True)
    ]
    return Chosen(
        series,
        np.array([start for start, _ in ends], dtype=np.int64),
        np.array([end for _, end in ends], dtype=np.int64),
        np.array(by_minute, dtype=bool),
        held,
        zones,
    )


def check_model(reader: Reader, selection: Selection) -> None:
    """Refuse assets that are of another model than the caller says."""
    if selection.model is not None:
        reader.catalog.check_model(selection.assets, selection.model)


def _is_by_minute(types: frozenset[StorageType]) -> bool:
    return not types & _AS_IT_CAME

"""What reads need to know of the rest: the samples of one organization, and the registry of its assets.

A ``SampleSource`` shows one state of the data from the first call to the last: an answer that takes several
calls is never a mixture of before and after. Where that state cannot be kept (a file of it was erased
meanwhile) the call raises ``Outdated``, and the whole answer is computed again from a new source.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import pyarrow as pa

from redrive.services.timeseries.assets import StorageType
from redrive.services.timeseries.boxes import Box, Points
from redrive.services.timeseries.reads.frame import I64, Mask, Series


class Outdated(Exception):
    """A file of the state that a source shows is gone: begin again with a new source."""


class SampleSource(Protocol):
    """The samples of one organization at one moment. Tables have the columns of samples in memory."""

    def samples(self, boxes: Sequence[Box]) -> pa.Table:
        """Return the samples in ``boxes``, in any order; several of one time may come, told apart by seq."""
        ...

    def cost(self, boxes: Sequence[Box]) -> int:
        """Return about how many rows are decoded to find the samples in ``boxes``; 0 only where there is none."""
        ...

    def extent(self, assets: Sequence[str], points: Sequence[str]) -> tuple[int, int] | None:
        """Return bounds of the times of all samples of these series; None where there is none."""
        ...

    def latest(self, series: Sequence[Series]) -> pa.Table:
        """Return the latest sample of each series that has one in the latest store."""
        ...

    def last_changed(self, series: Sequence[Series]) -> pa.Table:
        """Return for each series the sample with which its value last became another one."""
        ...


class Catalog(Protocol):
    """What the registry says about the assets of one organization. An asset it does not know is no error."""

    def zones_of(self, assets: Sequence[str]) -> Mapping[str, str]:
        """Return the time zone of each asset."""
        ...

    def types_of(self, series: Sequence[Series]) -> Mapping[Series, frozenset[StorageType]]:
        """Return the storage types of each series."""
        ...

    def check_model(self, assets: Sequence[str], model: str) -> None:
        """Raise ``Problem`` unless every asset is of ``model`` or has no model yet."""
        ...


def boxes_of(series: Sequence[Series], starts: I64, ends: I64, wanted: Mask | None = None) -> list[Box]:
    """Return boxes that hold exactly these series over their spans; series without a span are left out."""
    points_of: dict[tuple[int, int, str], list[str]] = {}
    chosen = range(len(series)) if wanted is None else wanted.nonzero()[0].tolist()
    spans = list(zip(starts.tolist(), ends.tolist(), strict=True))
    for place in chosen:
        start, end = spans[place]
        if start < end:
            points_of.setdefault((start, end, series[place].asset), []).append(series[place].point)
    groups: dict[tuple[int, int, tuple[str, ...]], list[str]] = {}
    for (start, end, asset), points in points_of.items():
        groups.setdefault((start, end, tuple(points)), []).append(asset)
    return [
        Box(frozenset(assets), Points.only(points), start, end)
        for (start, end, points), assets in groups.items()
    ]


def extent_of(source: SampleSource, series: Sequence[Series]) -> tuple[int, int] | None:
    """Return bounds of the times of all samples of ``series``; None where there is none."""
    assets = list(dict.fromkeys(one.asset for one in series))
    points = list(dict.fromkeys(one.point for one in series))
    return source.extent(assets, points) if series else None


def every_series(assets: Iterable[str], points: Sequence[str]) -> list[Series]:
    """Return all pairs, by asset, then point, in the order given."""
    return [Series(asset, point) for asset in assets for point in points]

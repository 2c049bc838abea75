"""What scans cost: an index of the row groups that some assets' samples lie in, asked many times per answer."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

import numpy as np

from redrive.services.timeseries.boxes import Box
from redrive.services.timeseries.reads.frame import I64, Mask
from redrive.services.timeseries.storage import bucket_of
from redrive.services.timeseries.storage.files import Extent

#: A place in order: names of different buckets never lie between each other.
_Key = tuple[int, str]


class Costs:
    """Row groups as columns: which of the named assets and points may lie in each, when, and how many rows."""

    def __init__(
        self, assets: Iterable[str], points: Iterable[str], groups: Sequence[tuple[int, Extent, int]]
    ) -> None:
        self._assets: list[_Key] = sorted((bucket_of(asset), asset) for asset in set(assets))
        self._points: list[_Key] = sorted((0, point) for point in set(points))
        asset_range = _ranges(self._assets, [(bucket, one.assets) for bucket, one, _ in groups])
        point_range = _ranges(self._points, [(0, one.points) for _, one, _ in groups])
        held = (asset_range[0] < asset_range[1]) & (point_range[0] < point_range[1])
        self._asset_range = asset_range[0][held], asset_range[1][held]
        self._point_range = point_range[0][held], point_range[1][held]
        self._low = np.array([one.times[0] for _, one, _ in groups], dtype=np.int64)[held]
        self._high = np.array([one.times[1] for _, one, _ in groups], dtype=np.int64)[held]
        self._rows = np.array([rows for _, _, rows in groups], dtype=np.int64)[held]

    def extent(self) -> tuple[int, int] | None:
        """Return the least and the greatest time (microseconds) of all groups."""
        return (int(self._low.min()), int(self._high.max())) if len(self._rows) else None

    def rows_for(self, boxes: Sequence[Box]) -> int:
        """Return how many rows are decoded for boxes of named points."""
        touched: Mask = np.zeros(len(self._rows), dtype=bool)
        for box in boxes:
            mask = (self._low < box.end_ms * 1000) & (self._high >= box.start_ms * 1000)
            mask &= _holds(self._asset_range, self._assets, box.assets)
            mask &= _holds(self._point_range, self._points, box.points.names)
            touched |= mask
        return int(self._rows[touched].sum())


def _holds(ranges: tuple[I64, I64], keys: Sequence[_Key], wanted: frozenset[str]) -> Mask:
    """Return which groups may hold one of ``wanted``: count them between the bounds of each."""
    first, behind = ranges
    if len(wanted) >= len(keys):
        return first < behind
    counts = np.cumsum([0, *(name in wanted for _, name in keys)])
    return np.asarray(counts[behind] > counts[first])


def _ranges(keys: Sequence[_Key], bounds: Sequence[tuple[int, tuple[str, str]]]) -> tuple[I64, I64]:
    """Return for each pair of bounds which keys (in order) lie within: from, and up to."""
    known: dict[tuple[int, tuple[str, str]], tuple[int, int]] = {}
    for one in bounds:
        if one not in known:
            bucket, (low, high) = one
            known[one] = bisect_left(keys, (bucket, low)), bisect_right(keys, (bucket, high))
    found = np.array([known[one] for one in bounds], dtype=np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]

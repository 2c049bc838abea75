"""Where reads find their samples: the ingest log's tail first, then one snapshot of the organization's table.

The tail is read before the snapshot, so a batch that is moved in between is seen in the table at least. What
the snapshot says was moved counts as moved: rows of the tail up to there are left to the table, so a sample
that was moved and erased in between does not come back from the tail.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redrive import clock
from redrive.database import Database
from redrive.errors import Failure, Problem, ProblemCode, invalid
from redrive.ingest.tail import Tail
from redrive.services.timeseries import latest, registry
from redrive.services.timeseries.assets import EVERY_TYPE, Policies, StorageType
from redrive.services.timeseries.boxes import Box, Points
from redrive.services.timeseries.reads.costs import Costs
from redrive.services.timeseries.reads.frame import Series
from redrive.services.timeseries.reads.selection import Reader
from redrive.services.timeseries.reads.source import Outdated
from redrive.services.timeseries.storage import Fence, OrgTable, SampleStore, columns
from redrive.services.timeseries.storage.files import Extent
from redrive.services.timeseries.storage.folder import Vanished
from redrive.services.timeseries.storage.snapshot import Snapshot

T = TypeVar("T")

_TRIES = 20
_SCANNED = ("asset", "point", "time_ms", "number", "text", "kind", "quality", "seq")


class Reads:
    """Answers reads of all organizations; one per process, safe to share between threads."""

    def __init__(
        self, db: Database, store: SampleStore, tail: Tail, *, now: Callable[[], datetime] = clock.now
    ) -> None:
        self._db = db
        self._store = store
        self._tail = tail
        self._now = now

    def answer(self, tenant_id: int, org_id: str, compute: Callable[[Reader], T]) -> T:
        """Return what ``compute`` makes of one state of the organization's data.

        Computed again from a newer state where files of the first one were erased meanwhile.
        """
        table = self._store.table(org_id)
        try:
            for _ in range(_TRIES):
                source = StoredSamples(self._db, self._tail, table, tenant_id, org_id)
                try:
                    return compute(Reader(source, Registered(self._db, tenant_id), self._now))
                except Outdated:
                    continue
        except Failure as failure:
            raise Problem(ProblemCode.UNAVAILABLE, failure.detail, hint=failure.hint) from failure
        raise Problem(
            ProblemCode.UNAVAILABLE,
            "the samples change faster than they can be read",
            hint="ask for a shorter span, or again when the deletions that run now are done",
        )


class StoredSamples:
    """One state of an organization's samples: a ``SampleSource``."""

    def __init__(self, db: Database, tail: Tail, table: OrgTable, tenant_id: int, org_id: str) -> None:
        self._db = db
        self._tail = tail
        self._table = table
        self._tenant_id = tenant_id
        self._org_id = org_id
        self._indexed: tuple[frozenset[str], frozenset[str], Costs] | None = None
        self._narrow: tuple[frozenset[str], frozenset[str], pa.Table] | None = None

    @cached_property
    def _state(self) -> tuple[pa.Table, Snapshot | None]:
        """The tail that is not in the snapshot, and the snapshot."""
        with self._db.transaction() as conn:
            accepted = self._tail.read(conn, self._tenant_id)
        snapshot = self._table.snapshot()
        mover = Fence(f"move/{self._org_id}", 0).effect
        moved = snapshot.transactions.get(mover) if snapshot is not None else None
        if moved is not None and accepted.num_rows:
            accepted = accepted.filter(pc.greater(accepted["seq"], moved))
        return accepted, snapshot

    def samples(self, boxes: Sequence[Box]) -> pa.Table:
        """Return the samples in ``boxes``; ``Outdated`` where the state is gone."""
        parts: list[pa.Table] = []
        if self._state[0].num_rows:
            parts.extend(self._from_tail(box) for box in boxes)
        snapshot = self._state[1]
        if snapshot is not None and boxes:
            try:
                parts.append(self._table.scan(boxes, _SCANNED, at=snapshot))
            except Vanished as gone:
                raise Outdated from gone
        found = [part.select(_SCANNED) for part in parts if part.num_rows]
        if not found:
            return columns.empty().select(_SCANNED)
        return found[0] if len(found) == 1 else pa.concat_tables(found, promote_options="permissive")

    def cost(self, boxes: Sequence[Box]) -> int:
        """Return how many rows of tables and log are looked at for ``boxes``."""
        if not boxes:
            return 0
        assets = frozenset[str]().union(*(box.assets for box in boxes))
        points = frozenset[str]().union(*(box.points.names for box in boxes))
        accepted = self._narrowed(assets, points).num_rows if self._state[0].num_rows else 0
        return accepted + self._costs(assets, points).rows_for(boxes)

    def extent(self, assets: Sequence[str], points: Sequence[str]) -> tuple[int, int] | None:
        """Return bounds of the times of these series, by the statistics of row groups."""
        if not assets or not points:
            return None
        wanted = frozenset(assets), frozenset(points)
        bounds: list[int] = []
        if self._state[0].num_rows:
            accepted = self._narrowed(*wanted)
            if accepted.num_rows:
                found = pc.min_max(accepted["time_ms"])
                bounds += [found["min"].as_py(), found["max"].as_py()]
        stored = self._costs(*wanted).extent()
        if stored is not None:
            bounds += [max(stored[0] // 1000, columns.EARLIEST_MS), min(stored[1] // 1000, columns.LATEST_MS)]
        return (min(bounds), max(bounds)) if bounds else None

    def latest(self, series: Sequence[Series]) -> pa.Table:
        """Return the latest sample of each series."""
        accepted = self._accepted_of(series)
        with self._db.transaction() as conn:
            return latest.read_series(conn, self._tenant_id, series, accepted)

    def last_changed(self, series: Sequence[Series]) -> pa.Table:
        """Return the last change of each series."""
        accepted = self._accepted_of(series)
        with self._db.transaction() as conn:
            return latest.last_changed_series(conn, self._tenant_id, series, accepted)

    def _accepted_of(self, series: Sequence[Series]) -> pa.Table:
        assets, points = {one.asset for one in series}, {one.point for one in series}
        with self._db.transaction() as conn:
            return self._tail.read(conn, self._tenant_id, assets, points)

    def _costs(self, assets: frozenset[str], points: frozenset[str]) -> Costs:
        """Return the index of row groups for these names; a walk asks for the same ones again and again."""
        kept = self._indexed
        if kept is None or not (assets <= kept[0] and points <= kept[1]):
            snapshot = self._state[1]
            found: list[tuple[int, Extent, int]] = []
            if snapshot is not None:
                ever = Box(assets, Points.only(points), columns.EARLIEST_MS, columns.LATEST_MS + 1)
                try:
                    found = self._table.groups(ever, at=snapshot)
                except Vanished as gone:
                    raise Outdated from gone
            self._indexed = kept = (assets, points, Costs(assets, points, found))
        return kept[2]

    def _from_tail(self, box: Box) -> pa.Table:
        """Return the rows of the tail in a box of named points."""
        table = _named(self._narrowed(box.assets, box.points.names), box.assets, box.points.names)
        if table.num_rows == 0:
            return table
        within = pc.and_(
            pc.greater_equal(table["time_ms"], box.start_ms), pc.less(table["time_ms"], box.end_ms)
        )
        return table.filter(within)

    def _narrowed(self, assets: frozenset[str], points: frozenset[str]) -> pa.Table:
        """Return the tail with little more than these series; a walk asks for the same ones again and again."""
        kept = self._narrow
        if kept is None or not (assets <= kept[0] and points <= kept[1]):
            self._narrow = kept = (assets, points, _named(self._state[0], assets, points))
        return kept[2]


def _named(table: pa.Table, assets: frozenset[str], points: frozenset[str]) -> pa.Table:
    """Return the rows of these assets and points; names are looked up once per chunk, not per row."""
    parts = []
    for chunk in table.to_batches():
        mask = np.ones(chunk.num_rows, dtype=bool)
        for name, wanted in (("asset", assets), ("point", points)):
            codes, names = columns.codes(chunk.column(name))
            mask &= np.array([one in wanted for one in names], dtype=bool)[codes]
        parts.append(chunk if mask.all() else chunk.filter(pa.array(mask)))
    return pa.Table.from_batches(parts, schema=table.schema)


class Registered:
    """The registry of one organization, asked once per answer: a ``Catalog``."""

    def __init__(self, db: Database, tenant_id: int) -> None:
        self._db = db
        self._tenant_id = tenant_id
        self._known: dict[frozenset[str], Policies] = {}

    def zones_of(self, assets: Sequence[str]) -> Mapping[str, str]:
        """Return the time zone of each asset, UTC where nothing is said."""
        policies = self._policies(assets)
        return {asset: policies.time_zone(asset) for asset in assets}

    def types_of(self, series: Sequence[Series]) -> Mapping[Series, frozenset[StorageType]]:
        """Return the storage types of each series."""
        policies = self._policies(list(dict.fromkeys(one.asset for one in series)))
        of_model = {
            name: {point.id: point.types for point in model.points} for name, model in policies.models.items()
        }
        found: dict[Series, frozenset[StorageType]] = {}
        for one in series:
            asset = policies.assets.get(one.asset)
            types = of_model.get(asset.model_id or "", {}) if asset is not None else {}
            found[one] = types.get(one.point, EVERY_TYPE)
        return found

    def check_model(self, assets: Sequence[str], model: str) -> None:
        """Refuse another model than the assets have; an asset without one fits every model."""
        known = self._policies(assets).assets
        for asset_id in assets:
            asset = known.get(asset_id)
            if asset is not None and asset.model_id is not None and asset.model_id != model:
                raise invalid("modelId", f"the model of asset {asset_id}", model)

    def _policies(self, assets: Sequence[str]) -> Policies:
        key = frozenset(assets)
        if key not in self._known:
            with self._db.transaction() as conn:
                self._known[key] = registry.policies(conn, self._tenant_id, key)
        return self._known[key]

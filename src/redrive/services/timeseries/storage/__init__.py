"""The physical store of samples: one Delta table per organization, written and erased by several processes.

::

    store = SampleStore(root_url, storage_options, db)        a folder, or s3://bucket/prefix
    store.probe()                                             a Problem where it lacks conditional writes
    table = store.table(org_id)                               OrgTable, thread-safe, cached

    table.append(samples, app_id=, claim=, step=None, ledger=None, checked=True) -> Appended   one commit
    table.scan(boxes, columns=None, seq_max=None) -> pa.Table         sorted by asset, point, time, seq
    newest(samples) -> pa.Table                                       highest seq per asset, point, time
    table.erase(boxes, app_id=, claim=, seq_max=, guard=None) -> Erased     one commit, then physically gone
    table.settle_claim(app_id, claim) -> ledger | None                      fence, then: did it happen?
    table.fence(app_id, claim)   table.effect(app_id) -> ledger | None   table.step(app_id) -> int | None
    table.compactions() -> list[Compaction]   table.compact(compaction, app_id=, claim=) -> Compacted
    table.sweep(seq_max=None, patience_seconds=2.0) -> Swept                remove whatever belongs to nobody
    table.count(boxes, seq_max) -> int   table.rows_near(boxes) -> int   table.digest(boxes, seq_max)

Where ``boxes`` stands, one box or several are taken.

Fencing: ``app_id`` names an effect. Without ``step`` it happens once for ever; a second call answers what the
first one did (``repeated=True``), whatever the claim. With ``step`` it happens once per step, in order: the
mover's step is the highest sequence that it moves. A call raises ``Fenced`` (a ``LeaseLostError``) where a
greater claim has fenced or committed. After a lapsed claim ``settle_claim`` comes first.

The store refuses nothing that a sample table can hold; times lie between the years 1 and 9999.
"""

from __future__ import annotations

from redrive.services.timeseries.storage.appending import Appended
from redrive.services.timeseries.storage.columns import BUCKETS, MEMORY, bucket_of, empty, newest
from redrive.services.timeseries.storage.compacting import Compacted, Compaction
from redrive.services.timeseries.storage.erasing import Erased
from redrive.services.timeseries.storage.fencing import Fence, Fenced
from redrive.services.timeseries.storage.store import SampleStore
from redrive.services.timeseries.storage.sweeping import Swept
from redrive.services.timeseries.storage.table import OrgTable

__all__ = [
    "BUCKETS",
    "MEMORY",
    "Appended",
    "Compacted",
    "Compaction",
    "Erased",
    "Fence",
    "Fenced",
    "OrgTable",
    "SampleStore",
    "Swept",
    "bucket_of",
    "empty",
    "newest",
]

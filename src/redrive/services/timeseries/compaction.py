"""Compaction: many small, overlapping files become few clustered ones. A continuous job per tenant.

Merging never changes what a read answers; superseded rows go on the way. Each merge is one fenced commit;
the cursor counts what was merged. Every now and then it also sweeps: files that belong to nobody go, and
the table's log is shortened. A damaged file stops only the merge that reads it.
"""

from __future__ import annotations

from functools import partial

from redrive.clock import now
from redrive.engine.kinds import Again, Done, Kind, Outcome, Work
from redrive.errors import Failure, FailureClass
from redrive.services.timeseries import imports
from redrive.services.timeseries.storage import OrgTable, SampleStore
from redrive.services.timeseries.storage.compacting import Compaction

KIND = "timeseries.compaction"
#: How long to wait when nothing is worth merging, and between two rounds of merges.
IDLE_SECONDS, BUSY_SECONDS = 10.0, 0.5
SWEEP_SECONDS = 900


def kind(store: SampleStore) -> Kind:
    """Return the job kind over an open store."""
    return Kind(
        name=KIND,
        title="compaction of sample files",
        run=partial(_run, store),
        probe=partial(_probe, store),
        endless=True,
    )


def _app_id(work: Work) -> str:
    return f"compaction/{work.unit_id}"


def _run(store: SampleStore, work: Work) -> Outcome:
    table = store.table(work.spec["org_id"])
    before = work.cursor or {}
    cursor = dict(before)
    planned = table.compactions()
    failure: Failure | None = None
    for compaction in planned:
        if work.stop_requested():
            break
        merges, failed = _compact(table, compaction, work)
        cursor["merges"] = cursor.get("merges", 0) + merges
        failure = failure or failed
    if now().timestamp() - cursor.get("swept_at", 0) > SWEEP_SECONDS:
        table.sweep()
        imports.sweep_staged(store.staging(work.spec["org_id"]))
        cursor["swept_at"] = int(now().timestamp())
    if failure is not None and cursor == {"merges": 0, **before}:
        raise failure
    # What was done is noted first: the next round meets the failure again, has nothing else to do, and tells it.
    return Again(cursor, after_seconds=BUSY_SECONDS if planned else IDLE_SECONDS, progress=failure is None)


def _compact(table: OrgTable, compaction: Compaction, work: Work) -> tuple[int, Failure | None]:
    """Merge; return in how many commits, and the failure of a damaged file: what shares its commit goes alone."""
    try:
        table.compact(compaction, app_id=_app_id(work), claim=work.claim)
    except Failure as error:
        if error.kind is not FailureClass.PERMANENT:
            raise  # the store's trouble, not a file's
        if len(compaction.merges) == 1:
            return 0, error
        alone = [_compact(table, Compaction((merge,)), work) for merge in compaction.merges]
        return sum(merges for merges, _ in alone), error
    return 1, None


def _probe(store: SampleStore, work: Work) -> Done | None:
    """Fence the vanished claim and clear what it left half-done; merging starts anew."""
    store.table(work.spec["org_id"]).fence(_app_id(work), work.claim)
    return None

"""Compaction: many small, overlapping files become few clustered ones. A continuous job per tenant.

Merging never changes what a read answers; superseded rows go on the way. Each merge is one fenced commit;
the cursor counts what was merged. Every now and then it also sweeps: files that belong to nobody go, and
the table's log is shortened.
"""

from __future__ import annotations

from functools import partial

from redrive.clock import now
from redrive.engine.kinds import Again, Done, Kind, Outcome, Work
from redrive.services.timeseries import imports
from redrive.services.timeseries.storage import SampleStore

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
    cursor = dict(work.cursor or {})
    planned = table.compactions()
    for compaction in planned:
        if work.stop_requested():
            break
        table.compact(compaction, app_id=_app_id(work), claim=work.claim)
        cursor["merges"] = cursor.get("merges", 0) + 1
    if not planned and now().timestamp() - cursor.get("swept_at", 0) > SWEEP_SECONDS:
        table.sweep()
        imports.sweep_staged(store.staging(work.spec["org_id"]))
        cursor["swept_at"] = int(now().timestamp())
    return Again(cursor, after_seconds=BUSY_SECONDS if planned else IDLE_SECONDS)


def _probe(store: SampleStore, work: Work) -> Done | None:
    """Fence the vanished claim and clear what it left half-done; merging starts anew."""
    store.table(work.spec["org_id"]).fence(_app_id(work), work.claim)
    return None

"""A tenant's samples come with its workspace and go with it.

``prepare`` proves that its part of the store can be written and lets the continuous jobs go on where an earlier
deregistration stopped them. ``stop`` lets the mover bring everything into the tables, then ends those jobs. ``erase``
removes every sample, physically, bucket by bucket behind the claim's fence, then latest values and registry. What
remains is history: which deletions, holds and jobs there were, and empty commits of the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from psycopg import Connection

from redrive.database import Queries
from redrive.engine import claiming, recovery
from redrive.engine.kinds import Work
from redrive.engine.model import ENDED, JobState
from redrive.errors import Failure, FailureClass
from redrive.ingest import log
from redrive.services.timeseries import compaction, holds, mover, retention
from redrive.services.timeseries.boxes import Box, Points
from redrive.services.timeseries.storage import BUCKETS, OrgTable, SampleStore
from redrive.services.timeseries.storage.folder import Folder, Vanished, make_folder, told_as_failure

queries = Queries.beside(__file__, "leaving.sql")

ENDLESS = (mover.KIND, compaction.KIND, retention.KIND)
_ACTOR = "redrive"
_MARK = "workspace"
#: Samples of every time.
_EARLIEST_MS, _LATEST_MS = -62_135_596_800_000, 253_402_300_800_000


class Samples:
    """What a workspace has of this service, over an open store."""

    def __init__(self, store: SampleStore) -> None:
        self.store = store

    def _folder(self, org_id: str) -> Folder:
        return make_folder(self.store.root_url, self.store.options, org_id)

    def prepare(self, work: Work, org_id: str, workspace_id: str) -> None:
        """Let the organization's continuous jobs go on, and mark its part of the store. Safe to repeat."""
        work.db.run(lambda conn: self._go_on(conn, work))
        # Last: where the mark is, everything is.
        folder = self._folder(org_id)
        with told_as_failure(folder.uri):
            with folder.create(_MARK) as sink:
                sink.write(workspace_id.encode())
            folder.sync([_MARK])

    def _go_on(self, conn: Connection[Any], work: Work) -> None:
        claiming.fence(conn, work)
        log.set_closed(conn, work.tenant_id, False)
        for row in conn.execute(queries.endless_jobs, _kinds(work.tenant_id)).fetchall():
            if row.state == JobState.CANCELLED:
                recovery.retry(
                    conn, work.tenant_id, row.id, actor=_ACTOR, reason="the workspace is registered"
                )

    def prepared(self, org_id: str, workspace_id: str) -> bool:
        """Return whether the mark is there."""
        folder = self._folder(org_id)
        try:
            with told_as_failure(folder.uri):
                return folder.read(_MARK) == workspace_id.encode()
        except Vanished:
            return False

    def blocked(self, conn: Connection[Any], tenant_id: int) -> str:
        """Return why the samples must not be erased now; empty where they may."""
        kept = holds.live(conn, tenant_id)
        return f"samples are under legal hold ({', '.join(hold.name for hold in kept[:5])})" if kept else ""

    def stop(self, conn: Connection[Any], tenant_id: int) -> bool:
        """Bring what waits into the tables, end the continuous jobs; return whether both are done."""
        # From here on nothing is added, also by calls and jobs that found the workspace open.
        log.set_closed(conn, tenant_id, True)
        head = log.head(conn, tenant_id)
        if head and not mover.drained(conn, tenant_id, head):
            wrong = mover.what_is_wrong(conn, tenant_id)
            if wrong:
                raise Failure(
                    "samples_not_moved",
                    f"accepted samples cannot be brought into the tables{wrong}",
                    hint="mend what the job says, then retry",
                    kind=FailureClass.NEEDS_INPUT,
                    target="sample store",
                )
            self._require_mover(conn, tenant_id)
            mover.request_drain(conn, tenant_id, head)
            return False
        left = [
            row.id
            for row in conn.execute(queries.endless_jobs, _kinds(tenant_id)).fetchall()
            if row.state not in ENDED
        ]
        for job_id in left:
            recovery.cancel(conn, tenant_id, job_id, actor=_ACTOR, reason="the workspace is deregistered")
        return not left

    def _require_mover(self, conn: Connection[Any], tenant_id: int) -> None:
        found = conn.execute(queries.endless_jobs, _kinds(tenant_id)).fetchall()
        if not any(row.kind == mover.KIND and row.state in ("queued", "running") for row in found):
            raise Failure(
                "samples_not_moved",
                "accepted samples cannot be brought into the tables: the job that moves them is paused or cancelled",
                hint="resume or retry the job timeseries.move, then retry",
                kind=FailureClass.NEEDS_INPUT,
                target="sample store",
            )

    def erase(self, work: Work, org_id: str) -> Mapping[str, Any]:
        """Erase every sample of the organization, physically; then latest values and registry. Safe to repeat."""
        table = self.store.table(org_id)
        samples, staging = self.store.folder(org_id), self.store.staging(org_id)
        rows = files = 0
        with told_as_failure(samples.uri):
            samples.list()  # something else than a folder is no table, and must not pass for an empty one
        if table.snapshot() is None:
            self._require_no_samples(work)
        else:
            for bucket in range(BUCKETS):
                for erased in _erased(table, bucket, f"leave/{work.unit_id}/{bucket}", work):
                    rows += int(erased.get("rows_deleted", 0))
                    files += int(erased.get("files_removed", 0))
            table.forget_log()
        with told_as_failure(staging.uri):
            staging.remove_all()
        work.db.run(lambda conn: self._forget(conn, work))
        folder = self._folder(org_id)
        with told_as_failure(folder.uri):
            folder.remove([_MARK])
        return {"rows_deleted": rows, "files_removed": files}

    def _require_no_samples(self, work: Work) -> None:
        """Refuse to take a store without the table for an empty one: whoever has got a sample has a table."""
        if work.db.run(lambda conn: log.head(conn, work.tenant_id)):
            raise Failure(
                "storage",
                "the sample store has no table of this workspace, though samples were accepted",
                hint="bring the right one back (is its disk mounted, is the address right?), then retry",
                kind=FailureClass.NEEDS_INPUT,
                target="sample store",
            )

    def _forget(self, conn: Connection[Any], work: Work) -> None:
        claiming.fence(conn, work)
        # Writers in other processes keep which assets are registered.
        log.move_epoch(conn, work.tenant_id)
        for query in (queries.forget_latest, queries.forget_assets, queries.forget_models):
            conn.execute(query, {"tenant_id": work.tenant_id})


def _erased(table: OrgTable, bucket: int, app_id: str, work: Work) -> Iterator[Mapping[str, Any]]:
    """Erase a bucket; yield the ledgers of what former claims had erased of it, and of what this one did."""
    former = table.settle_claim(app_id, work.claim) if work.lapsed else table.effect(app_id)
    if former is not None:
        yield former
    assets = table.assets(bucket)
    if assets:
        box = Box(assets, Points.all(), _EARLIEST_MS, _LATEST_MS)
        yield table.erase(box, app_id=app_id, claim=work.claim).as_ledger()


def _kinds(tenant_id: int) -> dict[str, Any]:
    return {"tenant_id": tenant_id, "kinds": list(ENDLESS)}

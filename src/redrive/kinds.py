"""Every kind of job there is: one visible list, nothing registers itself.

Services do not know each other; here a workspace learns what comes and goes with it.
"""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from redrive.endpoints.directory import reach_of
from redrive.endpoints.guard import guard_of
from redrive.engine import claiming
from redrive.engine.kinds import Kind, Work
from redrive.identity.authentication import CACHE_SECONDS
from redrive.identity.data_keys import DataKeys
from redrive.identity.sealing import Sealer
from redrive.parts import Parts
from redrive.services.replication import job as replication_job
from redrive.services.replication import service as replication_service
from redrive.services.replication import task as replication_task
from redrive.services.timeseries import (
    compaction,
    deletion_job,
    imports,
    leaving,
    mover,
    point_removal,
    retention,
)
from redrive.services.timeseries.storage import SampleStore
from redrive.services.workspaces import job as workspace_job
from redrive.services.workspaces.house import Belonging, House, Secrets
from redrive.settings import Settings


def all_kinds(parts: Parts) -> tuple[Kind, ...]:
    """Return the job kinds that a worker of this program runs, over the open parts of its process."""
    return (
        mover.kind(parts.store),
        imports.kind(parts.store, parts.settings.import_folders),
        deletion_job.kind(parts.store),
        point_removal.kind(),
        compaction.kind(parts.store),
        retention.kind(parts.store),
        *workspace_job.kinds(house(parts.settings, parts.sealer, parts.store)),
        *replication_job.kinds(replication(parts.settings, parts.sealer)),
    )


def replication(settings: Settings, sealer: Sealer) -> replication_task.Parts:
    """Return what replication works with."""
    return replication_task.Parts(guard_of(settings), DataKeys(sealer))


def house(settings: Settings, sealer: Sealer, store: SampleStore) -> House:
    """Return what the steps of a workspace work with."""
    samples = leaving.Samples(store)
    belonging = Belonging(
        "samples",
        leaving.ENDLESS,
        samples.prepare,
        samples.prepared,
        samples.blocked,
        samples.stop,
        samples.erase,
    )
    secrets = Secrets(sealer, DataKeys(sealer))
    belongings = [belonging, _REPLICATION]
    return House(secrets, reach_of(settings), belongings, cache_seconds=CACHE_SECONDS)


def _erase_tasks(work: Work, _org_id: str) -> dict[str, int]:
    def erase(conn: Connection[Any]) -> int:
        claiming.fence(conn, work)
        return replication_service.erase(conn, work.tenant_id)

    return {"replication_tasks_erased": work.db.run(erase)}


#: Of replication a workspace has its tasks, and nothing that must be prepared or can be in the way.
_REPLICATION = Belonging(
    "replication",
    (),
    lambda _work, _org_id, _workspace_id: None,
    lambda _org_id, _workspace_id: True,
    lambda _conn, _tenant_id: "",
    lambda _conn, _tenant_id: True,
    _erase_tasks,
)

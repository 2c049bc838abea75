"""Taking a point out of a model: the job kind ``timeseries.point-removal``.

It changes the registry only; the samples of the point are deleted by a deletion job. The job fails, and can
be retried, while the point's storage policy has not been cancelled or samples of it still arrive.
"""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from redrive.clock import now, to_ms
from redrive.database import Database
from redrive.engine import claiming, jobs
from redrive.engine.kinds import Done, Kind, Outcome, Work
from redrive.engine.model import NewJob, NewUnit
from redrive.errors import Failure, FailureClass, invalid
from redrive.services.timeseries import registry

KIND = "timeseries.point-removal"
#: A point counts as arriving when a sample of it was stored within this time.
ARRIVING_MS = 10 * 60 * 1000


def kind() -> Kind:
    """Return the job kind."""
    return Kind(name=KIND, title="removal of a point from its model", run=_run)


def submit(db: Database, tenant_id: int, model_id: str, point_id: str, *, actor: str) -> int:
    """Store the job and return its id; a Problem where the model or the point is not known."""

    def store(conn: Connection[Any]) -> int:
        if model_id not in registry.models(conn, tenant_id, [model_id]):
            raise invalid("modelId", "a model that is known", model_id)
        if point_id not in registry.points_of(conn, tenant_id, model_id):
            raise invalid("pointId", f"a point of model {model_id}", point_id)
        spec = {"model_id": model_id, "point_id": point_id}
        new = NewJob(KIND, tenant_id, spec, actor, units=(NewUnit({}, label=f"remove {point_id}"),), lanes=1)
        return jobs.submit(conn, new)

    return db.run(store)


def _run(work: Work) -> Outcome:
    model_id, point_id = work.spec["model_id"], work.spec["point_id"]
    with work.db.transaction() as conn:
        claiming.fence(conn, work)
        model = registry.models(conn, work.tenant_id, [model_id]).get(model_id)
        point = next((point for point in model.points if point.id == point_id), None) if model else None
        if point is None:
            return Done({"removed": False})
        if point.storage_types is None or point.storage_types:
            raise _refused(
                "policy", f"the storage policy of point {point_id} is in force", "cancel the policy", point_id
            )
        if _arrives(conn, work.tenant_id, model_id, point_id):
            raise _refused(
                "arriving", f"samples of point {point_id} still arrive", "stop its source", point_id
            )
        removed = registry.delete_point(conn, work.tenant_id, model_id, point_id)
    return Done({"removed": removed})


def _refused(code: str, detail: str, remedy: str, point_id: str) -> Failure:
    hint = f"{remedy}, then retry the job"
    return Failure(code, detail, hint=hint, kind=FailureClass.NEEDS_INPUT, target=f"point {point_id}")


def _arrives(conn: Connection[Any], tenant_id: int, model_id: str, point_id: str) -> bool:
    row = conn.execute(
        "select exists (select from timeseries_latest l join timeseries_assets a"
        " on a.tenant_id = l.tenant_id and a.id = l.asset"
        " where l.tenant_id = %(tenant_id)s and a.model_id = %(model_id)s and l.point = %(point)s"
        " and l.stored_ms > %(since)s) as arrives",
        {
            "tenant_id": tenant_id,
            "model_id": model_id,
            "point": point_id,
            "since": to_ms(now()) - ARRIVING_MS,
        },
    ).fetchone()
    return bool(row.arrives) if row is not None else False

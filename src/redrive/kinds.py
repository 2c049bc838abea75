"""Every kind of job there is: one visible list, nothing registers itself."""

from __future__ import annotations

from redrive.engine.kinds import Kind
from redrive.parts import Parts
from redrive.services.timeseries import compaction, deletion_job, imports, mover, point_removal, retention


def all_kinds(parts: Parts) -> tuple[Kind, ...]:
    """Return the job kinds that a worker of this program runs, over the open parts of its process."""
    return (
        mover.kind(parts.store),
        imports.kind(parts.store, parts.settings.import_folders),
        deletion_job.kind(parts.store),
        point_removal.kind(),
        compaction.kind(parts.store),
        retention.kind(parts.store),
    )

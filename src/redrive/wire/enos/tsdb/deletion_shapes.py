"""Deletion jobs in the vendor's form. Pure; every value is new."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from redrive.engine.model import JobState
from redrive.services.timeseries.deletion import Deletion, Page

#: 0 committed, 1 executing, 2 finished, 3 suspended, 4 canceled, 5 failed.
STATUS: dict[JobState, int] = {
    JobState.QUEUED: 0,
    JobState.RUNNING: 1,
    JobState.SUCCEEDED: 2,
    JobState.PAUSED: 3,
    JobState.CANCELLED: 4,
    JobState.FAILED: 5,
}


def page(listed: Page, number: int, size: int) -> dict[str, Any]:
    """Return a page; ``total`` counts all that match."""
    return {
        "total": listed.total,
        "pageNum": number,
        "pageSize": size,
        "list": [_item(item) for item in listed.items],
    }


def _item(deletion: Deletion) -> dict[str, Any]:
    return {
        "id": str(deletion.job_id),
        "status": STATUS[deletion.state],
        "modelId": deletion.model_id,
        "assetIds": ",".join(deletion.asset_ids),
        "measurement": deletion.point_id,
        "startTime": str(deletion.start_ms),
        "endTime": str(deletion.end_ms),
        "launchTime": _instant(deletion.launched_at),
        "finishTime": _instant(deletion.ended_at),
        "operator": deletion.actor,
    }


def _instant(instant: datetime | None) -> str | None:
    """Return ``2021-03-12T09:32:16.442+0000``, None where there is no such instant yet."""
    if instant is None:
        return None
    return f"{instant:%Y-%m-%dT%H:%M:%S}.{instant.microsecond // 1000:03d}+0000"

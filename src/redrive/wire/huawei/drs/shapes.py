"""What the service tells. Pure; field names and quirks are the vendor's.

Quirks kept: ``id`` here and ``job_id`` there, ``status`` as a Boolean of selected objects, ``error_message`` of
details and statuses, instants as texts of milliseconds, but ``create_time`` of the list. What is absent is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from redrive.clock import to_ms
from redrive.endpoints.databases.model import Endpoint
from redrive.errors import Problem
from redrive.services.replication.model import Chosen, Finding, Status
from redrive.services.replication.service import PrecheckResult, Progress
from redrive.services.replication.task import Task
from redrive.wire.huawei.codes import Surface
from redrive.wire.huawei.drs.asked import OF
from redrive.wire.huawei.drs.codes import DRS, LOOKING, MODE_WORDS, STATUS_WORDS, USE_WORDS

Json = dict[str, Any]
_MESSAGE = 1_000
_FAILED = (Status.START_FAILED, Status.LOAD_FAILED)


def present(body: Mapping[str, Any]) -> Json:
    """Return a body without what is absent."""
    return {name: value for name, value in body.items() if value is not None}


def batch(results: Sequence[Json]) -> Json:
    """Return the answer of a batch."""
    return {"results": list(results), "count": len(results)}


def refused(problem: Problem, surface: Surface = DRS) -> Json:
    """Return the two fields that say why an item was refused."""
    words = f"{problem.detail} ({problem.hint})" if problem.hint else problem.detail
    return {"error_code": surface.code_of(problem)[1], "error_msg": words[:_MESSAGE]}


def not_shown(vendor_id: str, problem: Problem) -> Json:
    """Return why details or statuses tell nothing of a task; the text has another name there."""
    found = refused(problem, LOOKING)
    return {"id": vendor_id, "error_code": found["error_code"], "error_message": found["error_msg"]}


def outcome(vendor_id: str, problem: Problem | None) -> Json:
    """Return the result of an item."""
    if problem is None:
        return {"id": vendor_id, "status": "success"}
    return {"id": vendor_id, "status": "failed", **refused(problem)}


def created(task: Task) -> Json:
    """Return what is told of a new task."""
    return {
        "id": task.vendor_id,
        "name": task.settings.name,
        "status": status_word(task),
        "create_time": instant(task.created_at),
    }


def status_word(task: Task) -> str:
    """Return where a task stands, in the vendor's word."""
    return STATUS_WORDS[task.status]


def _failure(task: Task) -> Json:
    if task.status not in _FAILED or task.failure is None:
        return {}
    detail, hint = str(task.failure.get("detail", "")), str(task.failure.get("hint", ""))
    words = f"{detail} ({hint})" if hint else detail
    return {"error_code": str(task.failure.get("code", "")), "error_message": words[:_MESSAGE]}


def status_body(task: Task) -> Json:
    """Return where a task stands."""
    return {"id": task.vendor_id, "status": status_word(task), **_failure(task)}


def detail_body(task: Task) -> Json:
    """Return what a task is, without its passwords."""
    settings, failure = task.settings, _failure(task)
    over = task.ended_at if task.status is Status.LOADED else None
    chosen = settings.objects
    return present(
        {
            "id": task.vendor_id,
            "name": settings.name,
            "description": settings.description,
            "status": status_word(task),
            "db_use_type": USE_WORDS[settings.use],
            "task_type": MODE_WORDS[settings.mode],
            "engine_type": settings.engine,
            "multi_write": False,
            "create_time": instant(task.created_at),
            "actual_start_time": instant(task.started_at),
            "full_transfer_complete_time": instant(over),
            "update_time": instant(task.changed_at),
            "source_endpoint": _endpoint(task.source),
            "target_endpoint": _endpoint(task.target),
            "conflict_policy": settings.conflict.value,
            "object_switch": chosen is not None,
            "object_infos": None if chosen is None else [_object(task.source, each) for each in chosen],
            "struct_trans": True,
            "index_trans": True,
            "failed_reason": failure.get("error_message"),
            **failure,
            **dict(settings.notes),
        }
    )


def _object(source: Endpoint | None, chosen: Chosen) -> Json:
    """Return a chosen object, under the id by which it can be chosen again."""
    database = "" if source is None else source.database
    schema_id = f"{database}{OF}{chosen.schema}"
    if not chosen.name:
        return {"id": schema_id, "parent_id": database, "type": "schema", "name": chosen.schema}
    table_id = f"{schema_id}{OF}{chosen.name}"
    return {"id": table_id, "parent_id": schema_id, "type": "table", "name": chosen.name}


def _endpoint(endpoint: Endpoint | None) -> Json | None:
    if endpoint is None:
        return None
    return present(
        {
            "db_type": endpoint.engine.value,
            "ip": endpoint.host,
            "db_port": endpoint.port,
            "db_user": endpoint.user,
            "db_name": endpoint.database or None,
            "ssl_link": endpoint.tls,
        }
    )


def progress_body(task: Task, progress: Progress) -> Json:
    """Return how far a task is."""
    parts = {"struct": progress.structure, "data": progress.rows, "index": progress.keys}
    return {
        "job_id": task.vendor_id,
        "progress": str(progress.percent),
        "incre_trans_delay": "-1",
        "task_mode": MODE_WORDS[task.settings.mode],
        "transfer_status": status_word(task),
        "process_time": instant(progress.updated_at) or "0",
        "progress_map": {
            name: {"completed": f"{100 * done // total if total else 0}%"}
            for name, (done, total) in parts.items()
        },
        **({"remaining_time": "0"} if task.status is Status.LOADED else {}),
        **{name.replace("_message", "_msg"): value for name, value in _failure(task).items()},
    }


def listed(task: Task) -> Json:
    """Return what the list tells of a task."""
    return present(
        {
            "id": task.vendor_id,
            "name": task.settings.name,
            "status": status_word(task),
            "description": task.settings.description,
            "create_time": f"{task.created_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
            "engine_type": task.settings.engine,
            "net_type": task.settings.notes.get("net_type"),
            "billing_tag": False,
            "job_direction": task.settings.notes.get("job_direction"),
            "db_use_type": USE_WORDS[task.settings.use],
            "task_type": MODE_WORDS[task.settings.mode],
            "children": [],
            "node_newFramework": False,
            "error_msg": _failure(task).get("error_message"),
        }
    )


def precheck_body(task: Task, found: PrecheckResult | None) -> Json:
    """Return what a precheck has found; without ``result`` while it runs."""
    body: Json = {"precheck_id": task.vendor_id, "job_direction": task.settings.notes.get("job_direction")}
    if found is None:
        return present({**body, "process": "0%", "total_passed_rate": "0%", "precheck_result": []})
    if found.failure is not None:
        words = str(found.failure.get("detail", ""))[:_MESSAGE]
        code = str(found.failure.get("code", ""))
        return present({**body, "process": "100%", "result": False, "error_code": code, "error_msg": words})
    if found.findings is None:
        return present({**body, "process": "0%", "total_passed_rate": "0%", "precheck_result": []})
    good = sum(finding.ok or finding.warning for finding in found.findings)
    return present(
        {
            **body,
            "process": "100%",
            "result": found.passed and found.is_current,
            "total_passed_rate": f"{100 * good // len(found.findings)}%",
            "precheck_result": [_finding(finding) for finding in found.findings],
        }
    )


def _finding(finding: Finding) -> Json:
    if finding.ok:
        return {"item": finding.item, "result": "PASSED", "group": finding.group}
    return {
        "item": finding.item,
        "result": "ALARM" if finding.warning else "FAILED",
        "failed_reason": finding.reason.upper(),
        "raw_error_msg": f"{finding.detail} ({finding.hint})"[:_MESSAGE],
        "group": finding.group,
    }


def instant(at: datetime | None) -> str | None:
    """Return an instant as the service writes most of them."""
    return None if at is None else str(to_ms(at))

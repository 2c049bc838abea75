"""What the service tells: the workspace, its tasks and their steps. Pure; field names and quirks are the vendor's.

Quirks kept: one object for a list, ``progress`` as a percentage with its sign, ``internet_access_port`` and
``delete_computer_object`` as texts here, ``fail_code`` as a number, ``CLOSED`` for what was never registered.
"""

from __future__ import annotations

import zlib
from datetime import UTC, datetime
from typing import Any

from redrive.engine.model import Job, UnitState
from redrive.services.workspaces.house import Workspace
from redrive.services.workspaces.model import DirectoryKind, Status, known
from redrive.services.workspaces.service import status
from redrive.services.workspaces.task_ids import task_id
from redrive.services.workspaces.tasks import StepStatus, Task
from redrive.wire.huawei.workspace.codes import (
    ACCESS_STATUS,
    ACCESS_WORDS,
    DIRECTORY_WORDS,
    JOB_TYPES,
    STATUS_WORDS,
    STEP_WORDS,
    TASK_WORDS,
)

_REASON, _CODE = 255, 55
_FAILED = (Status.REGISTRATION_FAILED, Status.DEREGISTRATION_FAILED)


def workspace_body(
    workspace: Workspace, task: Job | None, closable: bool, address: str, port: str
) -> dict[str, Any]:
    """Return what a query of the workspace tells. ``address`` and ``port``: where the caller reached the server."""
    present = status(workspace)
    settings = workspace.settings
    body: dict[str, Any] = {
        "id": workspace.id,
        "is_global": False,
        "status": STATUS_WORDS[present],
        "closable": closable,
        "config_status": _config_status(workspace, present),
        "progress": f"{_percent(workspace, present)}%",
    }
    if settings is None:
        return {**body, "access_status": "init"}
    ways = settings.access.ways
    body |= {
        "ad_domains": _directory(workspace),
        "vpc_id": settings.vpc_id or None,
        "vpc_name": settings.vpc_id or None,
        "access_mode": ACCESS_WORDS[settings.access],
        "access_status": ACCESS_STATUS[present].format(way=ways[0]),
        "adn_conflict_network": ";".join(settings.conflict_networks),
        "subnet_ids": [{"subnet_id": subnet} for subnet in settings.subnets],
        "vpc_config_infos": _networks(workspace),
        "management_subnet_cidr": settings.management_cidr or None,
        "enterprise_id": workspace.enterprise_id or settings.enterprise_id or None,
        "complete_time": instant(workspace.registered_at),
        "job_id": task_id(task.id, task.attempt) if task is not None else None,
        **dict(settings.notes),
    }
    if "internet" in workspace.endpoints:
        body["internet_access_address"] = address + workspace.endpoints["internet"]["prefix"]
        body.setdefault("internet_access_port", port)
    if "dedicated" in workspace.endpoints:
        body["dedicated_access_address"] = address + workspace.endpoints["dedicated"]["prefix"]
    if "dedicated" in ways:
        body["dedicated_subnets"] = ";".join(settings.dedicated_subnets)
    if present in _FAILED and workspace.failure is not None:
        body["fail_code"] = fail_number(str(workspace.failure.get("code", "")))
        body["fail_reason"] = _reason(workspace.failure)
    return body


def fail_number(code: str) -> int:
    """Return a failure's code as the number that this one field wants: the same code is always the same."""
    return zlib.crc32(code.encode()) % 900_000 + 100_000


def _config_status(workspace: Workspace, present: Status) -> str:
    if workspace.settings is None or workspace.settings.directory.kind is DirectoryKind.LOCAL:
        return "3"
    if present not in _FAILED:
        return "0"
    code = str((workspace.failure or {}).get("code", ""))
    return "1" if code.startswith("directory") else "2"


def _percent(workspace: Workspace, present: Status) -> int:
    if present is Status.NONE or not workspace.total_units:
        return 0
    return 100 * workspace.done_units // workspace.total_units


def _directory(workspace: Workspace) -> dict[str, Any]:
    found = workspace.wanted.directory
    body: dict[str, Any] = {"domain_type": DIRECTORY_WORDS[found.kind]}
    if found.kind is DirectoryKind.LOCAL:
        return body
    dns = [*found.dns, "", ""]
    named = {
        "domain_name": found.domain_name,
        "domain_admin_account": found.admin_account,
        "active_domain_ip": found.active_ip,
        "active_domain_name": found.active_name,
        "standby_domain_ip": found.standby_ip,
        "standby_domain_name": found.standby_name,
        "active_dns_ip": dns[0],
        "standby_dns_ip": dns[1],
    }
    return {
        **body,
        **{name: value for name, value in named.items() if value},
        "delete_computer_object": "1" if found.delete_object else "0",
        "use_ldaps": found.ldaps,
        **dict(found.notes),
        "domain_controllers": [
            {"name": name, "private_ip": ip}
            for ip, name in ((found.active_ip, found.active_name), (found.standby_ip, found.standby_name))
            if ip
        ],
    }


def _networks(workspace: Workspace) -> list[dict[str, Any]]:
    settings = workspace.wanted
    if not settings.subnets:
        return []
    found, _ = known(settings.subnets, workspace.known_subnets)
    return [
        {
            "vpc_id": settings.vpc_id or None,
            "subnet_ids": list(settings.subnets),
            "used_subnet_ids": list(found),
            "default_access_vpc": True,
        }
    ]


def task_body(task: Task) -> dict[str, Any]:
    """Return a task with its steps as they were in it."""
    steps = [step_body(task, step) for step in task.steps]
    return {
        "id": task.id,
        "job_type": JOB_TYPES[task.job.kind],
        "begin_time": instant(task.started_at),
        "end_time": instant(task.ended_at),
        "status": TASK_WORDS[task.state],
        "job_error_code": str(task.failure.get("code", ""))[:_CODE] or None,
        "fail_reason": _reason(task.failure) or None,
        "sub_jobs_total": len(steps),
        "sub_jobs": steps,
    }


def step_body(task: Task, step: StepStatus) -> dict[str, Any]:
    """Return a step as a sub-task. A step that an earlier attempt did is told as kept, with its times of then."""
    return {
        "id": str(step.id),
        "job_type": JOB_TYPES[task.job.kind],
        "entity": f"{step.name} (kept)" if step.kept else step.name,
        "entities": {},
        "begin_time": instant(step.started_at),
        "end_time": instant(step.ended_at),
        "status": STEP_WORDS[step.state],
        "error_code": str(step.failure.get("code", ""))[:_CODE] or None,
        "fail_reason": _reason(step.failure) or None,
        "process": 100 if step.state is UnitState.DONE else 0,
        "job_id": task.id,
    }


def lock_body(workspace: Workspace) -> dict[str, Any]:
    """Return whether the workspace is locked, since when and why."""
    locked = workspace.locked_at
    return {
        "is_lock": int(locked is not None),
        "lock_time": f"{locked.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if locked is not None else None,
        "lock_reason": workspace.lock_reason or None,
    }


def instant(at: datetime | None) -> str | None:
    """Return an instant as the service writes it."""
    if at is None:
        return None
    utc = at.astimezone(UTC)
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03d}Z"


def _reason(failure: Any) -> str:
    detail, hint = str(failure.get("detail", "")), str(failure.get("hint", ""))
    return (f"{detail} ({hint})" if hint else detail)[:_REASON]

"""The second act: a registration that fails on its directory, and the documented retry that finishes it.

The calls are made by the vendor's own client. The directory is a small LDAP server, a process of its own, that is not
running at first.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkworkspace.v2 import (
    AdDomain,
    ApplyWorkspaceReq,
    ApplyWorkspaceRequest,
    JobActionsReq,
    ListWorkspacesRequest,
    RunActionsOnWorkspaceJobRequest,
    ShowJobRequest,
    WorkspaceClient,
)
from rich.markup import escape

from demo.proof import expect
from demo.screen import say, shown, step, table
from demo.server import Native, Server

ROOT = Path(__file__).parents[1]
DOMAIN, ACCOUNT, PASSWORD = "plant.example", "admin", "of-the-demonstration"
_PATIENCE_SECONDS = 30.0
_ENDED = ("SUCCESS", "FAIL")


def register(server: Server, native: Native, folder: Path) -> None:
    """Register a new project's workspace; fail, start what was missing, retry, and look."""
    step("A tenant's place: register a workspace that joins a directory")
    client, project_id = _client(server, native)
    say("A second project. Its workspace is to join the directory plant.example, which is not running.")
    path = f"/v2/{project_id}/workspaces"
    shown(f"POST {path}   ApplyWorkspace, by the vendor's client")
    first = client.apply_workspace(ApplyWorkspaceRequest(body=_wanted())).job_id
    failed = _ended(client, first)
    expect("the first task", failed.status, "FAIL")
    _show("The first task", failed)
    say(f"[bold]Why:[/] {escape(failed.fail_reason)}")

    step("Start the directory, retry the task: POST .../workspace-jobs/{job_id}/actions")
    with _directory(server.directory_port, folder):
        shown(f'POST /v2/{project_id}/workspace-jobs/{first}/actions {{"op_type": "retry"}}')
        asked = RunActionsOnWorkspaceJobRequest(job_id=first, body=JobActionsReq(op_type="retry"))
        second = client.run_actions_on_workspace_job(asked).job_id
        done = _ended(client, second)
    expect("the second task", done.status, "SUCCESS")
    _show("The second task", done)
    kept = sum(each.entity.endswith("(kept)") for each in done.sub_jobs)
    expect("steps kept", kept, sum(each.status == "SUCCESS" for each in failed.sub_jobs))
    expect("the first task, after", client.show_job(ShowJobRequest(job_id=first)).status, "FAIL")
    found = client.list_workspaces(ListWorkspacesRequest())
    expect("the workspace", (found.status, found.job_id), ("SUBSCRIBED", second))
    say(
        f"{kept} steps were kept, the failed one and those behind it were done. The workspace is {found.status}."
    )


def _client(server: Server, native: Native) -> tuple[WorkspaceClient, str]:
    project = native.post("/v1/identity/projects", {"name": "plant-2"})
    pair = native.post("/v1/identity/keys", {"name": "plant", "project": "plant-2"})
    credentials = BasicCredentials(pair["access_key"], pair["secret_key"], project["id"])
    builder = WorkspaceClient.new_builder().with_credentials(credentials).with_endpoint(server.endpoint)
    return builder.build(), project["id"]


def _wanted() -> ApplyWorkspaceReq:
    domain = AdDomain(
        domain_type="LOCAL_AD",
        domain_name=DOMAIN,
        domain_admin_account=ACCOUNT,
        domain_password=PASSWORD,
        active_domain_ip="127.0.0.1",
        active_domain_name="dc1",
    )
    return ApplyWorkspaceReq(ad_domains=domain, access_mode="INTERNET", enterprise_id="plant-2")


def _ended(client: WorkspaceClient, job_id: str) -> Any:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        task = client.show_job(ShowJobRequest(job_id=job_id))
        if task.status in _ENDED:
            return task
        if time.monotonic() > deadline:
            raise RuntimeError(f"task {job_id} is still {task.status}")
        time.sleep(0.1)


def _show(title: str, task: Any) -> None:
    rows = [(each.entity, each.status, each.error_code or "") for each in task.sub_jobs]
    table(f"{title}, {task.job_type}: {task.status}", rows)


@contextlib.contextmanager
def _directory(port: int, folder: Path) -> Iterator[None]:
    secret = folder / "directory-password"
    secret.write_text(f"{PASSWORD}\n")
    words = ["--port", str(port), "--domain", DOMAIN, "--account", ACCOUNT, "--password-file", str(secret)]
    shown(f"python -m demo.directory_server --port {port} --domain {DOMAIN} ... &")
    process = subprocess.Popen(
        [sys.executable, "-m", "demo.directory_server", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        if process.stdout is None or not process.stdout.readline():
            raise RuntimeError("the directory did not start")
        yield
    finally:
        process.kill()
        process.communicate()

"""``docs/coverage.md``: every documented operation of the vendors' services, done or not, and what it was tried with.

Done is what the program serves. A client counts as having tried a call where a file that runs it names the call:
tests over HTTP, the demonstration, the shell blocks of the quickstart, the Poseidon client's tests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import SimpleNamespace

from fastapi import FastAPI

from redrive.wire.app import create_app
from tools.pages import ROOT, table

TSDB = "/tsdb-service/v2.1"


@dataclass(frozen=True)
class Operation:
    """An operation of the vendor's pages. ``action``: of its query, where the path alone does not tell.

    ``sdk``: what the vendor's client calls it; a test that names this has called it.
    """

    name: str
    method: str
    path: str
    permission: str
    versions: str
    action: str | None = None
    sdk: str | None = None


def _workspace(name: str, method: str, path: str, action: str, sdk: str) -> Operation:
    return Operation(name, method, f"/v2/{{project_id}}/{path}", f"workspace:{action}", "v2", sdk=sdk)


def _drs(name: str, method: str, path: str, operation: str, sdk: str) -> Operation:
    action = f"drs:migrationJob:{operation}" if operation else ""
    return Operation(name, method, f"/v3/{{project_id}}/jobs{path}", action, "v3", sdk=sdk or None)


def _drs_of_all(name: str, method: str, path: str, sdk: str) -> Operation:
    return Operation(name, method, f"/v3/{{project_id}}{path}", "", "v3", sdk=sdk)


OPERATIONS = {
    "Time series (TSDB v2.1)": (
        Operation("Submit Data Deletion Job", "POST", f"{TSDB}/data/tsdb-delete", "Write", "2.2 to 2.4"),
        Operation("Get Data Deletion Details", "GET", f"{TSDB}/data/delete-detail", "Read", "2.2 to 2.4"),
        Operation("Resubmit Data Deletion Job", "PUT", f"{TSDB}/data/resubmit", "Write", "2.2 to 2.4"),
        Operation("Delete Asset Latest Data", "POST", f"{TSDB}/latest", "Write", "2.1 to 2.4", "delete"),
        Operation("Delete Point Metadata", "POST", f"{TSDB}/data/meta-delete", "Write", "2.3 to 2.4"),
        Operation("Get Asset Latest Data", "POST", f"{TSDB}/latest", "Read", "2.1 to 3.1"),
        Operation("Filter Asset Latest Data", "POST", f"{TSDB}/latest/filter", "Read", "2.1 to 3.1"),
        Operation("Get Asset AI Raw Data", "POST", f"{TSDB}/ai", "Read", "2.1 to 3.1"),
        Operation(
            "Get Asset AI Data with Aggregation Logic", "POST", f"{TSDB}/ai-normalized", "Read", "2.1 to 3.1"
        ),
        Operation("Get Asset DI Data", "POST", f"{TSDB}/di", "Read", "2.1 to 3.1"),
        Operation("Get Asset DI Data Duration", "POST", f"{TSDB}/di/duration", "Read", "2.1 to 3.1"),
        Operation("Get Asset Electric Power Data", "POST", f"{TSDB}/electric-power", "Read", "2.1 to 3.1"),
        Operation(
            "Get Asset Current Day Electric Power",
            "POST",
            f"{TSDB}/electric-power/current-day",
            "Read",
            "2.1 to 3.1",
        ),
        Operation("Get Asset Generic Data", "POST", f"{TSDB}/generic", "Read", "2.1 to 3.1"),
        Operation("Get Asset Raw Data by Time Range", "POST", f"{TSDB}/raw", "Read", "2.1 to 3.1"),
        Operation("Get Last Changed Data", "POST", f"{TSDB}/data/last-changed", "Read", "2.2 to 3.1"),
        Operation("Check Dead Data", "POST", f"{TSDB}/data/latest/check-dead", "Read", "2.2 to 3.1"),
        Operation("Get Asset Unformatted Data", "POST", f"{TSDB}/unformatted", "Read", "2.2 to 2.4"),
        Operation("Get Asset Unified Raw Data", "POST", f"{TSDB}/unified-raw", "Read", "2.4 to 3.1"),
    ),
    "Data in (connect service v2.1)": (
        Operation(
            "Upload Measurement Points",
            "POST",
            "/connect-service/v2.1/integration",
            "Write",
            "2.1 to 2.4",
            "postMeasurepoint",
        ),
    ),
    "Gateway (token service v2.0)": (
        Operation("Get Access Token", "POST", "/apim-token-service/v2.0/token/get", "", "2.1 to 3.0"),
        Operation("Refresh Access Token", "POST", "/apim-token-service/v2.0/token/refresh", "", "2.1 to 3.0"),
    ),
    "Workspace (Huawei Cloud, v2)": (
        _workspace("Registering the Service", "POST", "workspaces", "tenants:open", "apply_workspace"),
        _workspace("Querying Service Details", "GET", "workspaces", "tenants:get", "list_workspaces"),
        _workspace("Modifying Attributes", "PUT", "workspaces", "tenants:update", "update_workspace"),
        _workspace("Deregistering the Service", "DELETE", "workspaces", "tenants:delete", "cancel_workspace"),
        _workspace("Lock Status", "GET", "workspaces/lock-status", "tenants:get", "show_workspace_lock"),
        _workspace("Unlocking", "PUT", "workspaces/lock-status", "tenants:unlock", "unlock_workspace"),
        _workspace(
            "Checking an Enterprise ID", "POST", "workspaces/enterprise-ids/check",
            "tenants:checkEnterpriseIds", "check_enterprise_id",
        ),
        _workspace(
            "Changing the Enterprise ID", "PUT", "workspaces/enterprise-id", "tenants:update", "update_enterprise_id"
        ),
        _workspace("Querying a Task", "GET", "workspace-jobs/{job_id}", "jobs:get", "show_job"),
        _workspace(
            "Retrying a Task", "POST", "workspace-jobs/{job_id}/actions", "jobs:retry", "run_actions_on_workspace_job"
        ),
        _workspace("Querying Sub-tasks", "GET", "workspace-sub-jobs", "jobs:listSubJobs", "list_ita_sub_jobs"),
        _workspace(
            "Deleting Sub-tasks", "POST", "workspace-sub-jobs/batch-delete", "jobs:deleteSubJobs",
            "batch_delete_sub_jobs",
        ),
    ),
    "Replication (Huawei Cloud DRS, v3)": (
        _drs("Creating Tasks", "POST", "/batch-creation", "create", "batch_create_jobs"),
        _drs("Testing Connections", "POST", "/batch-connection", "modify", "batch_validate_connections"),
        _drs("Modifying Tasks", "PUT", "/batch-modification", "modify", "batch_update_job"),
        _drs("Selecting Objects", "PUT", "/batch-select-objects", "modify", "batch_set_objects"),
        _drs("Setting the Sync Policy", "POST", "/batch-sync-policy", "modify", "batch_set_policy"),
        _drs("Prechecking", "POST", "/batch-precheck", "precheck", "batch_check_jobs"),
        _drs("Precheck Results", "POST", "/batch-precheck-result", "get", "batch_check_results"),
        _drs("Starting Tasks", "POST", "/batch-starting", "start", "batch_start_jobs"),
        _drs("Pausing Tasks", "POST", "/batch-pause-task", "pause", "batch_stop_jobs"),
        _drs("Resuming or Retrying Tasks in Batches", "POST", "/batch-retry-task", "retry", "batch_restore_task"),
        _drs("Task Details", "POST", "/batch-detail", "get", "batch_list_job_details"),
        _drs("Task Statuses", "POST", "/batch-status", "get", "batch_list_job_status"),
        _drs("Task Progress", "POST", "/batch-progress", "get", "batch_list_progresses"),
        _drs("Listing Tasks", "POST", "", "list", "show_job_list"),
        _drs("Stopping or Deleting Tasks", "DELETE", "/batch-jobs", "delete", "batch_delete_jobs"),
        _drs("Changing Passwords", "PUT", "/batch-modify-pwd", "modify", "batch_reset_password"),
        _drs("Limiting the Speed", "PUT", "/batch-limit-speed", "", "batch_set_speed"),
        _drs("Creating a Comparison", "POST", "/create-compare-task", "", "create_compare_task"),
        _drs("Comparison Results", "POST", "/query-compare-result", "", "list_compare_result"),
        _drs("RPO and RTO", "POST", "/batch-rpo-and-rto", "", "batch_list_rpos_and_rtos"),
        _drs("Testing Connections of Clusters", "POST", "/cluster/batch-connection", "",
             "batch_validate_clusters_connections"),
        _drs("Comparing Parameters", "POST", "/batch-get-params", "", "batch_show_params"),
        _drs("Changing Parameters", "POST", "/{job_id}/params", "", "update_params"),
        _drs("Replacing the Definer", "POST", "/batch-replace-definer", "", "batch_set_definer"),
        _drs("Filtering Data", "POST", "/batch-transformation", "", "batch_change_data"),
        _drs("Switching a Virtual IP", "POST", "/{job_id}/switch-vip", "", ""),
        _drs("Status of a Virtual IP", "GET", "/{job_id}/get-switch-vip-status", "", ""),
        _drs("Switching Over", "POST", "/batch-switchover", "", "batch_switchover"),
        _drs("Monitoring Recovery", "POST", "/disaster-recovery-monitoring-data", "", "show_monitoring_data"),
        _drs("Initialization of Disaster Recovery", "POST", "/batch-struct-process", "", "batch_list_struct_process"),
        _drs("Initialization in Detail", "POST", "/{type}/batch-struct-detail", "", "batch_list_struct_detail"),
        _drs("Alarms", "POST", "/batch-set-smn", "", "batch_set_smn"),
        _drs("Source Accounts", "GET", "/{job_id}/get-src-user", "", "list_users"),
        _drs("Changing Source Accounts", "PUT", "/batch-update-user", "", "batch_update_user"),
        _drs_of_all("Node Types", "GET", "/node-type", "list_available_node_types"),
        _drs_of_all("Availability Zones", "POST", "/available-zone", "list_available_zone"),
        _drs_of_all("Quotas", "GET", "/quotas", "show_quotas"),
        _drs("Comparing Objects", "POST", "/{job_id}/object/compare", "", "create_object_level_compare_job"),
        _drs("Object Comparisons", "GET", "/{job_id}/object/compare", "", "list_obeject_level_compare_overview"),
        _drs("An Object Comparison", "GET", "/{job_id}/object/compare/{compare_type}", "",
             "list_obeject_level_compare_detail"),
        _drs("Comparing Tables", "POST", "/{job_id}/table/compare", "", "create_data_level_table_compare_job"),
        _drs("Table Comparisons", "GET", "/{job_id}/table/compare", "", "list_data_level_table_compare_jobs"),
        _drs("Starting a Table Comparison Now", "POST", "/{job_id}/table/compare/{compare_job_id}", "",
             "start_promptly_data_level_table_compare_job"),
        _drs("Compared Lines", "GET", "/{job_id}/compare/{compare_job_id}/line-overview", "",
             "list_data_compare_overview"),
        _drs("Compared Lines in Detail", "GET", "/{job_id}/compare/{compare_job_id}/line-detail", "",
             "list_data_compare_detail"),
        _drs("Compared Contents", "GET", "/{job_id}/compare/{compare_job_id}/content-overview", "",
             "list_content_compare_overview"),
        _drs("Compared Contents in Detail", "GET", "/{job_id}/compare/{compare_job_id}/content-detail", "",
             "list_content_compare_detail"),
        _drs("Differences of Contents", "GET", "/{job_id}/compare/{compare_job_id}/content-difference", "",
             "list_content_compare_difference"),
        _drs("Cancelling a Comparison", "DELETE", "/{job_id}/compare/{compare_job_id}", "", "delete_compare_job"),
        _drs("Making a File of Results", "POST", "/{job_id}/compare/result/file", "", "create_compare_result_file"),
        _drs("Fetching a File of Results", "GET", "/{job_id}/compare/result/file", "",
             "download_compare_result_file"),
        _drs("Log Shipping", "GET", "/{job_id}/lts-log-switch", "", "select_group_and_stream"),
        _drs("Changing Log Shipping", "PUT", "/{job_id}/lts-log-switch", "", "modify_group_and_stream"),
        _drs_of_all("Tuning", "GET", "/job/{job_id}/tuning-params/query-params", "query_tuning_params"),
        _drs_of_all("Changing Tuning", "PUT", "/job/{job_id}/tuning-params/modify-params", "update_tuning_params"),
    ),
    "Identity (Huawei Cloud, IAM v3 and STS)": (
        Operation("Obtaining a User Token", "POST", "/v3/auth/tokens", "", "v3",
                  sdk="keystone_create_user_token_by_password"),
        Operation("Validating a Token", "GET", "/v3/auth/tokens", "own, or iam:tokens:get", "v3",
                  sdk="keystone_validate_token"),
        Operation("Validating a Token (no body)", "HEAD", "/v3/auth/tokens", "own, or iam:tokens:get", "Keystone"),
        Operation("Revoking a Token", "DELETE", "/v3/auth/tokens", "own, or iam:tokens:delete", "Keystone"),
        Operation("Service Catalog", "GET", "/v3/auth/catalog", "", "v3"),
        Operation("Projects of the Caller", "GET", "/v3/auth/projects", "", "v3"),
        Operation("Accounts of the Caller", "GET", "/v3/auth/domains", "", "v3", sdk="keystone_list_auth_domains"),
        Operation("Projects by Name", "GET", "/v3/projects", "", "v3", sdk="keystone_list_projects"),
        Operation("Temporary Keys by Token", "POST", "/v3.0/OS-CREDENTIAL/securitytokens", "", "v3",
                  sdk="create_temporary_access_key_by_token"),
        Operation("Caller Identity", "GET", "/v5/caller-identity", "", "v5"),
        Operation("Decoding an Authorization Message", "POST", "/v5/decode-authorization-message",
                  "sts::decodeAuthorizationMessage", "v5", sdk="decode_authorization_message"),
    ),
}  # fmt: skip

#: What makes calls over HTTP, and the files that it runs.
CLIENTS = (
    (
        "tests (httpx)",
        (
            "tests/wire_enos/test_tsdb_*.py",
            "tests/wire_enos/test_connect*.py",
            "tests/wire_enos/gateway_caller.py",
            "tests/wire_enos/test_gateway_tokens.py",
            "tests/wire_huawei/test_*.py",
        ),
    ),
    ("demo (httpx)", ("demo/*.py",)),
    ("curl", ("docs/quickstart.md", "tests/wire_enos/*curl*.py")),
    ("Poseidon 0.2.0", ("tests/wire_enos/*poseidon*.py",)),
)
#: Files that call by the vendor's own client.
SDK_FILES = "tests/wire_huawei/*.py"

_HEAD = """# Coverage of the vendors' APIs

Made from the program and its tests by `python -m tools`; do not edit.

*Versions*: of the vendor's documentation that have the call. *Tried with*: clients that call it in the tests, over
HTTP, against a running server. *Poseidon* is the published Python client `enos-poseidon`, *Huawei SDK* the published
`huaweicloudsdk` packages, all unmodified; `keystoneauth1`, `openstacksdk` and `otcextensions` run against the
identity calls as well. The vendors' Java samples were not run. Calls that are not done answer the vendor's error
shape. MQTT ingest is not there.

Where the pages are silent, `decisions/` says what Redrive does.
"""


def page() -> str:
    """Return the text of the page."""
    served = {(method.upper(), path) for path, item in _app().openapi()["paths"].items() for method in item}
    lines = [_HEAD]
    for title, operations in OPERATIONS.items():
        done = [item for item in operations if (item.method, item.path) in served]
        lines += [f"## {title}: {len(done)} of {len(operations)}", ""]
        rows = [_row(item, item in done) for item in operations]
        headings = ("Operation", "Call", "Right", "Versions", "Done", "Tried with")
        lines += [*table(headings, rows), ""]
    return "\n".join(lines).rstrip() + "\n"


def _row(item: Operation, done: bool) -> tuple[str, ...]:
    action = f"?action={item.action}" if item.action else ""
    call = f"`{item.method} {item.path}{action}`"
    tried = ", ".join(tried_with(item)) if done else ""
    return (item.name, call, item.permission, item.versions, "yes" if done else "no", tried)


def tried_with(item: Operation) -> list[str]:
    """Return the clients that call it."""
    # The end of the path as a whole: not /ai of /ai-normalized. Tests also write {BASE}/meta-delete.
    tail = re.escape(item.path.removeprefix(TSDB).removeprefix("/v2/{project_id}"))
    last = re.escape(item.path.rpartition("/")[2])
    named = re.compile(
        rf"(?:v2\.1|[\"'({{}}\s]){tail}(?=[?\"'`\s,)])"
        rf"|BASE}}/{last}(?=[?\"'`\s,)])"
        rf"|enos {item.method} \"{tail.removeprefix('/')}\?"
        rf"|token_call\(.*\"{last}\""
    )
    found = []
    for client, patterns in CLIENTS:
        texts = [path.read_text(encoding="utf-8") for pattern in patterns for path in ROOT.glob(pattern)]
        if any(_calls(text, named, item.action) for text in texts):
            found.append(client)
    files = [path.read_text(encoding="utf-8") for path in ROOT.glob(SDK_FILES)]
    if item.sdk is not None and any(f".{item.sdk}(" in text for text in files):
        found.append("Huawei SDK 3.1.219")
    return found


def _calls(text: str, named: re.Pattern[str], action: str | None) -> bool:
    if named.search(text) is None:
        return False
    return action is None or f"action={action}" in text or bool(re.search(rf"action\W+{action}", text))


def _app() -> FastAPI:
    return create_app(SimpleNamespace(db=None))

"""The Workspace service by the vendor's own client: register, poll, fail, retry, change, deregister."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huaweicloudsdkworkspace.v2 import (
    AdDomain,
    ApplyWorkspaceReq,
    ApplyWorkspaceRequest,
    BatchDeleteSubJobsRequest,
    CancelWorkspaceRequest,
    CheckEnterpriseIdReq,
    CheckEnterpriseIdRequest,
    DeleteSubJobsReq,
    JobActionsReq,
    ListItaSubJobsRequest,
    ListWorkspacesRequest,
    ModifyEnterpriseIdReq,
    ModifyWorkspaceAttributesReq,
    RunActionsOnWorkspaceJobRequest,
    ShowJobRequest,
    ShowWorkspaceLockRequest,
    UnlockWorkspaceRequest,
    UnlockWorkspaceRequestBody,
    UpdateEnterpriseIdRequest,
    UpdateWorkspaceRequest,
    WorkspaceClient,
)

from redrive.services.workspaces import service
from redrive.services.workspaces.steps import STEPS
from tests.engine.scene import until
from tests.wire_huawei.scene import Cloud, awaited, refusal
from tests.workspaces.scene import ACCOUNT, DOMAIN, PASSWORD, directory_server

GOING = ("PREPARING", "SUBSCRIBING")
STEP_NAMES = [step.name for step in STEPS]


def plant(**more: Any) -> AdDomain:
    named = {
        "domain_type": "LOCAL_AD",
        "domain_name": DOMAIN,
        "domain_admin_account": ACCOUNT,
        "domain_password": PASSWORD,
        "active_domain_ip": "127.0.0.1",
        "active_domain_name": "dc1",
    }
    return AdDomain(**{**named, **more})


def query(client: WorkspaceClient) -> Any:
    return client.list_workspaces(ListWorkspacesRequest())


def apply(client: WorkspaceClient, **body: Any) -> str:
    asked = ApplyWorkspaceReq(**{"ad_domains": AdDomain(domain_type="LITE_AS"), **body})
    return str(client.apply_workspace(ApplyWorkspaceRequest(body=asked)).job_id)


def retry(client: WorkspaceClient, job_id: str) -> str:
    asked = RunActionsOnWorkspaceJobRequest(job_id=job_id, body=JobActionsReq(op_type="retry"))
    return str(client.run_actions_on_workspace_job(asked).job_id)


def finished(client: WorkspaceClient, job_id: str) -> Any:
    """Poll a task as the vendor's own tools do: three words end it, every other one means that it goes on."""

    def look() -> Any:
        task = client.show_job(ShowJobRequest(job_id=job_id))
        assert task.status
        return task if task.status in ("COMPLETE", "SUCCESS", "FAIL") else None

    return until(look, 30)


def test_a_project_that_was_never_registered_is_closed_and_not_missing(unregistered: Cloud) -> None:
    found = query(unregistered.workspaces())
    assert (found.status, found.progress, found.closable, found.access_status) == (
        "CLOSED",
        "0%",
        False,
        "init",
    )


def test_a_poller_registers_and_deregisters_without_ever_seeing_an_unknown_word(unregistered: Cloud) -> None:
    client = unregistered.workspaces()
    job_id = apply(client, vpc_id="vpc-1", access_mode="INTERNET", enterprise_id="plant-7")
    found = awaited(lambda: query(client), ("SUBSCRIBED",), GOING)
    assert (found.progress, found.job_id, found.closable, found.config_status) == ("100%", job_id, True, "3")
    assert found.enterprise_id == "plant-7" and found.access_status == "openSuccess" and found.complete_time
    assert isinstance(found.internet_access_port, str) and "/access/" in found.internet_access_address
    task = finished(client, job_id)
    assert (task.status, task.job_type, task.sub_jobs_total) == ("SUCCESS", "applyWorkspace", len(STEPS))
    assert {step.status for step in task.sub_jobs} == {"SUCCESS"}

    gone = client.cancel_workspace(CancelWorkspaceRequest())
    awaited(lambda: query(client), ("CLOSED",), ("DEREGISTERING",))
    assert finished(client, gone.job_id).job_type == "cancelWorkspace"
    apply(client)
    awaited(lambda: query(client), ("SUBSCRIBED",), GOING)


def test_a_registration_fails_on_its_directory_and_the_documented_retry_finishes_it(
    unregistered: Cloud, tmp_path: Path
) -> None:
    client = unregistered.workspaces()
    first = apply(client, ad_domains=plant(), vpc_id="vpc-1", access_mode="INTERNET")
    failed = awaited(lambda: query(client), ("SUBSCRIPTION_FAILED",), GOING)
    assert failed.config_status == "2" and isinstance(failed.fail_code, int)
    assert "nothing listens at" in failed.fail_reason and failed.access_status == "internetOpenFailed"
    task = finished(client, first)
    assert (task.status, task.job_error_code) == ("FAIL", "connection_refused")
    steps = {step.entity: step for step in task.sub_jobs}
    assert (steps["key"].status, steps["directory"].status, steps["join"].status) == (
        "SUCCESS", "FAILED", "WAITING",
    )  # fmt: skip
    assert steps["directory"].error_code == "connection_refused" and steps["key"].process == 100

    with directory_server(tmp_path, unregistered.parts.settings.directory_ldap_port):
        second = retry(client, first)
        assert second != first
        found = awaited(lambda: query(client), ("SUBSCRIBED",), GOING)
    assert found.job_id == second and found.config_status == "0"
    assert found.ad_domains.delete_computer_object == "0"
    after = finished(client, second)
    kept = [step.entity for step in after.sub_jobs if step.entity.endswith("(kept)")]
    assert kept == [f"{name} (kept)" for name in STEP_NAMES[:5]]
    # The old task stays as it was.
    old = client.show_job(ShowJobRequest(job_id=first))
    assert old.status == "FAIL" and [step.status for step in old.sub_jobs] == [
        step.status for step in task.sub_jobs
    ]


def test_a_wrong_password_is_corrected_by_a_change_before_the_retry(
    unregistered: Cloud, tmp_path: Path
) -> None:
    client = unregistered.workspaces()
    with directory_server(tmp_path, unregistered.parts.settings.directory_ldap_port):
        first = apply(client, ad_domains=plant(domain_password="wrong"))
        failed = awaited(lambda: query(client), ("SUBSCRIPTION_FAILED",), GOING)
        assert failed.config_status == "1" and "password" in failed.fail_reason
        body = ModifyWorkspaceAttributesReq(ad_domains=AdDomain(domain_password=PASSWORD))
        assert client.update_workspace(UpdateWorkspaceRequest(body=body)).job_id is None
        retry(client, first)
        awaited(lambda: query(client), ("SUBSCRIBED",), GOING)


def test_what_cannot_be_retried_is_refused_with_a_code_of_its_own(cloud: Cloud) -> None:
    client = cloud.workspaces()
    present = query(client).job_id
    assert refusal(lambda: retry(client, present)).error_code == "WKS.00001001"
    for unknown in (
        "6783cecb-0e5c-4521-a3ea-825f551c1ba9",
        "x",
        "a/b",
        "%2F",
        "\N{SNOWMAN}",
        present[:-1] + "x",
    ):
        refused = refusal(lambda job_id=unknown: retry(client, job_id))  # type: ignore[misc]
        assert (refused.status_code, refused.error_code) == (404, "WKS.00000404"), unknown
    for body in ({}, {"op_type": "resume"}, {"op_type": "retry", "force": True}, {"op_type": ["retry"]}):
        answer = cloud.call("POST", f"/v2/{{}}/workspace-jobs/{present}/actions", json=body)
        assert answer.status_code == 400, body
        assert answer.json()["error_code"] == "WKS.00000400" and "op_type" in answer.json()["error_msg"]
    empty = cloud.call("POST", f"/v2/{{}}/workspace-jobs/{present}/actions")
    assert (empty.status_code, empty.json()["error_code"]) == (400, "WKS.0001")


def test_of_two_retries_of_one_task_the_second_is_refused(unregistered: Cloud) -> None:
    client = unregistered.workspaces()
    first = apply(client, ad_domains=plant())
    awaited(lambda: query(client), ("SUBSCRIPTION_FAILED",), GOING)
    second = retry(client, first)
    assert refusal(lambda: retry(client, first)).error_code == "WKS.00001003"
    finished(client, second)
    assert retry(client, second)


def test_the_right_to_retry_is_another_than_the_right_to_register(unregistered: Cloud) -> None:
    client = unregistered.workspaces()
    job_id = apply(client, ad_domains=plant())
    awaited(lambda: query(client), ("SUBSCRIPTION_FAILED",), GOING)
    operator = unregistered.user("olga", "workspace-operator")
    reader = unregistered.user("rita", "workspace-reader")
    path = f"/v2/{{}}/workspace-jobs/{job_id}/actions"
    assert unregistered.call("DELETE", "/v2/{}/workspaces", token=operator).status_code == 403
    assert unregistered.call("POST", path, token=reader, json={"op_type": "retry"}).status_code == 403
    assert unregistered.call("GET", "/v2/{}/workspaces", token=reader).status_code == 200
    assert unregistered.call("POST", path, token=operator, json={"op_type": "retry"}).status_code == 200


def test_access_can_be_changed_and_the_condition_key_of_the_mode_is_asked(cloud: Cloud) -> None:
    client = cloud.workspaces()
    body = ModifyWorkspaceAttributesReq(access_mode="BOTH")
    job_id = client.update_workspace(UpdateWorkspaceRequest(body=body)).job_id
    assert finished(client, job_id).status == "SUCCESS"
    found = query(client)
    assert found.access_mode == "BOTH" and "/dedicated" in found.dedicated_access_address
    assert refusal(lambda: retry(client, job_id)).error_code == "WKS.00001002"
    two = {"access_mode": "BOTH", "subnet_ids": ["10.0.0.0/16"]}
    answer = cloud.call("PUT", "/v2/{}/workspaces", json=two)
    assert answer.status_code == 400 and "one sort" in answer.json()["error_msg"]
    changed = cloud.call("PUT", "/v2/{}/workspaces", json={"subnet_ids": ["10.0.0.0/16"]})
    assert changed.json() == {} and query(client).subnet_ids[0].subnet_id == "10.0.0.0/16"


@pytest.mark.parametrize(
    "body", [{"access_mode": "BOTH"}, {"access_mode": "INTERNET", "dedicated_subnets": ""}]
)
def test_a_mode_that_a_policy_forbids_is_refused_at_registration_and_at_a_change(
    cloud: Cloud, body: dict[str, Any]
) -> None:
    forbidden = {"StringEquals": {"workspace:AccessMode": ["INTERNET", "BOTH"]}}
    deny = {"Effect": "Deny", "Action": ["workspace:tenants:*"], "Condition": forbidden}
    allow = {"Effect": "Allow", "Action": ["workspace:*:*"]}
    pair = cloud.key(policy={"Version": "5.0", "Statement": [allow, deny]})
    client = cloud.workspaces(pair.access_key, pair.secret_key)
    change = UpdateWorkspaceRequest(body=ModifyWorkspaceAttributesReq(**body))
    assert refusal(lambda: client.update_workspace(change)).status_code == 403
    assert refusal(lambda: apply(client, access_mode=body["access_mode"])).status_code == 403
    assert query(client).access_mode == "INTERNET"
    private = ModifyWorkspaceAttributesReq(access_mode="DEDICATED", dedicated_subnets="127.0.0.0/8")
    assert (
        finished(client, client.update_workspace(UpdateWorkspaceRequest(body=private)).job_id).status
        == "SUCCESS"
    )


def test_enterprise_ids_are_checked_and_changed(cloud: Cloud) -> None:
    client = cloud.workspaces()
    check = CheckEnterpriseIdRequest(body=CheckEnterpriseIdReq(enterprise_id="Plant-9"))
    assert client.check_enterprise_id(check).is_used is False
    update = UpdateEnterpriseIdRequest(body=ModifyEnterpriseIdReq(enterprise_id="Plant-9"))
    assert client.update_enterprise_id(update).enterprise_id == "Plant-9"
    until(lambda: query(client).enterprise_id == "Plant-9", 20)
    for bad in ("", "a b", "x" * 33, 7):
        answer = cloud.call("PUT", "/v2/{}/workspaces/enterprise-id", json={"enterprise_id": bad})
        assert answer.status_code == 400 and "enterprise_id" in answer.json()["error_msg"]


def test_a_locked_workspace_refuses_data_and_is_unlocked_by_a_task(cloud: Cloud) -> None:
    client = cloud.workspaces()
    assert client.show_workspace_lock(ShowWorkspaceLockRequest()).is_lock == 0
    cloud.db.run(lambda conn: service.lock(conn, cloud.tenant_id, "not paid"))
    cloud.parts.authenticator.forget_all()
    locked = client.show_workspace_lock(ShowWorkspaceLockRequest())
    assert (locked.is_lock, locked.lock_reason) == (1, "not paid") and len(locked.lock_time) == 19
    pair = (cloud.credentials.access_key, cloud.credentials.secret_key)
    assert cloud.http.get("/v1/timeseries/models", auth=pair).status_code == 403
    job_id = client.unlock_workspace(
        UnlockWorkspaceRequest(body=UnlockWorkspaceRequestBody(operate_type="unlock"))
    ).job_id
    assert finished(client, job_id).status == "SUCCESS"
    cloud.parts.authenticator.forget_all()
    assert cloud.http.get("/v1/timeseries/models", auth=pair).status_code == 200


def test_after_deregistration_data_calls_are_refused(cloud: Cloud) -> None:
    client = cloud.workspaces()
    pair = (cloud.credentials.access_key, cloud.credentials.secret_key)
    assert cloud.http.get("/v1/timeseries/models", auth=pair).status_code == 200
    client.cancel_workspace(CancelWorkspaceRequest())
    cloud.parts.authenticator.forget_all()
    refused = cloud.http.get("/v1/timeseries/models", auth=pair)
    assert (refused.status_code, refused.json()["reason"]) == (403, "workspace")
    awaited(lambda: query(client), ("CLOSED",), ("DEREGISTERING",))


def test_sub_tasks_are_listed_by_task_type_and_status(cloud: Cloud) -> None:
    client = cloud.workspaces()
    job_id = query(client).job_id
    every = client.list_ita_sub_jobs(ListItaSubJobsRequest(job_id=job_id))
    assert every.total_count == len(STEPS) and {step.job_id for step in every.jobs} == {job_id}
    assert every.jobs[0].project_id == cloud.project and every.jobs[0].begin_time.endswith("Z")
    some = client.list_ita_sub_jobs(ListItaSubJobsRequest(job_type="applyWorkspace", limit=2, offset=1))
    assert some.total_count == len(STEPS) and [step.entity for step in some.jobs] == STEP_NAMES[1:3]
    assert client.list_ita_sub_jobs(ListItaSubJobsRequest(job_type="createDesktops")).total_count == 0
    assert client.list_ita_sub_jobs(ListItaSubJobsRequest(job_id=job_id, status="FAILED")).jobs == []
    for bad in ("status=DONE&job_id=x", "limit=1001&job_id=x", "offset=-1&job_id=x", ""):
        assert cloud.call("GET", f"/v2/{{}}/workspace-sub-jobs?{bad}").status_code in (400, 404), bad
    delete = BatchDeleteSubJobsRequest(body=DeleteSubJobsReq(job_ids=[every.jobs[0].id]))
    assert refusal(lambda: client.batch_delete_sub_jobs(delete)).error_code == "WKS.00001010"
    client.batch_delete_sub_jobs(BatchDeleteSubJobsRequest(body=DeleteSubJobsReq(delete_by_status="FAILED")))
    for body in ({}, {"job_ids": []}, {"job_ids": ["1"] * 11}, {"delete_by_status": "WAITING"}):
        answer = cloud.call("POST", "/v2/{}/workspace-sub-jobs/batch-delete", json=body)
        assert answer.status_code == 400, body


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "ad_domains"),
        ({"ad_domains": []}, "ad_domains"),
        ({"ad_domains": {}}, "ad_domains.domain_type"),
        ({"ad_domains": {"domain_type": "LITE"}}, "ad_domains.domain_type"),
        ({"ad_domains": {"domain_type": "LITE_AS", "x": 1}}, "ad_domains.x"),
        ({"ad_domains": {"domain_type": "LOCAL_AD"}}, "domain_name"),
        ({"ad_domains": {"domain_type": "LITE_AS", "delete_computer_object": 2}}, "delete_computer_object"),
        ({"ad_domains": {"domain_type": "LITE_AS"}, "subnet_ids": ["net-1"]}, "subnet_ids"),
        ({"ad_domains": {"domain_type": "LITE_AS"}, "access_mode": "internet"}, "access_mode"),
        ({"ad_domains": {"domain_type": "LITE_AS"}, "dedicated_subnets": "a;b"}, "dedicated_subnets"),
        ({"ad_domains": {"domain_type": "LITE_AS"}, "is_send_email": "yes"}, "is_send_email"),
        ({"ad_domains": {"domain_type": "LITE_AS"}, "acces_mode": "BOTH"}, "acces_mode"),
    ],
)
def test_bad_registrations_are_refused_by_the_field(
    unregistered: Cloud, body: dict[str, Any], named: str
) -> None:
    answer = unregistered.call("POST", "/v2/{}/workspaces", json=body)
    assert answer.status_code == 400 and answer.json()["error_code"] == "WKS.00000400"
    assert answer.json()["error_msg"].startswith(named)
    assert query(unregistered.workspaces()).status == "CLOSED"


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"x"', b"\xff", b"[" * 3000, b"{" * 100_000])
def test_bodies_that_are_none_are_refused(unregistered: Cloud, raw: bytes) -> None:
    answer = unregistered.call("POST", "/v2/{}/workspaces", content=raw)
    assert answer.status_code == 400 and answer.json()["error_code"] in ("WKS.0001", "WKS.00000400")
    large = unregistered.call("POST", "/v2/{}/workspaces", content=b" " * (1 << 20) + b"  ")
    assert large.status_code == 413


def test_the_password_of_a_directory_is_in_no_answer_and_in_no_row(
    unregistered: Cloud, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = "a-very-secret-password"
    client = unregistered.workspaces()
    job_id = apply(client, ad_domains=plant(domain_password=secret))
    awaited(lambda: query(client), ("SUBSCRIPTION_FAILED",), GOING)
    told = [
        unregistered.call("GET", path).text
        for path in ("/v2/{}/workspaces", f"/v2/{{}}/workspace-jobs/{job_id}", "/v2/{}/workspace-sub-jobs")
    ]
    with unregistered.db.transaction() as conn:
        tables = conn.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
        for row in tables:
            told += [
                str(each) for each in conn.execute(f'select t::text from "{row.tablename}" t').fetchall()
            ]
    told += [*capfd.readouterr()]
    assert secret not in json.dumps(told)
    assert secret.encode().hex() not in json.dumps(told)

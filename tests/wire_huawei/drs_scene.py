"""The vendor's client of replication, against a whole server and real databases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkdrs.v3 import (
    BatchCheckJobsRequest,
    BatchCheckResultsRequest,
    BatchCreateJobReq,
    BatchCreateJobsRequest,
    BatchDeleteJobReq,
    BatchDeleteJobsRequest,
    BatchListJobDetailsRequest,
    BatchListJobStatusRequest,
    BatchListProgressesRequest,
    BatchModifyJobReq,
    BatchModifyPwdReq,
    BatchPauseJobReq,
    BatchPrecheckReq,
    BatchQueryJobReqPage,
    BatchQueryPrecheckResultReq,
    BatchQueryProgressReq,
    BatchResetPasswordRequest,
    BatchRestoreTaskRequest,
    BatchRetryReq,
    BatchSetObjectsRequest,
    BatchSetPolicyRequest,
    BatchSetupSyncPolicyReq,
    BatchStartJobReq,
    BatchStartJobsRequest,
    BatchStopJobsRequest,
    BatchTestConnectionReq,
    BatchUpdateDatabaseObjectReq,
    BatchUpdateJobRequest,
    BatchValidateConnectionsRequest,
    CreateJobReq,
    DeleteJobReq,
    DrsClient,
    Endpoint,
    ModifyJobReq,
    ModifyPwdEndPoint,
    PageReq,
    PauseInfo,
    PreCheckInfo,
    QueryJobsReq,
    RetryInfo,
    ShowJobListRequest,
    StartInfo,
    SyncPolicyReq,
    TestEndPoint,
    UpdateDatabaseObjectReq,
)

from tests.engine.scene import until
from tests.replication.scene import PASSWORD, Server
from tests.wire_huawei.scene import Cloud

UNKNOWN = "140b5236-88ad-43c8-811c-1268453jb101"  # of the documented sample
PAIR = (
    "create table a (id int primary key, t text); insert into a select n, 'x' from generate_series(1, 500) n"
)

FAILED = ("START_JOB_FAILED", "FULL_TRANSFER_FAILED")
#: Every word that a poller of the vendor's knows.
KNOWN = (
    "CREATING", "CREATE_FAILED", "CONFIGURATION", "STARTJOBING", "WAITING_FOR_START", "START_JOB_FAILED", "PAUSING",
    "FULL_TRANSFER_STARTED", "FULL_TRANSFER_FAILED", "FULL_TRANSFER_COMPLETE", "INCRE_TRANSFER_STARTED",
    "INCRE_TRANSFER_FAILED", "RELEASE_RESOURCE_STARTED", "RELEASE_RESOURCE_FAILED", "RELEASE_RESOURCE_COMPLETE",
)  # fmt: skip


@dataclass
class Drs:
    """The client, and short words for its calls."""

    client: DrsClient
    server: Server

    def create(self, name: str = "DRS-9228", **more: Any) -> Any:
        asked = {
            "name": name,
            "db_use_type": "migration",
            "engine_type": "postgresql",
            "job_direction": "non-dbs",
            "net_type": "vpn",
            "node_type": "high",
            "task_type": "FULL_TRANS",
            "customize_sutnet_id": "352ad828-3467-4f03-987a-c55a5a9dd417",
            "source_endpoint": Endpoint(db_type="postgresql"),
            "target_endpoint": Endpoint(db_type="postgresql"),
            **more,
        }
        body = BatchCreateJobReq(jobs=[CreateJobReq(**asked)])
        [made] = self.client.batch_create_jobs(BatchCreateJobsRequest(body=body)).results
        return made

    def endpoint(self, database: str, **more: Any) -> dict[str, Any]:
        return {
            "db_type": "postgresql",
            "ip": "127.0.0.1",
            "db_port": self.server.port,
            "db_user": "mover",
            "db_password": PASSWORD,
            "db_name": database,
            **more,
        }

    def connection(self, task: str, end: str, database: str, **more: Any) -> Any:
        asked = TestEndPoint(id=task, net_type="vpn", end_point_type=end, **self.endpoint(database, **more))
        body = BatchTestConnectionReq(jobs=[asked])
        [found] = self.client.batch_validate_connections(BatchValidateConnectionsRequest(body=body)).results
        return found

    def modify(self, task: str, **more: Any) -> Any:
        body = BatchModifyJobReq(jobs=[ModifyJobReq(job_id=task, **more)])
        [found] = self.client.batch_update_job(BatchUpdateJobRequest(body=body)).results
        return found

    def store(
        self, task: str, source: str, target: str, *, into: Mapping[str, Any] | None = None, **more: Any
    ) -> Any:
        """``into``: what of the target is not as usual."""
        ends = {
            "source_endpoint": Endpoint(**self.endpoint(source)),
            "target_endpoint": Endpoint(**self.endpoint(target, **(into or {}))),
        }
        named = {"node_type": "high", "engine_type": "postgresql", "net_type": "vpn", "store_db_info": True}
        return self.modify(task, **{**named, **ends, **more})

    def select(self, task: str, objects: Sequence[Any] | None = None) -> Any:
        asked = UpdateDatabaseObjectReq(job_id=task, selected=objects is not None, job=objects)
        body = BatchUpdateDatabaseObjectReq(jobs=[asked])
        [found] = self.client.batch_set_objects(BatchSetObjectsRequest(body=body)).results
        return found

    def policy(self, task: str, word: str) -> Any:
        body = BatchSetupSyncPolicyReq(jobs=[SyncPolicyReq(job_id=task, conflict_policy=word)])
        [found] = self.client.batch_set_policy(BatchSetPolicyRequest(body=body)).results
        return found

    def precheck(self, task: str, mode: str = "forStartJob") -> Any:
        body = BatchPrecheckReq(jobs=[PreCheckInfo(job_id=task, precheck_mode=mode)])
        [found] = self.client.batch_check_jobs(BatchCheckJobsRequest(body=body)).results
        return found

    def precheck_result(self, task: str) -> Any:
        """Poll until the precheck is over, as the vendor's own tools do."""

        def look() -> Any:
            body = BatchQueryPrecheckResultReq(jobs=[task])
            [found] = self.client.batch_check_results(BatchCheckResultsRequest(body=body)).results
            return found if found.process == "100%" else None

        return until(look)

    def start(self, task: str, **more: Any) -> Any:
        body = BatchStartJobReq(jobs=[StartInfo(job_id=task, **more)])
        [found] = self.client.batch_start_jobs(BatchStartJobsRequest(body=body)).results
        return found

    def pause(self, task: str) -> Any:
        body = BatchPauseJobReq(jobs=[PauseInfo(job_id=task, pause_mode="all")])
        [found] = self.client.batch_stop_jobs(BatchStopJobsRequest(body=body)).results
        return found

    def retry(self, *tasks: str, edited: bool | None = None) -> list[Any]:
        body = BatchRetryReq(jobs=[RetryInfo(job_id=task, is_sync_re_edit=edited) for task in tasks])
        found = self.client.batch_restore_task(BatchRestoreTaskRequest(body=body))
        assert found.count == len(tasks)
        return list(found.results)

    def password(self, task: str, end: str, password: str) -> Any:
        asked = ModifyPwdEndPoint(job_id=task, db_password=password, end_point_type=end)
        request = BatchResetPasswordRequest(body=BatchModifyPwdReq(jobs=[asked]))
        [found] = self.client.batch_reset_password(request).results
        return found

    def details(self, *tasks: str) -> list[Any]:
        body = BatchQueryJobReqPage(jobs=list(tasks), page_req=PageReq(cur_page=1, per_page=0))
        return list(self.client.batch_list_job_details(BatchListJobDetailsRequest(body=body)).results)

    def status(self, task: str) -> str:
        body = BatchQueryJobReqPage(jobs=[task])
        [found] = self.client.batch_list_job_status(BatchListJobStatusRequest(body=body)).results
        assert found.status in KNOWN
        return str(found.status)

    def awaited(self, task: str, *words: str, seconds: float = 30) -> str:
        """Poll until the status is one of ``words``; a failure that is not waited for ends it at once."""

        def look() -> str | None:
            status = self.status(task)
            assert status in words or status not in FAILED, self.details(task)
            return status if status in words else None

        found: str = until(look, seconds)
        return found

    def progress(self, task: str) -> Any:
        body = BatchQueryProgressReq(jobs=[task])
        [found] = self.client.batch_list_progresses(BatchListProgressesRequest(body=body)).results
        return found

    def listed(self, **more: Any) -> Any:
        asked = QueryJobsReq(**{"cur_page": 1, "per_page": 10, "db_use_type": "migration", **more})
        return self.client.show_job_list(ShowJobListRequest(body=asked))

    def end(self, task: str, sort: str) -> Any:
        body = BatchDeleteJobReq(jobs=[DeleteJobReq(job_id=task, delete_type=sort)])
        [found] = self.client.batch_delete_jobs(BatchDeleteJobsRequest(body=body)).results
        return found

    def configured(self, source: str, target: str, name: str = "DRS-9228", **into: Any) -> str:
        """A task whose precheck has passed. ``into``: what of the target is not as usual."""
        task = str(self.create(name).id)
        assert self.connection(task, "so", source).success is True
        assert self.connection(task, "ta", target, **into).success is True
        assert self.store(task, source, target, into=into).status == "success"
        assert self.precheck(task).status == "success"
        result = self.precheck_result(task)
        assert result.result is True, result
        return task


def drs_of(cloud: Cloud, server: Server, access_key: str = "", secret_key: str = "") -> Drs:
    pair = (access_key or cloud.credentials.access_key, secret_key or cloud.credentials.secret_key)
    credentials = BasicCredentials(*pair, cloud.project)
    client = DrsClient.new_builder().with_credentials(credentials).with_endpoint(cloud.url).build()
    return Drs(client, server)

"""Replication by the vendor's own client: the whole life of a task, over real databases."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from huaweicloudsdkdrs.v3 import DatabaseInfo

from redrive.identity.projects import create_project
from redrive.services.replication.model import TRANSFER
from redrive.wire.app import create_app
from tests.engine.scene import until
from tests.replication.scene import Server, same
from tests.replication.test_moving import SHOP, TABLES
from tests.wire_huawei.drs_scene import PAIR, UNKNOWN, Drs
from tests.wire_huawei.scene import BY, Cloud, refusal
from tools.coverage import OPERATIONS


def test_the_whole_life_of_a_task(drs: Drs, server: Server) -> None:
    source, target = server.make(SHOP + "; analyze"), server.make()
    made = drs.create()
    assert made.status == "CONFIGURATION" and made.name == "DRS-9228" and made.create_time.isdigit()
    assert len(made.id) == 36 and made.id[-5:-2] == "jb1"
    task = made.id
    assert drs.connection(task, "so", source).status == "success"
    assert drs.connection(task, "ta", target).success is True
    assert drs.store(task, source, target).status == "success"
    assert drs.select(task).status is True
    assert drs.precheck(task).precheck_id == task
    checked = drs.precheck_result(task)
    assert checked.result is True and checked.total_passed_rate == "100%"
    alarms = [item.item for item in checked.precheck_result if item.result == "ALARM"]
    assert alarms == ["tablesHavePrimaryKeys"]
    assert drs.start(task).status == "success"
    drs.awaited(task, "FULL_TRANSFER_COMPLETE")
    same(server, source, target, *TABLES)

    reached = drs.progress(task)
    assert (reached.progress, reached.task_mode, reached.incre_trans_delay) == ("100", "FULL_TRANS", "-1")
    assert {name: part.completed for name, part in reached.progress_map.items()} == {
        "struct": "100%", "data": "100%", "index": "100%",
    }  # fmt: skip
    [detail] = drs.details(task)
    assert detail.source_endpoint.db_name == source and detail.target_endpoint.db_port == server.port
    assert detail.full_transfer_complete_time.isdigit() and detail.db_use_type == "migration"
    listed = drs.listed(name=task)
    assert listed.total_record == 1 and listed.jobs[0].status == "FULL_TRANSFER_COMPLETE"

    assert drs.end(task, "delete").error_code == "DRS.M00304"
    assert drs.end(task, "terminate").status == "success"
    drs.awaited(task, "RELEASE_RESOURCE_COMPLETE")
    assert drs.retry(task)[0].error_code == "DRS.M05004"
    assert drs.end(task, "delete").status == "success"
    assert not_shown(drs, "batch-status", task) == [(task, "DRS.M05004")]
    assert drs.listed().total_record == 0


def not_shown(drs: Drs, path: str, *tasks: str) -> list[tuple[str, str]]:
    """Why a call that looks at tasks, none of which is there, tells nothing: a bad request with a batch in it."""
    look = drs.details if path == "batch-detail" else drs.status
    refused = refusal(lambda: look(*tasks))
    assert refused.status_code == 400
    answer = json.loads(refused.error_msg)
    assert answer["count"] == len(tasks) and all(each["error_message"] for each in answer["results"])
    return [(each["id"], each["error_code"]) for each in answer["results"]]


@pytest.mark.parametrize("path", ["batch-detail", "batch-status"])
def test_a_look_at_tasks_that_are_not_there_is_a_bad_request_with_a_batch(drs: Drs, path: str) -> None:
    assert not_shown(drs, path, UNKNOWN) == [(UNKNOWN, "DRS.M00289")]


def test_a_look_at_some_tasks_that_are_there_tells_of_these(drs: Drs) -> None:
    task = str(drs.create().id)
    unknown, known = drs.details(UNKNOWN, task)
    assert (unknown.id, unknown.error_code, unknown.status) == (UNKNOWN, "DRS.M00289", None)
    assert (known.id, known.error_code, known.status) == (task, None, "CONFIGURATION")


@pytest.mark.parametrize("edited", [None, False, True])
def test_a_failed_task_is_retried_by_the_documented_call(
    drs: Drs, server: Server, edited: bool | None
) -> None:
    source, target = server.make(SHOP), server.make()
    task = drs.configured(source, target)
    server.run(target, "create table stock_items_are_in_the_way ()")
    server.run(target, "create schema stock")
    drs.start(task)
    drs.awaited(task, "START_JOB_FAILED")
    [detail] = drs.details(task)
    assert detail.error_code == "database" and "already exists" in detail.error_message
    assert drs.end(task, "delete").error_code == "DRS.M00304"
    server.run(target, "drop schema stock")
    [result] = drs.retry(task, edited=edited)
    assert (result.id, result.status, result.error_code) == (task, "success", None)
    drs.awaited(task, "FULL_TRANSFER_COMPLETE")
    same(server, source, target, *TABLES)


def test_results_come_in_the_order_of_the_request_and_each_says_its_own(
    drs: Drs, cloud: Cloud, server: Server
) -> None:
    source, target = server.make(PAIR), server.make()
    fresh, moved = str(drs.create("fresh").id), drs.configured(source, target, "moved")
    drs.start(moved)
    drs.awaited(moved, "FULL_TRANSFER_COMPLETE")
    released = str(drs.create("released").id)
    drs.end(released, "terminate")
    deleted = str(drs.create("deleted").id)
    drs.end(deleted, "terminate")
    drs.end(deleted, "delete")
    wanted = [UNKNOWN, fresh, moved, released, deleted]
    results = drs.retry(*wanted)
    assert [result.id for result in results] == wanted and {result.status for result in results} == {"failed"}
    assert [result.error_code for result in results] == [
        "DRS.M05003", "DRS.M00304", "DRS.M00304", "DRS.M05004", "DRS.M05004",
    ]  # fmt: skip
    assert all(result.error_msg for result in results)


def test_two_retries_at_once_start_one_attempt(drs: Drs, cloud: Cloud, server: Server) -> None:
    source, target = server.make(SHOP), server.make("create schema stock")
    task = drs.configured(source, target)
    drs.start(task)
    drs.awaited(task, "START_JOB_FAILED")
    server.run(target, "drop schema stock")
    first, second = drs.retry(task)[0], drs.retry(task)[0]
    assert first.status == "success" and second.error_code in ("DRS.M00304", "DRS.M01504")
    drs.awaited(task, "FULL_TRANSFER_COMPLETE")
    row = cloud.db.run(
        lambda conn: conn.execute("select attempt from jobs where kind = %s", (TRANSFER,)).fetchone()
    )
    assert row.attempt == 2


def test_chosen_tables_and_schemas_are_moved_and_no_others(drs: Drs, server: Server) -> None:
    source, target = server.make(SHOP), server.make()
    task = str(drs.create().id)
    drs.store(task, source, target)
    names: list[tuple[str, str | None, str, str, str]] = [
        (source, None, "database", source, "partial"),
        (f"{source}-*-*-public", source, "schema", "public", "partial"),
        (f"{source}-*-*-stock", source, "schema", "stock", "true"),
        (f"{source}-*-*-public-*-*-log", f"{source}-*-*-public", "table", "log", "true"),
    ]
    objects = [
        DatabaseInfo(id=id_, parent_id=parent, object_type=sort, object_name=name, select=select)
        for id_, parent, sort, name, select in names
    ]
    assert drs.select(task, objects).status is True
    drs.precheck(task)
    assert drs.precheck_result(task).result is True
    drs.start(task)
    drs.awaited(task, "FULL_TRANSFER_COMPLETE")
    same(server, source, target, "stock.items", "log")
    assert server.rows(target, "select to_regclass('customers')") == [(None,)]
    infos = drs.details(task)[0].object_infos
    assert [(info.type, info.id, info.parent_id) for info in infos] == [
        ("schema", f"{source}-*-*-stock", source),
        ("table", f"{source}-*-*-public-*-*-log", f"{source}-*-*-public"),
    ]


def chosen_table(id_: str, parent: str | None, name: str = "items") -> DatabaseInfo:
    return DatabaseInfo(id=id_, parent_id=parent, object_type="table", object_name=name, select="true")


def test_objects_are_chosen_by_the_documented_ids_and_by_those_that_details_tell(
    drs: Drs, server: Server
) -> None:
    task, source = str(drs.create().id), server.make(SHOP)
    drs.store(task, source, server.make())
    assert drs.select(task, [chosen_table(f"{source}-*-*-log", source, "log")]).status is True
    [told] = drs.details(task)[0].object_infos
    assert (told.id, told.parent_id) == (f"{source}-*-*-public-*-*-log", f"{source}-*-*-public")
    in_schema = chosen_table(f"{source}-*-*-stock-*-*-items", f"{source}-*-*-stock")
    assert drs.select(task, [in_schema]).status is True
    [again] = drs.details(task)[0].object_infos
    assert (again.id, again.parent_id) == (in_schema.id, in_schema.parent_id)
    assert drs.select(task).status is True
    assert drs.details(task)[0].object_switch is False


def test_a_table_whose_schema_cannot_be_told_is_refused_and_not_guessed(drs: Drs, server: Server) -> None:
    task, source = str(drs.create().id), server.make(SHOP)
    drs.store(task, source, server.make())
    orphan = chosen_table(f"{source}-*-*-items", f"{source}-*-*-stock")
    refused = drs.select(task, [orphan])
    assert refused.status is False and refused.error_code == "DRS.M00202" and "parent_id" in refused.error_msg
    database = DatabaseInfo(
        id="other", parent_id=None, object_type="database", object_name="other", select="true"
    )
    for foreign in (database, chosen_table("other-*-*-log", "other", "log")):
        refused = drs.select(task, [foreign])
        assert (refused.status, refused.error_code) == (False, "DRS.M00202") and source in refused.error_msg
    assert drs.details(task)[0].object_switch is False


def test_a_new_name_asks_for_no_other_precheck_and_a_new_choice_does(drs: Drs, server: Server) -> None:
    source = server.make(PAIR)
    task = drs.configured(source, server.make())
    assert drs.modify(task, name="renamed", description="before the start").status == "success"
    assert drs.precheck_result(task).result is True
    assert drs.select(task, [chosen_table(f"{source}-*-*-a", source, "a")]).status is True
    assert drs.precheck_result(task).result is False
    assert drs.start(task).error_code == "DRS.10010047"
    assert drs.select(task).status is True
    drs.precheck(task)
    assert drs.precheck_result(task).result is True
    assert drs.modify(task, name="renamed-again").status == "success"
    assert drs.start(task).status == "success"
    drs.awaited(task, "FULL_TRANSFER_COMPLETE")


def test_a_task_that_waits_for_its_time_is_neither_paused_nor_retried_nor_started(
    drs: Drs, server: Server
) -> None:
    source, target = server.make(SHOP), server.make()
    task = drs.configured(source, target)
    drs.start(task, start_time="4102444800000")
    assert drs.status(task) == "WAITING_FOR_START"
    assert drs.pause(task).error_code == "DRS.M00304"
    assert drs.retry(task)[0].error_code == "DRS.M00304"
    assert drs.start(task).error_code == "DRS.M00304"


def test_bad_credentials_and_addresses_are_told_by_the_connection_test(drs: Drs, server: Server) -> None:
    source, task = server.make(), str(drs.create().id)
    wrong = drs.connection(task, "so", source, db_password="wrong")
    assert (wrong.success, wrong.status, wrong.error_code) == (False, "failed", "DRS.KE0002")
    away = drs.connection(task, "so", source, db_port=1)
    assert away.success is False and away.error_code == "DRS.M00300" and away.error_msg
    forbidden = drs.connection(task, "so", source, ip="169.254.169.254")
    assert forbidden.success is False and "169.254.169.254" in forbidden.error_msg
    assert drs.store(task, source, "no_such_database").error_code == "DRS.M00300"
    assert drs.precheck(task).error_code == "DRS.M00300"
    assert drs.start(task).error_code == "DRS.10010047"
    assert drs.connection(UNKNOWN, "so", source).error_code == "DRS.M05003"


def test_what_is_found_by_the_precheck_keeps_the_task_from_starting(drs: Drs, server: Server) -> None:
    source, target = server.make(PAIR), server.make("create table a (x int)")
    task = str(drs.create().id)
    drs.store(task, source, target)
    drs.precheck(task)
    found = drs.precheck_result(task)
    [failed] = [item for item in found.precheck_result if item.result == "FAILED"]
    assert (
        found.result is False
        and failed.item == "dstDbObjectConflict"
        and failed.failed_reason == "OBJECT_EXISTS"
    )
    assert failed.group == "db_object_conflict_check" and "drop them" in failed.raw_error_msg
    assert drs.start(task).error_code == "DRS.10010047"


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"name": "1st"}, "DRS.M00202"),
        ({"name": None}, "DRS.M00201"),
        ({"task_type": None}, "DRS.M00302"),
        ({"task_type": "INCR_TRANS"}, "DRS.M00302"),
        ({"task_type": "FULL"}, "DRS.M00202"),
        ({"engine_type": "mysql"}, "DRS.M00302"),
        ({"db_use_type": "cloudDataGuard", "multi_write": False}, "DRS.M00302"),
        ({"multi_write": True}, "DRS.M00302"),
        ({"net_type": "wire"}, "DRS.M00202"),
        ({"description": "<b>"}, "DRS.M00202"),
    ],
)
def test_tasks_that_cannot_be_are_refused_one_by_one(drs: Drs, more: dict[str, Any], code: str) -> None:
    made = drs.create(**more)
    assert (made.status, made.error_code) == ("failed", code) and made.error_msg
    assert drs.listed().total_record == 0


def test_a_name_is_taken_once(drs: Drs) -> None:
    task = str(drs.create("first").id)
    assert drs.create("FIRST").error_code == "DRS.M00277"
    other = str(drs.create("other").id)
    assert drs.modify(other, name="First").error_code == "DRS.M00277"
    assert drs.modify(task, name="FIRST", description="the same").status == "success"
    assert drs.details(task)[0].description == "the same"
    assert drs.policy(task, "overwrite").status == "success"
    assert drs.policy(task, "guess").error_code == "DRS.M00202"
    assert drs.details(task)[0].conflict_policy == "overwrite"


# -- requests that are wrong as a whole


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("POST", "batch-retry-task", {}, "DRS.M00201"),
        ("POST", "batch-retry-task", {"jobs": []}, "DRS.M00201"),
        ("POST", "batch-retry-task", {"jobs": {}}, "DRS.M00202"),
        ("POST", "batch-retry-task", {"jobs": ["x"]}, "DRS.M00202"),
        ("POST", "batch-retry-task", {"jobs": [{}]}, "DRS.M00201"),
        ("POST", "batch-retry-task", {"jobs": [{"job_id": "x"}, {"job_id": "x"}]}, "DRS.M00301"),
        ("POST", "batch-retry-task", {"jobs": [{"job_id": "x", "is_sync_re_edit": "true"}]}, "DRS.M00202"),
        ("POST", "batch-retry-task", {"jobs": [{"job_id": 1}]}, "DRS.M00202"),
        ("POST", "batch-retry-task", {"jobs": [{"job_id": f"{n}"} for n in range(10_001)]}, "DRS.M00202"),
        ("POST", "batch-retry-task", [], "DRS.M00007"),
        ("POST", "batch-precheck-result", {"jobs": ["x", "x"]}, "DRS.M00301"),
        ("POST", "batch-status", {"jobs": ["x"], "page_req": {"cur_page": 2}}, "DRS.M00211"),
        ("POST", "batch-status", {"jobs": ["x"], "page_req": {"per_page": 101}}, "DRS.M00210"),
        ("POST", "batch-status", {"jobs": ["x"], "page_req": []}, "DRS.M00210"),
        ("POST", "", {"cur_page": 1, "per_page": 10}, "DRS.M00201"),
        ("POST", "create-compare-task", {"job_id": "x"}, "DRS.M00300"),
        ("PUT", "batch-limit-speed", {"speed_limits": []}, "DRS.M00300"),
        ("DELETE", "batch-jobs", {"jobs": [{"job_id": "x"}, {"job_id": "x"}]}, "DRS.M00301"),
    ],
)
def test_requests_that_are_wrong_as_a_whole_are_refused_as_a_whole(
    cloud: Cloud, method: str, path: str, body: Any, code: str
) -> None:
    answer = cloud.call(method, f"/v3/{{}}/jobs{'/' if path else ''}{path}", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error_code"] == code and answer.json()["error_msg"]


def test_calls_that_are_not_done_are_refused_in_the_shape_of_the_service(cloud: Cloud) -> None:
    done = {
        (method.upper(), path)
        for path, item in create_app(cloud.parts).openapi()["paths"].items()
        for method in item
    }
    listed = OPERATIONS["Replication (Huawei Cloud DRS, v3)"]
    missing = [item for item in listed if (item.method, item.path) not in done]
    assert len(missing) == len(listed) - 16
    token = cloud.token()
    for item in missing:
        path = re.sub(r"\{(?!project_id)\w+\}", "x", item.path).replace("{project_id}", "{}")
        answer = cloud.call(item.method, path, token=token, json={})
        assert answer.status_code == 400 and answer.json()["error_code"] == "DRS.M00300", (path, answer.text)
        assert "not supported yet" in answer.json()["error_msg"]


def test_the_documented_sample_of_a_retry(cloud: Cloud) -> None:
    sample = {"jobs": [{"job_id": UNKNOWN}]}
    answer = cloud.call("POST", "/v3/{}/jobs/batch-retry-task", json=sample, headers={"X-Language": "en-us"})
    assert answer.status_code == 200
    [result] = answer.json()["results"]
    assert answer.json()["count"] == 1 and set(result) == {"id", "status", "error_code", "error_msg"}
    assert (result["id"], result["status"], result["error_code"]) == (UNKNOWN, "failed", "DRS.M05003")
    assert (
        cloud.call("POST", "/v3/{}/jobs/batch-retry-task", json=sample, headers={"X-Language": "de"}).json()[
            "error_code"
        ]
        == "DRS.M00202"
    )


def test_many_unknown_tasks_are_answered_one_by_one(cloud: Cloud) -> None:
    many = [f"{n:08d}-0000-0000-0000-0000000jb101" for n in range(10_000)]
    answer = cloud.call("POST", "/v3/{}/jobs/batch-retry-task", json={"jobs": [{"job_id": n} for n in many]})
    assert [result["id"] for result in answer.json()["results"]] == many
    indented = json.dumps({"jobs": [{"job_id": n, "is_sync_re_edit": False} for n in many]}, indent=4)
    assert len(indented) > 1024 * 1024
    answer = cloud.call("POST", "/v3/{}/jobs/batch-retry-task", content=indented)
    assert answer.status_code == 200 and answer.json()["count"] == len(many)
    answer = cloud.call("POST", "/v3/{}/jobs/batch-retry-task", content=indented + " " * (4 * 1024 * 1024))
    assert (answer.status_code, answer.json()["error_code"]) == (413, "DRS.M00007")


def test_another_projects_tasks_are_not_there(drs: Drs, cloud: Cloud) -> None:
    task = str(drs.create().id)
    other = cloud.db.run(lambda conn: create_project(conn, cloud.account_id, "plant-2", who=BY)).tenant_id
    cloud.db.run(lambda conn: conn.execute("update replication_tasks set tenant_id = %s", (other,)))
    assert drs.retry(task, UNKNOWN)[0].error_code == "DRS.M05003"
    theirs, unknown = drs.retry(task)[0], drs.retry(UNKNOWN)[0]
    assert (theirs.error_code, theirs.error_msg) == (unknown.error_code, unknown.error_msg)
    assert refusal(lambda: drs.status(task)).status_code == 400 and drs.listed().total_record == 0
    path = f"/v3/{'f' * 32}/jobs/batch-retry-task"
    assert cloud.call("POST", path, json={"jobs": [{"job_id": task}]}).status_code == 403


def test_retrying_is_a_right_of_its_own(drs: Drs, cloud: Cloud, server: Server) -> None:
    operator, reader = cloud.user("olga", "replication-operator"), cloud.user("rita", "replication-reader")
    task = str(drs.create().id)
    sent = {"json": {"jobs": [{"job_id": task}]}}
    for token, path, status in (
        (reader, "batch-status", 200),
        (reader, "batch-retry-task", 403),
        (operator, "batch-retry-task", 200),
        (operator, "batch-pause-task", 200),
        (operator, "batch-modify-pwd", 403),
        (operator, "batch-creation", 403),
    ):
        body = {"json": {"jobs": [task]}} if path == "batch-status" else sent
        method = "PUT" if path == "batch-modify-pwd" else "POST"
        answer = cloud.call(method, f"/v3/{{}}/jobs/{path}", token=token, **body)
        assert answer.status_code == status, (path, answer.text)
    assert cloud.call("DELETE", "/v3/{}/jobs/batch-jobs", token=operator, **sent).status_code == 403
    assert until(lambda: drs.status(task) == "CONFIGURATION")

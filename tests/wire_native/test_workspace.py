"""``/v1/workspace`` with a worker beside it: the same workspace, the same rights, as by the vendor's calls."""

from __future__ import annotations

import concurrent.futures
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from redrive.database import Database
from redrive.services.workspaces.steps import STEPS
from tests.endpoints.openldap import free_port
from tests.engine.scene import until
from tests.wire_huawei.scene import Cloud, cloud_at
from tests.workspaces.scene import ACCOUNT, DOMAIN, PASSWORD, directory_server

STEP_NAMES = [step.name for step in STEPS]
PLANT = {
    "kind": "ldap",
    "domain_name": DOMAIN,
    "admin_account": ACCOUNT,
    "password": PASSWORD,
    "active_ip": "127.0.0.1",
}


class Client(httpx.Client):
    """Calls below ``/v1/workspace``."""

    def request(self, method: str, url: Any, **more: Any) -> httpx.Response:
        return super().request(method, f"/v1/workspace{url}", **more)


@pytest.fixture
def cloud(db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    with cloud_at(
        db, tmp_path, monkeypatch, allow_loopback_endpoints=True, directory_ldap_port=free_port()
    ) as cloud:
        yield cloud


@pytest.fixture
def me(cloud: Cloud) -> Iterator[httpx.Client]:
    """The administrator's client."""
    pair = (cloud.credentials.access_key, cloud.credentials.secret_key)
    with Client(base_url=cloud.url, auth=pair) as client:
        yield client


def over(client: httpx.Client, task: dict[str, Any]) -> dict[str, Any]:
    """Wait for a task's end."""

    def look() -> Any:
        found = client.get(f"/tasks/{task['id']}").json()
        return found if found["state"] in ("succeeded", "failed", "cancelled") else None

    found: dict[str, Any] = until(look, 30)
    return found


def begun(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 202, answer.text
    task: dict[str, Any] = answer.json()
    return task


def registered(client: httpx.Client, **asked: Any) -> dict[str, Any]:
    task = over(client, begun(client.post("", json=asked)))
    assert task["state"] == "succeeded", task
    return task


def test_a_workspace_is_registered_changed_locked_and_deregistered(cloud: Cloud, me: httpx.Client) -> None:
    before = me.get("").json()
    assert (before["status"], before["settings"], before["task"]) == ("none", None, None)
    task = registered(me, access="both", dedicated_subnets=["127.0.0.0/8"], enterprise_id="plant-7")
    assert (task["kind"], task["attempt"]) == ("workspace.registration", 1)
    assert [step["name"] for step in task["steps"]] == STEP_NAMES
    assert {step["state"] for step in task["steps"]} == {"done"}
    found = me.get("").json()
    assert (found["status"], found["open"], found["closable"]) == ("registered", True, True)
    assert found["enterprise_id"] == "plant-7" and set(found["access_paths"]) == {"internet", "dedicated"}
    assert found["settings"]["access"] == "both" and found["task"]["id"] == task["id"]

    changed = me.patch("", json={"access": "dedicated"}).json()
    assert changed["task"]["kind"] == "workspace.modification"
    assert over(me, changed["task"])["state"] == "succeeded"
    assert me.get("").json()["allowed_from"] == ["127.0.0.0/8"]

    assert me.post("/lock", json={"reason": "unpaid"}).json()["lock_reason"] == "unpaid"
    assert me.get("").json()["open"] is False
    assert over(me, begun(me.post("/unlock")))["state"] == "succeeded"
    assert me.get("").json()["open"] is True

    gone = over(me, begun(me.delete("")))
    assert (gone["kind"], gone["state"]) == ("workspace.deregistration", "succeeded")
    assert me.get("").json()["status"] == "closed"
    kinds = [task["kind"].partition(".")[2] for task in me.get("/tasks").json()["tasks"]]
    assert kinds == ["deregistration", "unlocking", "modification", "registration"]


def test_a_failed_registration_is_retried_and_its_done_steps_are_kept(
    cloud: Cloud, me: httpx.Client, tmp_path: Path
) -> None:
    first = over(me, begun(me.post("", json={"directory": PLANT})))
    assert first["state"] == "failed" and first["failure"]["code"] == "connection_refused"
    assert "nothing listens" in first["failure"]["detail"] and first["failure"]["hint"]
    with directory_server(tmp_path, cloud.parts.settings.directory_ldap_port):
        second = begun(me.post(f"/tasks/{first['id']}/retry", json={"reason": "it is up again"}))
        assert second["id"] != first["id"] and second["job_id"] == first["job_id"]
        assert me.post(f"/tasks/{first['id']}/retry").json()["reason"] == "retried"
        ended = over(me, second)
    assert ended["state"] == "succeeded"
    kept = [step["name"] for step in ended["steps"] if step["kept"]]
    assert kept == STEP_NAMES[: STEP_NAMES.index("directory")]
    assert over(me, first)["state"] == "failed"
    [entry] = [entry for entry in cloud.audit() if entry.action == "workspace:jobs:retry"]
    assert (entry.outcome, entry.reason, entry.detail["task"]) == ("changed", "it is up again", second["id"])


def test_a_change_takes_the_fields_that_it_names(cloud: Cloud, me: httpx.Client, tmp_path: Path) -> None:
    wrong = {**PLANT, "password": "not it", "active_name": "dc1"}
    with directory_server(tmp_path, cloud.parts.settings.directory_ldap_port):
        failed = over(me, begun(me.post("", json={"directory": wrong, "vpc_id": "vpc-1"})))
        assert failed["failure"]["code"] == "directory_credentials"
        changed = me.patch("", json={"directory": {"password": PASSWORD}})
        told = changed.json()["settings"]
        assert told["vpc_id"] == "vpc-1"
        directory = {name: value for name, value in wrong.items() if name != "password"}
        assert told["directory"] == {**told["directory"], **directory, "has_password": True}
        assert over(me, begun(me.post(f"/tasks/{failed['id']}/retry")))["state"] == "succeeded"
    assert PASSWORD not in changed.text + me.get("").text


def test_both_edges_speak_of_the_same_tasks(cloud: Cloud, me: httpx.Client) -> None:
    task = registered(me)
    shown = cloud.call("GET", f"/v2/{{}}/workspace-jobs/{task['id']}").json()
    assert (shown["status"], shown["job_type"]) == ("SUCCESS", "applyWorkspace")
    assert cloud.call("GET", "/v2/{}/workspaces").json()["job_id"] == task["id"]


def test_a_request_that_is_sent_again_has_its_effect_once_and_its_password_is_not_kept(
    cloud: Cloud, me: httpx.Client
) -> None:
    sent = {"json": {"directory": PLANT}, "headers": {"Idempotency-Key": "register-1"}}
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: me.post("", **sent), range(4)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    other = me.post("", json={"directory": {**PLANT, "password": "x"}}, headers=sent["headers"])
    assert other.status_code == 422 and other.json()["reason"] == "idempotency_key_reused"
    with cloud.db.transaction() as conn:
        rows = conn.execute("select * from idempotency_keys").fetchall()
        jobs = conn.execute("select count(*) as n from jobs where kind like 'workspace.%'").fetchone()
    assert len(rows) == 1 and PASSWORD.encode() not in bytes(rows[0].body) and jobs.n == 1


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"vpc": "x"}, "vpc"),
        ({"access": "sometimes"}, "access"),
        ({"subnets": ["a b"]}, "subnets"),
        ({"subnets": [1]}, "subnets[0]"),
        ({"management_cidr": "172.16.0.0/16"}, "management_cidr"),
        ({"dedicated_subnets": ["10.0.0.1/8"]}, "dedicated_subnets"),
        ({"directory": {"kind": "ldap"}}, "directory.domain_name"),
        ({"directory": {**PLANT, "password": None}}, "directory.password"),
        ({"directory": {**PLANT, "dns": ["127.0.0.1", "dc2"]}}, "directory.dns[1]"),
        ({"directory": {**PLANT, "ldaps": "perhaps"}}, "directory.ldaps"),
        ({"enterprise_id": "x" * 33}, "enterprise_id"),
        ({"directory": None}, "directory"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_field(
    cloud: Cloud, me: httpx.Client, asked: dict[str, Any], field: str
) -> None:
    answer = me.post("", json=asked)
    assert answer.status_code == 422 and field in [each["field"] for each in answer.json()["errors"]]
    assert me.get("").json()["status"] == "none" and PASSWORD not in answer.text


def test_what_the_state_does_not_allow_is_refused_with_a_word(cloud: Cloud, me: httpx.Client) -> None:
    for method, path, body in (("PATCH", "", {}), ("DELETE", "", None), ("POST", "/lock", {"reason": "x"})):
        answer = me.request(method, path, json=body)
        assert answer.status_code in (404, 409), (method, path, answer.text)
    task = registered(me)
    assert me.post("", json={}).json()["reason"] == "wrong_status"
    assert me.post("/unlock").json()["reason"] == "not_locked"
    assert me.post(f"/tasks/{task['id']}/retry").json()["reason"] == "not_failed"
    for unknown in ("1", "x" * 300, task["id"][:-1] + ("0" if task["id"][-1] != "0" else "1")):
        assert me.get(f"/tasks/{unknown}").status_code == 404
        assert me.post(f"/tasks/{unknown}/retry").status_code == 404


def test_subnets_are_named_listed_and_forgotten(cloud: Cloud, me: httpx.Client) -> None:
    put = me.put("/subnets/net-1", json={"cidr": "10.1.0.0/16", "vpc_id": "vpc-1"})
    assert put.json() == {"id": "net-1", "vpc_id": "vpc-1", "cidr": "10.1.0.0/16"}
    assert me.get("/subnets").json()["subnets"] == [put.json()]
    registered(me, subnets=["net-1"])
    bad = me.put("/subnets/net-2", json={"cidr": "172.20.0.0/16"})
    assert bad.status_code == 422 and bad.json()["errors"][0]["field"] == "cidr"
    assert me.delete("/subnets/net-1").status_code == 204
    assert me.delete("/subnets/net-1").status_code == 404


# -- rights


def client_with(cloud: Cloud, policy: Any) -> httpx.Client:
    pair = cloud.key(policy=policy)
    return Client(base_url=cloud.url, auth=(pair.access_key, pair.secret_key))


def test_looking_retrying_and_registering_are_rights_of_their_own(cloud: Cloud, me: httpx.Client) -> None:
    failed = over(me, begun(me.post("", json={"directory": PLANT})))
    reader, operator = (
        Client(
            base_url=cloud.url,
            headers={"Authorization": f"Bearer {cloud.user(name, f'workspace-{name}')}"},
        )
        for name in ("reader", "operator")
    )
    with reader, operator:
        assert reader.get("").status_code == operator.get("/tasks").status_code == 200
        retry = f"/tasks/{failed['id']}/retry"
        assert reader.post(retry).status_code == 403
        for method, path, body in (
            ("POST", "", {}),
            ("PATCH", "", {"vpc_id": "x"}),
            ("DELETE", "", None),
            ("POST", "/lock", {"reason": "x"}),
            ("POST", "/unlock", None),
            ("PUT", "/subnets/n", {"cidr": "10.0.0.0/8"}),
            ("DELETE", "/subnets/n", None),
        ):
            for client in (reader, operator):
                assert client.request(method, path, json=body).status_code == 403, (method, path)
        assert operator.post(retry).status_code == 202


def test_a_policy_on_the_access_mode_holds_at_registration_and_at_a_change(
    cloud: Cloud, me: httpx.Client
) -> None:
    forbidden = {"StringEquals": {"workspace:AccessMode": ["INTERNET", "BOTH"]}}
    statements = [
        {"Effect": "Allow", "Action": ["workspace:*:*"]},
        {"Effect": "Deny", "Action": ["workspace:tenants:*"], "Condition": forbidden},
    ]
    with client_with(cloud, {"Version": "5.0", "Statement": statements}) as limited:
        assert limited.post("", json={"access": "both"}).status_code == 403
        assert limited.post("", json={}).status_code == 403  # the mode that is meant is INTERNET
        registered(limited, access="dedicated", dedicated_subnets=["127.0.0.0/8"])
        assert limited.patch("", json={"access": "internet"}).status_code == 403
        assert limited.patch("", json={"enterprise_id": "plant-8"}).status_code == 200
    assert me.get("").json()["settings"]["access"] == "dedicated"


def test_the_trail_names_who_changed_what_and_no_secret(cloud: Cloud, me: httpx.Client) -> None:
    over(me, begun(me.post("", json={"directory": PLANT})))
    me.patch("", json={"directory": {"password": "another"}})
    changes = {entry.action: entry for entry in cloud.audit() if entry.action.startswith("workspace:")}
    assert set(changes) == {"workspace:tenants:open", "workspace:tenants:update"}
    assert changes["workspace:tenants:update"].detail == {"changed": ["directory"]}
    trail = json.dumps([entry._asdict() for entry in cloud.audit()], default=str)
    assert PASSWORD not in trail and "another" not in trail

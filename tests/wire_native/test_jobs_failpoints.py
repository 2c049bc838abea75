"""Failpoints and workers over HTTP: who may, from where, and that workers hear of it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest
from pytest import TempPathFactory
from starlette.requests import Request

from redrive.database.embedded import EmbeddedPostgres
from redrive.engine import claiming, failpoints
from redrive.engine.kinds import Done, Kind
from redrive.engine.worker import Worker
from redrive.wire.native.failpoints import _is_from_here
from tests.engine.scene import until
from tests.wire_native.jobs_scene import Api, database_of_a_module, serving_api


@pytest.fixture(scope="module")
def served(postgres: EmbeddedPostgres, database_url: str, tmp_path_factory: TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("api")
    with database_of_a_module(postgres) as db, serving_api(db, folder, allow_failpoints=True) as api:
        yield api


@pytest.fixture
def api(served: Api) -> Iterator[Api]:
    served.clear()
    yield served
    failpoints.replace({})


@contextlib.contextmanager
def working(api: Api, kind: Kind) -> Iterator[None]:
    worker = Worker(api.db, [kind], allow_failpoints=True)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        thread.join(20)


def put(api: Api, actions: object) -> tuple[int, dict]:
    answer = api.http.put("/v1/failpoints", json={"failpoints": actions})
    return answer.status_code, answer.json()


def test_every_failpoint_is_listed_with_what_it_interrupts(api: Api) -> None:
    body = api.http.get("/v1/failpoints").json()
    assert body["allowed"] is True
    assert {point["name"]: point["interrupts"] for point in body["failpoints"]} == failpoints.NAMES


def test_putting_failpoints_replaces_them_all(api: Api) -> None:
    armed = {"engine.unit.before": "error:1", "engine.claimed": "off"}
    for actions, expected in ((armed, {"engine.unit.before": "error:1"}), ({}, {})):
        status, body = put(api, actions)
        assert status == 200
        assert {p["name"]: p["action"] for p in body["failpoints"] if p["action"]} == expected
        assert api.http.get("/v1/failpoints").json() == body


def test_a_failpoint_acts_in_a_running_worker(api: Api) -> None:
    with working(api, Kind("test.kind", "t", run=lambda work: Done({"n": 1}))):
        put(api, {"engine.unit.before": "error:1"})
        until(lambda: "engine.unit.before" in failpoints._armed)
        job_id = api.submit()
        until(lambda: api.job(job_id)["state"] == "succeeded")
    events = api.http.get(f"/v1/jobs/{job_id}/events").json()["events"]
    assert [event["name"] for event in events] == ["submitted", "unit_will_retry", "succeeded"]
    assert events[1]["data"]["failure"]["code"] == "failpoint"


def test_unknown_names_and_actions_change_nothing(api: Api) -> None:
    put(api, {"engine.claimed": "delay:0.1"})
    for wrong in (
        {"engine.nowhere": "error"},
        {"engine.claimed": "explode"},
        {"engine.claimed": "error:x"},
        {"engine.claimed": "delay:"},
        {"engine.claimed": "error,after=x"},
        {"engine.claimed": ""},
        {"engine.claimed": 3},
        [],
        None,
    ):
        status, body = put(api, wrong)
        assert status == 422 and body["errors"], (wrong, body)
    armed = {
        p["name"]: p["action"] for p in api.http.get("/v1/failpoints").json()["failpoints"] if p["action"]
    }
    assert armed == {"engine.claimed": "delay:0.1"}


def test_only_an_admin_arms_and_sees_workers(api: Api) -> None:
    refused = api.stranger.put("/v1/failpoints", json={"failpoints": {}})
    assert (refused.status_code, refused.json()["reason"]) == (403, "role")
    assert api.stranger.get("/v1/workers").status_code == 403
    assert api.stranger.get("/v1/failpoints").status_code == 200


def test_only_this_machine_arms() -> None:
    def asked_from(host: str | None, **headers: str) -> bool:
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        client = None if host is None else (host, 1234)
        return _is_from_here(Request({"type": "http", "client": client, "headers": raw}))

    assert asked_from("127.0.0.1") and asked_from("127.9.9.9") and asked_from("::1")
    assert not asked_from("10.0.0.7") and not asked_from(None) and not asked_from("testclient")
    assert not asked_from("10.0.0.7", **{"x-forwarded-for": "127.0.0.1"})


def test_a_server_without_the_option_does_not_arm(
    postgres: EmbeddedPostgres, database_url: str, tmp_path_factory: TempPathFactory
) -> None:
    with database_of_a_module(postgres) as db, serving_api(db, tmp_path_factory.mktemp("api")) as api:
        status, body = put(api, {"engine.claimed": "delay:1"})
        assert (status, body["reason"]) == (403, "failpoints_not_allowed")
        assert api.http.get("/v1/failpoints").json()["allowed"] is False
        with api.db.transaction() as conn:
            assert conn.execute("select from failpoints").fetchone() is None


def test_workers_are_alive_lost_or_stopped(api: Api) -> None:
    with working(api, Kind("test.kind", "t", run=lambda work: Done())):
        [worker] = until(lambda: api.http.get("/v1/workers").json()["workers"])
        assert (worker["state"], worker["kinds"], worker["units"]) == ("alive", ["test.kind"], 0)
    [worker] = api.http.get("/v1/workers").json()["workers"]
    assert worker["state"] == "stopped" and worker["stopped_at"].endswith("Z")
    with api.db.transaction() as conn:
        conn.execute(
            """insert into workers (id, host, pid, kinds, seen_at) values
               (5, 'far', 1, '{a}', now() - interval '1 minute'), (6, 'gone', 1, '{}', now() - interval '2 days')"""
        )
    api.submit(2, kind="a")
    claiming.claim(api.db, 5, ["a"], 10, 60)
    found = {
        worker["id"]: (worker["state"], worker["units"])
        for worker in api.http.get("/v1/workers").json()["workers"]
    }
    assert found["5"] == ("lost", 2) and "6" not in found

"""The edges of the API: rights on jobs, bodies without an end, instants without a place, secrets in a terminal."""

from __future__ import annotations

import http.client
import os
import pty
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import pytest
from pytest import TempPathFactory

from redrive.database.embedded import EmbeddedPostgres
from redrive.engine.kinds import Done, Kind
from redrive.identity.access import EVERYTHING, Action, Scope, parse_scope
from redrive.identity.builtin import key_policy
from redrive.identity.keys import create_key
from redrive.identity.master_key import open_sealer
from tests.wire_native.jobs_scene import Api, database_of_a_module, for_test_kinds, serving_api

Permissions = Mapping[Action, Scope]

SOME = parse_scope("a1")
ENDLESS = Kind("test.endless", "never ends", lambda work: Done(), endless=True)


@pytest.fixture(scope="module")
def api(postgres: EmbeddedPostgres, database_url: str, tmp_path_factory: TempPathFactory) -> Iterator[Api]:
    with (
        database_of_a_module(postgres) as db,
        serving_api(db, tmp_path_factory.mktemp("edges"), [ENDLESS]) as api,
    ):
        yield api


@contextmanager
def caller(api: Api, permissions: Permissions, admin: bool = False) -> Iterator[httpx.Client]:
    with api.db.transaction() as conn:
        [user, *_] = conn.execute("select id from users").fetchall()
        pair = create_key(
            conn,
            open_sealer(api.db, api.settings),
            tenant_id=api.tenant_id,
            user_id=user.id,
            name="app",
            policy=for_test_kinds(key_policy(permissions, admin=admin)),
        )
    with httpx.Client(base_url=api.url, auth=(pair.access_key, pair.secret_key), timeout=20) as client:
        yield client


NOTHING: Permissions = {}
READS: Permissions = {Action.READ: EVERYTHING}
WRITES: Permissions = {Action.WRITE: EVERYTHING}
READS_SOME: Permissions = {Action.READ: SOME}
WRITES_SOME: Permissions = {Action.READ: SOME, Action.WRITE: SOME}

LOOKS = ("/v1/jobs", "/v1/failures", "/v1/jobs/{}", *(f"/v1/jobs/{{}}/{part}" for part in
         ("attempts", "units", "events", "verify")))  # fmt: skip
VERBS = tuple(f"/v1/jobs/{{}}/{verb}" for verb in ("retry", "pause", "resume", "cancel", "rerun"))


@pytest.mark.parametrize("permissions", [NOTHING, READS_SOME, WRITES_SOME], ids=["none", "reads", "writes"])
def test_who_has_no_right_to_all_assets_neither_sees_nor_touches_jobs(
    api: Api, permissions: Permissions
) -> None:
    job_id = api.failed()[0]
    with caller(api, permissions) as client:
        for path in LOOKS:
            assert client.get(path.format(job_id)).status_code == 403, path
        for path in VERBS:
            assert client.post(path.format(job_id)).status_code == 403, path
        for body in ({"ids": [str(job_id)]}, {"filter": {}}, {"filter": {}, "dry_run": True}):
            assert client.post("/v1/jobs/retry", json=body).status_code == 403
    assert api.job(job_id)["state"] == "failed"


def test_looking_takes_a_right_to_read_or_write_and_acting_one_to_write(api: Api) -> None:
    job_id = api.failed()[0]
    with caller(api, READS) as client:
        assert all(client.get(path.format(job_id)).status_code == 200 for path in LOOKS)
        assert all(client.post(path.format(job_id)).status_code == 403 for path in VERBS)
        assert client.post("/v1/jobs/retry", json={"filter": {}}).status_code == 403
    with caller(api, WRITES) as client:
        assert all(client.get(path.format(job_id)).status_code == 200 for path in LOOKS)
        assert client.post(f"/v1/jobs/{job_id}/retry").status_code == 200


def test_only_an_administrator_stops_what_an_organization_lives_on(api: Api) -> None:
    job_id = api.submit(kind="test.endless")
    with caller(api, WRITES) as client:
        for verb in ("pause", "cancel"):
            assert client.post(f"/v1/jobs/{job_id}/{verb}").status_code == 403
    assert api.http.post(f"/v1/jobs/{job_id}/cancel").json()["state"] == "cancelled"
    again = api.http.post(f"/v1/jobs/{job_id}/rerun")
    assert (again.status_code, again.json()["reason"]) == (409, "one_only")
    assert api.http.post(f"/v1/jobs/{job_id}/retry").status_code == 200


def test_somebody_unknown_is_refused_before_the_body_is_read(api: Api) -> None:
    place = urlsplit(api.url)
    connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=20)
    connection.putrequest("POST", "/v1/jobs/1/retry")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.putheader("Content-Type", "application/json")
    connection.endheaders()
    connection.send(b"1\r\n{\r\n")  # and no more: whoever waits for the end waits for good
    assert connection.getresponse().status == 401
    connection.close()


@pytest.mark.parametrize(
    ("path", "most"), [("/v1/jobs/retry", 1 << 20), ("/v1/timeseries/registry", 32 << 20)]
)
def test_a_body_has_an_end(api: Api, path: str, most: int) -> None:
    answer = api.http.post(path, content=b" " * (most + 1), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert answer.json()["type"] == "urn:redrive:problem:too_large"


def test_a_body_with_a_million_faults_gets_a_short_answer(api: Api) -> None:
    answer = api.http.post("/v1/timeseries/registry", json={"assets": [{}] * 50_000})
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) == 20


@pytest.mark.parametrize(
    "range_of",
    [{"start": "0001-01-01T00:00:00+14:00"}, {"end": "9999-12-31T23:59:59.999-14:00"}],
    ids=["before", "after"],
)
def test_a_hold_at_the_end_of_time_is_refused_and_the_list_stays_readable(
    api: Api, range_of: dict[str, str]
) -> None:
    body = {"assets": ["a1"], "reason": "a case", **range_of}
    answer = api.http.put("/v1/timeseries/holds/far", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, next(iter(range_of)))
    assert api.http.get("/v1/timeseries/holds?lifted=true").json() == {"holds": []}


def test_a_hold_on_assets_out_of_scope_is_not_there(api: Api) -> None:
    assert api.http.put(
        "/v1/timeseries/holds/secret", json={"assets": ["a1", "b1"], "reason": "a case"}
    ).status_code == 200  # fmt: skip
    try:
        with caller(api, WRITES_SOME) as client:
            assert client.get("/v1/timeseries/holds").json() == {"holds": []}
            for answer in (
                client.get("/v1/timeseries/holds/secret"),
                client.delete("/v1/timeseries/holds/secret"),
                client.get("/v1/timeseries/holds/none"),
            ):
                assert answer.status_code == 404 and "b1" not in answer.json()["detail"]
    finally:
        api.http.delete("/v1/timeseries/holds/secret")


def test_a_slash_too_many_is_no_redirect_to_wherever_the_host_says(api: Api) -> None:
    for path in ("/tsdb-service/v2.1/data/delete-detail/?orgId=o1", "/apim-token-service/v2.0/token/get/"):
        answer = api.http.get(path, headers={"Host": "evil.example"})
        assert answer.status_code == 200 and "location" not in answer.headers
    assert api.http.get("/v1/jobs/").status_code == 404


def test_an_unknown_call_of_the_gateway_is_refused_with_its_status(api: Api) -> None:
    answer = api.http.get("/apim-token-service/v2.0/token/get").json()
    assert answer["status"] != 0 and answer["business"] == "apim-token-service" and "code" not in answer


def test_an_origin_that_is_no_address_is_another_site(api: Api) -> None:
    answer = api.http.post("/v1/jobs/1/retry", headers={"Origin": "http://["})
    assert (answer.status_code, answer.json()["reason"]) == (403, "cross_site")


def test_the_last_page_says_that_it_is_the_last(api: Api) -> None:
    for number in range(2):
        assert api.http.put(f"/v1/timeseries/models/m{number}", json={}).status_code == 200
    assert api.http.get("/v1/timeseries/models?limit=2").json()["next"] is None
    assert api.http.get("/v1/timeseries/models?limit=1").json()["next"] == "m0"


def test_a_traceback_in_a_terminal_shows_no_secret() -> None:
    code = """if True:
        from redrive.server import logs
        import structlog
        logs.configure("info", part="api")
        def look(secret_key):
            raise ValueError("a bug")
        try:
            look("aaaa" + "-bbbb")
        except ValueError:
            structlog.get_logger("x").exception("request failed")
    """
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", code], stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # how a terminal ends
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.wait(20) == 0
    assert b"a bug" in shown and b"aaaa-bbbb" not in shown

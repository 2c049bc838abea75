"""Looking at jobs over HTTP: lists and their pages, details, units, events, failures, proof."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import pytest
from pytest import TempPathFactory

from redrive.database import Database
from redrive.database.embedded import EmbeddedPostgres
from redrive.engine import jobs
from redrive.engine.kinds import Done, Kind
from redrive.engine.model import NewJob, NewUnit, UnitState
from tests.wire_native.jobs_scene import Api, database_of_a_module, serving_api

GARBAGE = ["0", "-1", "007", "1e3", "9" * 19, "9" * 40, "abc", "%00", "١٢٣", "'; drop table jobs", "a" * 500]


@pytest.fixture(scope="module")
def served(postgres: EmbeddedPostgres, database_url: str, tmp_path_factory: TempPathFactory) -> Iterator[Api]:
    looking = Kind("test.proof", "a test", run=lambda work: Done(), verify=_look)
    folder = tmp_path_factory.mktemp("api")
    with database_of_a_module(postgres) as db, serving_api(db, folder, [looking]) as api:
        yield api


@pytest.fixture
def api(served: Api) -> Api:
    served.clear()
    return served


def _look(db: Database, job_id: int) -> dict[str, Any]:
    with db.transaction() as conn:
        [row] = conn.execute("select spec from jobs where id = %s", [job_id]).fetchall()
    return {
        "checks": [{"name": "rows are gone", "ok": row.spec["gone"], "detail": "3 of 3"}],
        "looked_at": "t",
    }


def pages(http: httpx.Client, path: str, name: str, cursor: str, **query: Any) -> list[list[dict[str, Any]]]:
    found: list[list[dict[str, Any]]] = []
    while True:
        answer = http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        found.append(body[name])
        if body["next"] is None:
            return found
        query[cursor] = body["next"]


def submit_many(api: Api, count: int, **more: Any) -> list[int]:
    values = {"kind": "test.kind", "tenant_id": api.tenant_id, "spec": {}, "actor": "tester", **more}
    new = [NewJob(units=[NewUnit()], **values)] * count
    return api.db.run(lambda conn: jobs.submit_many(conn, new))


def test_pages_over_3000_jobs_have_no_holes_and_no_repeats(api: Api) -> None:
    expected = [
        *submit_many(api, 1000, kind="one"),
        *submit_many(api, 1000, kind="two", subject="plant"),
        *submit_many(api, 1000, kind="one", subject="plant"),
    ]
    with api.db.transaction() as conn:
        conn.execute(
            """update jobs set state = 'failed', ended_at = now(), failure = '{}', fingerprint = 'f'
               where id %% 3 = 0""".replace("%%", "%")
        )
    newest = [str(job_id) for job_id in reversed(expected)]

    def listed(limit: int, **query: Any) -> list[str]:
        found = pages(api.http, "/v1/jobs", "jobs", "before", limit=limit, **query)
        assert all(len(page) == limit for page in found[:-1])
        return [job["id"] for page in found for job in page]

    assert listed(100) == newest
    assert listed(499) == newest
    assert listed(500, kind="two") == newest[1000:2000]
    assert listed(500, kind=["one", "two"], subject="plant") == newest[:2000]
    failed = [job_id for job_id in newest if int(job_id) % 3 == 0]
    assert listed(300, fingerprint="f") == listed(300, state="failed") == failed
    assert listed(300, state=["failed", "queued"]) == newest
    assert listed(300, state="succeeded") == []


def test_a_page_that_ends_with_the_last_job_has_no_next(api: Api) -> None:
    submit_many(api, 4)
    assert [len(page) for page in pages(api.http, "/v1/jobs", "jobs", "before", limit=2)] == [2, 2]


def test_new_jobs_do_not_disturb_pages(api: Api) -> None:
    old = submit_many(api, 5)
    first = api.http.get("/v1/jobs", params={"limit": 3}).json()
    submit_many(api, 3)
    second = api.http.get("/v1/jobs", params={"limit": 3, "before": first["next"]}).json()
    assert [job["id"] for job in first["jobs"] + second["jobs"]] == [str(job_id) for job_id in reversed(old)]


def test_a_job_is_shown_with_strings_for_ids_and_utc_for_instants(api: Api) -> None:
    job_id = api.submit(
        [NewUnit({"n": n}, label=f"part {n}") for n in range(5)], spec={"table": "orders"}, subject="orders"
    )
    works = api.claim()
    api.settle(works[:2])
    api.settle(works[2:3], UnitState.FAILED)
    job = api.job(job_id)
    assert job["id"] == str(job_id)
    assert (job["spec"], job["subject"], job["state"]) == ({"table": "orders"}, "orders", "running")
    assert {**job["progress"], "units_per_second": 0, "seconds_left": 0} == {
        "total": 5, "done": 2, "failed": 1, "skipped": 0, "running": 1,
        "units_per_second": 0, "seconds_left": 0,
    }  # fmt: skip
    assert job["progress"]["units_per_second"] > 0
    assert job["progress"]["seconds_left"] == pytest.approx(2 / job["progress"]["units_per_second"])
    for name in ("created_at", "started_at", "run_at"):
        assert job[name].endswith("Z")
        assert datetime.fromisoformat(job[name]).utcoffset().total_seconds() == 0  # type: ignore[union-attr]


def test_the_rate_follows_the_latest_units_and_forgets_a_pause(api: Api) -> None:
    job_id = api.submit(100, lanes=100)
    works = api.claim()
    api.settle(works[:60])

    def set_times(condition: str, began: float, ended: float) -> None:
        with api.db.transaction() as conn:
            conn.execute(
                f"""update units set started_at = now() - make_interval(secs => {began}),
                    ended_at = now() - make_interval(secs => {ended}) where state = 'done' and {condition}"""
            )
            conn.execute("update jobs set started_at = now() - interval '2 hours'")

    set_times("true", 20, 10)
    assert api.job(job_id)["progress"]["units_per_second"] == pytest.approx(60 / 20, rel=0.1)
    assert api.job(job_id)["progress"]["seconds_left"] == pytest.approx(40 / 3, rel=0.1)
    set_times(f"id <= {works[29].unit_id}", 3610, 3600)  # then it was paused for an hour
    assert api.job(job_id)["progress"]["units_per_second"] == pytest.approx(30 / 30, rel=0.1)
    set_times("true", 3610, 3600)  # and since then nothing ended
    assert api.job(job_id)["progress"]["units_per_second"] == pytest.approx(60 / 3610, rel=0.1)


def test_a_failed_job_says_why_and_what_to_do(api: Api) -> None:
    [job_id] = api.failed()
    job = api.job(job_id)
    assert job["failure"] == {
        "code": "source_gone",
        "detail": "the table orders is gone",
        "hint": "Bring it back, then retry.",
        "class": "needs_input",
        "target": "orders",
        "fingerprint": "f" * 16,
    }
    assert job["progress"]["units_per_second"] is None and job["retryable"] is True


def test_units_have_pages_and_states(api: Api) -> None:
    units = [NewUnit({"n": n}, phase=1 + n % 3, label=f"u{n}") for n in range(250)]
    job_id = api.submit(units, lanes=10)
    works = api.claim()
    api.settle(works[:4])
    api.settle(works[4:6], UnitState.FAILED)
    path = f"/v1/jobs/{job_id}/units"
    for limit in (7, 250):
        found = [unit for page in pages(api.http, path, "units", "after", limit=limit) for unit in page]
        assert len({unit["id"] for unit in found}) == len(found) == 250
        places = [(unit["phase"], int(unit["id"])) for unit in found]
        assert places == sorted(places)
    [failed] = pages(api.http, path, "units", "after", state="failed")
    assert [unit["failure"]["code"] for unit in failed] == ["source_gone"] * 2
    [done] = pages(api.http, path, "units", "after", state="done")
    assert [unit["ledger"] for unit in done] == [{"rows": 10}] * 4
    assert len(pages(api.http, path, "units", "after", state=["done", "failed"])[0]) == 6


def test_events_have_pages(api: Api) -> None:
    job_id = api.submit()
    with api.db.transaction() as conn:
        for n in range(25):
            jobs.log_event(conn, job_id, "note", "tester", {"n": n})
    found = pages(api.http, f"/v1/jobs/{job_id}/events", "events", "after", limit=10)
    assert [len(page) for page in found] == [10, 10, 6]
    assert [event["data"]["n"] for page in found for event in page if event["data"]] == list(range(25))


PARTS = ["", "/attempts", "/units", "/events", "/verify"]


def test_another_tenant_sees_nothing_of_a_job(api: Api) -> None:
    [job_id] = api.failed()
    for part in PARTS:
        theirs = api.stranger.get(f"/v1/jobs/{job_id}{part}")
        unknown = api.stranger.get(f"/v1/jobs/{job_id + 1}{part}")
        assert theirs.status_code == unknown.status_code == 404
        first, second = ({**a.json(), "request_id": ""} for a in (theirs, unknown))
        assert str(first).replace(str(job_id), "ID") == str(second).replace(str(job_id + 1), "ID")
        assert api.http.get(f"/v1/jobs/{job_id}{part}").status_code == 200
    assert api.stranger.get("/v1/jobs").json() == {"jobs": [], "next": None}
    assert api.stranger.get("/v1/jobs", params={"fingerprint": "f" * 16}).json()["jobs"] == []
    assert api.stranger.get("/v1/failures").json() == {"failures": [], "more": False}


def test_without_keys_nothing_is_said(api: Api) -> None:
    [job_id] = api.failed()
    with httpx.Client(base_url=api.url) as nobody:
        for path in ("", f"/{job_id}", f"/{job_id}/units"):
            assert nobody.get(f"/v1/jobs{path}").status_code == 401
        assert nobody.post(f"/v1/jobs/{job_id}/retry").status_code == 401
        assert nobody.put("/v1/failpoints", json={"failpoints": {}}).status_code == 401


def test_garbage_ids_are_not_found(api: Api) -> None:
    for garbage in GARBAGE:
        for part in PARTS:
            answer = api.http.get(f"/v1/jobs/{garbage}{part}")
            assert answer.status_code == 404, (garbage, part, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
        assert api.http.post(f"/v1/jobs/{garbage}/retry").status_code == 404


BAD_QUERIES = [
    ("limit", "0"), ("limit", "501"), ("limit", "99999999999999999999"), ("limit", "many"), ("limit", ""),
    ("before", "xyz"), ("before", "0"), ("before", "9" * 20), ("state", "broken"), ("kind", ""),
    ("subject", "a\0b"), ("kind", "x" * 201), ("stat", "failed"),
]  # fmt: skip


def test_queries_that_are_not_understood_are_refused_and_named(api: Api) -> None:
    for name, value in BAD_QUERIES:
        answer = api.http.get("/v1/jobs", params={name: value})
        assert answer.status_code == 422, (name, value, answer.text)
        fields = [error["field"].partition("[")[0] for error in answer.json()["errors"]]
        assert fields == [name], (value, answer.text)
    job_id = api.submit()
    for after in ("x", "1", "1-", "999999-1", "-1-5", "1-" + "9" * 20):
        answer = api.http.get(f"/v1/jobs/{job_id}/units", params={"after": after})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "after"), after


def test_a_place_beyond_the_last_id_is_a_place(api: Api) -> None:
    job_id = api.submit()
    assert len(api.http.get("/v1/jobs", params={"before": "9" * 19}).json()["jobs"]) == 1
    for part, after in (("units", "99999-" + "9" * 19), ("events", "9" * 19)):
        body = api.http.get(f"/v1/jobs/{job_id}/{part}", params={"after": after}).json()
        assert body == {part: [], "next": None}


def test_the_largest_page_is_served(api: Api) -> None:
    submit_many(api, 510)
    body = api.http.get("/v1/jobs", params={"limit": 500}).json()
    assert len(body["jobs"]) == 500 and body["next"] is not None


def test_failures_show_as_their_causes(api: Api) -> None:
    some = api.failed(7, kind="one")
    api.failed(12, kind="two", fingerprint="b" * 16, code="disk_full", **{"class": "transient"})
    api.job_in("succeeded")
    body = api.http.get("/v1/failures").json()
    assert [(cause["fingerprint"][0], cause["kind"], cause["jobs"]) for cause in body["failures"]] == [
        ("b", "two", 12),
        ("f", "one", 7),
    ]
    assert (body["failures"][0]["sample"]["code"], body["failures"][0]["sample"]["class"]) == (
        "disk_full",
        "transient",
    )
    cause = body["failures"][1]
    assert cause["examples"] == [str(job_id) for job_id in reversed(some[-5:])]
    assert cause["sample"]["hint"] == "Bring it back, then retry."
    ended = sorted(api.job(job_id)["ended_at"] for job_id in some)
    assert (cause["first_seen"], cause["last_seen"]) == (ended[0], ended[-1])
    assert [c["kind"] for c in api.http.get("/v1/failures", params={"kind": "one"}).json()["failures"]] == [
        "one"
    ]
    limited = api.http.get("/v1/failures", params={"limit": 1}).json()
    assert (len(limited["failures"]), limited["more"]) == (1, True)
    api.http.post("/v1/jobs/retry", json={"filter": {"fingerprint": "b" * 16}})
    assert [c["kind"] for c in api.http.get("/v1/failures").json()["failures"]] == ["one"]


def test_proof_checks_the_record_and_the_target(api: Api) -> None:
    job_id = api.submit(3, kind="test.proof", spec={"gone": True})
    api.settle(api.claim("test.proof"))
    proof = api.http.get(f"/v1/jobs/{job_id}/verify").json()
    assert (proof["ok"], proof["target_checked"], proof["totals"]) == (True, True, {"rows": 30})
    assert proof["checks"][-1] == {"name": "rows are gone", "ok": True, "detail": "3 of 3"}
    assert proof["findings"] == {"looked_at": "t"}
    other = api.submit(1, kind="test.proof", spec={"gone": False})
    api.settle(api.claim("test.proof"))
    assert api.http.get(f"/v1/jobs/{other}/verify").json()["ok"] is False


def test_proof_of_a_job_that_has_not_succeeded_or_was_tampered_with_fails(api: Api) -> None:
    [job_id] = api.failed()
    proof = api.http.get(f"/v1/jobs/{job_id}/verify").json()
    assert (proof["ok"], proof["target_checked"]) == (False, False)
    done = api.job_in("succeeded")
    assert api.http.get(f"/v1/jobs/{done}/verify").json()["ok"] is True
    with api.db.transaction() as conn:
        conn.execute("update units set ledger = null where job_id = %s", [done])
    assert api.http.get(f"/v1/jobs/{done}/verify").json()["ok"] is False

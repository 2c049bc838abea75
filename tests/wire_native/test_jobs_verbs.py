"""The verbs over HTTP: every situation, lists, filters, tenants, Idempotency-Key."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest import TempPathFactory

from redrive.database.embedded import EmbeddedPostgres
from redrive.engine.recovery import SENTENCES, Refusal
from tests.wire_native.jobs_scene import SITUATIONS, Api, database_of_a_module, serving_api

OK = "ok"
ENDED = {"succeeded", "failed", "cancelled"}
#: verb -> situation -> what comes of it: ok, or the reason of the refusal.
EXPECTED: dict[str, dict[str, str]] = {
    "retry": {
        "queued": "still_queued",
        "running": "still_running",
        "pausing": "stopping",
        "cancelling": "stopping",
        "paused": "is_paused",
        "succeeded": "has_succeeded",
        "failed": OK,
        "cancelled": OK,
    },
    "resume": {situation: OK if situation == "paused" else "not_paused" for situation in SITUATIONS},
    "pause": {
        "queued": OK,
        "running": OK,
        "pausing": OK,
        "cancelling": "stopping",
        "paused": OK,
        "succeeded": "has_ended",
        "failed": "has_ended",
        "cancelled": "has_ended",
    },
    "cancel": {
        "queued": OK,
        "running": OK,
        "pausing": OK,
        "cancelling": OK,
        "paused": OK,
        "succeeded": "has_ended",
        "failed": "has_ended",
        "cancelled": OK,
    },
    "rerun": {situation: OK if situation in ENDED else "not_ended" for situation in SITUATIONS},
}
AFTER = {
    "retry": ({"queued"}, {None}),
    "resume": ({"queued"}, {None}),
    "pause": ({"paused", "running"}, {None, "pause"}),
    "cancel": ({"cancelled", "running"}, {None, "cancel"}),
    "rerun": ({"queued"}, {None}),
}


@pytest.fixture(scope="module")
def served(postgres: EmbeddedPostgres, database_url: str, tmp_path_factory: TempPathFactory) -> Iterator[Api]:
    with database_of_a_module(postgres) as db, serving_api(db, tmp_path_factory.mktemp("api")) as api:
        yield api


@pytest.fixture
def api(served: Api) -> Api:
    served.clear()
    return served


@pytest.mark.parametrize("verb", EXPECTED)
def test_every_situation(api: Api, verb: str) -> None:
    for situation, expected in EXPECTED[verb].items():
        job_id = api.job_in(situation)
        before = api.job(job_id)
        answer = api.http.post(f"/v1/jobs/{job_id}/{verb}", json={"reason": "a test"})
        body = answer.json()
        if expected != OK:
            assert (answer.status_code, body["reason"]) == (409, expected), (situation, body)
            assert SENTENCES[Refusal(expected)] in body["detail"]
            assert answer.headers["content-type"] == "application/problem+json"
            assert api.job(job_id) == before
            continue
        assert answer.status_code == (201 if verb == "rerun" else 200), (situation, body)
        states, wishes = AFTER[verb]
        assert body["state"] in states and body["wanted"] in wishes, (situation, body)
        if verb == "rerun":
            assert body["origin_id"] == str(job_id) != body["id"]
        else:
            assert body["id"] == str(job_id)


def test_a_job_says_itself_whether_it_can_be_retried(api: Api) -> None:
    for situation, expected in EXPECTED["retry"].items():
        job = api.job(api.job_in(situation))
        assert job["retryable"] == (expected == OK)
        if expected == OK:
            assert job["why_not"] is None
        else:
            assert job["why_not"] == {"reason": expected, "sentence": SENTENCES[Refusal(expected)]}


def test_a_verb_leaves_who_and_why_in_the_history(api: Api) -> None:
    job_id = api.job_in("failed")
    api.http.post(f"/v1/jobs/{job_id}/retry", json={"reason": "the table is back"})
    attempts = api.http.get(f"/v1/jobs/{job_id}/attempts").json()["attempts"]
    assert [(a["number"], a["cause"], a["outcome"]) for a in attempts] == [
        (1, "submit", "failed"),
        (2, "retry", None),
    ]
    assert (attempts[1]["reason"], attempts[1]["actor"]) == ("the table is back", "admin")
    assert attempts[0]["failure"]["hint"] == "Bring it back, then retry."
    events = api.http.get(f"/v1/jobs/{job_id}/events").json()["events"]
    assert [event["name"] for event in events] == ["submitted", "failed", "retried"]
    assert events[-1]["data"] == {"reason": "the table is back"}


def test_a_verb_needs_no_body(api: Api) -> None:
    assert api.http.post(f"/v1/jobs/{api.job_in('failed')}/retry").status_code == 200


def test_another_tenants_job_answers_as_an_unknown_one(api: Api) -> None:
    job_id = api.job_in("failed")
    before = api.job(job_id)
    for verb in EXPECTED:
        theirs = api.stranger.post(f"/v1/jobs/{job_id}/{verb}")
        unknown = api.stranger.post(f"/v1/jobs/{job_id + 1}/{verb}")
        assert theirs.status_code == unknown.status_code == 404
        first, second = theirs.json(), unknown.json()
        for body in (first, second):
            body.pop("request_id")
        assert str(first).replace(str(job_id), "ID") == str(second).replace(str(job_id + 1), "ID")
    assert api.job(job_id) == before


def test_a_list_answers_for_each_and_is_never_refused_for_one(api: Api) -> None:
    jobs = {situation: str(api.job_in(situation)) for situation in SITUATIONS}
    strange = ["garbage", "0", "-1", "9" * 19, "9" * 30, "1" * 18]
    ids = [*jobs.values(), *strange, jobs["failed"]]
    for dry_run in (True, False):
        answer = api.http.post("/v1/jobs/retry", json={"ids": ids, "dry_run": dry_run}).json()
        reasons = {
            item["id"]: item["why_not"]["reason"] if item["why_not"] else OK for item in answer["results"]
        }
        assert reasons == {
            **{jobs[situation]: expected for situation, expected in EXPECTED["retry"].items()},
            **dict.fromkeys(strange, "not_found"),
        }
        assert (answer["count"], answer["dry_run"]) == (2, dry_run)
    assert api.job(jobs["failed"])["attempt"] == 2


def test_a_list_of_another_tenants_jobs_finds_nothing(api: Api) -> None:
    [job_id] = api.failed()
    for dry_run in (True, False):
        answer = api.stranger.post("/v1/jobs/retry", json={"ids": [str(job_id)], "dry_run": dry_run}).json()
        assert answer["results"][0]["why_not"]["reason"] == "not_found"
    assert api.stranger.post("/v1/jobs/retry", json={"filter": {}}).json()["count"] == 0
    assert api.job(job_id)["state"] == "failed"


def test_a_filter_retries_what_it_means_and_counts_it_before(api: Api) -> None:
    api.failed(3, kind="one")
    api.failed(4, kind="two", fingerprint="b" * 16)
    api.job_in("cancelled")
    queued = api.job_in("queued")

    def count(dry_run: bool, **wanted: object) -> int:
        answer = api.http.post("/v1/jobs/retry", json={"filter": wanted, "dry_run": dry_run})
        assert answer.status_code == 200, answer.text
        return answer.json()["count"]

    assert count(True) == 7
    assert count(True, states=["cancelled"]) == 1
    assert count(True, states=["failed", "cancelled"]) == 8
    assert count(True, kind="one") == count(False, kind="one") == 3
    assert count(True, fingerprint="b" * 16, created_to="2001-01-01T00:00:00Z") == 0
    assert count(True, fingerprint="b" * 16, created_from="2001-01-01T00:00:00Z") == 4
    assert count(True, created_from="0001-01-01T00:00:00+14:00", created_to="9999-12-31T23:59:59-14:00") == 4
    assert count(False, fingerprint="b" * 16) == 4
    assert count(False) == 0
    assert api.job(queued)["attempt"] == 1


NOT_UNDERSTOOD: list[tuple[object, str]] = [
    ({}, "body"),
    ([], "body"),
    ({"ids": ["1"], "filter": {}}, "body"),
    ({"filter": {"state": ["failed"]}}, "filter.state"),
    ({"filter": {"states": ["running"]}}, "filter.states[0]"),
    ({"filter": {"states": []}}, "filter.states"),
    ({"filter": {"created_from": "yesterday"}}, "filter.created_from"),
    ({"filter": {"created_from": "2026-01-01T00:00:00"}}, "filter.created_from"),
    ({"filter": {"kind": "a\0b"}}, "filter.kind"),
    ({"filter": {"kind": ""}}, "filter.kind"),
    ({"ids": [17]}, "ids[0]"),
    ({"ids": ["1"] * 10_001}, "ids"),
    ({"ids": ["1"], "reason": "x" * 1001}, "reason"),
    ({"ids": ["1"], "dryrun": True}, "dryrun"),
]


def test_what_is_not_understood_is_refused_and_named(api: Api) -> None:
    for body, field in NOT_UNDERSTOOD:
        answer = api.http.post("/v1/jobs/retry", json=body)
        problem = answer.json()
        assert answer.status_code == 422, problem
        assert field in [error["field"] for error in problem["errors"]], problem
        assert all(error["expected"] for error in problem["errors"])


def test_the_same_key_has_its_effect_once(api: Api) -> None:
    job_id = api.job_in("failed")
    key = {"Idempotency-Key": "4711"}
    first = api.http.post(f"/v1/jobs/{job_id}/retry", headers=key)
    again = api.http.post(f"/v1/jobs/{job_id}/retry", headers=key)
    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    assert again.headers["Idempotency-Replayed"] == "true"
    assert api.job(job_id)["attempt"] == 2
    other = api.http.post(f"/v1/jobs/{job_id}/cancel", headers=key)
    assert (other.status_code, other.json()["reason"]) == (422, "idempotency_key_reused")


def test_a_rerun_with_a_key_makes_one_job(api: Api) -> None:
    job_id = api.job_in("succeeded")
    key = {"Idempotency-Key": "again"}
    made = {api.http.post(f"/v1/jobs/{job_id}/rerun", headers=key).json()["id"] for _ in range(3)}
    assert len(made) == 1
    events = api.http.get(f"/v1/jobs/{job_id}/events").json()["events"]
    assert [event["data"] for event in events if event["name"] == "rerun"] == [
        {"job": made.pop(), "reason": ""}
    ]


def test_a_refused_verb_does_not_use_up_its_key(api: Api) -> None:
    job_id = api.submit()
    key = {"Idempotency-Key": "early"}
    assert api.http.post(f"/v1/jobs/{job_id}/retry", headers=key).status_code == 409
    api.http.post(f"/v1/jobs/{job_id}/cancel")
    assert api.http.post(f"/v1/jobs/{job_id}/retry", headers=key).status_code == 200

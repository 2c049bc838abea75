"""The data deletion calls as the vendor's pages show them, over signed HTTP and real tables."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from redrive.database import Database
from redrive.engine import recovery
from redrive.identity.access import Action, parse_scope
from redrive.identity.audit import Refusals
from redrive.identity.authentication import Authenticator
from redrive.identity.credentials import Credentials
from redrive.identity.keys import find_tenant
from redrive.identity.sealing import Sealer
from redrive.services.timeseries import deletion_job, point_removal, registry
from redrive.services.timeseries.registry import Asset, Model, Point
from redrive.services.timeseries.storage import SampleStore
from redrive.settings import Settings
from redrive.wire.enos.token import router as token_router
from redrive.wire.enos.tsdb.routes_delete import router
from redrive.wire.native import holds
from tests.engine.scene import working
from tests.timeseries.samples import table_of
from tests.wire_enos.gateway_caller import Gateway, new_caller, serving

BASE = "/tsdb-service/v2.1/data"
START, END = 1615444301240, 1615530701240


@dataclass
class Site:
    db: Database
    store: SampleStore
    gateway: Gateway
    tenant_id: int

    def fill(self, *assets: str) -> None:
        rows = [
            (asset, point, START + n, 1.5, None, 0, None, 1, 1)
            for asset in assets
            for point in "pq"
            for n in range(9)
        ]
        with self.db.transaction() as conn:
            registry.add_seen(conn, self.tenant_id, set(assets))
            conn.execute(
                "insert into ingest_heads (tenant_id, head_seq) values (%s, 1) on conflict do nothing",
                [self.tenant_id],
            )
        table = self.store.table(self.gateway.org_id)
        table.append(table_of(rows), app_id=f"test/{assets}", claim=1)

    def submit(self, gateway: Gateway | None = None, **body: Any) -> dict[str, Any]:
        sent = {"modelId": "m", "assetIds": "a1", "startTime": str(START), "endTime": str(END), **body}
        text = json.dumps({name: value for name, value in sent.items() if value is not None})
        caller = gateway or self.gateway
        return caller.call("POST", f"{BASE}/tsdb-delete", f"orgId={caller.org_id}", text)

    def details(self, query: str = "", gateway: Gateway | None = None) -> dict[str, Any]:
        caller = gateway or self.gateway
        return caller.call("GET", f"{BASE}/delete-detail", f"orgId={caller.org_id}{query}")

    def resubmit(self, job_id: object, gateway: Gateway | None = None) -> dict[str, Any]:
        caller = gateway or self.gateway
        return caller.call("PUT", f"{BASE}/resubmit", f"orgId={caller.org_id}&JobId={job_id}")

    def status_after(self, job_id: int) -> int:
        for _ in range(1000):
            (item,) = self.details(f"&queryId={job_id}")["data"]["list"]
            if item["status"] not in (0, 1):
                return int(item["status"])
            time.sleep(0.02)
        raise AssertionError("the job did not end")


@pytest.fixture
def site(
    db: Database,
    settings: Settings,
    authenticator: Authenticator,
    credentials: Credentials,
    tmp_path: Path,
) -> Iterator[Site]:
    store = SampleStore(str(tmp_path / "samples"), None, db)
    app = FastAPI()
    app.state.parts = SimpleNamespace(
        db=db, refusals=Refusals(db), settings=settings, authenticator=authenticator, store=store
    )
    for one in (token_router, router, holds.router):
        app.include_router(one)
    with db.transaction() as conn:
        tenant = find_tenant(conn, credentials.org_id)
    with serving(app) as url, httpx.Client(base_url=url) as client:
        caller = Gateway(client, credentials.org_id, credentials.access_key, credentials.secret_key)
        yield Site(db, store, caller, tenant.id)
    store.close()


def test_submit_details_and_the_forms_of_the_documented_samples(site: Site) -> None:
    site.fill("a1")
    answer = site.submit(pointId="p")
    assert set(answer) == {"msg", "code", "data", "submsg"}
    assert (answer["msg"], answer["code"], answer["submsg"]) == ("OK", 0, "success")
    assert isinstance(answer["data"], int) and len(str(answer["data"])) == 18
    waiting = site.details()["data"]["list"][0]
    assert (waiting["status"], waiting["launchTime"], waiting["finishTime"]) == (0, None, None)
    with working(site.db, deletion_job.kind(site.store)):
        assert site.status_after(answer["data"]) == 2
    page = site.details()["data"]
    assert (page["total"], page["pageNum"], page["pageSize"]) == (1, 1, 10)
    (item,) = page["list"]
    assert item | {"launchTime": "", "finishTime": ""} == {
        "id": str(answer["data"]),
        "status": 2,
        "modelId": "m",
        "assetIds": "a1",
        "measurement": "p",
        "startTime": str(START),
        "endTime": str(END),
        "launchTime": "",
        "finishTime": "",
        "operator": item["operator"],
    }
    for instant in (item["launchTime"], item["finishTime"]):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000", instant)


def test_a_failed_job_is_resubmitted_under_its_id_and_finishes(site: Site) -> None:
    site.fill("a1", "a2")
    keys = httpx.BasicAuth(site.gateway.access_key, site.gateway.secret_key)
    hold = {"assets": ["a2"], "points": ["q"], "reason": "court case"}
    placed = site.gateway.http.put("/v1/timeseries/holds/case-1", json=hold, auth=keys)
    assert placed.status_code == 200, placed.text
    job_id = site.submit(assetIds="a1,a2")["data"]
    with working(site.db, deletion_job.kind(site.store)):
        assert site.status_after(job_id) == 5
        assert site.gateway.http.delete("/v1/timeseries/holds/case-1", auth=keys).status_code == 200
        again = site.resubmit(job_id)
        assert again == {"msg": "OK", "code": 0, "data": "success", "submsg": "success"}
        assert site.status_after(job_id) == 2
    assert site.details()["data"]["total"] == 1


@pytest.mark.parametrize("state", ["queued", "succeeded", "paused", "cancelled"])
def test_a_job_that_is_not_failed_cannot_be_resubmitted(site: Site, state: str) -> None:
    site.fill("a1")
    job_id = site.submit()["data"]
    if state == "succeeded":
        with working(site.db, deletion_job.kind(site.store)):
            assert site.status_after(job_id) == 2
    elif state != "queued":
        verb = {"paused": recovery.pause, "cancelled": recovery.cancel}[state]
        site.db.run(lambda conn: verb(conn, site.tenant_id, job_id, actor="ann"))
        assert site.status_after(job_id) == {"paused": 3, "cancelled": 4}[state]
    refused = site.resubmit(job_id)
    assert refused["code"] == 80400 and str(job_id) in refused["msg"]


def test_an_unknown_job_and_another_organizations_job_answer_alike(site: Site) -> None:
    unknown = site.resubmit(123456789012345678)
    assert unknown["code"] == 80400 and "JobId" in unknown["msg"]
    with site.db.transaction() as conn:
        conn.execute(
            "insert into timeseries_deletions values (5, %s, 'm', null, '{a1}', 1, 2, 'x', null)",
            [site.tenant_id + 1],
        )
    assert site.resubmit(5)["msg"].replace("5", "#") == unknown["msg"].replace("123456789012345678", "#")


@pytest.mark.parametrize("job_id", ["", "x", "-1", "1.5", "99999999999999999999", "%00"])
def test_a_bad_job_id_is_refused_by_name(site: Site, job_id: str) -> None:
    answer = site.resubmit(job_id)
    assert answer["code"] == 80400 and "JobId" in answer["msg"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"modelId": None}, "modelId"),
        ({"assetIds": None}, "assetIds"),
        ({"assetIds": ""}, "assetIds"),
        ({"assetIds": ","}, "assetIds"),
        ({"assetIds": "nobody"}, "assetIds"),
        ({"startTime": None}, "startTime"),
        ({"startTime": "2021-03-11"}, "startTime"),
        ({"endTime": "x"}, "endTime"),
        ({"endTime": str(START - 1)}, "endTime"),
        ({"modelId": 7.5}, "modelId"),
        ({"pointIds": "p,q"}, "pointIds"),
        ({"pointIds": "p", "pointId": "q"}, "pointIds"),
        ({"pointID": "p"}, "pointID"),
        ({"points": "p"}, "points"),
        ({"pointId": ""}, "pointId"),
        ({"pointId": " "}, "pointId"),
    ],
)
def test_a_bad_field_is_named_and_nothing_is_stored(site: Site, change: dict[str, Any], field: str) -> None:
    site.fill("a1")
    answer = site.submit(**change)
    assert answer["code"] == 80400 and field in answer["msg"], answer
    assert site.details()["data"]["total"] == 0


@pytest.mark.parametrize("field", ["pointId", "pointIds"])
def test_a_point_that_is_null_does_not_mean_every_point(site: Site, field: str) -> None:
    site.fill("a1")
    body = {"modelId": "m", "assetIds": "a1", "startTime": str(START), "endTime": str(END), field: None}
    answer = site.gateway.call(
        "POST", f"{BASE}/tsdb-delete", f"orgId={site.gateway.org_id}", json.dumps(body)
    )
    assert answer["code"] == 80400 and field in answer["msg"] and "leave" in answer["submsg"]
    assert site.details()["data"]["total"] == 0


def test_point_ids_with_one_point_means_that_point_and_never_every_point(site: Site) -> None:
    site.fill("a1")
    site.submit(pointIds="p")
    assert site.details()["data"]["list"][0]["measurement"] == "p"


def test_a_parameter_that_stands_in_the_wrong_place_is_never_ignored(site: Site) -> None:
    """A pointId in the query would delete every point if it were."""
    site.fill("a1")
    body = json.dumps({"modelId": "m", "assetIds": "a1", "startTime": str(START), "endTime": str(END)})
    query = f"orgId={site.gateway.org_id}&pointId=p"
    answer = site.gateway.call("POST", f"{BASE}/tsdb-delete", query, body)
    assert answer["code"] == 80400 and "pointId" in answer["msg"]
    body = json.dumps({"modelId": "m", "pointId": "p", "assetIds": "a1"})
    answer = site.gateway.call("POST", f"{BASE}/meta-delete", f"orgId={site.gateway.org_id}", body)
    assert answer["code"] == 80400 and "assetIds" in answer["msg"]
    assert site.details()["data"]["total"] == 0


def test_a_point_of_a_model_concerns_every_asset(site: Site, sealer: Sealer) -> None:
    with site.db.transaction() as conn:
        registry.put_model(conn, site.tenant_id, Model("m", points=(Point("p", storage_types=frozenset()),)))
    narrow = new_caller(site.db, sealer, site.gateway, {Action.WRITE: parse_scope("a*")})
    body = json.dumps({"modelId": "m", "pointId": "p"})
    answer = narrow.call("POST", f"{BASE}/meta-delete", f"orgId={site.gateway.org_id}", body)
    assert answer["code"] == 80401


def test_write_permission_is_all_or_nothing_and_lists_hide_what_is_out_of_scope(
    site: Site, sealer: Sealer
) -> None:
    site.fill("a1", "b1")
    own = parse_scope("a*")
    narrow = new_caller(site.db, sealer, site.gateway, {Action.READ: own, Action.WRITE: own})
    assert site.submit(narrow, assetIds="a1,b1")["code"] == 80401
    assert site.submit(narrow, assetIds="a1")["code"] == 0
    hidden = site.submit(assetIds="b1")["data"]
    assert site.details("", narrow)["data"]["total"] == 1
    assert site.details()["data"]["total"] == 2
    assert "JobId" in site.resubmit(hidden, narrow)["msg"]
    reader = new_caller(site.db, sealer, site.gateway, {Action.READ: own})
    assert site.submit(reader, assetIds="a1")["code"] == 80401


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("&id=m", 2),
        ("&queryId=p", 1),
        ("&id=other", 0),
        ("&pageNo=2&pageSize=1", 1),
        ("&pageNo=9", 0),
        ("&id=", 2),
        ("&id=%C2%B2", 0),
        ("&id=9999999999999999999", 0),
    ],
)
def test_details_find_by_model_point_or_job_and_page(site: Site, query: str, found: int) -> None:
    site.fill("a1")
    site.submit()
    site.submit(pointId="p")
    assert len(site.details(query)["data"]["list"]) == found


@pytest.mark.parametrize(
    "query", ["&pageNo=0", "&pageSize=0", "&pageSize=x", "&id=a&queryId=b", "&pageSize=100001"]
)
def test_bad_pages_are_refused(site: Site, query: str) -> None:
    assert site.details(query)["code"] == 80400


def test_point_metadata_is_removed_once_its_policy_is_cancelled(site: Site) -> None:
    with site.db.transaction() as conn:
        points = (Point("p", storage_types=frozenset()), Point("q"))
        registry.put_model(conn, site.tenant_id, Model("weather", points=points))
        registry.put_asset(conn, site.tenant_id, Asset("a1", model_id="weather"))
    bodies = [json.dumps({"modelId": "weather", "pointId": point}) for point in "pq"]
    query = f"orgId={site.gateway.org_id}"
    answers = [site.gateway.call("POST", f"{BASE}/meta-delete", query, body) for body in bodies]
    assert [(a["code"], type(a["data"]), a["submsg"]) for a in answers] == [(0, int, "success")] * 2
    with working(site.db, point_removal.kind()):
        deadline = time.monotonic() + 10
        while True:
            with site.db.transaction() as conn:
                states = [r.state for r in conn.execute("select state from jobs order by id").fetchall()]
                left = registry.points_of(conn, site.tenant_id, "weather")
            if not {"queued", "running"} & set(states):
                break
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert (states, left) == (["succeeded", "failed"], ("q",))
    missing = site.gateway.call("POST", f"{BASE}/meta-delete", query, json.dumps({"modelId": "weather"}))
    assert missing["code"] == 80400 and "pointId" in missing["msg"]

"""The native API for samples, models and assets, over a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pyarrow as pa
import pytest
from pytest import TempPathFactory

from redrive.database.embedded import EmbeddedPostgres
from redrive.identity.access import Action, parse_scope
from redrive.identity.builtin import key_policy
from redrive.identity.keys import create_key
from redrive.identity.master_key import open_sealer
from redrive.ingest import Tail, log
from tests.wire_native.jobs_scene import Api, database_of_a_module, serving_api

SAMPLES = "/v1/timeseries/samples"
NDJSON = {"content-type": "application/x-ndjson"}
ARROW = {"content-type": "application/vnd.apache.arrow.stream"}


@pytest.fixture(scope="module")
def served(postgres: EmbeddedPostgres, database_url: str, tmp_path_factory: TempPathFactory) -> Iterator[Api]:
    with database_of_a_module(postgres) as db, serving_api(db, tmp_path_factory.mktemp("api")) as api:
        yield api


@pytest.fixture
def api(served: Api) -> Api:
    """The API without any sample, asset or model."""
    with served.db.transaction() as conn:
        conn.execute(
            "truncate ingest_log, timeseries_assets, timeseries_points, timeseries_models, idempotency_keys"
        )
        log.move_epoch(conn, served.tenant_id)
    return served


@pytest.fixture
def limited(api: Api) -> Iterator[httpx.Client]:
    """A caller that may read and write assets that begin with ``north-``."""
    scope = parse_scope("north-*")
    permissions = {Action.WRITE: scope, Action.READ: scope}
    with api.db.transaction() as conn:
        user = conn.execute("select id from users limit 1").fetchone()
        sealer = open_sealer(api.db, api.settings)
        pair = create_key(
            conn,
            sealer,
            tenant_id=api.tenant_id,
            user_id=user.id,
            name="limited",
            policy=key_policy(permissions),
        )
    with httpx.Client(base_url=api.url, auth=(pair.access_key, pair.secret_key)) as client:
        yield client


def stored(api: Api) -> list[tuple[Any, ...]]:
    with api.db.transaction() as conn:
        found = Tail().read(conn, api.tenant_id).to_pylist()
    return [
        (r["asset"], r["point"], r["time_ms"], r["number"] if r["text"] is None else r["text"]) for r in found
    ]


def lines(*items: dict[str, Any]) -> bytes:
    return b"\n".join(json.dumps(item).encode() for item in items)


def sample(asset: str = "a1", point: str = "temp", time: Any = 1000, value: Any = 1.5) -> dict[str, Any]:
    return {"asset": asset, "point": point, "time": time, "value": value}


def arrow(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def test_lines_are_stored_and_their_place_is_told(api: Api) -> None:
    answer = api.http.post(SAMPLES, content=lines(sample(), sample(value="x", point="state")), headers=NDJSON)
    assert answer.status_code == 200, answer.text
    with api.db.transaction() as conn:
        assert answer.json() == {"seq": str(log.head(conn, api.tenant_id)), "accepted": 2}
    assert stored(api) == [("a1", "temp", 1000, 1.5), ("a1", "state", 1000, "x")]


def test_an_arrow_stream_is_stored(api: Api) -> None:
    table = pa.table({"asset": ["a", "b"], "point": ["p", "p"], "time": [1, 2], "value": [1.5, 2.5]})
    answer = api.http.post(SAMPLES, content=arrow(table), headers=ARROW)
    assert answer.json()["accepted"] == 2
    assert stored(api) == [("a", "p", 1, 1.5), ("b", "p", 2, 2.5)]


def test_a_large_stream_is_stored(api: Api) -> None:
    count = 200_000
    table = pa.table(
        {"asset": ["a"] * count, "point": ["p"] * count, "time": range(count), "value": range(count)}
    )
    answer = api.http.post(SAMPLES, content=arrow(table), headers=ARROW, timeout=30)
    assert answer.json()["accepted"] == count
    assert len(stored(api)) == count


def test_many_callers_at_once_lose_nothing(api: Api) -> None:
    def send(number: int) -> int:
        body = lines(*[sample(f"a{number}", f"p{n}", number) for n in range(20)])
        answer = api.http.post(SAMPLES, content=body, headers=NDJSON)
        return answer.status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(send, range(64))) == {200}
    assert len(stored(api)) == len(set(stored(api))) == 64 * 20


def test_a_bad_line_is_named_and_nothing_is_stored(api: Api) -> None:
    answer = api.http.post(SAMPLES, content=lines(sample(), sample(value=None)), headers=NDJSON)
    assert answer.status_code == 422
    assert "line 2" in answer.json()["detail"]
    assert stored(api) == []


@pytest.mark.parametrize("kind", ["application/json", "", "text/csv"])
def test_another_content_type_is_refused(api: Api, kind: str) -> None:
    answer = api.http.post(SAMPLES, content=lines(sample()), headers={"content-type": kind})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "Content-Type"


def test_a_body_that_is_compressed_as_a_whole_is_refused(api: Api) -> None:
    answer = api.http.post(SAMPLES, content=b"x", headers={**NDJSON, "content-encoding": "gzip"})
    assert answer.status_code == 422
    assert "Content-Encoding" in answer.json()["detail"]


def test_too_long_a_body_is_refused_before_it_is_read(api: Api) -> None:
    headers = {**NDJSON, "content-length": str(65 * 1024 * 1024)}
    answer = api.http.post(SAMPLES, content=b"x" * (65 * 1024 * 1024), headers=headers)
    assert answer.status_code == 413


def test_without_a_key_nothing_is_taken(api: Api) -> None:
    assert httpx.post(api.url + SAMPLES, content=lines(sample()), headers=NDJSON).status_code == 401
    large = b"\n".join([lines(sample())] * 10_000)
    assert httpx.post(api.url + SAMPLES, content=large, headers=NDJSON).status_code == 401
    assert stored(api) == []


def test_writing_is_all_or_nothing_over_the_assets(api: Api, limited: httpx.Client) -> None:
    mixed = lines(sample("north-1"), sample("south-1"))
    answer = limited.post(SAMPLES, content=mixed, headers=NDJSON)
    assert answer.status_code == 403
    assert "south-1" in answer.json()["detail"]
    assert stored(api) == []
    assert limited.post(SAMPLES, content=lines(sample("north-1")), headers=NDJSON).status_code == 200


def test_the_same_key_stores_once(api: Api) -> None:
    headers = {**NDJSON, "idempotency-key": "one"}
    first = api.http.post(SAMPLES, content=lines(sample()), headers=headers)
    again = api.http.post(SAMPLES, content=lines(sample()), headers=headers)
    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert stored(api) == [("a1", "temp", 1000, 1.5)]
    other = api.http.post(SAMPLES, content=lines(sample(value=2)), headers=headers)
    assert other.status_code == 422


def test_backfill_is_marked(api: Api) -> None:
    answer = api.http.post(SAMPLES, params={"channel": "offline"}, content=lines(sample()), headers=NDJSON)
    assert answer.status_code == 200
    with api.db.transaction() as conn:
        assert [entry.channel for entry in log.read(conn, api.tenant_id, 0, 10**6)] == ["offline"]
    assert (
        api.http.post(SAMPLES, params={"channel": "x"}, content=lines(sample()), headers=NDJSON).status_code
        == 422
    )


MODEL = {
    "name": "a turbine",
    "points": [
        {"id": "power", "value_type": "double", "storage_types": ["AI_RAW"], "retention_days": 30},
        {"id": "speed", "value_type": "any", "storage_types": None, "retention_days": None},
    ],
    "retention_days": 365,
}


def test_a_model_and_its_assets(api: Api) -> None:
    assert api.http.put("/v1/timeseries/models/turbine", json=MODEL).json() == {"id": "turbine", **MODEL}
    assert api.http.get("/v1/timeseries/models/turbine").json() == {"id": "turbine", **MODEL}
    asset = {
        "name": "north", "model_id": "turbine", "model_path": "/site/1", "time_zone": "Europe/Berlin",
        "product_key": "pk", "device_key": "dk",
    }  # fmt: skip
    assert api.http.put("/v1/timeseries/assets/t1", json=asset).json() == {"id": "t1", **asset}
    assert api.http.get("/v1/timeseries/assets/t1").json() == {"id": "t1", **asset}
    listed = api.http.get("/v1/timeseries/assets", params={"model_id": "turbine"}).json()
    assert [one["id"] for one in listed["assets"]] == ["t1"]
    assert api.http.delete("/v1/timeseries/models/turbine").status_code == 409
    assert api.http.delete("/v1/timeseries/assets/t1").status_code == 204
    assert api.http.delete("/v1/timeseries/models/turbine").status_code == 204
    assert api.http.get("/v1/timeseries/models/turbine").status_code == 404


def test_an_id_may_have_a_slash(api: Api) -> None:
    assert api.http.put("/v1/timeseries/assets/site%2F1", json={}).status_code == 200
    assert api.http.get("/v1/timeseries/assets/site/1").json()["id"] == "site/1"


def test_pages_follow_each_other(api: Api) -> None:
    names = [f"a{number:02}" for number in range(25)]
    body = {"models": [{"id": "m1"}, {"id": "m2"}], "assets": [{"id": name} for name in names]}
    assert api.http.post("/v1/timeseries/registry", json=body).json() == {"created": 27, "changed": 0}
    assert api.http.post("/v1/timeseries/registry", json=body).json() == {"created": 0, "changed": 27}
    found, after = [], ""
    while after is not None:
        page = api.http.get("/v1/timeseries/assets", params={"limit": 10, "after": after}).json()
        found += [one["id"] for one in page["assets"]]
        after = page["next"]
    assert found == names
    assert [one["id"] for one in api.http.get("/v1/timeseries/models").json()["models"]] == ["m1", "m2"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("models/m", {"points": [{"id": "p", "storage_type": []}]}, 422),
        ("models/m", {"points": [{"id": "p"}, {"id": "p"}]}, 422),
        ("models/m,n", {}, 422),
        ("assets/a", {"time_zone": "Nowhere"}, 422),
        ("assets/a", {"model_id": "unknown"}, 422),
        ("assets/a", {"timezone": "UTC"}, 422),
        ("assets/a", {"product_key": "p"}, 422),
        ("assets/%00", {}, 422),
    ],
)
def test_what_makes_no_sense_is_refused(api: Api, path: str, body: Any, status: int) -> None:
    assert api.http.put(f"/v1/timeseries/{path}", json=body).status_code == status


@pytest.mark.parametrize("path", ["models/x", "assets/x", "assets/%00", "models/a,b", "assets/" + "x" * 300])
def test_what_is_not_there_is_not_found(api: Api, path: str) -> None:
    assert api.http.get(f"/v1/timeseries/{path}").status_code == 404
    assert api.http.delete(f"/v1/timeseries/{path}").status_code == 404


def test_another_tenant_sees_nothing(api: Api) -> None:
    api.http.put("/v1/timeseries/assets/a", json={})
    assert api.stranger.get("/v1/timeseries/assets/a").status_code == 404
    assert api.stranger.get("/v1/timeseries/assets").json() == {"assets": [], "next": None}


def test_a_scope_limits_what_is_seen_and_changed(api: Api, limited: httpx.Client) -> None:
    for name in ("north-1", "south-1"):
        api.http.put(f"/v1/timeseries/assets/{name}", json={})
    assert [one["id"] for one in limited.get("/v1/timeseries/assets").json()["assets"]] == ["north-1"]
    assert limited.get("/v1/timeseries/assets/south-1").status_code == 403
    assert limited.put("/v1/timeseries/assets/south-1", json={}).status_code == 403
    assert limited.put("/v1/timeseries/assets/north-1", json={}).status_code == 200
    assert limited.put("/v1/timeseries/models/m", json={}).status_code == 403
    assert limited.post("/v1/timeseries/registry", json={"models": [{"id": "m"}]}).status_code == 403

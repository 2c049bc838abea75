"""The read calls: every limit and refusal, every item format on every call, local times, values of any kind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from redrive.clock import from_ms
from redrive.database.embedded import EmbeddedPostgres
from redrive.services.timeseries.assets import StorageType
from tests.timeseries.reads_scene import instant
from tests.wire_enos.tsdb_read_scene import House, Site, open_house

DAY = {"startTime": "2020-04-20T00:00:00Z", "endTime": "2020-04-21T00:00:00Z"}
START = instant("2020-04-20T00:00:00Z")
SERIES = {"assetIds": "a", "pointIds": "p"}
LOGIC = {"assetIds": "a", "pointIdsWithLogic": "sum(p)", "interval": 60}
WATCH = {"payload": [{"assetId": "a", "pointId": "p", "interval": 1}]}
FILTER = {"modelId": "m", "assetIds": "a", "pointId": "p", "operator": "ge", "valueFilter": "0"}

#: A good body for every call.
BODIES: dict[str, dict[str, Any]] = {
    "/ai": {**SERIES, **DAY},
    "/ai-normalized": {**LOGIC, **DAY},
    "/di": {**SERIES, **DAY},
    "/di/duration": {**SERIES, **DAY},
    "/electric-power": {**LOGIC, **DAY},
    "/electric-power/current-day": SERIES,
    "/generic": {**SERIES, **DAY},
    "/raw": {**SERIES, **DAY},
    "/unified-raw": {**SERIES, **DAY},
    "/unformatted": {**SERIES, **DAY},
    "/latest": SERIES,
    "/latest/filter": FILTER,
    "/data/last-changed": SERIES,
    "/data/latest/check-dead": WATCH,
}
SPANS = [path for path, body in BODIES.items() if "startTime" in body]
PAGES = ["/ai", "/generic", "/raw", "/unified-raw", "/unformatted"]
SHOWN = [path for path in BODIES if path not in ("/di/duration", "/data/latest/check-dead")]


@pytest.fixture(scope="module")
def house(
    postgres: EmbeddedPostgres, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    with open_house(postgres, tmp_path_factory.mktemp("reads")) as house:
        yield house


@pytest.fixture
def site(house: House) -> Site:
    return house.site()


def ids(count: int, letter: str = "x") -> str:
    return ",".join(f"{letter}{number}" for number in range(count))


@pytest.mark.parametrize("path", BODIES)
def test_every_call_answers_an_organization_without_data(site: Site, path: str) -> None:
    answer = site.call(path, BODIES[path])
    expected: list[Any] = []
    if path == "/di/duration":
        durations = [{"duration": 86_400_000, "status": "Unknown"}]
        end = START + 86_400_000
        expected = [{"scanEndTimestamp": end, "pointId": "p", "assetId": "a", "durations": durations}]
    assert answer == {"code": 0, "msg": "OK", "submsg": None, "data": {"items": expected}}


@pytest.mark.parametrize("path", BODIES)
def test_every_mandatory_field_is_asked_for_by_its_name(site: Site, path: str) -> None:
    for missing in BODIES[path]:
        body = {name: value for name, value in BODIES[path].items() if name != missing}
        assert site.refused(path, body).startswith(f"{missing}: expected ")
        assert site.refused(path, {**BODIES[path], missing: ""}).startswith(f"{missing}: expected ")


@pytest.mark.parametrize("body", ["[]", "{", '"x"', "1"])
def test_a_body_that_is_no_object_is_refused(site: Site, body: str) -> None:
    assert site.refused("/latest", body).startswith("body: expected ")


def test_a_name_that_is_nearly_right_is_refused_with_the_right_one(site: Site) -> None:
    for path, wrong, right in [
        ("/ai", "pointId", "pointIds"),
        ("/ai", "assetId", "assetIds"),
        ("/ai", "pagesize", "pageSize"),
        ("/raw", "order_by", "orderBy"),
        ("/latest/filter", "pointIds", "pointId"),
        ("/ai-normalized", "pointIdWithLogic", "pointIdsWithLogic"),
        ("/di", "autoInterpolated", "autoInterpolate"),
    ]:
        answer = site.call(path, {**BODIES[path], wrong: "1"})
        assert answer["msg"] == f"Invalid param error: {wrong}: expected {right}, got {wrong}"
        assert answer["submsg"] == f"write {right}"


def test_a_parameter_of_another_call_is_refused_and_an_unknown_one_is_not(site: Site) -> None:
    assert site.refused("/di", {**BODIES["/di"], "pageSize": 5}).startswith(
        "pageSize: expected no such parameter"
    )
    assert site.refused("/latest", {**SERIES, "boundaryType": "inside"}).startswith(
        "boundaryType: expected no such"
    )
    assert site.items("/latest", {**SERIES, "traceNumber": 7}) == []


def test_the_organization_is_asked_for(house: House) -> None:
    site = house.site()
    answer = house.http.post("/tsdb-service/v2.1/latest", json=SERIES).json()
    assert answer["code"] == 80400 and "orgId" in answer["msg"]
    assert site.items("/latest", SERIES) == []


@pytest.mark.parametrize("path", [path for path in BODIES if "pointIds" in BODIES[path]])
def test_assets_by_points_are_limited(site: Site, path: str) -> None:
    most = 10 if path.startswith("/di") else 3000
    if path == "/unformatted":
        site.items(path, {**BODIES[path], "assetIds": ids(3000), "pageSize": 213})
        assert site.refused(path, {**BODIES[path], "assetIds": ids(3001), "pageSize": 1}).startswith(
            "pointIds"
        )
        assert site.refused(path, {**BODIES[path], "pointIds": "p,q"}).startswith(
            "pointIds: expected one point"
        )
        return
    small = {"pageSize": 213} if path in PAGES else {}
    site.call(path, {**BODIES[path], "assetIds": ids(most // 10), "pointIds": ids(10), **small})
    over = {**BODIES[path], "assetIds": ids(most // 10 + 1), "pointIds": ids(10), **small}
    detail = f"pointIds: expected assets x points of at most {most:,}, got {most // 10 + 1:,} x 10 = "
    assert site.refused(path, over).startswith(detail)


@pytest.mark.parametrize("path", ["/ai-normalized", "/electric-power"])
def test_assets_by_expressions_are_limited(site: Site, path: str) -> None:
    logic = ",".join(f"sum(x{number})" for number in range(3001))
    refused = site.refused(path, {**BODIES[path], "pointIdsWithLogic": logic, "pageSize": 1})
    assert refused.startswith("pointIdsWithLogic: expected assets x points of at most 3,000")


@pytest.mark.parametrize("path", [*PAGES, "/ai-normalized", "/electric-power"])
def test_records_in_all_are_limited(site: Site, path: str) -> None:
    site.items(path, {**BODIES[path], "pageSize": 640_000})
    assert site.refused(path, {**BODIES[path], "pageSize": 640_001}).startswith(
        "pageSize: expected a whole number"
    )
    body = {**BODIES[path], "assetIds": ids(641)}
    message = "pageSize: expected assets x points x pageSize of at most 640,000, got 641 x 1,000 = 641,000"
    assert site.refused(path, body) == message
    assert site.items(path, {**body, "pageSize": "998"}) == []
    for size in (0, -1, "x", 1.5, True):
        assert site.refused(path, {**BODIES[path], "pageSize": size}).startswith("pageSize: expected ")


def test_what_would_cost_much_to_look_at_is_refused_at_once(site: Site) -> None:
    assert site.refused("/latest", {**SERIES, **{f"key{n}": 1 for n in range(100)}}).startswith(
        "body: expected at most"
    )
    assert site.refused(
        "/latest/filter", {**FILTER, "operator": "in", "valueFilter": "1," * 5000}
    ).startswith("valueFilter")
    assert site.refused("/di/duration", {**BODIES["/di/duration"], "status": "1," * 5000}).startswith(
        "status"
    )
    spaces = {**BODIES["/ai-normalized"], "pointIdsWithLogic": "sum(" + " " * 100_000 + "x"}
    assert site.refused("/ai-normalized", spaces).startswith("pointIdsWithLogic")
    apart = [{"assetId": f"a{n}", "pointId": f"p{n}", "interval": 1} for n in range(3000)]
    site.accept(("a7", "p7", START, 1))
    assert [item["pointId"] for item in site.items("/data/latest/check-dead", {"payload": apart})] == ["p7"]
    ever = {"startTime": "0001-01-01 00:00:00", "endTime": "9999-12-31 00:00:00"}
    site.asset("a7", zone="America/New_York")
    year = {"assetIds": "a7", "pointIdsWithLogic": "count(p7)", "interval": 61, **ever}
    assert [item["count(p7)"] for item in site.items("/ai-normalized", year)] == [1]
    sampled = {"assetIds": "a7", "pointIds": "p7", "boundaryType": "sample", "interval": 1, **ever}
    assert len(site.items("/raw", sampled)) == 1000


def test_the_description_of_the_calls_is_what_they_take(house: House) -> None:
    described = house.http.get("/openapi.json").json()["paths"]
    for path, body in BODIES.items():
        call = described[f"/tsdb-service/v2.1{path}"]["post"]
        schema = call["requestBody"]["content"]["application/json"]["schema"]
        assert set(schema["required"]) == set(body), path
        assert set(body) <= set(schema["properties"])
        assert [one["name"] for one in call["parameters"] if one["required"]] == ["orgId"]


def test_one_call_may_watch_three_thousand_points(site: Site) -> None:
    watch = WATCH["payload"][0]
    assert site.items("/data/latest/check-dead", {"payload": [watch] * 3000}) == []
    refused = site.refused("/data/latest/check-dead", {"payload": [watch] * 3001})
    assert refused.startswith("payload: expected at most 3,000 entries")
    for entry, field in [
        (7, "payload[1]"),
        ({**watch, "interval": -1}, "interval"),
        ({**watch, "interval": "soon"}, "interval"),
        ({**watch, "assetIds": "a"}, "assetIds"),
        ({"assetId": "a", "interval": 1}, "pointId"),
    ]:
        assert site.refused("/data/latest/check-dead", {"payload": [watch, entry]}).startswith(f"{field}: ")
    assert site.refused("/data/latest/check-dead", {"payload": {}}).startswith("payload: ")


@pytest.mark.parametrize("path", SPANS)
def test_both_times_come_in_one_form_and_in_order(site: Site, path: str) -> None:
    body = BODIES[path]
    for start, end, field in [
        ("2020-04-20 00:00:00", "2020-04-21T00:00:00Z", "endTime: expected the same form"),
        ("2020-04-20T00:00:00Z", "2020-04-20T00:00:00Z", "endTime: expected a time after startTime"),
        ("2020-04-20T08:00:00+08:00", "2020-04-20T00:00:00Z", "endTime: expected a time after startTime"),
        ("2020-04-20 00:00:01", "2020-04-20 00:00:00", "endTime: expected a time after startTime"),
        ("2020-04-20", "2020-04-21", "startTime: expected 2019-06-01T00:00:00+08:00"),
        ("1587312000000", "1587312000001", "startTime: expected 2019-06-01T00:00:00+08:00"),
        ("2020-04-20T00:00:00", "2020-04-21T00:00:00", "startTime: expected 2019-06-01T00:00:00+08:00"),
        ("2020-02-30 00:00:00", "2020-04-21 00:00:00", "startTime: expected a date and time that exist"),
        ("2020-04-20T00:00:00+19:00", "2020-04-21T00:00:00Z", "startTime: expected an offset"),
    ]:
        assert site.refused(path, {**body, "startTime": start, "endTime": end}).startswith(field)


def test_times_may_have_fractions_and_any_offset(site: Site) -> None:
    site.accept(*(("a", "p", START + millis, millis) for millis in range(0, 1000, 100)))
    asked = {**SERIES, "itemFormat": 2}
    for start, end in [
        ("2020-04-20T00:00:00.2Z", "2020-04-20T00:00:00.400Z"),
        ("2020-04-20T05:45:00.200+05:45", "2020-04-19T19:00:00.4-0500"),
        ("2020-04-20 00:00:00.200", "2020-04-20 00:00:00.40"),
    ]:
        (item,) = site.items("/raw", {**asked, "startTime": start, "endTime": end})
        assert item["value"] == [200, 300]


def test_words_and_numbers_outside_their_lists_are_refused(site: Site) -> None:
    for path, field, value in [
        ("/raw", "orderBy", "value desc"),
        ("/raw", "boundaryType", "between"),
        ("/raw", "interpolation", "cubic"),
        ("/raw", "itemFormat", 3),
        ("/raw", "localTimeFormat", 2),
        ("/raw", "localTimeAccuracy", "maybe"),
        ("/raw", "withQuality", 1),
        ("/latest", "timeWindow", -1),
        ("/latest", "ifWithLocalTime", "yes"),
        ("/latest/filter", "operator", "ne"),
        ("/di", "autoInterpolate", "perhaps"),
        ("/di/duration", "ifWithUnknown", "?"),
        ("/ai-normalized", "interval", 1441),
        ("/ai-normalized", "interval", -1),
    ]:
        assert site.refused(path, {**BODIES[path], field: value}).startswith(f"{field}: expected ")
    sampled = {**BODIES["/raw"], "boundaryType": "sample"}
    assert site.refused("/raw", sampled).startswith("interval: expected ")
    assert site.refused("/raw", {**sampled, "interval": 0}).startswith("interval: expected ")


def test_booleans_and_numbers_may_be_texts(site: Site) -> None:
    body = {
        **BODIES["/raw"],
        "withQuality": "TRUE",
        "itemFormat": "2",
        "pageSize": "7",
        "localTimeAccuracy": "",
    }
    assert site.items("/raw", body) == []
    assert (
        site.items("/raw", {**BODIES["/raw"], "boundaryType": "OUTSIDE", "orderBy": "timestamp  DESC"}) == []
    )


def test_functions_go_with_an_interval_and_only_then(site: Site) -> None:
    path, body = "/ai-normalized", BODIES["/ai-normalized"]
    for logic, minutes in [
        ("p", 60),
        ("sum(p)", 0),
        ("sum(p", 60),
        ("median(p)", 60),
        ("sum()", 60),
        ("sum(p)avg(p)", 60),
        ("(p)", 60),
        ("sum(p),p", 60),
    ]:
        refused = site.refused(path, {**body, "pointIdsWithLogic": logic, "interval": minutes})
        assert refused.startswith("pointIdsWithLogic: expected ")


def test_without_an_interval_minutes_come_back_as_they_are(site: Site) -> None:
    site.accept(("a", "p", START + 1000, 1), ("a", "p", START + 61_000, 2), ("a", "q", START, "x"))
    site.accept(("a", "p", START + 500, 3))
    for path in ("/ai-normalized", "/electric-power"):
        body = {**BODIES[path], "pointIdsWithLogic": "p, q", "interval": 0, "itemFormat": 2}
        assert [(item["pointId"], item["timestamp"], item["value"]) for item in site.items(path, body)] == [
            ("p", [START, START + 60_000], [3, 2]),
            ("q", [START], ["x"]),
        ]


def test_expressions_come_back_as_they_were_written(site: Site) -> None:
    site.accept(("a", "p", START, 1), ("a", "q", START, 5))
    body = {
        **BODIES["/ai-normalized"],
        "pointIdsWithLogic": "MAX(p), min( q ),sum(p),sum(p)",
        "itemFormat": 1,
    }
    (item,) = site.items("/ai-normalized", body)
    assert item["MAX(p)"] == 1 and item["min(q)"] == 5 and item["sum(p)"] == 1 and len(item) == 6


def test_a_filter_has_as_many_values_as_its_operator_takes(site: Site) -> None:
    site.accept(*(("a", f"p{n}", START, value) for n, value in enumerate([1, 2.5, "on, off", True])))

    def found(point: str, operator: str, value: Any) -> bool:
        body = {**FILTER, "pointId": point, "operator": operator, "valueFilter": value}
        return bool(site.items("/latest/filter", body))

    assert found("p0", "between", "0, 1") and found("p1", "in", "1,2.5") and found("p1", "nq", "2.4")
    assert found("p2", "eq", "on, off") and not found("p2", "in", "on, off")
    assert found("p0", "eq", 1) and found("p1", "gt", 2.4) and found("p3", "eq", True)
    for value in ("1", "1,2,3", "2,1"):
        body = {**FILTER, "operator": "between", "valueFilter": value}
        assert site.refused("/latest/filter", body).startswith("valueFilter: expected ")
    assert site.refused("/latest/filter", {**FILTER, "pointId": "p,q"}).startswith(
        "pointId: expected one point"
    )


def test_another_model_than_the_assets_have_is_refused_everywhere(site: Site) -> None:
    site.model("turbine")
    site.asset("a", model="turbine")
    for path, body in BODIES.items():
        if path == "/data/latest/check-dead":
            continue
        assert (
            site.refused(path, {**body, "modelId": "pump"})
            == "modelId: expected the model of asset a, got pump"
        )
        assert site.call(path, {**body, "modelId": "turbine"})["code"] == 0
        assert site.call(path, {**body, "modelId": "pump", "assetIds": "b"})["code"] == 0


@pytest.mark.parametrize("path", SHOWN)
def test_every_call_has_every_item_format(site: Site, path: str) -> None:
    site.clock[0] = from_ms(START + 7_200_000)
    site.asset("a", "b", zone="Asia/Shanghai")
    site.accept(*((asset, "p", START, 1) for asset in "ab"))
    body = {**BODIES[path], "assetIds": "a,b", "modelId": "m", "localTimeFormat": 1}
    local = "2020-04-20T08:00:00+08:00"
    stamp = START
    if path == "/electric-power/current-day":
        stamp, local = START - 8 * 3_600_000, "2020-04-20T00:00:00+08:00"
    key = "sum(p)" if "power" in path or "normalized" in path else "p"
    value: Any = "1" if path == "/data/last-changed" else 1
    if path.startswith("/latest") or path == "/data/last-changed":
        assert site.items(path, body)[0] == {"assetId": "a", "timestamp": stamp, key: value}
        body["ifWithLocalTime"] = True
    if path == "/data/last-changed":
        del body["modelId"]
    for item_format in (0, 1):
        assert site.items(path, {**body, "itemFormat": item_format}) == [
            {"assetId": asset, "timestamp": stamp, key: value, "localtime": local} for asset in "ab"
        ]
    assert site.items(path, {**body, "itemFormat": 2}) == [
        {"assetId": asset, "pointId": key, "timestamp": [stamp], "value": [value], "localTime": [local]}
        for asset in "ab"
    ]


def test_local_times_are_those_of_each_device(site: Site) -> None:
    site.asset("ny", zone="America/New_York")
    site.asset("sh", zone="Asia/Shanghai")
    hours = [instant("2024-03-09T00:00:00Z") + hour * 3_600_000 for hour in range(96)]
    site.put("both", *((asset, "p", time, 0) for asset in ("ny", "sh") for time in hours))
    asked = {"assetIds": "ny,sh", "pointIds": "p", "itemFormat": 2, "localTimeFormat": 1}
    day = {"startTime": "2024-03-10 00:00:00", "endTime": "2024-03-11 00:00:00"}
    ny, sh = site.items("/raw", {**asked, **day})
    assert (len(ny["value"]), len(sh["value"])) == (23, 24)
    assert ny["localTime"][:4] == [
        "2024-03-10T00:00:00-05:00",
        "2024-03-10T01:00:00-05:00",
        "2024-03-10T03:00:00-04:00",
        "2024-03-10T04:00:00-04:00",
    ]
    gap = {"startTime": "2024-03-10 02:00:00", "endTime": "2024-03-10 02:59:59"}
    assert [item["assetId"] for item in site.items("/raw", {**asked, **gap})] == ["sh"]


def test_descending_order_gives_the_last_records_first(site: Site) -> None:
    site.put("both", *(("a", point, START + n * 1000, n) for n in range(6) for point in "pq"))
    body = {**BODIES["/raw"], "pointIds": "p,q", "pageSize": 2, "orderBy": "timestamp desc"}
    for path in ("/raw", "/unified-raw"):
        assert [item["timestamp"] - START for item in site.items(path, body)] == [5000, 4000, 5000, 4000]
        merged = site.items(path, {**body, "itemFormat": 1})
        assert [(item["timestamp"] - START, item["p"], item["q"]) for item in merged] == [
            (5000, 5, 5),
            (4000, 4, 4),
        ]


def test_points_are_served_by_the_calls_of_their_types(site: Site) -> None:
    types = [kind for kind in StorageType if kind is not StorageType.LAST_CHANGED]
    site.model("m", **{kind.name: {kind} for kind in types})
    site.asset("a", model="m", zone="UTC")
    site.accept(*(("a", kind.name, START + 90_000, 1) for kind in types))
    served = {
        "/ai": {"AI_RAW"},
        "/di": {"DI"},
        "/generic": {"GENERIC"},
        "/raw": {"AI_RAW", "AI_NORMALIZED", "DI", "PI", "GENERIC"},
        "/unified-raw": {kind.name for kind in types},
        "/latest": {kind.name for kind in types},
    }
    points = ",".join(kind.name for kind in types)
    for path, expected in served.items():
        found = site.items(path, {**BODIES[path], "pointIds": points, "itemFormat": 2})
        assert {item["pointId"] for item in found} == expected, path
        for item in found:
            by_minute = item["pointId"] in ("AI_NORMALIZED", "PI") and path != "/latest"
            assert item["timestamp"] == [START + (60_000 if by_minute else 90_000)]
    unformatted = site.items("/unformatted", {**BODIES["/unformatted"], "pointIds": "UNFORMATTED"})
    assert [item["UNFORMATTED"] for item in unformatted] == [1]
    assert site.items("/unformatted", {**BODIES["/unformatted"], "pointIds": "AI_RAW"}) == []
    for path, point in (("/ai-normalized", "AI_NORMALIZED"), ("/electric-power", "PI")):
        logic = ",".join(f"count({kind.name})" for kind in types)
        (item,) = site.items(path, {**BODIES[path], "pointIdsWithLogic": logic})
        assert item[f"count({point})"] == 1 and len(item) == 4


def test_values_of_any_kind_come_back_exactly(site: Site) -> None:
    values = [
        1,
        -0.5,
        2**53 + 1,
        2**63,
        2**80,
        -(2**80),
        True,
        False,
        "x",
        "",
        {"a": [1, None, {"b": "c"}]},
        [2**70],
    ]
    site.accept(*(("a", "p", START + n, value) for n, value in enumerate(values)))
    expected = json.dumps(values)
    found = site.items("/unified-raw", BODIES["/unified-raw"])
    assert json.dumps([item["p"] for item in found]) == expected
    (item,) = site.items("/unified-raw", {**BODIES["/unified-raw"], "itemFormat": 2})
    assert json.dumps(item["value"]) == expected
    summed = {**BODIES["/ai-normalized"], "pointIdsWithLogic": "last(p),max(p)", "interval": 1440}
    site.accept(("a", "q", START, 2**80), ("a", "q", START + 60_000, 2**81))
    found = site.items("/ai-normalized", {**summed, "pointIdsWithLogic": "sum(q)"})
    assert [item["sum(q)"] for item in found] == [3 * 2**80]
    last = site.items("/data/last-changed", {"assetIds": "a", "pointIds": "q"})
    assert [item["q"] for item in last] == [str(2**81)]

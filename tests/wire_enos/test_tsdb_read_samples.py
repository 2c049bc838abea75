"""The vendor's documented samples: real data in, the documented answer out; from the log and from the tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from redrive.clock import from_ms
from redrive.database.embedded import EmbeddedPostgres
from tests.wire_enos.tsdb_read_scene import House, Site, open_house

A, B = "Ps4PViva", "isj8Lj3U"
#: 2020-04-20 00:00:00 and 2020-03-01 00:00:00 in Shanghai.
APRIL, MARCH = 1_587_312_000_000, 1_582_992_000_000
LOCAL_APRIL = {"startTime": "2020-04-20 00:00:00", "endTime": "2020-04-21 00:00:00"}
UTC_APRIL = {"startTime": "2020-04-20T00:00:00+08:00", "endTime": "2020-04-21T00:00:00+08:00"}


@pytest.fixture(scope="module")
def house(
    postgres: EmbeddedPostgres, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    with open_house(postgres, tmp_path_factory.mktemp("reads")) as house:
        yield house


@pytest.fixture
def site(house: House) -> Site:
    site = house.site()
    site.asset(A, B, "VRV1XRJO", "d5CT3dY7")
    return site


@pytest.fixture(params=["log", "tables", "both"])
def where(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def good(value: Any) -> dict[str, Any]:
    return {"value": value, "quality": 0}


def test_ai_raw_data(site: Site, where: str) -> None:
    site.put(where, (A, "ai_point", APRIL, good(1.1236)), (A, "ai_point", APRIL + 3000, good(1.1236)))
    asked = {
        "assetIds": A,
        "pointIds": "ai_point",
        "pageSize": 10,
        "itemFormat": 0,
        "localTimeAccuracy": "true",
    }
    # The page's first sample has a digit too many in its end.
    local = {"startTime": "2020-04-20 00:00:00", "endTime": "2020-04-21 00:00:000"}
    assert site.items("/ai", {**asked, **local, "localTimeFormat": 1, "withQuality": "false"}) == [
        {"assetId": A, "timestamp": APRIL, "ai_point": 1.1236, "localtime": "2020-04-20T00:00:00+08:00"},
        {
            "assetId": A,
            "timestamp": APRIL + 3000,
            "ai_point": 1.1236,
            "localtime": "2020-04-20T00:00:03+08:00",
        },
    ]
    plain = [
        {"assetId": A, "timestamp": APRIL, "ai_point": 1.1236, "localtime": "2020-04-20 00:00:00"},
        {"assetId": A, "timestamp": APRIL + 3000, "ai_point": 1.1236, "localtime": "2020-04-20 00:00:03"},
    ]
    utc = {**asked, **UTC_APRIL, "localTimeFormat": 0}
    assert site.items("/ai", {**utc, "withQuality": "false"}) == plain
    assert site.items("/ai", {**utc, "withQuality": "true"}) == [{**item, "quality": "0"} for item in plain]


def test_aggregated_ai_data(site: Site, where: str) -> None:
    minutes = [(A, "ai_point", APRIL + (10 + minute) * 60_000 + 7000, 1.0) for minute in range(5)]
    site.put(where, *minutes)
    asked = {
        "assetIds": A,
        "pointIdsWithLogic": "count(ai_point)",
        "interval": 10,
        "pageSize": 10,
        "localTimeAccuracy": "false",
        "itemFormat": 0,
    }
    item = {"count(ai_point)": 5, "assetId": A, "timestamp": APRIL + 600_000}
    assert site.items("/ai-normalized", {**asked, **LOCAL_APRIL, "localTimeFormat": 0}) == [
        {**item, "localtime": "2020-04-20 00:10:00"}
    ]
    assert site.items("/ai-normalized", {**asked, **UTC_APRIL, "localTimeFormat": 1}) == [
        {**item, "localtime": "2020-04-20T00:10:00+08:00"}
    ]


def test_electric_power(site: Site, where: str) -> None:
    parts = {A: [1.602, 0.965, 4.286], "VRV1XRJO": [0.994, 1.072, 2.18]}
    site.put(
        where,
        *(
            (asset, "pi_point", MARCH + place * 60_000, value)
            for asset, values in parts.items()
            for place, value in enumerate(values)
        ),
    )
    asked = {
        "assetIds": f"{A},VRV1XRJO",
        "pointIdsWithLogic": "sum(pi_point)",
        "interval": 10,
        "localTimeAccuracy": "false",
        "localTimeFormat": 1,
        "itemFormat": 0,
    }
    expected = [
        {
            "assetId": asset,
            "timestamp": MARCH,
            "sum(pi_point)": total,
            "localtime": "2020-03-01T00:00:00+08:00",
        }
        for asset, total in ((A, 6.853), ("VRV1XRJO", 4.246))
    ]
    local = {"startTime": "2020-03-01 00:00:00", "endTime": "2020-03-01 00:15:00"}
    assert site.items("/electric-power", {**asked, **local}) == expected
    utc = {"startTime": "2020-03-01T00:00:00+08:00", "endTime": "2020-03-01T00:15:00+08:00"}
    assert site.items("/electric-power", {**asked, **utc}) == expected


def test_electric_power_of_the_day(site: Site, where: str) -> None:
    midnight = 1_590_076_800_000
    site.clock[0] = from_ms(midnight + 12 * 3_600_000)
    values = [1.867, 1.36, 1.791, 5.597]
    site.put(where, *((A, "pi_point", midnight + n * 3_600_000, value) for n, value in enumerate(values)))
    asked = {"assetIds": A, "pointIds": "pi_point", "localTimeAccuracy": "true", "itemFormat": 0}
    item = {"assetId": A, "timestamp": midnight, "sum(pi_point)": 10.615000000000002}
    # The page asks for format 1 and shows format 0: the parameter counts.
    assert site.items("/electric-power/current-day", {**asked, "localTimeFormat": 0}) == [
        {**item, "localtime": "2020-05-22 00:00:00"}
    ]
    assert site.items("/electric-power/current-day", {**asked, "localTimeFormat": 1}) == [
        {**item, "localtime": "2020-05-22T00:00:00+08:00"}
    ]


def test_di_data(site: Site, where: str) -> None:
    site.put(where, (A, "di_point", MARCH, 1), (A, "di_point", MARCH + 60_000, 1))
    asked = {"assetIds": A, "pointIds": "di_point", "localTimeAccuracy": "false", "localTimeFormat": 1}
    expected = [{"assetId": A, "di_point": 1, "timestamp": MARCH, "localtime": "2020-03-01T00:00:00+08:00"}]
    local = {"startTime": "2020-03-01 00:00:00", "endTime": "2020-03-02 00:00:00"}
    utc = {"startTime": "2020-03-01T00:00:00+08:00", "endTime": "2020-03-02T00:00:00+08:00"}
    for times in (local, utc):
        assert site.items("/di", {**asked, **times, "itemFormat": 0}) == expected


def test_di_durations(site: Site, where: str) -> None:
    assets = (A, "d5CT3dY7")
    steps = [(180_000, 0), (240_000, 1), (300_000, 2)]
    site.put(
        where, *((asset, "di_point", MARCH + after, state) for asset in assets for after, state in steps)
    )
    asked = {
        "assetIds": f"{A},d5CT3dY7",
        "pointIds": "di_point",
        "startTime": "2020-03-01 00:00:00",
        # The page asks up to midnight and shows a scan to 01:01:12, the end of its Java sample.
        "endTime": "2020-03-02 01:01:12",
        "localTimeFormat": 1,
        "itemFormat": 0,
    }

    def expected(*durations: tuple[int, Any]) -> list[dict[str, Any]]:
        shown = [{"duration": length, "status": status} for length, status in durations]
        return [
            {
                "scanEndTimestamp": 1_583_082_072_000,
                "pointId": "di_point",
                "assetId": asset,
                "durations": shown,
            }
            for asset in assets
        ]

    both = {**asked, "status": "0,1"}
    known = ((60_000, 0), (60_000, 1))
    unknown = (180_000, "Unknown")
    assert site.items("/di/duration", {**both, "ifWithUnknown": "true"}) == expected(*known, unknown)
    assert site.items("/di/duration", {**both, "ifWithUnknown": "false"}) == expected(*known)
    assert site.items("/di/duration", {**asked, "status": "1"}) == expected((60_000, 1))
    rest = (1_583_082_072_000 - MARCH - 300_000, 2)
    assert site.items("/di/duration", asked) == expected(*known, rest, unknown)


def test_generic_data(site: Site, where: str) -> None:
    site.put(where, *((asset, "generic_point", APRIL, good(3.123)) for asset in (A, B)))
    asked = {
        "assetIds": f"{A},{B}",
        "pointIds": "generic_point",
        "pageSize": 10,
        "localTimeAccuracy": "false",
        "localTimeFormat": 1,
        "itemFormat": 0,
    }
    expected = [
        {
            "assetId": asset,
            "timestamp": APRIL,
            "localtime": "2020-04-20T00:00:00+08:00",
            "generic_point": 3.123,
        }
        for asset in (A, B)
    ]
    assert site.items("/generic", {**asked, **LOCAL_APRIL}) == expected
    assert site.items("/generic", {**asked, **UTC_APRIL}) == expected
    with_quality = [{**item, "quality": "0"} for item in expected]
    assert site.items("/generic", {**asked, **UTC_APRIL, "withQuality": "true"}) == with_quality


def test_raw_data(site: Site, where: str) -> None:
    site.put(where, (A, "ai_point", APRIL, good(1.1236)), (A, "generic_point", APRIL, good(578)))
    asked = {
        "assetIds": A,
        "pointIds": "ai_point,generic_point",
        "pageSize": 10,
        "withQuality": "false",
        "localTimeAccuracy": "false",
        "localTimeFormat": 1,
        "itemFormat": 0,
    }
    expected = [
        {"assetId": A, "timestamp": APRIL, "ai_point": 1.1236, "localtime": "2020-04-20T00:00:00+08:00"},
        {"assetId": A, "timestamp": APRIL, "generic_point": 578, "localtime": "2020-04-20T00:00:00+08:00"},
    ]
    assert site.items("/raw", {**asked, **LOCAL_APRIL}) == expected
    assert site.items("/raw", {**asked, **UTC_APRIL, "assetIds": f"{A},{B}"}) == expected
    with_quality = [{**item, "quality": "0"} for item in expected]
    assert site.items("/raw", {**asked, **UTC_APRIL, "withQuality": "true"}) == with_quality


def test_a_sample_without_a_quality_says_so(site: Site, where: str) -> None:
    site.put(where, ("4DXYH7nS", "ai_point", 1_560_249_312_446, 1.1236))
    site.asset("4DXYH7nS")
    asked = {
        "assetIds": "4DXYH7nS",
        "pointIds": "ai_point",
        "startTime": "2019-06-11 18:35:12",
        "endTime": "2019-06-11 18:35:13",
        "withQuality": True,
    }
    assert site.items("/raw", asked) == [
        {
            "assetId": "4DXYH7nS",
            "timestamp": 1_560_249_312_446,
            "ai_point": 1.1236,
            "localtime": "2019-06-11 18:35:12",
            "quality": None,
        }
    ]


def test_latest_data(site: Site, where: str) -> None:
    site.asset(A)
    site.accept((A, "pi_point", 1_585_670_398_000, 1.0), (A, "pi_point", 1_585_670_399_000, 2.123))
    asked = {
        "pointIds": "pi_point",
        "ifWithLocalTime": "true",
        "timeWindow": "",
        "assetIds": A,
        "localTimeFormat": 1,
        "localTimeAccuracy": "false",
        "itemFormat": 0,
    }
    assert site.items("/latest", asked) == [
        {
            "localtime": "2020-03-31T23:59:59+08:00",
            "assetId": A,
            "pi_point": 2.123,
            "timestamp": 1_585_670_399_000,
        }
    ]


def test_filtered_latest_data(site: Site) -> None:
    site.model("export_data", pi_point=set())
    site.asset(A, model="export_data")
    site.accept((A, "pi_point", 1_585_670_399_000, 1.5))
    asked = {
        "modelId": "export_data",
        "assetIds": A,
        "pointId": "pi_point",
        "operator": "le",
        "valueFilter": "100",
        "timeWindow": "",
        "ifWithLocalTime": "true",
        "localTimeAccuracy": "false",
        "localTimeFormat": 1,
        "itemFormat": 0,
    }
    expected = {
        "localtime": "2020-03-31T23:59:59+08:00",
        "assetId": A,
        "pi_point": 1.5,
        "timestamp": 1_585_670_399_000,
    }
    assert site.items("/latest/filter", asked) == [expected]
    assert site.items("/latest/filter", {**asked, "operator": "gt"}) == []


def test_last_changed_data(site: Site) -> None:
    site.accept(
        ("yourAssetId", "yourPointId", 1_560_249_312_446, 1.1236),
        ("yourAssetId", "yourPointId", 1_560_249_400_000, 1.1236),
    )
    assert site.items("/data/last-changed", {"assetIds": "yourAssetId", "pointIds": "yourPointId"}) == [
        {"assetId": "yourAssetId", "yourPointId": "1.1236", "timestamp": 1_560_249_312_446}
    ]


def test_dead_data(site: Site) -> None:
    site.clock[0] = from_ms(1_610_667_000_000 + 1_076_897_472)
    site.accept(("yourAssetId", "yourPointId", 1_610_667_000_000, 1))
    watch = {"assetId": "yourAssetId", "pointId": "yourPointId", "interval": 1000}
    item = {
        "assetId": "yourAssetId",
        "pointId": "yourPointId",
        "duration": 1_076_897_472,
        "judgeResult": True,
        "lastChangedValue": "1",
        "lastChangedTimestamp": 1_610_667_000_000,
    }
    assert site.items("/data/latest/check-dead", {"payload": [watch, {**watch, "pointId": "other"}]}) == [
        item
    ]
    alive = {**watch, "interval": 1_076_897_472}
    assert site.items("/data/latest/check-dead", {"payload": [alive]}) == [{**item, "judgeResult": False}]


def test_item_formats(site: Site, where: str) -> None:
    first, second = 1_560_249_312_446, 1_560_249_332_446
    site.asset("4DXYH7nS")
    site.put(
        where,
        ("4DXYH7nS", "power", first, good("1.1236")),
        ("4DXYH7nS", "windspeed", first, {"value": "1.1236", "quality": 1}),
        ("4DXYH7nS", "windspeed", second, good("1.1236")),
    )
    asked = {
        "assetIds": "4DXYH7nS",
        "pointIds": "windspeed,power",
        "startTime": "2019-06-11T00:00:00Z",
        "endTime": "2019-06-12T00:00:00Z",
        "localTimeAccuracy": True,
        "localTimeFormat": 1,
        "withQuality": True,
    }
    local = {first: "2019-06-11T18:35:12.446+08:00", second: "2019-06-11T18:35:32.446+08:00"}
    asset = {"assetId": "4DXYH7nS"}
    assert site.items("/raw", {**asked, "itemFormat": 0}) == [
        {**asset, "localtime": local[first], "timestamp": first, "windspeed": "1.1236", "quality": "1"},
        {**asset, "localtime": local[second], "timestamp": second, "windspeed": "1.1236", "quality": "0"},
        {**asset, "localtime": local[first], "timestamp": first, "power": "1.1236", "quality": "0"},
    ]
    merged = {
        **asset,
        "timestamp": first,
        "localtime": local[first],
        "windspeed": "1.1236",
        "power": "1.1236",
    }
    assert site.items("/raw", {**asked, "itemFormat": 1}) == [
        {**merged, "quality": {"windspeed": "1", "power": "0"}},
        {
            **asset,
            "timestamp": second,
            "localtime": local[second],
            "windspeed": "1.1236",
            "quality": {"windspeed": "0"},
        },
    ]
    assert site.items("/raw", {**asked, "itemFormat": 2}) == [
        {
            **asset,
            "pointId": "windspeed",
            "localTime": [local[first], local[second]],
            "timestamp": [first, second],
            "value": ["1.1236", "1.1236"],
            "dataQuality": [1, 0],
        },
        {
            **asset,
            "pointId": "power",
            "localTime": [local[first]],
            "timestamp": [first],
            "value": ["1.1236"],
            "dataQuality": [0],
        },
    ]

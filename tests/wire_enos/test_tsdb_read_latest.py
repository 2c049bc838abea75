"""Reads in a caller's scope, the deletion of latest values by the path of its read, and calls made of noise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redrive.database.embedded import EmbeddedPostgres
from redrive.identity.access import parse_scope
from redrive.identity.decisions import EVERYTHING
from tests.wire_enos.test_tsdb_read_calls import BODIES, DAY, SERIES, START, ids
from tests.wire_enos.tsdb_read_scene import House, Site, open_house


@pytest.fixture(scope="module")
def house(
    postgres: EmbeddedPostgres, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    with open_house(postgres, tmp_path_factory.mktemp("reads")) as house:
        yield house


@pytest.fixture
def site(house: House) -> Site:
    return house.site()


def test_a_caller_reads_only_assets_in_its_scope(site: Site) -> None:
    site.accept(("a1", "p", START, 1), ("b1", "p", START, 2))
    site.may(READ=parse_scope("a*"))
    for path, body in BODIES.items():
        if path == "/data/latest/check-dead":
            answer = site.call(path, {"payload": [{"assetId": "b1", "pointId": "p", "interval": 1}]})
        else:
            answer = site.call(path, {**body, "assetIds": "a1,b1"})
            assert site.call(path, {**body, "assetIds": "a1"})["code"] == 0
        assert answer["code"] == 80401 and answer["data"] is None
        assert answer["msg"].startswith("Asset unauthorized: ") and "b1" in answer["msg"]
    site.may()
    assert site.call("/latest", SERIES)["code"] == 80401


def test_latest_values_are_deleted_by_the_same_path(site: Site) -> None:
    site.accept(("a", "p", START, 1), ("a", "q", START, 2), ("b", "p", START, 3))
    body = {"assetIds": "a", "pointIds": "p"}
    done = {"code": 0, "msg": "OK", "submsg": "", "data": None}
    assert site.call("/latest", body, query="&action=delete") == done
    left = site.items("/latest", {"assetIds": "a,b", "pointIds": "p,q"})
    assert [(item["assetId"], item.get("p"), item.get("q")) for item in left] == [
        ("a", None, 2),
        ("b", 3, None),
    ]
    assert len(site.items("/raw", {**DAY, "assetIds": "a", "pointIds": "p"})) == 1
    site.accept(("a", "p", START + 1, 9))
    assert [item["p"] for item in site.items("/latest", body)] == [9]
    assert (
        site.call("/latest", body, query="&action=delete")
        == done
        == site.call("/latest", body, query="&action=delete")
    )


def test_deleting_latest_values_is_all_or_nothing_and_asks_for_write(site: Site) -> None:
    site.accept(("a", "p", START, 1), ("b", "p", START, 2))
    site.may(READ=EVERYTHING, WRITE=parse_scope("a"))
    both = {"assetIds": "a,b", "pointIds": "p"}
    assert site.call("/latest", both, query="&action=delete")["code"] == 80401
    assert len(site.items("/latest", both)) == 2


@pytest.mark.parametrize("query", ["&action=erase", "&action=", "&action=delete&action=delete"])
def test_an_unknown_action_neither_reads_nor_deletes(site: Site, query: str) -> None:
    site.accept(("a", "p", START, 1))
    assert site.refused("/latest", SERIES, query=query).startswith("action: expected delete")
    assert len(site.items("/latest", SERIES)) == 1


def test_a_deletion_of_latest_values_is_limited_and_strict_too(site: Site) -> None:
    over = {"assetIds": ids(301), "pointIds": ids(10)}
    assert site.refused("/latest", over, query="&action=delete").startswith(
        "pointIds: expected assets x points"
    )
    wrong = {"assetIds": "a", "pointIds": "p", "startTime": "2020-04-20 00:00:00"}
    assert site.refused("/latest", wrong, query="&action=delete").startswith("startTime: expected no such")
    assert site.refused("/latest", {"assetIds": "a"}, query="&action=delete").startswith(
        "pointIds: expected "
    )


FIELDS = sorted(
    {name for body in BODIES.values() for name in body}
    | {
        "pageSize",
        "orderBy",
        "withQuality",
        "boundaryType",
        "interval",
        "interpolation",
        "localTimeAccuracy",
        "localTimeFormat",
        "itemFormat",
        "ifWithLocalTime",
        "timeWindow",
        "autoInterpolate",
        "status",
        "ifWithUnknown",
    }
)
GOOD = {
    "boundaryType": ["inside", "outside", "interpolated", "sample"],
    "interpolation": ["linear", "previous", "near", "after"],
    "operator": ["eq", "nq", "gt", "lt", "ge", "le", "between", "in"],
    "orderBy": ["timestamp asc", "timestamp desc"],
    "pointIds": ["p,q,r", "p", "r,p"],
    "pointId": ["p", "q", "r"],
    "assetIds": ["a,b", "b", "a"],
    "pointIdsWithLogic": ["sum(p),last(q)", "p,q", "max(r),count(r)", "first(p),min(q),avg(r)"],
    "startTime": [
        "2020-04-20 00:00:00",
        "2020-04-20T00:00:10Z",
        "0001-01-01 00:00:00",
        "2020-04-20T00:00:00+08:00",
    ],
    "endTime": ["2020-04-20 00:10:00", "2020-04-21T00:00:10Z", "9999-12-31 23:59:59", "9999-12-31T23:59:59Z"],
    "interval": [0, 1, 5, 60, 61, 1440],
    "valueFilter": ["1", "1,2", "x", "true,false,3"],
}
noise = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(0, 3),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    path = draw(st.sampled_from(sorted(BODIES)))
    body = dict(BODIES[path])
    for name in draw(st.lists(st.sampled_from(FIELDS), max_size=8, unique=True)):
        body[name] = draw(st.one_of(st.sampled_from(GOOD.get(name, [1, 0, "true", 2])), noise))
    return path, body


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bodies())
def test_no_body_breaks_a_call(noisy: Site, call: tuple[str, dict[str, Any]]) -> None:
    path, body = call
    answer = noisy.call(path, body)
    assert set(answer) == {"code", "msg", "submsg", "data"}
    assert answer["code"] in (0, 80400), answer
    assert (answer["data"] is None) == (answer["code"] != 0)


@pytest.fixture(scope="module")
def noisy(house: House) -> Site:
    """Samples of every kind in log and tables, on clocks that change."""
    site = house.site()
    site.asset("a", zone="America/New_York")
    values = [1, 2.5, True, "x", 2**70, {"k": [1, 2]}, -3, 0.1, False, ""]
    samples = [
        (asset, point, START + n * 17_000, values[(n * step) % 10])
        for asset in "ab"
        for point, step in (("p", 1), ("q", 3), ("r", 0))
        for n in range(20)
    ]
    site.put("both", *samples)
    return site

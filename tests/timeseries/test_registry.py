"""Models and assets: what is put can be read, and what would contradict itself is refused."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import Connection

from redrive.database import Database
from redrive.errors import Problem, ProblemCode
from redrive.services.timeseries import registry
from redrive.services.timeseries.assets import (
    EVERY_TYPE,
    Asset,
    Model,
    Point,
    StorageType,
    ValueType,
    require_model,
)

TENANT, OTHER = 7, 8
TURBINE = Model(
    "turbine",
    "a turbine",
    (
        Point("power", ValueType.DOUBLE, frozenset({StorageType.AI_RAW, StorageType.PI}), 30),
        Point("retired", storage_types=frozenset()),
        Point("speed"),
    ),
    retention_days=365,
)


@pytest.fixture
def conn(db: Database) -> Any:
    with db.transaction() as connection:
        yield connection


def refused(code: ProblemCode, words: str, call: Any, *arguments: Any) -> None:
    with pytest.raises(Problem) as caught:
        call(*arguments)
    assert caught.value.code is code
    assert words in caught.value.detail


def test_a_model_comes_back_as_it_was_put_and_can_be_replaced(conn: Connection[Any]) -> None:
    assert registry.put_model(conn, TENANT, TURBINE) is True
    assert registry.put_model(conn, TENANT, TURBINE) is False
    assert registry.model(conn, TENANT, "turbine") == TURBINE
    smaller = Model("turbine", points=(Point("speed", ValueType.INTEGER),))
    registry.put_model(conn, TENANT, smaller)
    assert registry.model(conn, TENANT, "turbine") == smaller
    assert registry.points_of(conn, TENANT, "turbine") == ("speed",)
    assert registry.points_of(conn, TENANT, "none") == ()


def test_another_tenants_models_and_assets_do_not_exist(conn: Connection[Any]) -> None:
    registry.put_model(conn, TENANT, TURBINE)
    registry.put_asset(conn, TENANT, Asset("t1", model_id="turbine"))
    refused(ProblemCode.NOT_FOUND, "no model turbine", registry.model, conn, OTHER, "turbine")
    refused(ProblemCode.NOT_FOUND, "no asset t1", registry.asset, conn, OTHER, "t1")
    assert registry.list_models(conn, OTHER) == registry.list_assets(conn, OTHER) == []
    device = Asset("t1", product_key="p", device_key="d")
    assert registry.put_asset(conn, OTHER, device) is True
    assert registry.put_asset(conn, TENANT, device) is False
    assert registry.asset(conn, OTHER, "t1") == registry.asset(conn, TENANT, "t1") == device


def test_a_model_that_assets_have_cannot_be_removed(conn: Connection[Any]) -> None:
    registry.put_model(conn, TENANT, TURBINE)
    registry.put_asset(conn, TENANT, Asset("t1", model_id="turbine"))
    refused(ProblemCode.CONFLICT, "t1 is of the model", registry.delete_model, conn, TENANT, "turbine")
    assert registry.list_models(conn, TENANT) == [TURBINE]
    registry.put_asset(conn, TENANT, Asset("t1"))
    registry.delete_model(conn, TENANT, "turbine")
    assert registry.list_models(conn, TENANT) == []
    refused(ProblemCode.NOT_FOUND, "no model", registry.delete_model, conn, TENANT, "turbine")


def test_a_device_is_one_asset(conn: Connection[Any]) -> None:
    registry.put_asset(conn, TENANT, Asset("a", product_key="p", device_key="d"))
    taken = Asset("b", product_key="p", device_key="d")
    refused(ProblemCode.CONFLICT, "another asset", registry.put_asset, conn, TENANT, taken)
    found = registry.assets_of_devices(conn, TENANT, [("p", "d"), ("p", "x")])
    assert found == {("p", "d"): "a"}


@pytest.mark.parametrize(
    ("asset", "words"),
    [
        (Asset("a,b"), "commas"),
        (Asset(""), "1 to 128"),
        (Asset("a", time_zone="Mars/Olympus"), "IANA"),
        (Asset("a", product_key="p"), "product_key and device_key"),
        (Asset("a", model_id="unknown"), "there is no model unknown"),
        (Asset("a", name="x\0"), "printable"),
        (Asset("a", name="x" * 300), "256"),
    ],
)
def test_an_asset_that_makes_no_sense_is_refused(conn: Connection[Any], asset: Asset, words: str) -> None:
    refused(ProblemCode.INVALID, words, registry.put_asset, conn, TENANT, asset)
    assert registry.list_assets(conn, TENANT) == []


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Model("m", points=(Point("p"), Point("p"))), "once"),
        (Model("m", points=(Point("avg(p)"),)), "parentheses"),
        (Model("m", retention_days=0), "retention_days"),
        (Model("m", points=(Point("p", retention_days=10**6),)), "retention_days"),
    ],
)
def test_a_model_that_makes_no_sense_is_refused(conn: Connection[Any], model: Model, words: str) -> None:
    refused(ProblemCode.INVALID, words, registry.put_model, conn, TENANT, model)
    assert registry.list_models(conn, TENANT) == []


def test_pages_are_in_order_and_within_a_scope(conn: Connection[Any]) -> None:
    registry.put_model(conn, TENANT, TURBINE)
    names = ["a1", "a2", "b1", "b2", "c"]
    registry.apply(conn, TENANT, [], [Asset(name) for name in reversed(names)])
    registry.put_asset(conn, TENANT, Asset("b2", model_id="turbine"))

    def page(**options: Any) -> list[str]:
        return [asset.id for asset in registry.list_assets(conn, TENANT, **options)]

    assert page() == names
    assert page(limit=2) == ["a1", "a2"]
    assert page(limit=2, after="a2") == ["b1", "b2"]
    assert page(model_id="turbine") == ["b2"]
    assert page(scope=[(["c", "a*"], [])]) == ["a1", "a2", "c"]
    assert page(scope=[([], [])]) == []
    assert page(scope=[(None, ["?1"]), (["a*"], [])]) == ["a2"]
    assert page(scope=[(["a_", "a%"], [])]) == []


def test_a_bulk_call_puts_all_or_nothing(db: Database) -> None:
    with db.transaction() as conn:
        done = registry.apply(conn, TENANT, [TURBINE], [Asset("t1", model_id="turbine"), Asset("t2")])
        assert done == registry.Applied(created=3, changed=0)
        assert registry.apply(conn, TENANT, [TURBINE], [Asset("t2")]) == registry.Applied(0, 2)
    with pytest.raises(Problem), db.transaction() as conn:
        registry.apply(conn, TENANT, [Model("other")], [Asset("t3", model_id="missing")])
    with db.transaction() as conn:
        assert [model.id for model in registry.list_models(conn, TENANT)] == ["turbine"]
        twice = [Asset("t4"), Asset("t4")]
        refused(ProblemCode.INVALID, "once", registry.apply, conn, TENANT, [], twice)


def test_who_configures_nothing_can_read_everything(conn: Connection[Any]) -> None:
    registry.put_model(conn, TENANT, TURBINE)
    registry.add_seen(conn, TENANT, ["free"])
    registry.put_asset(conn, TENANT, Asset("t1", model_id="turbine", time_zone="Asia/Shanghai"))
    policies = registry.policies(conn, TENANT, ["free", "t1", "unknown"])
    assert policies.types("free", "power") == EVERY_TYPE
    assert policies.types("unknown", "power") == EVERY_TYPE
    assert policies.types("t1", "power") == {StorageType.AI_RAW, StorageType.PI}
    assert policies.types("t1", "speed") == EVERY_TYPE
    assert policies.types("t1", "not in the model") == EVERY_TYPE
    assert policies.types("t1", "retired") == frozenset()
    assert (policies.time_zone("t1"), policies.time_zone("free")) == ("Asia/Shanghai", "UTC")


def test_an_asset_fits_any_model_until_it_has_one(conn: Connection[Any]) -> None:
    registry.put_model(conn, TENANT, TURBINE)
    registry.add_seen(conn, TENANT, ["free"])
    registry.put_asset(conn, TENANT, Asset("t1", model_id="turbine"))
    known = registry.assets(conn, TENANT, ["free", "t1", "unknown"])
    assert known.keys() == {"free", "t1"}
    require_model(known, "turbine", ["free", "t1", "unknown"])
    refused(ProblemCode.INVALID, "modelId", require_model, known, "boiler", ["free", "t1"])


def test_a_point_can_be_taken_out_of_its_model(conn: Connection[Any]) -> None:
    registry.put_model(conn, TENANT, TURBINE)
    assert registry.delete_point(conn, TENANT, "turbine", "speed") is True
    assert registry.delete_point(conn, TENANT, "turbine", "speed") is False
    assert registry.points_of(conn, TENANT, "turbine") == ("power", "retired")

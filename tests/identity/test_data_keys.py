"""Data keys: one for each tenant; what one sealed opens with that one only, and not at all once it is dropped."""

from __future__ import annotations

import pytest

from redrive.database import Database
from redrive.errors import Problem
from redrive.identity.bootstrap import bootstrap
from redrive.identity.data_keys import DataKeys
from redrive.identity.projects import create_project
from redrive.identity.sealing import SealBroken
from redrive.settings import Settings
from tests.identity.scene import BEN, account_of

PLACE = "endpoints.password/1"


@pytest.fixture
def keys(db: Database, settings: Settings) -> DataKeys:
    return DataKeys(bootstrap(db, settings))


@pytest.fixture
def first(db: Database, keys: DataKeys) -> int:
    return account_of(db).tenant_id


@pytest.fixture
def second(db: Database, keys: DataKeys, first: int) -> int:
    account_id = db.run(lambda conn: conn.execute("select account_id from tenants").fetchone()).account_id
    return db.run(lambda conn: create_project(conn, account_id, "other", who=BEN)).tenant_id


def test_what_a_tenants_key_sealed_opens_again_in_its_place_only(
    db: Database, keys: DataKeys, first: int
) -> None:
    with db.transaction() as conn:
        keys.make(conn, first)
        sealed = keys.seal(conn, first, b"secret", PLACE)
        assert b"secret" not in sealed
        assert keys.open(conn, first, sealed, PLACE) == b"secret"
        with pytest.raises(SealBroken):
            keys.open(conn, first, sealed, "endpoints.password/2")


def test_making_a_key_again_keeps_it(db: Database, keys: DataKeys, first: int) -> None:
    with db.transaction() as conn:
        keys.make(conn, first)
        sealed = keys.seal(conn, first, b"secret", PLACE)
        keys.make(conn, first)
        assert keys.open(conn, first, sealed, PLACE) == b"secret"


def test_another_tenants_key_opens_nothing(db: Database, keys: DataKeys, first: int, second: int) -> None:
    with db.transaction() as conn:
        keys.make(conn, first)
        keys.make(conn, second)
        sealed = keys.seal(conn, first, b"secret", PLACE)
        with pytest.raises(SealBroken):
            keys.open(conn, second, sealed, PLACE)


def test_dropping_a_key_is_erasing_what_it_sealed(db: Database, keys: DataKeys, first: int) -> None:
    with db.transaction() as conn:
        keys.make(conn, first)
        sealed = keys.seal(conn, first, b"secret", PLACE)
        keys.drop(conn, first)
        keys.drop(conn, first)
        assert not keys.has(conn, first)
        with pytest.raises(Problem) as refused:
            keys.open(conn, first, sealed, PLACE)
        assert refused.value.reason == "no_data_key"
        keys.make(conn, first)
        with pytest.raises(SealBroken):
            keys.open(conn, first, sealed, PLACE)

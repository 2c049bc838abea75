"""Reads and the deletion of latest values by real callers: signatures, tokens, key pairs with permissions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI

from redrive.database import Database
from redrive.identity.access import EVERYTHING, Action
from redrive.identity.audit import Refusals
from redrive.identity.authentication import Authenticator
from redrive.identity.credentials import Credentials
from redrive.identity.sealing import Sealer
from redrive.services.timeseries.ingest import Ingest
from redrive.services.timeseries.reads.stored import Reads
from redrive.services.timeseries.storage import SampleStore
from redrive.settings import Settings
from redrive.wire.enos.token import router as token_router
from redrive.wire.enos.tsdb.routes_read import router
from tests.wire_enos.gateway_caller import Gateway, new_caller, serving
from tests.wire_enos.tsdb_read_scene import batch

LATEST = "/tsdb-service/v2.1/latest"
BODY = json.dumps({"assetIds": "a", "pointIds": "p"})


@pytest.fixture
def caller(
    db: Database, settings: Settings, authenticator: Authenticator, credentials: Credentials, tmp_path: Path
) -> Iterator[Gateway]:
    store, ingest = SampleStore(str(tmp_path / "store"), None, db), Ingest(db)
    app = FastAPI()
    app.state.parts = SimpleNamespace(
        db=db,
        refusals=Refusals(db),
        settings=settings,
        authenticator=authenticator,
        reads=Reads(db, store, ingest.tail),
    )
    app.include_router(token_router)
    app.include_router(router)
    with db.transaction() as conn:
        tenant = conn.execute("select id from tenants where org_id = %s", [credentials.org_id]).fetchone()
    ingest.accept(tenant.id, batch(("a", "p", 1000, 1))).result(10)
    with serving(app) as url, httpx.Client(base_url=url, timeout=30) as http:
        yield Gateway(http, credentials.org_id, credentials.access_key, credentials.secret_key)
    ingest.close()
    store.close()


def test_reads_and_deletions_take_a_signed_call(caller: Gateway, db: Database, sealer: Sealer) -> None:
    query = f"orgId={caller.org_id}"
    item = {"assetId": "a", "timestamp": 1000, "p": 1}
    assert caller.call("POST", LATEST, query, BODY)["data"]["items"] == [item]
    bare = caller.call("POST", LATEST, query, BODY, headers={})
    assert bare["code"] == 1202 and bare["data"] is None
    reader = new_caller(db, sealer, caller, {Action.READ: EVERYTHING})
    writer = new_caller(db, sealer, caller, {Action.WRITE: EVERYTHING})
    delete = f"action=delete&{query}"
    assert reader.call("POST", LATEST, delete, BODY)["code"] == 80401
    assert writer.call("POST", LATEST, query, BODY)["code"] == 80401
    assert reader.call("POST", LATEST, query, BODY)["data"]["items"] == [item]
    for wrong in (f"{delete}&pointId=p", delete):
        sent = BODY if wrong != delete else BODY.replace("{", '{"startTime": 1, ', 1)
        assert writer.call("POST", LATEST, wrong, sent)["code"] == 80400
    headers = writer.headers(delete, BODY)
    assert writer.call("POST", LATEST, delete, BODY, headers)["code"] == 0
    assert writer.call("POST", LATEST, delete, BODY, headers)["code"] == 1001
    assert reader.call("POST", LATEST, query, BODY)["data"]["items"] == []
    other = reader.call("POST", LATEST, "orgId=o1", BODY)
    assert other["code"] == 80401 and other["msg"] == "Asset unauthorized: orgId o1"

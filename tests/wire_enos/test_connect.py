"""The integration call: the documented form, what gets stored, and every way to refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pytest import TempPathFactory

from redrive.database import Database
from redrive.database.embedded import EmbeddedPostgres
from redrive.identity.access import EVERYTHING, Action, parse_scope
from redrive.identity.audit import Refusals
from redrive.identity.authentication import Authenticator
from redrive.identity.credentials import credentials_file, read_credentials
from redrive.identity.keys import find_tenant
from redrive.identity.sealing import Sealer
from redrive.ingest import Channel, Tail, log
from redrive.services.timeseries import registry
from redrive.services.timeseries.assets import Asset
from redrive.services.timeseries.ingest import Ingest
from redrive.settings import Settings
from redrive.wire.enos.connect import router
from redrive.wire.enos.token import router as token_router
from tests.servers import first_start
from tests.wire_enos.gateway_caller import Gateway, new_caller, serving
from tests.wire_native.jobs_scene import database_of_a_module

PATH = "/connect-service/v2.1/integration"
NOW = 1_700_000_000_000


@dataclass
class Integration:
    """A caller of the integration endpoint, and what it stored."""

    gateway: Gateway
    db: Database
    tenant_id: int
    sealer: Sealer

    def send(
        self, message: Any, *, files: dict[str, bytes] | None = None, query: str | None = None, **headers: str
    ) -> dict[str, Any]:
        """Send the form as the vendor's sample does: the token alone, no signature."""
        text = message if isinstance(message, str | bytes) else json.dumps(message)
        parts: list[tuple[str, Any]] = [("enos-message", (None, text))]
        parts += [("enos-file", (name, data)) for name, data in (files or {}).items()]
        query = f"action=postMeasurepoint&orgId={self.gateway.org_id}" if query is None else query
        sent = {"apim-accesstoken": self.gateway.token()} | headers
        answer = self.gateway.http.post(f"{PATH}?{query}", files=parts, headers=sent)
        assert answer.status_code == 200
        return dict(answer.json())

    def stored(self) -> set[tuple[Any, ...]]:
        with self.db.transaction() as conn:
            found = Tail().read(conn, self.tenant_id).to_pylist()
        return {
            (
                r["asset"],
                r["point"],
                r["time_ms"],
                r["number"] if r["text"] is None else r["text"],
                r["quality"],
            )
            for r in found
        }


@pytest.fixture(scope="module")
def served(
    postgres: EmbeddedPostgres, database_url: str, tmp_path_factory: TempPathFactory
) -> Iterator[Integration]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("connect") / "D")
    with database_of_a_module(postgres) as db:
        sealer = first_start(db, settings)
        credentials = read_credentials(credentials_file(settings))
        assert credentials is not None
        app = FastAPI()
        ingest = Ingest(db)
        app.state.parts = SimpleNamespace(
            db=db,
            refusals=Refusals(db),
            settings=settings,
            authenticator=Authenticator(db, sealer),
            ingest=ingest,
        )
        app.include_router(token_router)
        app.include_router(router)
        with db.transaction() as conn:
            tenant = find_tenant(conn, credentials.org_id)
        with serving(app) as url, httpx.Client(base_url=url) as client:
            gateway = Gateway(client, credentials.org_id, credentials.access_key, credentials.secret_key)
            yield Integration(gateway, db, tenant.id, sealer)
        ingest.close()


@pytest.fixture
def integration(served: Integration) -> Integration:
    """The endpoint without any sample or asset."""
    with served.db.transaction() as conn:
        conn.execute("truncate ingest_log, timeseries_assets")
        log.move_epoch(conn, served.tenant_id)
    return served


def message(*params: Any, **more: Any) -> dict[str, Any]:
    """The documented message."""
    base = {"id": "1", "version": "1.1", "method": "integration.measurepoint.post", "params": list(params)}
    return {key: value for key, value in {**base, **more}.items() if value is not None}


def item(asset: str = "Ps4PViva", time: Any = NOW, **points: Any) -> dict[str, Any]:
    return {"assetId": asset, "time": time, "measurepoints": points or {"temp": 21.5}}


def test_the_documented_message_is_stored_and_answered_as_documented(integration: Integration) -> None:
    answer = integration.send(
        message(item(temp=21.5, state="on"), item("x2", NOW + 1, Power={"value": 1, "quality": 9})), files={}
    )
    assert answer.keys() == {"code", "msg", "requestId", "data"}
    assert (answer["code"], answer["msg"], answer["data"]) == (0, "OK", {})
    assert integration.stored() == {
        ("Ps4PViva", "temp", NOW, 21.5, None),
        ("Ps4PViva", "state", NOW, "on", None),
        ("x2", "Power", NOW + 1, 1.0, 9),
    }


def test_id_and_files_may_be_missing_or_empty(integration: Integration) -> None:
    assert integration.send(message(item(), id=None))["code"] == 0
    assert integration.send(message(item(), files={}))["code"] == 0


def test_a_device_is_named_by_its_keys(integration: Integration) -> None:
    with integration.db.transaction() as conn:
        registry.put_asset(conn, integration.tenant_id, Asset("a1", product_key="pk", device_key="dk"))
    by_keys = {"productKey": "pk", "deviceKey": "dk", "time": NOW, "measurepoints": {"p": 1}}
    assert integration.send(message(by_keys, item("a2")))["code"] == 0
    assert {row[0] for row in integration.stored()} == {"a1", "a2"}
    unknown = {**by_keys, "deviceKey": "other"}
    answer = integration.send(message(item("a3"), unknown))
    assert answer["code"] == 99404
    assert "deviceKey other" in answer["msg"]
    assert {row[0] for row in integration.stored()} == {"a1", "a2"}


def test_backfill_is_kept_apart(integration: Integration) -> None:
    query = f"action=postMeasurepoint&orgId={integration.gateway.org_id}"
    assert integration.send(message(item()), query=query + "&realTimeIntegration=false")["code"] == 0
    assert integration.send(message(item()), query=query + "&realTimeIntegration=true")["code"] == 0
    with integration.db.transaction() as conn:
        found = [entry.channel for entry in log.read(conn, integration.tenant_id, 0, 10**6)]
    assert found == [Channel.OFFLINE, Channel.REALTIME]


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ("{'method': 'integration.measurepoint.post'}", "enos-message"),
        ("[]", "enos-message"),
        (b"\xff\xfe", "enos-message"),
        (message(item(), method="integration.event.post"), "method"),
        (message(item(), method=None), "method"),
        (message(item(), version="1.0"), "version"),
        (message(), "params"),
        (message(params=5), "params"),
        (message(item(), params=None), "params"),
        (message(item(), "x"), "params[1]"),
        (message({"time": NOW, "measurepoints": {"p": 1}}), "params[0].assetId"),
        (message({"productKey": "p", "time": NOW, "measurepoints": {"p": 1}}), "params[0].assetId"),
        (message({"assetId": 5, "time": NOW, "measurepoints": {"p": 1}}), "params[0].assetId"),
        (message({"assetId": "a", "measurepoints": {"p": 1}}), "params[0].time"),
        (message(item(time="now")), "params[0].time"),
        (message(item(time="9" * 5000)), "params[0].time"),
        (message(item(time=1.5)), "params[0].time"),
        (message(item(time=10**15)), "1900 to 2262"),
        (message({"assetId": "a", "time": NOW}), "params[0].measurepoints"),
        (message({"assetId": "a", "time": NOW, "measurepoints": {}}), "params[0].measurepoints"),
        (message({"assetId": "a", "time": NOW, "measurepoints": [1]}), "params[0].measurepoints"),
        (message(item(p=None)), "params[0].measurepoints.p"),
        (message(item(p={"value": 1, "quality": -1})), "params[0].measurepoints.p"),
        (message(item("a,b")), "commas"),
        (message(item(), files={"f": "x"}), "does not store files"),
        (message(item(p="local://photo.jpg")), "params[0].measurepoints.p"),
    ],
)
def test_a_bad_message_is_refused_as_a_whole_and_says_where(
    integration: Integration, sent: Any, words: str
) -> None:
    answer = integration.send(sent)
    assert answer["code"] == 99400
    assert answer["msg"].startswith("Invalid Argument ")
    assert words in answer["msg"]
    assert answer["requestId"]
    assert integration.stored() == set()


def test_numbers_that_are_not_finite_are_refused(integration: Integration) -> None:
    text = json.dumps(message(item(p=1))).replace('"p": 1', '"p": NaN')
    assert integration.send(text)["code"] == 99400


def test_epoch_milliseconds_may_come_as_text(integration: Integration) -> None:
    assert integration.send(message(item("a", str(NOW), p=1)))["code"] == 0
    assert integration.stored() == {("a", "p", NOW, 1.0, None)}


def test_a_file_is_refused_and_nothing_of_its_message_is_stored(integration: Integration) -> None:
    answer = integration.send(message(item()), files={"photo.jpg": b"x" * 10_000})
    assert answer["code"] == 99400
    assert "does not store files" in answer["msg"]
    assert integration.stored() == set()


def test_a_message_up_to_its_limit_is_taken_and_a_longer_one_refused(integration: Integration) -> None:
    points = {f"point-{number}": 1.25 for number in range(20_000)}
    text = json.dumps(message(item(**points)))
    assert len(text) < 512 * 1024
    assert integration.send(text + " " * (512 * 1024 - len(text)))["code"] == 0
    answer = integration.send(text + " " * (512 * 1024 - len(text) + 1))
    assert answer["code"] == 99400
    assert "enos-message: expected at most 524288 bytes" in answer["msg"]
    assert len(integration.stored()) == 20_000


def test_the_action_must_be_named(integration: Integration) -> None:
    org = integration.gateway.org_id
    answer = integration.send(message(item()), query=f"orgId={org}")
    assert (answer["code"], answer["msg"]) == (99400, "Invalid Argument action:action is missing")
    assert integration.send(message(item()), query=f"action=postEvent&orgId={org}")["code"] == 99400


def test_another_organization_is_refused(integration: Integration) -> None:
    answer = integration.send(message(item()), query="action=postMeasurepoint&orgId=o1558000000")
    assert (answer["code"], answer["msg"]) == (99403, "Denied resource:  orgId o1558000000")


def raw(integration: Integration, body: bytes, content_type: str) -> dict[str, Any]:
    query = f"action=postMeasurepoint&orgId={integration.gateway.org_id}"
    headers = {"apim-accesstoken": integration.gateway.token(), "content-type": content_type}
    answer = integration.gateway.http.post(f"{PATH}?{query}", content=body, headers=headers)
    assert answer.status_code == 200
    return dict(answer.json())


PART = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
GOOD = json.dumps(message(item())).encode()


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        (GOOD, "application/json", "Content-Type"),
        (GOOD, "multipart/form-data", "Content-Type"),
        (b"", "multipart/form-data; boundary=b", "body"),
        (b"nonsense", "multipart/form-data; boundary=b", "body"),
        (PART % (b"enos-message", GOOD), "multipart/form-data; boundary=b", "closing boundary"),
        (PART % (b"other", GOOD) + b"--b--\r\n", "multipart/form-data; boundary=b", "parts named"),
        (PART % (b"enos-message", GOOD) * 2 + b"--b--\r\n", "multipart/form-data; boundary=b", "exactly one"),
        (b"--b\r\n\r\nx\r\n--b--\r\n", "multipart/form-data; boundary=b", "parts named"),
        (PART % (b"enos-file", b"x") + b"--b--\r\n", "multipart/form-data; boundary=b", "enos-file"),
        (b"--b\r\n" + b"x" * 9000 + b": y\r\n\r\n", "multipart/form-data; boundary=b", "body"),
    ],
)
def test_what_is_not_the_form_is_refused(
    integration: Integration, body: bytes, content_type: str, words: str
) -> None:
    answer = raw(integration, body, content_type)
    assert answer["code"] == 99400
    assert words in answer["msg"]


def test_writing_is_all_or_nothing_over_the_assets(integration: Integration) -> None:
    db, sealer, tenant_id = integration.db, integration.sealer, integration.tenant_id
    limited = parse_scope("north-*")
    caller = new_caller(db, sealer, integration.gateway, {Action.WRITE: limited, Action.READ: EVERYTHING})
    one = Integration(caller, db, tenant_id, sealer)
    answer = one.send(message(item("north-1"), item("south-1")))
    assert answer["code"] == 99403
    assert "south-1" in answer["msg"]
    assert integration.stored() == set()
    assert one.send(message(item("north-1")))["code"] == 0
    reader = new_caller(db, sealer, integration.gateway, {Action.READ: EVERYTHING})
    assert Integration(reader, db, tenant_id, sealer).send(message(item("north-1")))["code"] == 99403


def test_a_device_out_of_scope_is_told_as_one_that_is_not_there(integration: Integration) -> None:
    db, sealer, tenant_id = integration.db, integration.sealer, integration.tenant_id
    with db.transaction() as conn:
        registry.put_asset(conn, tenant_id, Asset("south-1", product_key="pk", device_key="hidden"))
    by_keys = {"productKey": "pk", "deviceKey": "hidden", "time": NOW, "measurepoints": {"p": 1}}
    limited = new_caller(db, sealer, integration.gateway, {Action.WRITE: parse_scope("north-*")})
    answers = [
        Integration(limited, db, tenant_id, sealer).send(message({**by_keys, "deviceKey": key}))
        for key in ("hidden", "absent")
    ]
    assert [answer["code"] for answer in answers] == [99404, 99404]
    assert answers[0]["msg"].replace("hidden", "absent") == answers[1]["msg"]
    reader = new_caller(db, sealer, integration.gateway, {Action.READ: EVERYTHING})
    assert Integration(reader, db, tenant_id, sealer).send(message(by_keys))["code"] == 99403
    assert integration.stored() == set()


def test_without_a_token_the_gateway_refuses(integration: Integration) -> None:
    answer = integration.send(message(item()), **{"apim-accesstoken": ""})
    assert answer["code"] == 1202
    answer = integration.send(message(item()), **{"apim-accesstoken": "nonsense"})
    assert answer["code"] == 1203

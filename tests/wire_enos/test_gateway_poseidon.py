"""The vendor's published Python client against the gateway: every way in, every refusal."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from pathlib import Path

import httpx
import pytest

from redrive.database import Database
from redrive.identity.access import EVERYTHING, Action
from redrive.identity.authentication import Authenticator
from redrive.identity.keys import find_tenant, revoke_key
from redrive.identity.sealing import Sealer
from redrive.identity.server_keys import public_key
from redrive.settings import Settings
from tests.wire_enos.gateway_caller import ECHO, WRITE, Gateway, echo_app, new_caller, serving
from tests.wire_enos.poseidon_client import Client


@pytest.fixture
def client(poseidon_python: Path, gateway: Gateway, db: Database, sealer: Sealer) -> Client:
    der = db.run(lambda conn: public_key(conn, sealer))
    return Client(
        poseidon_python,
        str(gateway.http.base_url).rstrip("/"),
        gateway.access_key,
        gateway.secret_key,
        base64.b64encode(der).decode(),
    )


def test_with_our_public_key_it_reads_and_writes(client: Client, gateway: Gateway) -> None:
    query = f"?orgId={gateway.org_id}"
    body = {"assetIds": "a1", "note": "\N{SNOWMAN}"}
    got = client.opens(ECHO + query, body)
    assert got["code"] == 0 and got["data"]["caller"] == "admin"
    assert json.loads(got["data"]["body"]) == body
    assert client.opens(ECHO + query)["code"] == 0
    # A PUT without a body, as resubmit is called.
    assert client.opens(WRITE + query + "&JobId=302037106667073536", method="PUT")["code"] == 0


def test_with_signature_headers_of_the_caller_it_needs_no_key_of_ours(
    client: Client, gateway: Gateway
) -> None:
    client.public_key = ""
    query, body = f"orgId={gateway.org_id}", '{"assetIds": "a1"}'
    assert client.opens(f"{ECHO}?{query}", body, gateway.headers(query, body))["code"] == 0
    query = f"JobId=302037106667073536&orgId={gateway.org_id}"
    assert client.opens(f"{WRITE}?{query}", None, gateway.headers(query), "PUT")["code"] == 0


def test_every_refusal_reaches_the_program_that_uses_it(
    client: Client, gateway: Gateway, db: Database, sealer: Sealer, authenticator: Authenticator
) -> None:
    query = f"?orgId={gateway.org_id}"
    assert client.opens(ECHO)["code"] == 80400
    assert client.opens(ECHO + "?orgId=o1")["code"] == 80401

    vendor_key = Client(**{**asdict(client), "public_key": ""})
    got = vendor_key.opens(ECHO + query)
    assert got["code"] == 1003 and "public key" in got["msg"]

    wrong_secret = Client(**{**asdict(client), "secret": "00000000-0000-0000-0000-000000000000"})
    assert wrong_secret.opens(ECHO + query)["code"] == 1003

    caller = new_caller(db, sealer, gateway, {Action.READ: EVERYTHING})
    reader = Client(**{**asdict(client), "key": caller.access_key, "secret": caller.secret_key})
    assert reader.opens(ECHO + query)["code"] == 0
    assert reader.opens(WRITE + query, method="PUT")["code"] == 80401
    with db.transaction() as conn:
        revoked = revoke_key(conn, find_tenant(conn, gateway.org_id).id, caller.access_key)
    assert revoked is not None
    authenticator.forget(revoked)
    assert reader.opens(ECHO + query)["code"] == 1002


def test_another_process_opens_the_header_too(
    client: Client, gateway: Gateway, db: Database, settings: Settings, sealer: Sealer
) -> None:
    with serving(echo_app(db, settings, Authenticator(db, sealer))) as url:
        client.url = url
        assert client.opens(f"{ECHO}?orgId={gateway.org_id}")["code"] == 0


def test_a_header_that_was_changed_is_refused(gateway: Gateway, db: Database, sealer: Sealer) -> None:
    db.run(lambda conn: public_key(conn, sealer))
    for blob in (b"\0" * 256, b"\xff" * 256, b"x" * 255, b"x" * 600):
        header = base64.b64encode(blob).decode()
        got = gateway.call("GET", ECHO, f"orgId={gateway.org_id}", headers={"apim-accesstoken": header})
        assert got["code"] == 1003
    signed = gateway.headers(f"orgId={gateway.org_id}") | {
        "apim-accesstoken": base64.b64encode(b"x" * 256).decode()
    }
    assert gateway.call("GET", ECHO, f"orgId={gateway.org_id}", headers=signed)["code"] == 1003


def test_before_a_server_key_was_made_every_header_is_refused(gateway: Gateway, http: httpx.Client) -> None:
    header = {"apim-accesstoken": base64.b64encode(b"x" * 256).decode()}
    assert gateway.call("GET", ECHO, f"orgId={gateway.org_id}", headers=header)["code"] == 1003

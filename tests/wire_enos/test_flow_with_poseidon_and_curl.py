"""The whole flow with clients that are not ours, against a server that runs: samples, every read, a deletion that
meets a hold, resubmit, the latest values, the metadata of a point. Nothing but the vendor's calls, but for the hold.

The clients: the published Poseidon client with our public key; the same with signed headers of the caller; curl,
signed with nothing but ``sha256sum``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.servers import Launch, Server
from tests.wire_enos.poseidon_client import Client

START, HOUR = 1_600_000_000_000, 3_600_000
Call = Callable[[str, str, str, dict[str, Any] | None], Any]

_CURL = r"""
sha() { sha256sum | cut -d ' ' -f 1; }
NOW=$(date +%s%3N)
TOKEN=$(curl -s "$URL/apim-token-service/v2.0/token/get" \
  -d "{\"appKey\": \"$KEY\", \"timestamp\": $NOW, \"encryption\": \"$(printf %s "$KEY$NOW$SECRET" | sha)\"}" |
  python3 -c 'import json, sys; print(json.load(sys.stdin)["data"]["accessToken"])')
NOW=$(date +%s%3N)
SIGNATURE=$(printf %s "$TOKEN$PARAMETERS$BODY$NOW$SECRET" | sha)
curl -s -X "$METHOD" "$URL$CALL" -H "apim-accesstoken: $TOKEN" -H "apim-timestamp: $NOW" \
  -H "apim-signature: $SIGNATURE" ${BODY:+-H "Content-Type: application/json" --data-binary "$BODY"}
"""


def keys_of(server: Server) -> dict[str, str]:
    found: dict[str, str] = json.loads((server.data_dir / "credentials.json").read_text())
    return found


def query_of(server: Server, more: str) -> str:
    return "&".join(sorted(filter(None, [f"orgId={keys_of(server)['org_id']}", more])))


def poseidon_with_our_key(server: Server, python: Path) -> Call:
    command = [
        sys.executable,
        "-m",
        "redrive.cli",
        "identity",
        "poseidon-key",
        "--data-dir",
        str(server.data_dir),
    ]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    public_key = next(word for word in printed.split() if word.startswith("MII"))
    base64.b64decode(public_key, validate=True)
    keys = keys_of(server)
    client = Client(python, server.url, keys["access_key"], keys["secret_key"], public_key)

    def call(method: str, path: str, more: str, body: dict[str, Any] | None) -> Any:
        return client.opens(f"{path}?{query_of(server, more)}", body, method=method)

    return call


def poseidon_with_signed_headers(server: Server, python: Path) -> Call:
    keys = keys_of(server)
    client = Client(python, server.url, keys["access_key"], keys["secret_key"])
    now = int(time.time() * 1000)
    proof = hashlib.sha256(f"{keys['access_key']}{now}{keys['secret_key']}".encode()).hexdigest()
    asked = {"appKey": keys["access_key"], "encryption": proof, "timestamp": now}
    token = client.opens("/apim-token-service/v2.0/token/get", asked)["data"]["accessToken"]

    def call(method: str, path: str, more: str, body: dict[str, Any] | None) -> Any:
        query, text = query_of(server, more), None if body is None else json.dumps(body)
        now = str(int(time.time() * 1000))
        signed = token + query.replace("=", "").replace("&", "") + (text or "") + now + keys["secret_key"]
        headers = {
            "apim-accesstoken": token,
            "apim-timestamp": now,
            "apim-signature": hashlib.sha256(signed.encode()).hexdigest(),
        }
        return client.opens(f"{path}?{query}", text, headers, method)

    return call


def signed_curl(server: Server, python: Path) -> Call:
    keys = keys_of(server)

    def call(method: str, path: str, more: str, body: dict[str, Any] | None) -> Any:
        query = query_of(server, more)
        told = {
            "URL": server.url,
            "KEY": keys["access_key"],
            "SECRET": keys["secret_key"],
            "METHOD": method,
            "CALL": f"{path}?{query}",
            "PARAMETERS": query.replace("=", "").replace("&", ""),
            "BODY": "" if body is None else json.dumps(body),
            "PATH": "/usr/local/bin:/usr/bin:/bin",
        }
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", _CURL], env=told, capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout)

    return call


def wait_for(call: Call, job_id: int) -> dict[str, Any]:
    """Ask for the details of the job until it has ended: finished (2) or failed (5)."""
    for _ in range(100):
        [item] = call("GET", "/tsdb-service/v2.1/data/delete-detail", f"queryId={job_id}", None)["data"][
            "list"
        ]
        if item["status"] in (2, 5):
            return dict(item)
        time.sleep(0.1)
    raise AssertionError("the job did not end")


def upload(server: Server) -> None:
    """Store 24 hours over the integration call, whose multipart form curl sends as the page shows it."""
    params = [
        {"assetId": asset, "time": START + hour * HOUR, "measurepoints": {"temp": hour, "wind": hour * 2}}
        for asset in ("a1", "a2")
        for hour in range(24)
    ]
    message = {"method": "integration.measurepoint.post", "version": "1.1", "params": params}
    keys = keys_of(server)
    with httpx.Client(base_url=server.url, auth=(keys["access_key"], keys["secret_key"])) as ours:
        token = ours.post("/v1/tokens").json()["access_token"]
    address = f"{server.url}/connect-service/v2.1/integration?action=postMeasurepoint&orgId={keys['org_id']}"
    done = subprocess.run(
        ["curl", "-s", address, "-H", f"apim-accesstoken: {token}", "-F", "enos-message=<-"],
        input=json.dumps(message),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["code"] == 0


def hold(server: Server, name: str, *, lift: bool = False) -> None:
    keys = keys_of(server)
    body = {"assets": ["a2"], "reason": "insurance claim 4711"}
    answer = httpx.request(
        "DELETE" if lift else "PUT",
        f"{server.url}/v1/timeseries/holds/{name}",
        auth=(keys["access_key"], keys["secret_key"]),
        json=None if lift else body,
    )
    assert answer.status_code == 200, answer.text


def model(server: Server) -> None:
    keys = keys_of(server)
    with httpx.Client(base_url=server.url, auth=(keys["access_key"], keys["secret_key"])) as ours:
        points = [{"id": "spare"}]
        made = ours.put("/v1/timeseries/models/spares", json={"points": points})
        assert made.status_code == 200, made.text


_SPAN = {"startTime": "2020-09-13T12:00:00Z", "endTime": "2020-09-14T13:00:00Z"}
_SERIES = {"assetIds": "a1,a2", "pointIds": "temp"}
_LOGIC = {"assetIds": "a1,a2", "pointIdsWithLogic": "sum(temp)", "interval": 60}
READS: dict[str, dict[str, Any]] = {
    "/tsdb-service/v2.1/ai": {**_SERIES, **_SPAN},
    "/tsdb-service/v2.1/ai-normalized": {**_LOGIC, **_SPAN},
    "/tsdb-service/v2.1/di": {**_SERIES, **_SPAN},
    "/tsdb-service/v2.1/di/duration": {**_SERIES, **_SPAN},
    "/tsdb-service/v2.1/electric-power": {**_LOGIC, **_SPAN},
    "/tsdb-service/v2.1/electric-power/current-day": _SERIES,
    "/tsdb-service/v2.1/generic": {**_SERIES, **_SPAN},
    "/tsdb-service/v2.1/raw": {**_SERIES, **_SPAN},
    "/tsdb-service/v2.1/unified-raw": {**_SERIES, **_SPAN},
    "/tsdb-service/v2.1/unformatted": {**_SERIES, **_SPAN},
    "/tsdb-service/v2.1/latest": _SERIES,
    "/tsdb-service/v2.1/latest/filter": {
        "modelId": "m",
        "assetIds": "a1,a2",
        "pointId": "temp",
        "operator": "ge",
        "valueFilter": "0",
    },
    "/tsdb-service/v2.1/data/last-changed": _SERIES,
    "/tsdb-service/v2.1/data/latest/check-dead": {
        "payload": [{"assetId": "a1", "pointId": "temp", "interval": 1}]
    },
}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("client", [poseidon_with_our_key, poseidon_with_signed_headers, signed_curl])
def test_the_whole_flow(
    launch: Launch, poseidon_python: Path, client: Callable[[Server, Path], Call]
) -> None:
    server = launch("up", "--workers", "1")
    call = client(server, poseidon_python)
    upload(server)
    model(server)
    for path, body in READS.items():
        answer = call("POST", path, "", body)
        assert answer["code"] == 0, (path, answer)
        assert len(answer["data"]["items"]) > 0 or path.endswith("current-day"), path

    hold(server, "claim")
    end = START + 11 * HOUR
    body = {
        "modelId": "m",
        "pointId": "temp",
        "assetIds": "a1,a2",
        "startTime": str(START),
        "endTime": str(end),
    }
    submitted = call("POST", "/tsdb-service/v2.1/data/tsdb-delete", "", body)
    job_id = submitted["data"]
    assert submitted == {"msg": "OK", "code": 0, "data": job_id, "submsg": "success"}
    assert wait_for(call, job_id)["status"] == 5
    assert remaining(call) == {"a1": 12, "a2": 24}

    refused = call("PUT", "/tsdb-service/v2.1/data/resubmit", "JobId=1", None)
    assert refused["code"] == 80400 and "JobId" in refused["msg"]
    hold(server, "claim", lift=True)
    again = call("PUT", "/tsdb-service/v2.1/data/resubmit", f"JobId={job_id}", None)
    assert again == {"msg": "OK", "code": 0, "data": "success", "submsg": "success"}
    ended = wait_for(call, job_id)
    assert ended["status"] == 2 and ended["id"] == str(job_id) and ended["measurement"] == "temp"
    assert remaining(call) == {"a1": 12, "a2": 12}

    latest = {"assetIds": "a1", "pointIds": "temp"}
    assert len(call("POST", "/tsdb-service/v2.1/latest", "", latest)["data"]["items"]) == 1
    gone = call("POST", "/tsdb-service/v2.1/latest", "action=delete", latest)
    assert gone == {"code": 0, "msg": "OK", "submsg": "", "data": None}
    assert call("POST", "/tsdb-service/v2.1/latest", "", latest)["data"]["items"] == []
    removed = call(
        "POST", "/tsdb-service/v2.1/data/meta-delete", "", {"modelId": "spares", "pointId": "spare"}
    )
    assert removed["code"] == 0 and removed["data"] > 2**53, removed


def remaining(call: Call) -> dict[str, int]:
    """How many samples of ``temp`` each asset has left."""
    items = call("POST", "/tsdb-service/v2.1/raw", "", {**_SERIES, **_SPAN})["data"]["items"]
    return {asset: sum(item["assetId"] == asset for item in items) for asset in ("a1", "a2")}

"""Every endpoint is sent what its description allows, and what it does not, by a generator of requests.

Whatever comes, no answer is a server error and every one has the documented shape. The server is a real one, with a
worker, and a little data; it lives on between requests, so jobs that the fuzz submits do run.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.openapi import from_dict
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from redrive.wire.app import ROUTERS, create_app
from tests.servers import Server, launching

CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance]
ENOS = ("/tsdb-service/", "/connect-service/", "/apim-token-service/")
HUAWEI = ("/v2/", "/v3/", "/v3.0/", "/v5/")
MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]


@schemathesis.serializer("application/x-ndjson", "application/vnd.apache.arrow.stream")
def as_it_is(context: schemathesis.SerializationContext, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


@dataclass(frozen=True)
class Target:
    """A running server and who calls it."""

    server: Server
    keys: dict[str, str]
    token: str
    user_token: str

    def headers(self, path: str) -> dict[str, str]:
        if path.startswith(HUAWEI):
            return {"X-Auth-Token": self.user_token}
        return {} if path.startswith("/apim") else {"Authorization": f"Bearer {self.token}"}


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("fuzz")
    with contextlib.contextmanager(launching)(folder) as launch:
        server = launch("up", "--workers", "1", "--allow-failpoints")
        keys = json.loads((folder / "d" / "credentials.json").read_text())
        yield Target(server, keys, _token_and_samples(server, keys), _user_token(server, keys))
        assert server.process.poll() is None, "the server ended"
        faults = [line for line in server.said() if line.get("level") in ("error", "critical")]
    assert not faults, faults[:3]


def _token_and_samples(server: Server, keys: dict[str, str]) -> str:
    with httpx.Client(base_url=server.url, auth=(keys["access_key"], keys["secret_key"])) as client:
        samples = "\n".join(
            json.dumps(
                {"asset": "0", "time": 1_600_000_000_000 + n * 60_000, "values": {"0": n, "p": f"{n}"}}
            )
            for n in range(100)
        )
        kind = {"Content-Type": "application/x-ndjson"}
        assert client.post("/v1/timeseries/samples", content=samples, headers=kind).status_code == 200
        return str(client.post("/v1/tokens").json()["access_token"])


def _user_token(server: Server, keys: dict[str, str]) -> str:
    user = {"name": keys["user_name"], "password": keys["password"], "domain": {"name": keys["domain_name"]}}
    auth = {
        "identity": {"methods": ["password"], "password": {"user": user}},
        "scope": {"project": {"id": keys["project_id"]}},
    }
    answer = httpx.post(f"{server.url}/v3/auth/tokens", json={"auth": auth})
    return str(answer.headers["X-Subject-Token"])


class _Undocumented:
    """Stands for the parts of a process: nothing of them is used to describe the endpoints."""

    db = None


DESCRIPTION: dict[str, Any] = create_app(_Undocumented()).openapi()
CALLS = sorted(
    (method.upper(), path)
    for path, methods in DESCRIPTION["paths"].items()
    for method in methods
    if not path.startswith("/v1/failpoints") or method == "get"  # a worker that is told to exit does
)


#: How many requests a call gets in each mode: more in the long runs.
SIZES = [12, pytest.param(300, marks=pytest.mark.torture)]


def test_every_endpoint_is_described() -> None:
    served = {
        (method, route.path_format)
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute) and route.include_in_schema
        for method in route.methods
    }
    assert served == {(method.upper(), path) for path, of in DESCRIPTION["paths"].items() for method in of}
    assert len(served) > 50


@pytest.mark.parametrize("mode", MODES, ids=[mode.value for mode in MODES])
@pytest.mark.parametrize(("method", "path"), CALLS, ids=[f"{method} {path}" for method, path in CALLS])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.timeout(600)
def test_no_request_makes_a_server_error_or_an_answer_of_another_shape(
    target: Target, method: str, path: str, mode: GenerationMode, size: int
) -> None:
    operation = SCHEMA[path][method]
    # Parts of the vendor's paths may hold any text.
    wrong = operation.query or operation.body or (operation.path_parameters and not path.startswith(HUAWEI))
    if mode is GenerationMode.NEGATIVE and not wrong:
        pytest.skip("this call takes nothing that could be wrong")
    requests = operation.as_strategy(generation_mode=mode)

    @settings(
        max_examples=size,
        deadline=None,
        database=None,
        derandomize=size < 100,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=requests, ours=st.booleans())
    def send(case: Case, ours: bool) -> None:
        query = {"orgId": target.keys["org_id"]} if ours and path.startswith(ENOS) else {}
        # Not where the whole workspace would go.
        if ours and "project_id" in (case.path_parameters or {}) and method != "DELETE":
            case.path_parameters["project_id"] = target.keys["project_id"]
        answer = case.call(base_url=target.server.url, headers=target.headers(path), params=query, timeout=30)
        case.validate_response(answer, checks=CHECKS)
        if path.startswith(ENOS):
            assert answer.status_code == 200, answer.text
        elif path.startswith(HUAWEI):
            assert answer.status_code in (*range(200, 300), 400, 401, 403, 404, 413, 429), answer.text
            if answer.status_code >= 400 and method != "HEAD":
                assert {"error_code", "error_msg"} <= set(answer.json()) or "message" in answer.json()[
                    "error"
                ]
        elif answer.status_code >= 400:
            assert answer.headers["content-type"] == ["application/problem+json"], answer.headers

    send()


SCHEMA = from_dict(DESCRIPTION)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("path", sorted({path for method, path in CALLS if method in ("POST", "PUT")}))
@pytest.mark.timeout(600)
def test_no_body_of_any_bytes_makes_a_server_error(target: Target, path: str, size: int) -> None:
    methods = [method for method, of in CALLS if of == path and method in ("POST", "PUT")]
    kinds = ["application/json", "application/x-ndjson", "application/vnd.apache.arrow.stream"]
    kinds += ["multipart/form-data; boundary=x", "text/plain", ""]
    address = target.server.url + path.replace("{", "").replace("}", "")

    @settings(max_examples=size, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(
        method=st.sampled_from(methods),
        kind=st.sampled_from(kinds),
        body=st.one_of(st.binary(max_size=200), st.sampled_from(HOSTILE)),
    )
    def send(method: str, kind: str, body: bytes) -> None:
        answer = httpx.request(
            method,
            address,
            params={"orgId": target.keys["org_id"], "action": "postMeasurepoint"}
            if ENOS[1] in path
            else {"orgId": target.keys["org_id"]}
            if path.startswith(ENOS)
            else {},
            headers={**target.headers(path), "Content-Type": kind},
            content=body,
            timeout=30,
        )
        assert answer.status_code < 500, answer.text
        if path.startswith(ENOS):
            assert answer.status_code == 200
            assert {"code", "status"} & answer.json().keys()

    send()


HOSTILE = [
    b"",
    b"null",
    b"[]",
    b'""',
    b"{",
    b"[" * 5000,
    b'{"a":' * 5000,
    b'{"assetIds":"\\ud800","pointIds":"p"}',
    b'{"assetIds":"a\\u0000","pointIds":"p"}',
    b'{"modelId":{},"assetIds":[],"startTime":1e400}',
    b'{"startTime":"99999999999999999999999999","endTime":-1,"assetIds":"a","modelId":"m"}',
    b'{"reason":"\\u0000"}',
    b'{"filter":{"kind":"\\ud800"}}',
    b'{"ids":["9223372036854775808","-1","x"]}',
    b"\xff\xfe\x00\x00",
    b'--x\r\nContent-Disposition: form-data; name="enos-message"\r\n\r\n{}\r\n--x--\r\n',
    b"--x\r\n\r\n--x--",
]


def test_the_fuzz_has_an_eye_for_a_wrong_shape(target: Target) -> None:
    """What the other tests rely on: an answer with a field that is not described is noticed."""
    answer = SCHEMA["/healthz"]["GET"].Case().call(base_url=target.server.url)
    SCHEMA["/healthz"]["GET"].Case().validate_response(answer, checks=CHECKS)
    described = SCHEMA["/tsdb-service/v2.1/data/delete-detail"]["GET"]
    with pytest.raises(FailureGroup):
        described.Case().validate_response(answer, checks=CHECKS)


def test_the_folder_of_the_fuzz_holds_no_secret_in_its_log(target: Target) -> None:
    log = Path(target.server.log).read_text()
    assert target.keys["secret_key"] not in log and target.token not in log

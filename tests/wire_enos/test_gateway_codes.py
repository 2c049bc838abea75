"""Problems as codes, and parameters in the vendor's spelling."""

from __future__ import annotations

from typing import Any

import httpx
import orjson
import pytest
from fastapi import APIRouter, FastAPI
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response

from redrive.errors import Problem, ProblemCode
from redrive.wire.enos import parameters
from redrive.wire.enos.codes import (
    GATEWAY_CODES,
    GATEWAY_FAULT,
    GENERAL,
    TSDB,
    Surface,
    problem_to_enos,
)
from redrive.wire.enos.envelope import TsdbRoute, answer
from redrive.wire.enos.unknown_calls import UNKNOWN_CALLS
from redrive.wire.native.problems import add_handlers
from tests.wire_enos.gateway_caller import serving


@pytest.mark.parametrize("surface", [TSDB, GENERAL])
def test_every_problem_has_a_code_on_every_surface(surface: Surface) -> None:
    for problem_code in ProblemCode:
        code, msg = problem_to_enos(Problem(problem_code, "what is wrong"), surface)
        assert code != 0 and msg.endswith("what is wrong")


def test_the_codes_are_the_documented_ones() -> None:
    def codes(surface: Surface) -> set[int]:
        return {problem_to_enos(Problem(code, ""), surface)[0] for code in ProblemCode}

    assert codes(TSDB) == {80400, 80401, 80500, 1003}
    assert codes(GENERAL) == {99400, 99403, 99404, 99500, 1003}
    assert set(GATEWAY_CODES.values()) == {1001, 1002, 1003, 1004, 1202, 1203, 1204}
    # The vendor's client sends its next request in another method on these two.
    assert not {4011, 4012} & set(GATEWAY_CODES.values())


def test_messages_read_as_the_vendors() -> None:
    def says(code: str, surface: Surface) -> str:
        return problem_to_enos(Problem(code, "orgId: expected text"), surface)[1]

    assert says("invalid", TSDB) == "Invalid param error: orgId: expected text"
    assert says("not_found", TSDB) == "Invalid param error: orgId: expected text"
    assert says("forbidden", TSDB) == "Asset unauthorized: orgId: expected text"
    assert says("invalid", GENERAL) == "Invalid Argument orgId: expected text"
    assert says("forbidden", GENERAL) == "Denied resource:  orgId: expected text"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)

_READS: list[Any] = [
    lambda source: parameters.text(source, "x"),
    lambda source: parameters.optional_text(source, "x"),
    lambda source: parameters.id_list(source, "x", most=3),
    lambda source: parameters.integer(source, "x", low=1, high=9),
    lambda source: parameters.boolean(source, "x"),
    lambda source: parameters.choice(source, "x", ("a", "b"), default="a"),
]


@hypothesis_settings(deadline=None)
@given(_JSON, st.sampled_from(_READS))
def test_any_value_is_read_or_refused_with_the_name_of_its_field(value: Any, read: Any) -> None:
    try:
        read({"x": value})
    except Problem as problem:
        assert problem.code is ProblemCode.INVALID
        assert [field.name for field in problem.fields] == ["x"]
        assert problem.detail.startswith("x: expected ") and len(problem.detail) < 300


def test_numbers_and_booleans_may_be_text() -> None:
    assert parameters.integer({"pageNo": "7"}, "pageNo", low=1, high=100) == 7
    assert parameters.integer({"pageNo": ""}, "pageNo", default=1, low=1, high=100) == 1
    assert parameters.boolean({"flag": "True"}, "flag") is True
    assert parameters.boolean({"flag": False}, "flag", default=True) is False
    assert parameters.text({"JobId": 302037106667073536}, "JobId") == "302037106667073536"


def test_a_list_keeps_its_order_and_drops_repetitions_and_blanks() -> None:
    assert parameters.id_list({"assetIds": " b, a,,b ,c"}, "assetIds") == ["b", "a", "c"]
    with pytest.raises(Problem, match="at most 2 ids, got 3 ids"):
        parameters.id_list({"assetIds": "a,b,c"}, "assetIds", most=2)


@pytest.mark.parametrize("value", ["0", 10, "1.0", 1.0, True, "x", "\N{SUPERSCRIPT TWO}", "9" * 30, [1]])
def test_a_number_out_of_bounds_or_form_is_refused(value: object) -> None:
    with pytest.raises(Problem, match="pageNo: expected a whole number from 1 to 9"):
        parameters.integer({"pageNo": value}, "pageNo", low=1, high=9)


class SmallRoute(TsdbRoute):
    body_bytes = 100


def body_app() -> FastAPI:
    app = FastAPI()
    router = APIRouter(route_class=SmallRoute)

    @router.post("/tsdb-service/v2.1/body")
    async def body(request: Request) -> Response:
        return answer(await parameters.json_object(request))

    @router.get("/tsdb-service/v2.1/number")
    async def number(pageNo: int) -> Response:  # noqa: N803
        return answer(pageNo)

    app.include_router(router)
    add_handlers(app, UNKNOWN_CALLS)
    return app


def test_bodies_and_unknown_calls_are_refused_in_the_envelope() -> None:
    with serving(body_app()) as url, httpx.Client(base_url=url) as http:

        def post(content: bytes) -> Any:
            got = http.post("/tsdb-service/v2.1/body", content=content)
            assert got.status_code == 200 and got.headers["content-type"] == "application/json;charset=UTF-8"
            return orjson.loads(got.content)

        assert post(b'{"a": 1}')["data"] == {"a": 1}
        assert post(b" ")["data"] == {}
        for bad in (b"[]", b"{", b'"x"', b"\xff", b"{" * 90, b" " * 101):
            got = post(bad)
            assert got["code"] == 80400 and got["msg"].startswith("Invalid param error: "), bad

        chunked = http.post("/tsdb-service/v2.1/body", content=iter([b" " * 60, b" " * 60]))
        assert chunked.json()["msg"] == "Invalid param error: body: expected at most 100 bytes"

        for method, path, code in [
            ("GET", "/tsdb-service/v2.1/number", 80400),
            ("GET", "/tsdb-service/v2.1/number?pageNo=x", 80400),
            ("GET", "/tsdb-service/v2.1/body", 80400),
            ("GET", "/tsdb-service/v9/none", 80400),
            ("GET", "/connect-service/none", 99404),
        ]:
            answered = http.request(method, path)
            assert answered.status_code == 200 and answered.json()["code"] == code, path
        gone = http.put("/apim-token-service/v2.0/token/none")
        assert (gone.status_code, gone.json()["status"]) == (200, GATEWAY_FAULT)
        assert "pageNo" in http.get("/tsdb-service/v2.1/number?pageNo=x").json()["msg"]

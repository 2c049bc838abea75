"""Values of any type become columns: exactly, or they are refused by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redrive.errors import Problem
from redrive.ingest import rows, values
from redrive.ingest.samples import END_MS, ValueKind


def one(value: object) -> dict[str, object]:
    table = rows.wide_batch(
        ["a1"], [1_700_000_000_000], [{"p": value}], lambda row, point: f"[{row}].{point}"
    )
    return {name: table[name].to_pylist()[0] for name in ("number", "text", "kind", "quality")}


def refusal(body: bytes) -> str:
    with pytest.raises(Problem) as caught:
        rows.ndjson_batch(body)
    return caught.value.detail


@pytest.mark.parametrize(
    ("value", "number", "text", "kind"),
    [
        (1.5, 1.5, None, ValueKind.DOUBLE),
        (3, 3.0, None, ValueKind.INTEGER),
        (2**53, 2.0**53, None, ValueKind.INTEGER),
        (2**53 + 1, None, "9007199254740993", ValueKind.INTEGER),
        (-(10**30), None, "-1" + "0" * 30, ValueKind.INTEGER),
        (True, 1.0, None, ValueKind.BOOLEAN),
        (False, 0.0, None, ValueKind.BOOLEAN),
        ("on", None, "on", ValueKind.STRING),
        ("", None, "", ValueKind.STRING),
        ([1, "x"], None, '[1,"x"]', ValueKind.JSON),
        ({"x": 1, "value": 2}, None, '{"x":1,"value":2}', ValueKind.JSON),
    ],
)
def test_a_value_is_kept_as_it_came(value: object, number: object, text: object, kind: int) -> None:
    assert one(value) == {"number": number, "text": text, "kind": kind, "quality": None}


def test_a_value_object_carries_its_quality() -> None:
    assert one({"value": 7, "quality": 9}) == {"number": 7.0, "text": None, "kind": 1, "quality": 9}
    assert one({"value": 7.5}) == {"number": 7.5, "text": None, "kind": 0, "quality": None}


@pytest.mark.parametrize(
    "value", [None, {"value": None}, {"value": 1, "quality": -1}, {"value": 1, "quality": "9"}]
)
def test_what_is_no_value_is_refused(value: object) -> None:
    with pytest.raises(Problem) as caught:
        one(value)
    assert "[0].p" in caught.value.detail


@given(
    st.one_of(st.integers(-(10**40), 10**40), st.floats(allow_nan=False, allow_infinity=False), st.booleans())
)
def test_every_number_comes_back_exactly(value: int | float | bool) -> None:
    text = values.parse(str(value).lower().encode())
    found = one(text)
    if found["text"] is not None:
        assert int(str(found["text"])) == value
    else:
        assert found["number"] == value


@pytest.mark.parametrize("word", [b"NaN", b"Infinity", b"1e999", b"-Infinity"])
def test_numbers_that_are_not_finite_are_refused(word: bytes) -> None:
    assert "line 1" in refusal(b'{"asset":"a","point":"p","time":1,"value":' + word + b"}")


def test_both_forms_of_lines_may_be_mixed() -> None:
    body = (
        b'{"asset":"a1","point":"p","time":1,"value":1.5,"quality":3}\n\n'
        b'{"asset":"a1","time":"1970-01-01T00:00:00.002Z","values":{"p":2,"q":"x"}}\n'
    )
    table = rows.ndjson_batch(body)
    assert table.select(["asset", "point", "time_ms", "number", "text", "kind", "quality"]).to_pylist() == [
        {"asset": "a1", "point": "p", "time_ms": 1, "number": 1.5, "text": None, "kind": 0, "quality": 3},
        {"asset": "a1", "point": "p", "time_ms": 2, "number": 2.0, "text": None, "kind": 1, "quality": None},
        {"asset": "a1", "point": "q", "time_ms": 2, "number": None, "text": "x", "kind": 3, "quality": None},
    ]


GOOD = b'{"asset":"a","point":"p","time":1,"value":1}\n'


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{", "line 2: body"),
        (b"[1]", "line 2"),
        (b'{"asset":"a","point":"p","time":1}', "line 2"),
        (b'{"asset":"a","point":"p","time":1,"value":1,"qualty":2}', "line 2"),
        (b'{"asset":5,"point":"p","time":1,"value":1}', "line 2"),
        (b'{"asset":"a","point":"p","time":"2026-01-01T00:00:00","value":1}', "line 2.time"),
        (b'{"asset":"a","point":"p","time":"2026-01-01T00:00:00.0001Z","value":1}', "whole milliseconds"),
        (b'{"asset":"a","point":"p","time":1.5,"value":1}', "line 2.time"),
        (b'{"asset":"a","point":"p","time":true,"value":1}', "line 2.time"),
        (b'{"asset":"a","time":1,"values":[1]}', "line 2"),
        (b'{"asset":"a","time":1,"values":{"p":null}}', "line 2.values.p"),
        (b'{"asset":"a,b","point":"p","time":1,"value":1}', "without commas"),
        (b'{"asset":" a","point":"p","time":1,"value":1}', "blanks"),
        (b'{"asset":"a","point":"avg(p)","time":1,"value":1}', "parentheses"),
        (b'{"asset":"","point":"p","time":1,"value":1}', "1 to 128"),
        (b'{"asset":"a","point":"p","time":%d,"value":1}' % END_MS, "1900 to 2262"),
        (b'{"asset":"a","point":"p","time":1,"value":"' + b"x" * 70_000 + b'"}', "65536 are allowed"),
        (b'{"asset":"a","point":"p","time":1,"value":"\\ud800"}', "line 2"),
        (b'{"asset":"a","point":"p","time":1,"value":"x\\u0000y"}', "without NUL"),
        (b'{"asset":"\\ud800","point":"p","time":1,"value":1}', "line 2"),
    ],
)
def test_a_bad_line_is_named(line: bytes, words: str) -> None:
    assert words in refusal(GOOD + line)


def test_an_empty_body_is_refused() -> None:
    assert "at least one line" in refusal(b" \n\n")

"""Buckets and functions, against plain computations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redrive.services.timeseries.assets import StorageType
from redrive.services.timeseries.reads import walking
from redrive.services.timeseries.reads.aggregates import (
    AggregateQuery,
    Expression,
    read_aggregates,
    read_current_day,
)
from redrive.services.timeseries.reads.aggregation import Function
from redrive.services.timeseries.reads.selection import Selection
from redrive.services.timeseries.reads.spans import Span
from tests.timeseries.reads_scene import Sample, instant, reader_of, records_of, spread
from tests.timeseries.test_reads_samples import plain

MINUTE = 60_000


def ask(
    samples: Sequence[Sample],
    span: Span,
    functions: str,
    minutes: int,
    *,
    assets: str = "a",
    most: int = 1000,
    **catalog: Any,
) -> dict[tuple[str, str], list[tuple[int, Any]]]:
    expressions = []
    for text in functions.split(","):
        name, point = text.rstrip(")").split("(")
        expressions.append(Expression(Function(name), point, text))
    points = tuple(dict.fromkeys(one.point for one in expressions))
    query = AggregateQuery(
        Selection(tuple(assets.split(",")), points),
        frozenset({StorageType.AI_NORMALIZED}),
        span,
        tuple(expressions),
        minutes,
        most,
    )
    return records_of(read_aggregates(reader_of(samples, **catalog), query))


def test_buckets_begin_at_the_start_and_are_stamped_with_their_begin() -> None:
    samples = spread("a", "p", range(30), step=MINUTE)
    found = ask(samples, Span(5 * MINUTE, 26 * MINUTE), "count(p),first(p),last(p)", 10)
    assert found == {
        ("a", "count(p)"): [(5 * MINUTE, 10), (15 * MINUTE, 10), (25 * MINUTE, 1)],
        ("a", "first(p)"): [(5 * MINUTE, 5), (15 * MINUTE, 15), (25 * MINUTE, 25)],
        ("a", "last(p)"): [(5 * MINUTE, 14), (15 * MINUTE, 24), (25 * MINUTE, 25)],
    }


def test_minutes_are_normalized_before_they_are_reduced() -> None:
    samples = [
        Sample("a", "p", 1000, 1.0, seq=2),
        Sample("a", "p", 2000, 5.0, seq=1),
        Sample("a", "p", MINUTE, 3.0),
    ]
    assert ask(samples, Span(0, 10 * MINUTE), "sum(p),count(p)", 10) == {
        ("a", "sum(p)"): [(0, 4.0)],
        ("a", "count(p)"): [(0, 2)],
    }


def test_empty_buckets_give_no_record_and_the_limit_counts_records() -> None:
    samples = [Sample("a", "p", hour * 60 * MINUTE, 1) for hour in (0, 3, 4, 9)]
    found = ask(samples, Span(0, 600 * MINUTE), "count(p)", 60, most=3)
    assert found == {("a", "count(p)"): [(0, 1), (180 * MINUTE, 1), (240 * MINUTE, 1)]}


def test_texts_count_but_do_not_add_up() -> None:
    samples = spread("a", "p", ["x", 2, "y"], step=MINUTE) + spread("a", "q", ["z"])
    found = ask(samples, Span(0, 10 * MINUTE), "count(p),sum(p),avg(p),last(p),max(q),first(q)", 10)
    assert found == {
        ("a", "count(p)"): [(0, 3)],
        ("a", "sum(p)"): [(0, 2)],
        ("a", "avg(p)"): [(0, 2.0)],
        ("a", "last(p)"): [(0, "y")],
        ("a", "first(q)"): [(0, "z")],
    }


def test_large_integers_stay_exact() -> None:
    values = [2**60, 2**60 + 1, 2**60 - 1]
    found = ask(
        spread("a", "p", values, step=MINUTE), Span(0, 10 * MINUTE), "sum(p),max(p),min(p),last(p)", 10
    )
    assert [records[0][1] for records in found.values()] == [3 * 2**60, 2**60 + 1, 2**60 - 1, 2**60 - 1]
    many = ask(spread("a", "p", [2**53] * 9, step=MINUTE), Span(0, 10 * MINUTE), "sum(p)", 10)
    assert many == {("a", "sum(p)"): [(0, 9 * 2**53)]}


def test_a_sum_beyond_every_double_is_null_and_never_infinite() -> None:
    found = ask(spread("a", "p", [1e308, 1e308], step=MINUTE), Span(0, 10 * MINUTE), "sum(p),avg(p)", 10)
    assert found == {("a", "sum(p)"): [(0, None)], ("a", "avg(p)"): [(0, None)]}


def test_a_local_day_is_a_day_of_the_devices_clock() -> None:
    start, end = instant("2024-03-09T00:00:00+00:00"), instant("2024-03-12T00:00:00+00:00")
    hours = [Sample(asset, "p", start + hour * 60 * MINUTE, 1) for asset in "ab" for hour in range(96)]
    found = ask(
        hours,
        Span(start, end, local=True),
        "count(p)",
        1440,
        assets="a,b",
        zones={"a": "America/New_York", "b": "+08:00"},
    )
    assert found["a", "count(p)"] == [
        (instant("2024-03-09T00:00:00-05:00"), 24),
        (instant("2024-03-10T00:00:00-05:00"), 23),
        (instant("2024-03-11T00:00:00-04:00"), 24),
    ]
    assert [count for _, count in found["b", "count(p)"]] == [16, 24, 24]


def test_power_of_the_day_counts_from_local_midnight_of_each_device() -> None:
    now = instant("2020-05-22T18:00:00+08:00")
    samples = [
        Sample(asset, point, instant(text), value)
        for asset in "ab"
        for point in ("p", "q")
        for text, value in [
            ("2020-05-21T23:59:00+08:00", 100.0),
            ("2020-05-22T00:00:00+08:00", 1.5),
            ("2020-05-22T17:00:00+08:00", 2.0),
        ]
    ]
    reader = reader_of(samples, now=now, zones={"a": "Asia/Shanghai", "b": "UTC"})
    answer = read_current_day(reader, Selection(("a", "b", "c"), ("p", "q")))
    found = records_of(answer)
    assert found["a", "sum(p)"] == [(1_590_076_800_000, 3.5)] == found["a", "sum(q)"]
    assert found["b", "sum(p)"] == [(instant("2020-05-22T00:00:00Z"), 2.0)]
    assert list(found) == [("a", "sum(p)"), ("a", "sum(q)"), ("b", "sum(p)"), ("b", "sum(q)")]


values = st.one_of(
    st.integers(-(2**62), 2**62),
    st.integers(-9, 9),
    st.floats(-1e6, 1e6),
    st.sampled_from(["x", True, False]),
)
some_samples = st.lists(
    st.builds(
        Sample,
        st.sampled_from("ab"),
        st.sampled_from("pq"),
        st.integers(0, 200).map(lambda step: step * 15_000),
        values,
        st.none(),
        st.integers(1, 4),
    ),
    max_size=60,
    unique_by=lambda one: (one.asset, one.point, one.time, one.seq),
)


def reduced(function: Function, chunk: list[Any]) -> Any:
    """The function over the values of one bucket; None where it has nothing to say."""
    if function is Function.COUNT:
        return len(chunk)
    if function in (Function.FIRST, Function.LAST):
        return chunk[0 if function is Function.FIRST else -1]
    numbers = [value for value in chunk if not isinstance(value, str)]
    if not numbers:
        return None
    if function in (Function.MAX, Function.MIN):
        return max(numbers) if function is Function.MAX else min(numbers)
    total = sum(Fraction(value) for value in numbers)
    if function is Function.SUM and not any(isinstance(value, float) for value in numbers):
        return int(total)
    near = total / (1 if function is Function.SUM else len(numbers))
    scale = max(abs(value) for value in numbers)
    return pytest.approx(float(near), rel=1e-9, abs=float(scale) * 1e-9)


@settings(max_examples=150, deadline=None)
@given(
    some_samples,
    st.sampled_from(Function),
    st.integers(1, 30),
    st.integers(0, 20),
    st.integers(1, 60),
    st.integers(1, 5),
)
def test_every_function_equals_the_plain_computation(
    samples: list[Sample], function: Function, minutes: int, begin: int, length: int, most: int
) -> None:
    start, end = begin * MINUTE + 20_000, (begin + length) * MINUTE
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walking, "PIECE_ROWS", 3)
        patch.setattr(walking, "FIRST_ROWS", 3)
        found = ask(
            samples, Span(start, end), f"{function}(p),{function}(q)", minutes, assets="a,b", most=most
        )
    for asset in "ab":
        for point in "pq":
            buckets: dict[int, list[Any]] = {}
            for time, value in plain(samples, asset, point, True):
                if start <= time < end:
                    buckets.setdefault(
                        start + (time - start) // (minutes * MINUTE) * minutes * MINUTE, []
                    ).append(value)
            expected = [(time, reduced(function, chunk)) for time, chunk in sorted(buckets.items())]
            expected = [record for record in expected if record[1] is not None][:most]
            assert found.get((asset, f"{function}({point})"), []) == expected


def test_an_average_is_a_double() -> None:
    ((_, value),) = ask(spread("a", "p", [1, 2], step=MINUTE), Span(0, 10 * MINUTE), "avg(p)", 10)[
        "a", "avg(p)"
    ]
    assert isinstance(value, float) and math.isclose(value, 1.5)

"""Changes of state, durations, latest values and dead points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redrive.services.timeseries.reads import walking
from redrive.services.timeseries.reads.conditions import (
    ChangeQuery,
    DurationQuery,
    read_changes,
    read_durations,
)
from redrive.services.timeseries.reads.filters import Comparison, holds
from redrive.services.timeseries.reads.frame import Series
from redrive.services.timeseries.reads.newest import Condition, Watch, check_dead, read_latest
from redrive.services.timeseries.reads.selection import Selection
from redrive.services.timeseries.reads.spans import Span
from redrive.services.timeseries.reads.states import LOOK_BACK_MS, UNKNOWN
from tests.timeseries.reads_scene import Sample, instant, reader_of, records_of, spread
from tests.timeseries.test_reads_samples import plain

DAY = 86_400_000


def changes(samples: Sequence[Sample], start: int, end: int, **query: Any) -> list[tuple[int, Any]]:
    wanted = ChangeQuery(Selection(("a",), ("p",)), Span(start, end), query.pop("most", 1000), **query)
    return records_of(read_changes(reader_of(samples), wanted)).get(("a", "p"), [])


def lasted(
    samples: Sequence[Sample], start: int, end: int, now: int = 10**13, **query: Any
) -> dict[Any, int]:
    wanted = DurationQuery(Selection(("a",), ("p",)), Span(start, end), query.pop("most", 1000), **query)
    (found,) = read_durations(reader_of(samples, now=now), wanted)
    return {one.state: one.milliseconds for one in found.durations}


def test_only_changes_come_back_as_in_the_vendors_example() -> None:
    clock = ["10:01:14", "10:01:30", "10:03:45", "10:12:23", "10:13:34", "10:15:24", "10:17:25"]
    samples = [
        Sample("a", "p", instant(f"2020-03-01T{time}Z"), state)
        for time, state in zip(clock, [0, 0, 0, 1, 0, 1, 1], strict=True)
    ]
    found = changes(samples, instant("2020-03-01T10:00:00Z"), instant("2020-03-01T11:00:00Z"))
    expected = [("10:01:14", 0), ("10:12:23", 1), ("10:13:34", 0), ("10:15:24", 1)]
    assert found == [(instant(f"2020-03-01T{time}Z"), state) for time, state in expected]


def test_the_state_before_the_span_is_told_only_when_asked_for() -> None:
    samples = [Sample("a", "p", 1000, 1), Sample("a", "p", 5000, 1), Sample("a", "p", 6000, 0)]
    assert changes(samples, 3000, 9000) == [(5000, 1), (6000, 0)]
    assert changes(samples, 3000, 9000, look_back=True) == [(3000, 1), (6000, 0)]


def test_a_record_at_the_very_start_is_the_state_there() -> None:
    samples = [Sample("a", "p", 1000, 1, seq=7), Sample("a", "p", 3000, 2, seq=1)]
    assert changes(samples, 3000, 9000, look_back=True) == [(3000, 2)]


def test_the_look_back_ends_after_thirty_days() -> None:
    start = 100 * DAY
    just, gone = start - LOOK_BACK_MS, start - LOOK_BACK_MS - 1
    assert changes([Sample("a", "p", just, 1)], start, start + 1, look_back=True) == [(start, 1)]
    assert changes([Sample("a", "p", gone, 1)], start, start + 1, look_back=True) == []


def test_one_and_true_and_one_point_zero_are_the_same_state() -> None:
    assert changes(
        spread("a", "p", [1, 1.0, True, "1", "1", 2**60, 2**60 + 1, {"a": 1}, {"a": 1}]), 0, 10**6
    ) == [
        (0, 1),
        (3000, "1"),
        (5000, 2**60),
        (6000, 2**60 + 1),
        (7000, {"a": 1}),
    ]


def test_a_state_lasts_until_the_next_one_and_before_the_first_it_is_unknown() -> None:
    samples = [Sample("a", "p", 1000, 0), Sample("a", "p", 3000, 1), Sample("a", "p", 4000, 0)]
    assert lasted(samples, 0, 10_000) == {0: 8000, 1: 1000, UNKNOWN: 1000}
    assert list(lasted(samples, 0, 10_000)) == [0, 1, UNKNOWN]
    assert lasted(samples, 2000, 3500) == {0: 1000, 1: 500}
    assert lasted([], 0, 10_000) == {UNKNOWN: 10_000}


def test_states_and_unknown_can_be_left_out() -> None:
    samples = spread("a", "p", [0, 1, 2.5, "stop"], start=1000)
    assert lasted(samples, 0, 9000, states=("1", "2.5"), with_unknown=False) == {1: 1000, 2.5: 1000}
    assert lasted(samples, 0, 9000, states=("stop",)) == {"stop": 5000, UNKNOWN: 1000}


def test_nothing_lasts_into_the_future() -> None:
    samples = [Sample("a", "p", 1000, 5)]
    assert lasted(samples, 0, 9000, now=4000) == {5: 3000, UNKNOWN: 1000}
    assert lasted(samples, 5000, 9000, now=4000) == {}


def test_a_scan_that_is_full_ends_with_its_last_record() -> None:
    wanted = DurationQuery(Selection(("a",), ("p",)), Span(0, 100_000), 3)
    (found,) = read_durations(reader_of(spread("a", "p", [0, 1, 0, 1, 1])), wanted)
    assert found.scanned_to_ms == 2000
    assert {one.state: one.milliseconds for one in found.durations} == {0: 1000, 1: 1000}


states = st.sampled_from([0, 1, 1.0, True, 2, "x", "y", 2**60])
histories = st.lists(
    st.builds(
        Sample,
        st.just("a"),
        st.just("p"),
        st.integers(0, 60).map(lambda t: t * DAY),
        states,
        st.none(),
        st.integers(1, 3),
    ),
    max_size=30,
    unique_by=lambda one: (one.time, one.seq),
)


@settings(max_examples=150, deadline=None)
@given(histories, st.integers(0, 60), st.integers(1, 40), st.booleans())
def test_changes_and_durations_equal_the_plain_computation(
    samples: list[Sample], begin: int, days: int, look_back: bool
) -> None:
    start, end = begin * DAY, (begin + days) * DAY
    records = plain(samples, "a", "p", False)
    before = [record for record in records if start - LOOK_BACK_MS <= record[0] < start][-1:]
    inside = [record for record in records if start <= record[0] < end]
    known = [(start, value) for _, value in before if not inside or inside[0][0] != start] + inside
    first = known if look_back else inside
    expected = [one for place, one in enumerate(first) if place == 0 or first[place - 1][1] != one[1]]
    totals: dict[Any, int] = {}
    for place, (time, value) in enumerate(known):
        until = known[place + 1][0] if place + 1 < len(known) else end
        totals[value] = totals.get(value, 0) + until - time
    unknown = (known[0][0] if known else end) - start
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walking, "PIECE_ROWS", 3)
        patch.setattr(walking, "FIRST_ROWS", 3)
        assert changes(samples, start, end, look_back=look_back) == expected
        found = lasted(samples, start, end)
    assert found == {**totals, **({UNKNOWN: unknown} if unknown else {})}


@pytest.mark.parametrize(
    ("value", "how", "operands", "expected"),
    [
        (1.5, Comparison.EQUAL, ["1.50"], True),
        (2**60 + 1, Comparison.EQUAL, [str(2**60)], False),
        (2**60 + 1, Comparison.GREATER, [str(2**60)], True),
        (True, Comparison.EQUAL, ["true"], True),
        (1, Comparison.EQUAL, ["TRUE"], True),
        ("open", Comparison.EQUAL, ["open"], True),
        ("open", Comparison.AMONG, ["shut", "open"], True),
        ("open", Comparison.NOT_EQUAL, ["1"], True),
        (1, Comparison.NOT_EQUAL, ["open"], True),
        (1, Comparison.GREATER, ["open"], False),
        ("b", Comparison.GREATER, ["a"], True),
        (5, Comparison.BETWEEN, ["5", "5"], True),
        (5, Comparison.BETWEEN, ["5.1", "6"], False),
        (5, Comparison.AT_LEAST, ["5"], True),
        (5, Comparison.AT_MOST, ["4.9"], False),
        (5, Comparison.LESS, ["5"], False),
        ({"a": 1}, Comparison.EQUAL, ["1"], False),
        (1.0, Comparison.EQUAL, ["nan"], False),
        (1.0, Comparison.LESS, ["1e999"], False),
    ],
)
def test_a_value_is_compared_with_what_was_written(
    value: Any, how: Comparison, operands: list[str], expected: bool
) -> None:
    assert holds(value, how, operands) is expected


def test_latest_values_can_be_bounded_by_age_and_condition() -> None:
    now = 10 * DAY
    samples = [
        Sample("a", "p", now - 60_000, 5),
        Sample("b", "p", now - 60_001, 6),
        Sample("c", "p", now, "x"),
    ]
    reader = reader_of(samples, now=now)
    selection = Selection(("a", "b", "c", "d"), ("p",))
    assert len(read_latest(reader, selection)) == 3
    assert list(records_of(read_latest(reader, selection, window_minutes=1))) == [("a", "p"), ("c", "p")]
    assert list(records_of(read_latest(reader, selection, window_minutes=0))) == [("c", "p")]
    condition = Condition(Comparison.BETWEEN, ("5.5", "7"))
    assert records_of(read_latest(reader, selection, condition=condition)) == {
        ("b", "p"): [(now - 60_001, 6)]
    }


def test_a_point_is_dead_when_its_last_change_is_older_than_the_interval() -> None:
    reader = reader_of([Sample("a", "p", 1000, 1), Sample("b", "p", 5000, 2.5)], now=6000)
    watches = [Watch(Series(asset, "p"), 2000) for asset in ("b", "a", "none")] + [
        Watch(Series("a", "p"), 5000)
    ]
    found = check_dead(reader, watches)
    assert [(one.series.asset, one.duration_ms, one.dead, one.value, one.changed_ms) for one in found] == [
        ("b", 1000, False, 2.5, 5000),
        ("a", 5000, True, 1, 1000),
        ("a", 5000, False, 1, 1000),
    ]

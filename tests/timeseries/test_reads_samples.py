"""Samples of spans: order, limits, boundaries, minutes; against plain reference computations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redrive.services.timeseries.assets import StorageType
from redrive.services.timeseries.reads import walking
from redrive.services.timeseries.reads.interpolation import Interpolation
from redrive.services.timeseries.reads.samples import Boundary, SampleQuery, read_samples
from redrive.services.timeseries.reads.selection import ANY, STANDARD, Selection
from redrive.services.timeseries.reads.spans import Span
from tests.timeseries.reads_scene import PlainSource, Sample, reader_of, records_of, spread

MINUTE = 60_000


def ask(
    samples: Sequence[Sample],
    start: int,
    end: int,
    *,
    assets: str = "a",
    points: str = "p",
    most: int = 1000,
    catalog: dict[str, Any] | None = None,
    types: frozenset[StorageType] = STANDARD,
    **query: Any,
) -> dict[tuple[str, str], list[tuple[int, Any]]]:
    selection = Selection(tuple(assets.split(",")), tuple(points.split(",")))
    wanted = SampleQuery(selection, types, Span(start, end), most, **query)
    return records_of(read_samples(reader_of(samples, **(catalog or {})), wanted))


def test_a_span_has_its_start_and_not_its_end() -> None:
    found = ask(spread("a", "p", [1, 2, 3, 4]), 1000, 3000)
    assert found == {("a", "p"): [(1000, 2), (2000, 3)]}


def test_of_samples_of_one_time_the_last_accepted_counts() -> None:
    samples = [Sample("a", "p", 5, "new", seq=9), Sample("a", "p", 5, "old", seq=3)]
    assert ask(samples, 0, 10) == {("a", "p"): [(5, "new")]}


def test_series_come_by_asset_and_point_as_asked() -> None:
    samples = [Sample(asset, point, 1, 0) for asset in "ab" for point in "pq"]
    found = ask(samples, 0, 10, assets="b,a", points="q,p")
    assert list(found) == [("b", "q"), ("b", "p"), ("a", "q"), ("a", "p")]


def test_the_limit_counts_per_series_from_the_start_or_back_from_the_end() -> None:
    samples = spread("a", "p", range(5)) + spread("a", "q", range(2))
    assert ask(samples, 0, 9000, points="p,q", most=3) == {
        ("a", "p"): [(0, 0), (1000, 1), (2000, 2)],
        ("a", "q"): [(0, 0), (1000, 1)],
    }
    assert ask(samples, 0, 9000, points="p,q", most=3, descending=True) == {
        ("a", "p"): [(4000, 4), (3000, 3), (2000, 2)],
        ("a", "q"): [(1000, 1), (0, 0)],
    }


def test_values_come_back_as_they_were_given() -> None:
    values = [1.5, 7, 2**53 + 1, -(10**30), True, False, "text", {"a": [1, None]}, [2**70], 0.1 + 0.2]
    found = ask(spread("a", "p", values), 0, 10**6)
    read = [value for _, value in found["a", "p"]]
    assert read == values
    assert [type(value) for value in read] == [type(value) for value in values]


def test_a_point_without_the_type_of_the_call_gives_nothing() -> None:
    samples = spread("a", "p", [1]) + spread("a", "q", [2])
    types = {"p": frozenset({StorageType.DI}), "q": frozenset({StorageType.AI_RAW, StorageType.DI})}
    found = ask(samples, 0, 10, points="p,q", catalog={"types": types}, types=frozenset({StorageType.AI_RAW}))
    assert found == {("a", "q"): [(0, 2)]}


def test_a_point_kept_by_the_minute_has_one_record_a_minute_the_last_to_arrive() -> None:
    samples = [
        Sample("a", "p", 10_000, 1, seq=5),
        Sample("a", "p", 59_999, 2, seq=4),
        Sample("a", "p", 70_000, 3, seq=6),
        Sample("a", "p", 80_000, 4, seq=6),
    ]
    types = {"p": frozenset({StorageType.AI_NORMALIZED})}
    assert ask(samples, 0, 10 * MINUTE, catalog={"types": types}) == {("a", "p"): [(0, 1), (MINUTE, 4)]}
    both = {"p": frozenset({StorageType.AI_NORMALIZED, StorageType.AI_RAW})}
    assert len(ask(samples, 0, 10 * MINUTE, catalog={"types": both})["a", "p"]) == 4


def test_minutes_belong_to_a_span_by_their_cut_times() -> None:
    types = {"p": frozenset({StorageType.PI})}
    samples = [Sample("a", "p", 30_000, 1), Sample("a", "p", 90_000, 2), Sample("a", "p", 150_000, 3)]
    assert ask(samples, 10_000, 130_000, catalog={"types": types}) == {
        ("a", "p"): [(MINUTE, 2), (2 * MINUTE, 3)]
    }


def test_outside_adds_the_neighbours_of_both_ends_however_far() -> None:
    far = 400 * 86_400_000
    samples = [Sample("a", "p", time, time) for time in (0, far, far + 5, 2 * far)]
    asked = {"boundary": Boundary.OUTSIDE}
    found = ask(samples, far, far + 3, **asked)
    assert [time for time, _ in found["a", "p"]] == [0, far, far + 5]
    assert [time for time, _ in ask(samples, 1, 2, **asked)["a", "p"]] == [0, far]
    assert ask(samples, far, far + 3, points="q", **asked) == {}


def test_outside_counts_the_neighbours_and_leaves_out_the_far_end_of_a_cut_answer() -> None:
    samples = spread("a", "p", range(10))
    found = ask(samples, 2000, 8000, most=3, boundary=Boundary.OUTSIDE)
    assert [time for time, _ in found["a", "p"]] == [1000, 2000, 3000]
    found = ask(samples, 2000, 8000, most=3, boundary=Boundary.OUTSIDE, descending=True)
    assert [time for time, _ in found["a", "p"]] == [8000, 7000, 6000]


def test_interpolated_adds_values_at_both_ends_where_no_sample_lies() -> None:
    samples = [Sample("a", "p", 0, 0.0), Sample("a", "p", 2000, 20.0), Sample("a", "p", 4000, 0.0)]
    asked = {"boundary": Boundary.INTERPOLATED}
    assert ask(samples, 1000, 3000, **asked) == {("a", "p"): [(1000, 10.0), (2000, 20.0), (3000, 10.0)]}
    assert ask(samples, 2000, 4000, **asked) == {("a", "p"): [(2000, 20.0), (4000, 0.0)]}
    assert ask(samples, 3000, 5000, **asked) == {("a", "p"): [(3000, 10.0), (4000, 0.0), (5000, None)]}
    found = ask(samples, 1000, 3000, descending=True, **asked)
    assert found == {("a", "p"): [(3000, 10.0), (2000, 20.0), (1000, 10.0)]}
    previous = ask(samples, 1000, 3000, interpolation=Interpolation.PREVIOUS, **asked)
    assert previous == {("a", "p"): [(1000, 0.0), (2000, 20.0), (3000, 20.0)]}


def test_interpolated_does_not_claim_an_end_that_a_cut_answer_does_not_reach() -> None:
    samples = spread("a", "p", range(10))
    found = ask(samples, 500, 8500, most=3, boundary=Boundary.INTERPOLATED)
    assert found == {("a", "p"): [(500, 1), (1000, 1), (2000, 2)]}
    found = ask(samples, 500, 8500, most=3, boundary=Boundary.INTERPOLATED, descending=True)
    assert [time for time, _ in found["a", "p"]] == [8500, 8000, 7000]


def test_sample_gives_values_on_a_grid_instead_of_the_samples() -> None:
    samples = [Sample("a", "p", 0, 0.0), Sample("a", "p", 10_000, 10.0)]
    asked: dict[str, Any] = {"boundary": Boundary.SAMPLE, "step_ms": 4000}
    assert ask(samples, 1000, 14_000, **asked) == {
        ("a", "p"): [(1000, 1.0), (5000, 5.0), (9000, 9.0), (13_000, None)]
    }
    assert ask(samples, 1000, 14_000, most=2, **asked) == {("a", "p"): [(1000, 1.0), (5000, 5.0)]}
    assert ask(samples, 1000, 14_000, most=2, descending=True, **asked) == {
        ("a", "p"): [(13_000, None), (9000, 9.0)]
    }
    assert ask([], 1000, 14_000, **asked) == {}


def test_boundaries_leave_unformatted_points_as_they_are() -> None:
    types = {"u": frozenset({StorageType.UNFORMATTED})}
    samples = [Sample("a", "u", time, "x") for time in (0, 5, 9)]
    for boundary in Boundary:
        found = ask(
            samples, 3, 7, points="u", catalog={"types": types}, types=ANY, boundary=boundary, step_ms=1
        )
        assert found == {("a", "u"): [(5, "x")]}


def test_whole_numbers_between_whole_numbers_are_rounded_half_away_from_zero() -> None:
    samples = [Sample("a", "p", 0, 0), Sample("a", "p", 4, 2), Sample("a", "p", 8, -3)]
    found = ask(samples, 1, 8, boundary=Boundary.SAMPLE, step_ms=1)
    assert [value for _, value in found["a", "p"]] == [1, 1, 2, 2, 1, -1, -2]


def test_texts_and_states_are_not_on_a_line() -> None:
    for values in (["a", "b"], [True, False], [1, "x"]):
        found = ask(spread("a", "p", values, step=10), 0, 20, boundary=Boundary.SAMPLE, step_ms=5)
        assert [value for _, value in found["a", "p"]] == [values[0], None, values[1], None]


def test_a_small_answer_of_a_long_span_reads_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walking, "PIECE_ROWS", 400)
    monkeypatch.setattr(walking, "FIRST_ROWS", 400)
    reader = reader_of(spread("a", "p", range(20_000)))
    query = SampleQuery(Selection(("a",), ("p",)), STANDARD, Span(0, 20_000_000), 10)
    assert len(read_samples(reader, query)) == 10
    assert isinstance(reader.source, PlainSource)
    assert reader.source.rows_read <= 1000


times = st.integers(0, 40).map(lambda step: step * 20_000)
some_samples = st.lists(
    st.builds(
        Sample,
        st.sampled_from("ab"),
        st.sampled_from("pq"),
        times,
        st.one_of(st.integers(-5, 5), st.floats(-9, 9), st.sampled_from(["x", True, 2**60])),
        st.none(),
        st.integers(1, 5),
    ),
    max_size=40,
    unique_by=lambda one: (one.asset, one.point, one.time, one.seq),
)


def plain(samples: Sequence[Sample], asset: str, point: str, by_minute: bool) -> list[tuple[int, Any]]:
    """The records of a series, computed one by one."""
    kept: dict[int, Sample] = {}
    for one in sorted(samples, key=lambda sample: (sample.seq, sample.time)):
        if (one.asset, one.point) == (asset, point):
            kept[one.time] = one
    if by_minute:
        arrived = sorted(kept.values(), key=lambda sample: (sample.seq, sample.time))
        kept = {one.time // MINUTE * MINUTE: one for one in arrived}
    return sorted((time, one.value) for time, one in kept.items())


def on_line(records: list[tuple[int, Any]], time: int, method: str) -> Any:
    """The value at a time, as the vendor's page words it."""
    for at, value in records:
        if at == time:
            return value
    before = [record for record in records if record[0] < time]
    after = [record for record in records if record[0] > time]
    if method == "previous":
        return before[-1][1] if before else None
    if method == "after":
        return after[0][1] if after else None
    if method == "near":
        candidates = [*before[-1:], *after[:1]]
        return min(candidates, key=lambda record: abs(record[0] - time))[1] if candidates else None
    if not before or not after:
        return None
    (t0, v0), (t1, v1) = before[-1], after[0]
    if any(isinstance(value, bool | str) for value in (v0, v1)):
        return None
    line = v0 + (v1 - v0) * (time - t0) / (t1 - t0)
    if isinstance(v0, int) and isinstance(v1, int) and abs(line) < 2**50:
        return int(math.copysign(math.floor(abs(line) + 0.5), line))
    return pytest.approx(line, rel=1e-9, abs=1e-9)


@settings(max_examples=150, deadline=None)
@given(some_samples, times, times, st.integers(1, 8), st.booleans(), st.booleans(), st.sampled_from(Boundary))
def test_every_boundary_equals_the_plain_computation(
    samples: list[Sample],
    one: int,
    other: int,
    most: int,
    descending: bool,
    by_minute: bool,
    boundary: Boundary,
) -> None:
    start, end = min(one, other), max(one, other) + 20_000
    if by_minute:
        start, end = start // MINUTE * MINUTE, -(-end // MINUTE) * MINUTE
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walking, "PIECE_ROWS", 3)
        patch.setattr(walking, "FIRST_ROWS", 3)
        found = ask(
            samples,
            start,
            end,
            assets="a,b",
            points="p,q",
            most=most,
            descending=descending,
            boundary=boundary,
            step_ms=50_000,
            by_minute=by_minute,
        )
    for asset in "ab":
        for point in "pq":
            records = plain(samples, asset, point, by_minute)
            expected = expected_records(records, start, end, most, descending, boundary)
            assert found.get((asset, point), []) == expected


def expected_records(
    records: list[tuple[int, Any]], start: int, end: int, most: int, descending: bool, boundary: Boundary
) -> list[tuple[int, Any]]:
    inside = [record for record in records if start <= record[0] < end]
    before = [record for record in records if record[0] < start][-1:]
    after = [record for record in records if record[0] >= end][:1]
    full = len(inside) > most
    if boundary is Boundary.OUTSIDE:
        inside = before + inside + after
    elif boundary is Boundary.INTERPOLATED and (before or inside or after):
        first = [] if inside and inside[0][0] == start else [(start, on_line(records, start, "linear"))]
        last = [(end, on_line(records, end, "linear"))]
        assert not full or most <= len(inside)
        inside = first + inside + last
    elif boundary is Boundary.SAMPLE:
        near = before or inside or after
        grid = range(start, end, 50_000)
        inside = [(time, on_line(records, time, "linear")) for time in grid] if near else []
    return inside[::-1][:most] if descending else inside[:most]


@settings(max_examples=60, deadline=None)
@given(some_samples, st.sampled_from(Interpolation), st.integers(1, 90_000))
def test_every_interpolation_equals_the_plain_computation(
    samples: list[Sample], method: Interpolation, step: int
) -> None:
    step = max(step, 10_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walking, "PIECE_ROWS", 3)
        patch.setattr(walking, "FIRST_ROWS", 3)
        found = ask(samples, 100_000, 500_000, boundary=Boundary.SAMPLE, step_ms=step, interpolation=method)
    records = plain(samples, "a", "p", False)
    expected = [(time, on_line(records, time, method.value)) for time in range(100_000, 500_000, step)]
    assert found.get(("a", "p"), []) == (expected if records else [])

"""Local clocks: gaps, folds, text, buckets."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redrive.services.timeseries.reads.buckets import grid_of
from redrive.services.timeseries.reads.localtime import local_texts, offset_text
from redrive.services.timeseries.reads.spans import Span
from redrive.services.timeseries.reads.zones import is_zone, midnight_before, offsets_between, to_instant
from tests.timeseries.reads_scene import instant

ZONES = ["America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kathmandu", "UTC", "+08:00"]
HOUR = 3_600_000


def wall(text: str) -> int:
    """A reading of a clock, in milliseconds as if it were UTC."""
    return instant(text + "+00:00")


def test_a_reading_that_never_was_is_the_change_of_the_clock() -> None:
    change = instant("2024-03-10T03:00:00-04:00")
    for text in ("2024-03-10T02:00:00", "2024-03-10T02:30:00", "2024-03-10T03:00:00"):
        assert to_instant("America/New_York", wall(text)) == change
    assert to_instant("America/New_York", wall("2024-03-10T01:59:59")) == change - 1000


def test_a_reading_that_was_twice_is_its_first_occurrence() -> None:
    assert to_instant("America/New_York", wall("2024-11-03T01:30:00")) == instant("2024-11-03T01:30:00-04:00")
    assert to_instant("America/New_York", wall("2024-11-03T02:00:00")) == instant("2024-11-03T02:00:00-05:00")


def test_adjacent_spans_around_both_changes_meet() -> None:
    for day in ("2024-03-10", "2024-11-03"):
        edges = [wall(f"{day}T00:00:00") + step * HOUR // 2 for step in range(12)]
        spans = [Span(low, high, local=True).on("America/New_York") for low, high in pairwise(edges)]
        assert all(one[1] == following[0] for one, following in pairwise(spans))
        assert all(low <= high for low, high in spans)


def test_fixed_offsets_are_zones_too() -> None:
    assert to_instant("+08:00", wall("2020-04-20T00:00:00")) == 1_587_312_000_000
    assert to_instant("-05:30", wall("2020-04-20T00:00:00")) == instant("2020-04-20T00:00:00-05:30")
    assert (
        is_zone("+08:00")
        and is_zone("Europe/Berlin")
        and not is_zone("Europe/Nowhere")
        and not is_zone("../x")
    )


def test_texts_show_the_devices_clock() -> None:
    instants = np.array([1_587_312_003_000, 1_587_312_003_045])
    options = {"with_zone": False, "with_millis": False}
    assert local_texts(instants, "Asia/Shanghai", **options) == ["2020-04-20 00:00:03"] * 2
    assert local_texts(instants, "Asia/Shanghai", with_zone=True, with_millis=True) == [
        "2020-04-20T00:00:03+08:00",
        "2020-04-20T00:00:03.045+08:00",
    ]
    assert (
        local_texts(instants, "Asia/Shanghai", with_zone=False, with_millis=True)[1]
        == "2020-04-20 00:00:03.045"
    )


def test_texts_tell_the_two_hours_of_a_fold_apart_by_the_zone() -> None:
    first = instant("2024-11-03T01:30:00-04:00")
    texts = local_texts(
        np.array([first, first + HOUR]), "America/New_York", with_zone=True, with_millis=False
    )
    assert texts == ["2024-11-03T01:30:00-04:00", "2024-11-03T01:30:00-05:00"]


def test_offsets_are_written_with_sign_and_minutes() -> None:
    assert offset_text(0) == "+00:00"
    assert offset_text(-(3 * 60 + 30) * 60_000) == "-03:30"
    assert offset_text(int(5.75 * HOUR)) == "+05:45"


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(ZONES), st.integers(0, 4_000_000_000_000))
def test_instants_become_readings_as_the_standard_library_says(zone: str, at: int) -> None:
    info = ZoneInfo("Etc/GMT-8" if zone.startswith("+") else zone)
    (text,) = local_texts(np.array([at]), zone, with_zone=True, with_millis=False)
    assert text == datetime.fromtimestamp(at // 1000, UTC).astimezone(info).isoformat()


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(ZONES), st.integers(0, 4_000_000_000), st.integers(0, 30 * 86_400))
def test_readings_become_the_first_instant_that_shows_them_or_more(
    zone: str, second: int, later: int
) -> None:
    offsets = offsets_between(zone, second * 1000, (second + later) * 1000)
    readings = np.array([second * 1000, (second + later) * 1000])
    found = offsets.to_instants(readings)
    assert found[0] <= found[1]
    shown = offsets.to_wall(found)
    assert (shown >= readings).all()
    before = offsets.to_wall(found - 1000)
    assert (before < readings).all()


def test_midnight_is_the_begin_of_the_local_day() -> None:
    noon = instant("2024-03-10T12:00:00-04:00")
    assert midnight_before("America/New_York", noon) == instant("2024-03-10T00:00:00-05:00")
    assert midnight_before("+08:00", 1_590_076_800_000) == 1_590_076_800_000
    # Cuba sets its clock forward at midnight: the day begins at 01:00.
    havana = instant("2024-03-10T12:00:00-04:00")
    assert midnight_before("America/Havana", havana) == instant("2024-03-10T01:00:00-04:00")


def test_days_asked_with_local_times_are_local_days_across_a_change() -> None:
    span = Span(wall("2024-03-09T00:00:00"), wall("2024-03-12T00:00:00"), local=True)
    grid = grid_of(span, "America/New_York", 24 * HOUR)
    edges = [grid.start]
    while edges[-1] < grid.end:
        edges.append(grid.next_edge(edges[-1] + 1))
    assert np.diff(edges).tolist() == [24 * HOUR, 23 * HOUR, 24 * HOUR]
    late = instant("2024-03-11T23:30:00-04:00")
    assert grid.begin_of(np.array([late])).tolist() == [instant("2024-03-11T00:00:00-04:00")]


def test_hours_and_less_are_elapsed_time() -> None:
    span = Span(wall("2024-11-03T00:00:00"), wall("2024-11-03T04:00:00"), local=True)
    grid = grid_of(span, "America/New_York", HOUR)
    second_half_past_one = instant("2024-11-03T01:30:00-05:00")
    assert grid.begin_of(np.array([second_half_past_one])).tolist() == [instant("2024-11-03T01:00:00-05:00")]
    assert grid_of(Span(0, 10 * HOUR), "America/New_York", 5 * HOUR).zone is None


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(ZONES),
    st.sampled_from(
        ["2024-03-09T22:30:00", "2024-11-02T23:10:00", "2024-04-06T20:00:00", "2024-10-05T20:00:00"]
    ),
    st.integers(61, 1440),
    st.integers(0, 3 * 24 * 60),
)
def test_buckets_by_the_clock_are_those_between_its_readings(
    zone: str, day: str, step: int, minute: int
) -> None:
    """Compared with all edges of the span, found one by one."""
    span = Span(wall(day), wall(day) + 4 * 24 * HOUR, local=True)
    grid = grid_of(span, zone, step * 60_000)
    edges = [to_instant(zone, reading) for reading in range(span.start, span.end, step * 60_000)]
    at = min(grid.start + minute * 60_000, grid.end - 1)
    assert grid.begin_of(np.array([at])).tolist() == [max(edge for edge in edges if edge <= at)]
    assert grid.next_edge(at) == min([edge for edge in edges if edge >= at] + [grid.end])


@pytest.mark.parametrize(("at", "edge"), [(0, 0), (1, 600_000), (600_000, 600_000), (900_001, 1_000_000)])
def test_the_next_edge_is_at_or_after_an_instant_and_never_behind_the_end(at: int, edge: int) -> None:
    assert grid_of(Span(0, 1_000_000), "UTC", 600_000).next_edge(at) == edge

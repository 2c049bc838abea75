from __future__ import annotations

import json
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redrive.services.timeseries.boxes import Box, Points, subtract_all

ASSETS = ("a", "b", "c")
POINTS = ("p", "q", "r", "never-named")
TIMES = range(-1, 7)
EVERYWHERE = list(product(ASSETS, POINTS, TIMES))

some_points = st.builds(Points, st.frozensets(st.sampled_from(POINTS[:3])), st.booleans()).filter(
    lambda points: not points.is_none
)
boxes = st.builds(
    lambda assets, points, start, length: Box(assets, points, start, start + length),
    st.frozensets(st.sampled_from(ASSETS), min_size=1),
    some_points,
    st.integers(0, 4),
    st.integers(1, 4),
)


def inside(box: Box | None) -> set[tuple[str, str, int]]:
    return set() if box is None else {sample for sample in EVERYWHERE if box.contains(*sample)}


@given(boxes, boxes)
def test_an_intersection_holds_what_both_hold(one: Box, other: Box) -> None:
    assert inside(one.intersection(other)) == inside(one) & inside(other)
    if not one.intersects(other):
        assert not inside(one) & inside(other)


@given(boxes, boxes)
def test_subtraction_and_intersection_partition_the_box(one: Box, other: Box) -> None:
    pieces = [*one.subtract(other)]
    common = one.intersection(other)
    if common is not None:
        pieces.append(common)
    held = [sample for piece in pieces for sample in inside(piece)]
    assert len(held) == len(set(held)), "the pieces are disjoint"
    assert set(held) == inside(one)


@given(boxes, st.lists(boxes, max_size=4))
def test_many_boxes_can_be_taken_away(one: Box, others: list[Box]) -> None:
    left = [sample for piece in subtract_all([one], others) for sample in inside(piece)]
    taken = set().union(*(inside(other) for other in others))
    assert sorted(left) == sorted(inside(one) - taken)


@given(boxes)
def test_a_box_survives_json(box: Box) -> None:
    assert Box.from_json(json.loads(json.dumps(box.to_json()))) == box


def test_a_box_is_never_empty() -> None:
    for assets, points, start, end in (
        (frozenset(), Points.all(), 0, 1),
        (frozenset("a"), Points.only(()), 0, 1),
        (frozenset("a"), Points.all(), 1, 1),
    ):
        with pytest.raises(ValueError, match="empty"):
            Box(assets, points, start, end)

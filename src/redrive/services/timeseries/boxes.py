"""Boxes of samples: assets by points by a span of time. Deletions, holds and reads are made of them.

Guarantees: a box is never empty; spans are half-open ``[start_ms, end_ms)`` in epoch milliseconds (edges that
are inclusive add one millisecond); the pieces of ``subtract`` are disjoint and together with the intersection
are exactly the box.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Points:
    """A set of point names: the names themselves, or all names but those (``excluded``)."""

    names: frozenset[str]
    excluded: bool = False

    @classmethod
    def all(cls) -> Points:
        """Every point, also those that nobody has seen yet."""
        return cls(frozenset(), excluded=True)

    @classmethod
    def only(cls, names: Iterable[str]) -> Points:
        """Exactly these points."""
        return cls(frozenset(names))

    @classmethod
    def but(cls, names: Iterable[str]) -> Points:
        """Every point but these."""
        return cls(frozenset(names), excluded=True)

    @property
    def is_all(self) -> bool:
        """Whether every name is in."""
        return self.excluded and not self.names

    @property
    def is_none(self) -> bool:
        """Whether no name is in."""
        return not self.excluded and not self.names

    def __contains__(self, name: str) -> bool:
        return (name in self.names) != self.excluded

    def __and__(self, other: Points) -> Points:
        if self.excluded and other.excluded:
            return Points(self.names | other.names, excluded=True)
        if self.excluded:
            return Points(other.names - self.names)
        if other.excluded:
            return Points(self.names - other.names)
        return Points(self.names & other.names)

    def __sub__(self, other: Points) -> Points:
        return self & Points(other.names, excluded=not other.excluded)

    def to_json(self) -> dict[str, Any]:
        """Return ``{"only": [...]}`` or ``{"but": [...]}``, names in order."""
        return {"but" if self.excluded else "only": sorted(self.names)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Points:
        """Return what ``to_json`` gave."""
        if "but" in data:
            return cls.but(data["but"])
        return cls.only(data["only"])


@dataclass(frozen=True, slots=True)
class Box:
    """The samples of ``assets`` at ``points`` with ``start_ms <= time < end_ms``."""

    assets: frozenset[str]
    points: Points
    start_ms: int
    end_ms: int

    def __post_init__(self) -> None:
        if not self.assets or self.points.is_none or self.start_ms >= self.end_ms:
            raise ValueError("an empty box")

    def contains(self, asset: str, point: str, time_ms: int) -> bool:
        """Return whether the sample of that asset, point and time lies in the box."""
        return asset in self.assets and point in self.points and self.start_ms <= time_ms < self.end_ms

    def intersection(self, other: Box) -> Box | None:
        """Return what both have, None where that is nothing."""
        return _box(
            self.assets & other.assets,
            self.points & other.points,
            max(self.start_ms, other.start_ms),
            min(self.end_ms, other.end_ms),
        )

    def intersects(self, other: Box) -> bool:
        """Return whether the two have anything in common."""
        return self.intersection(other) is not None

    def subtract(self, other: Box) -> list[Box]:
        """Return this box without ``other``, as disjoint boxes."""
        common = self.intersection(other)
        if common is None:
            return [self]
        pieces = (
            _box(self.assets - common.assets, self.points, self.start_ms, self.end_ms),
            _box(common.assets, self.points - common.points, self.start_ms, self.end_ms),
            _box(common.assets, common.points, self.start_ms, common.start_ms),
            _box(common.assets, common.points, common.end_ms, self.end_ms),
        )
        return [piece for piece in pieces if piece is not None]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; the same box gives the same text."""
        return {
            "assets": sorted(self.assets),
            "points": self.points.to_json(),
            "start_ms": self.start_ms,
            "end_ms": self.end_ms,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Box:
        """Return what ``to_json`` gave."""
        return cls(
            frozenset(data["assets"]),
            Points.from_json(data["points"]),
            int(data["start_ms"]),
            int(data["end_ms"]),
        )


def subtract_all(boxes: Iterable[Box], others: Iterable[Box]) -> list[Box]:
    """Return ``boxes`` without any of ``others``; disjoint where ``boxes`` are."""
    left = list(boxes)
    for other in others:
        left = [piece for box in left for piece in box.subtract(other)]
    return left


def _box(assets: frozenset[str], points: Points, start_ms: int, end_ms: int) -> Box | None:
    if not assets or points.is_none or start_ms >= end_ms:
        return None
    return Box(assets, points, start_ms, end_ms)

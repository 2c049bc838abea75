"""Comparisons of a stored value with values that a caller wrote as text.

A number is compared with numbers, exactly (``true`` and ``false`` are 1 and 0, also as the stored value); a
text with texts, by code points. Where the two are of different types nothing is equal, less or greater, so
only ``NOT_EQUAL`` holds. ``BETWEEN`` includes both ends.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any


class Comparison(StrEnum):
    """How a value is compared."""

    EQUAL = "equal"
    NOT_EQUAL = "not equal"
    GREATER = "greater"
    LESS = "less"
    AT_LEAST = "at least"
    AT_MOST = "at most"
    BETWEEN = "between"
    AMONG = "among"


_ORDERS: dict[Comparison, Callable[[Any, Any], bool]] = {
    Comparison.GREATER: operator.gt,
    Comparison.LESS: operator.lt,
    Comparison.AT_LEAST: operator.ge,
    Comparison.AT_MOST: operator.le,
}


def holds(value: Any, how: Comparison, operands: Sequence[str]) -> bool:
    """Return whether ``value`` meets the condition; ``operands``: one, two for between, any for among."""
    if how is Comparison.NOT_EQUAL:
        return not _compares(operator.eq, value, operands[0])
    if how in (Comparison.EQUAL, Comparison.AMONG):
        return any(_compares(operator.eq, value, operand) for operand in operands)
    if how is Comparison.BETWEEN:
        low, high = operands
        return _compares(operator.ge, value, low) and _compares(operator.le, value, high)
    return _compares(_ORDERS[how], value, operands[0])


def number_of(text: str) -> int | float | None:
    """Return the number that ``text`` is, exactly where it is whole; None where it is none."""
    lowered = text.strip().lower()
    if lowered in ("true", "false"):
        return int(lowered == "true")
    try:
        return int(lowered) if lowered.lstrip("+-").isdecimal() else _finite(float(lowered))
    except (ValueError, OverflowError):
        return None


def _finite(number: float) -> float | None:
    return number if number - number == 0 else None


def _compares(order: Callable[[Any, Any], bool], value: Any, operand: str) -> bool:
    if isinstance(value, int | float):
        number = number_of(operand)
        return number is not None and order(value, number)
    return isinstance(value, str) and order(value, operand)

"""Patterns of policies: ``*`` is any text, ``?`` any one character, everything else itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

#: No name of an action or a resource is longer.
PATTERN_LENGTH = 512

Matcher = Callable[[str], bool]


def is_plain(pattern: str) -> bool:
    """Return whether ``pattern`` matches itself only."""
    return "*" not in pattern and "?" not in pattern


@lru_cache(maxsize=16_384)
def matcher(pattern: str, *, ignore_case: bool = False) -> Matcher:
    """Return a function that says whether a text matches; its time grows with the text, not with its powers."""
    if ignore_case:
        pattern = pattern.lower()
    if pattern == "*":
        return _always
    if is_plain(pattern):
        return (lambda text: text.lower() == pattern) if ignore_case else pattern.__eq__
    found = re.compile(_expression(pattern), re.DOTALL).fullmatch
    if ignore_case:
        return lambda text: found(text.lower()) is not None
    return lambda text: found(text) is not None


def _always(text: str) -> bool:
    return True


def _expression(pattern: str) -> str:
    first, *rest = re.split(r"\*+", pattern)
    if not rest:
        return _chunk(first)
    *middle, last = rest
    # Each part between two stars is taken where it comes first and never given back.
    return _chunk(first) + "".join(f"(?>.*?{_chunk(part)})" for part in middle) + ".*" + _chunk(last)


def _chunk(text: str) -> str:
    return "".join("." if letter == "?" else re.escape(letter) for letter in text)

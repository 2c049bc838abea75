"""Patterns of policies: ``*`` is any text, ``?`` any one character, everything else itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

#: No name of an action or a resource is longer.
PATTERN_LENGTH = 512

Matcher = Callable[[str], bool]

_WILD = re.compile(r"[*?]")


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


def contains(wide: str, narrow: str, *, ignore_case: bool = False) -> bool:
    """Return whether every text that ``narrow`` matches is matched by ``wide``; where that is not plain, False."""
    if ignore_case:
        wide, narrow = wide.lower(), narrow.lower()
    if wide in ("*", narrow):
        return True
    if is_plain(wide) or not narrow.startswith(_WILD.split(wide, maxsplit=1)[0]):
        return False
    return _container(wide)(narrow)


@lru_cache(maxsize=16_384)
def _container(wide: str) -> Matcher:
    # The wildcards of the narrow pattern are letters here: a star is taken only by a star.
    found = re.compile(_expression(wide, any_letter="[^*]"), re.DOTALL).fullmatch
    return lambda narrow: found(narrow) is not None


def may_overlap(one: str, other: str, *, ignore_case: bool = False) -> bool:
    """Return whether some text may match both patterns; False only where that is plainly impossible."""
    if ignore_case:
        one, other = one.lower(), other.lower()
    if is_plain(one):
        return matcher(other)(one)
    if is_plain(other):
        return matcher(one)(other)
    heads = [_WILD.split(pattern, maxsplit=1)[0] for pattern in (one, other)]
    tails = [_WILD.split(pattern)[-1] for pattern in (one, other)]
    return (heads[0].startswith(heads[1]) or heads[1].startswith(heads[0])) and (
        tails[0].endswith(tails[1]) or tails[1].endswith(tails[0])
    )


def _always(text: str) -> bool:
    return True


def _expression(pattern: str, any_letter: str = ".") -> str:
    first, *rest = re.split(r"\*+", pattern)
    if not rest:
        return _chunk(first, any_letter)
    *middle, last = rest
    # Each part between two stars is taken where it comes first and never given back.
    chunks = "".join(f"(?>.*?{_chunk(part, any_letter)})" for part in middle)
    return _chunk(first, any_letter) + chunks + ".*" + _chunk(last, any_letter)


def _chunk(text: str, any_letter: str) -> str:
    return "".join(any_letter if letter == "?" else re.escape(letter) for letter in text)

"""A caller's scope of asset ids as SQL asks for it: parameters of the function ``name_in_scope`` (migrations).

A scope is a list of layers, each with the patterns that it allows (None: all) and denies; a name must be covered by
all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

#: Names that a layer allows (None: all) and denies; ``*`` and ``?`` are wildcards.
Patterns = tuple[Sequence[str] | None, Sequence[str]]


def scope_parameters(scope: Sequence[Patterns]) -> dict[str, Any]:
    """Return the parameters ``layers``, ``allowed``, ``allowed_in`` and ``denied`` for a scope."""
    limiting = [(number, allowed) for number, (allowed, _) in enumerate(scope) if allowed is not None]
    pairs = [(number, like(pattern)) for number, allowed in limiting for pattern in allowed]
    return {
        "layers": [number for number, _ in limiting],
        "allowed": [pattern for _, pattern in pairs],
        "allowed_in": [number for number, _ in pairs],
        "denied": [like(pattern) for _, denied in scope for pattern in denied],
    }


def like(pattern: str) -> str:
    """Return a pattern with ``*`` and ``?`` as SQL's LIKE writes it."""
    for letter in "\\%_":
        pattern = pattern.replace(letter, f"\\{letter}")
    return pattern.replace("*", "%").replace("?", "_")

"""What other machines say, made fit to be shown: it goes into failures, logs and terminals."""

from __future__ import annotations


def shown(text: str, most: int = 1_000) -> str:
    """Return ``text`` on one line, without what steers a terminal, at most ``most`` characters."""
    words = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return words if len(words) <= most else words[: most - 3] + "..."

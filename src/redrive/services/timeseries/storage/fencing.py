"""Who commits, and how a commit may be refused. The rules are in ``log``."""

from __future__ import annotations

from dataclasses import dataclass

from redrive.engine.claiming import LeaseLostError


class Fenced(LeaseLostError):
    """Another claim has taken over: this one must stop and has changed nothing."""


class Stale(Exception):
    """What a commit was prepared from has changed: look again, then commit."""


class GivenUp(Stale):
    """A sweep gave this change up: start anew, with new files."""


@dataclass(frozen=True, slots=True)
class Fence:
    """Who commits. ``app_id`` names the effect, ``claim`` only grows.

    Without ``step`` an app id has one effect ever: who wants it redone on purpose takes another app id. With
    ``step`` (a number that only grows, such as the highest sequence moved) it has one effect per step, in order.
    With ``once`` false its effects are not counted (they do no harm when they are repeated), only fenced.
    """

    app_id: str
    claim: int
    step: int | None = None
    once: bool = True

    @property
    def number(self) -> int:
        """The number of its effect."""
        return self.claim if self.step is None else self.step

    @property
    def effect(self) -> str:
        """The app id that only effects write."""
        return f"{self.app_id}/effect"


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit that stands. ``repeated``: it stood before this call; ``number`` is that of the effect."""

    version: int
    number: int
    repeated: bool = False

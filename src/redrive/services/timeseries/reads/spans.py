"""Time spans as a caller names them: between two instants, or between two readings of each device's clock."""

from __future__ import annotations

from dataclasses import dataclass

from redrive.services.timeseries.reads.zones import to_instant


@dataclass(frozen=True, slots=True)
class Span:
    """From ``start`` (in) to ``end`` (out), in milliseconds.

    ``local``: readings of the wall clock of each device, as if they were UTC; otherwise epoch milliseconds.
    """

    start: int
    end: int
    local: bool = False

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise ValueError("an empty span")

    def on(self, zone: str) -> tuple[int, int]:
        """Return the instants for a device in ``zone``; the same instant twice where its clock skipped all."""
        if not self.local:
            return self.start, self.end
        return to_instant(zone, self.start), to_instant(zone, self.end)

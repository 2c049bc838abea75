"""Instants: aware, UTC. Leases never use this clock, they live on the database's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now() -> datetime:
    """Return the present instant, aware, in UTC."""
    return datetime.now(UTC)


def to_ms(instant: datetime) -> int:
    """Return epoch milliseconds, rounded down. ``instant`` must be aware."""
    return (instant - EPOCH) // timedelta(milliseconds=1)


def from_ms(milliseconds: int) -> datetime:
    """Return the instant of ``milliseconds`` since 1970 in UTC."""
    return EPOCH + timedelta(milliseconds=milliseconds)

"""Clocks of devices: from wall-clock readings to instants and back, for whole columns.

A zone is an IANA name (``America/New_York``) or a fixed offset (``+08:00``). A wall clock is epoch
milliseconds of the reading, as if it were UTC. Where clocks are set forward, a reading that never was means
the instant of the change; where they are set back, a reading that was twice means its first occurrence. So
readings in ascending order are instants in ascending order, and adjacent ranges neither lose a sample nor
return one twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from redrive.services.timeseries.reads.frame import I64

DAY_MS = 86_400_000
_FIXED = re.compile(r"([+-])(\d{2}):?(\d{2})")
_EPOCH = datetime(1970, 1, 1)
_FIRST_YEAR, _LAST_YEAR = 2, 9998


@dataclass(frozen=True, slots=True)
class Offsets:
    """What a zone adds to UTC over a span: ``offset_ms[i]`` from ``since_ms[i]`` on, ascending."""

    since_ms: I64
    offset_ms: I64

    def to_wall(self, instants: I64) -> I64:
        """Return the wall-clock readings of ``instants``."""
        return np.add(instants, self.at(instants), dtype=np.int64)

    def at(self, instants: I64) -> I64:
        """Return the offsets at ``instants``."""
        if len(self.since_ms) == 1:
            return np.full(len(instants), self.offset_ms[0], dtype=np.int64)
        periods = np.searchsorted(self.since_ms, instants, side="right") - 1
        return np.asarray(self.offset_ms[np.maximum(periods, 0)], dtype=np.int64)

    def to_instants(self, walls: I64) -> I64:
        """Return the first instant at which the clock showed the reading or, where it never did, a later one."""
        found = walls - self.offset_ms[0]
        # The periods between changes, in wall time: the first whose end lies after the reading has it.
        for index in range(1, len(self.since_ms)):
            before_end = self.since_ms[index] + self.offset_ms[index - 1]
            later = walls >= before_end
            found = np.where(later, np.maximum(walls - self.offset_ms[index], self.since_ms[index]), found)
        return np.asarray(found, dtype=np.int64)


def offsets_between(zone: str, low_ms: int, high_ms: int) -> Offsets:
    """Return the offsets of ``zone`` over a span, with a day to spare at both ends."""
    fixed = _fixed_offset(zone)
    if fixed is not None:
        return Offsets(np.array([low_ms - DAY_MS]), np.array([fixed]))
    since: list[int] = []
    offset: list[int] = []
    for year in range(_year(low_ms - DAY_MS), _year(high_ms + DAY_MS) + 1):
        for instant, value in _year_of_offsets(zone, year):
            if not offset or offset[-1] != value:
                since.append(instant)
                offset.append(value)
    return Offsets(np.array(since, dtype=np.int64), np.array(offset, dtype=np.int64))


def to_instant(zone: str, wall_ms: int) -> int:
    """Return the instant of one wall-clock reading (see the module on changes of clocks)."""
    return int(offsets_between(zone, wall_ms, wall_ms).to_instants(np.array([wall_ms]))[0])


def midnight_before(zone: str, instant_ms: int) -> int:
    """Return the instant at which the local day of ``instant_ms`` began."""
    offsets = offsets_between(zone, instant_ms - DAY_MS, instant_ms)
    wall = int(offsets.to_wall(np.array([instant_ms]))[0])
    begun = offsets.to_instants(np.array([wall - wall % DAY_MS]))
    return min(int(begun[0]), instant_ms)


def is_zone(name: str) -> bool:
    """Return whether ``name`` is a zone that this machine knows."""
    if _fixed_offset(name) is not None:
        return True
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _fixed_offset(zone: str) -> int | None:
    """Return milliseconds for ``+08:00`` and UTC itself, None for a name."""
    if zone in ("UTC", "Z", ""):
        return 0
    match = _FIXED.fullmatch(zone)
    if match is None:
        return None
    minutes = int(match[2]) * 60 + int(match[3])
    return (minutes if match[1] == "+" else -minutes) * 60_000


def _year(instant_ms: int) -> int:
    days = instant_ms // DAY_MS
    days = max(-719_162, min(days, 2_932_895))
    return max(_FIRST_YEAR, min((_EPOCH + timedelta(days=days)).year, _LAST_YEAR))


@lru_cache(maxsize=8192)
def _year_of_offsets(zone: str, year: int) -> tuple[tuple[int, int], ...]:
    """Return (instant, offset from then on) of a UTC year: its first instant and every change in it."""
    info = ZoneInfo(zone)
    start = _seconds(datetime(year, 1, 1))
    end = _seconds(datetime(year + 1, 1, 1))
    found = [(start, _offset(info, start))]
    for day in range(start, end, 86_400):
        after = min(day + 86_400, end)
        value = _offset(info, after)
        if value != found[-1][1]:
            found.append((_change_between(info, day, after), value))
    return tuple((second * 1000, value) for second, value in found if second < end)


def _change_between(info: ZoneInfo, low: int, high: int) -> int:
    """Return the first second in (low, high] with the offset of ``high``; there is one change in between."""
    wanted = _offset(info, high)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(info, middle) == wanted:
            high = middle
        else:
            low = middle
    return high


def _offset(info: ZoneInfo, second: int) -> int:
    instant = datetime.fromtimestamp(0, UTC) + timedelta(seconds=second)
    delta = instant.astimezone(info).utcoffset()
    assert delta is not None
    return int(delta / timedelta(milliseconds=1))


def _seconds(moment: datetime) -> int:
    return int((moment - _EPOCH).total_seconds())

"""Instants as readings of a device's clock, in text: ``2020-04-20 00:00:03``, ``2020-04-20T00:00:03+08:00``.

Made for hundreds of thousands at once: days and seconds of a day are looked up, not formatted.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import lru_cache

import numpy as np

from redrive.services.timeseries.reads.frame import I64
from redrive.services.timeseries.reads.zones import DAY_MS, offsets_between

_EPOCH = date(1970, 1, 1)
_FIRST_DAY, _LAST_DAY = (date.min - _EPOCH).days, (date.max - _EPOCH).days


def local_texts(instants: I64, zone: str, *, with_zone: bool, with_millis: bool) -> list[str]:
    """Return one text per instant.

    ``with_zone``: ``T`` between day and time, and the offset behind. ``with_millis``: three digits where the
    instant is not a whole second (the vendor's samples show none where it is).
    """
    if len(instants) == 0:
        return []
    offset = offsets_between(zone, int(instants.min()), int(instants.max())).at(instants)
    wall = instants + offset
    days, second_of_day = wall // DAY_MS, wall // 1000 % 86_400
    unique_days, day_codes = np.unique(days, return_inverse=True)
    day_texts = [_day(int(day)) + ("T" if with_zone else " ") for day in unique_days]
    clock = _seconds_of_a_day()
    pairs = zip(day_codes.tolist(), second_of_day.tolist(), strict=True)
    texts = [day_texts[day] + clock[second] for day, second in pairs]
    millis = wall % 1000
    if with_millis and millis.any():
        texts = [
            f"{text}.{part:03d}" if part else text for text, part in zip(texts, millis.tolist(), strict=True)
        ]
    if not with_zone:
        return texts
    zones = {value: offset_text(value) for value in np.unique(offset).tolist()}
    return [text + zones[value] for text, value in zip(texts, offset.tolist(), strict=True)]


def offset_text(offset_ms: int) -> str:
    """Return ``+08:00``; seconds only where a zone of long ago had some."""
    sign = "-" if offset_ms < 0 else "+"
    minutes, seconds = divmod(abs(offset_ms) // 1000, 60)
    text = f"{sign}{minutes // 60:02d}:{minutes % 60:02d}"
    return f"{text}:{seconds:02d}" if seconds else text


def _day(number: int) -> str:
    return (_EPOCH + timedelta(days=max(_FIRST_DAY, min(number, _LAST_DAY)))).isoformat()


@lru_cache(maxsize=1)
def _seconds_of_a_day() -> list[str]:
    return [f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}" for second in range(86_400)]

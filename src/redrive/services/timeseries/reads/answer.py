"""What a read returns: records of several series as columns, in the order asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from redrive.services.timeseries.reads.frame import I64, Frame, Series, values_of


@dataclass(frozen=True, slots=True)
class Answer:
    """The records of series ``i`` are ``starts[i]`` to ``starts[i + 1]`` of the columns.

    ``series`` holds what was asked, also without records; the point of an aggregate is its expression.
    ``quality`` is None where it was not asked for. ``zones`` has every asset.
    """

    series: tuple[Series, ...]
    starts: I64
    time: I64
    values: list[Any]
    quality: list[int | None] | None
    zones: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.time)


def answer_of(
    frame: Frame, series: Sequence[Series], zones: Mapping[str, str], *, quality: bool = False
) -> Answer:
    """Return the rows of ``frame``, which are grouped by series, as an answer."""
    return Answer(
        tuple(series),
        frame.starts(len(series)),
        frame.time,
        values_of(frame),
        qualities_of(frame) if quality else None,
        zones,
    )


def answer_of_lists(
    parts: Sequence[tuple[Series, Sequence[int], Sequence[Any], Sequence[int | None]]],
    zones: Mapping[str, str],
    *,
    quality: bool = False,
) -> Answer:
    """Return an answer made series by series: its times, values and qualities."""
    lengths = np.array([0, *(len(part[1]) for part in parts)], dtype=np.int64)
    return Answer(
        tuple(part[0] for part in parts),
        np.cumsum(lengths).astype(np.int64),
        np.array([time for part in parts for time in part[1]], dtype=np.int64),
        [value for part in parts for value in part[2]],
        [grade for part in parts for grade in part[3]] if quality else None,
        zones,
    )


def qualities_of(frame: Frame) -> list[int | None]:
    """Return the quality of each row, None where none was given."""
    if not np.isnan(frame.quality).any():
        return list(frame.quality.astype(np.int64).tolist())
    return [None if math.isnan(grade) else int(grade) for grade in frame.quality.tolist()]

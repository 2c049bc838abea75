"""Records of reads in the vendor's forms.

::

    itemFormat 0   one object per record      {"assetId", "timestamp", "<point>": value, "localtime", "quality"}
    itemFormat 1   one object per asset and time, with all points that have a record then
    itemFormat 2   one object per point       {"assetId", "pointId", "timestamp": [], "value": [], "localTime": [],
                                               "dataQuality": []}

Large answers are written series by series, so that never all objects are there at once. NaN does not exist in
JSON: null.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, islice, repeat
from typing import Any

import numpy as np
import orjson

from redrive.services.timeseries.reads.answer import Answer
from redrive.services.timeseries.reads.conditions import StateDurations
from redrive.services.timeseries.reads.localtime import local_texts
from redrive.services.timeseries.reads.newest import Liveness
from redrive.services.timeseries.reads.states import UNKNOWN
from redrive.wire.enos.tsdb.codes import UNKNOWN_STATUS

_CHUNK = 20_000
_LEAST, _GREATEST = -(2**63), 2**64 - 1


@dataclass(frozen=True, slots=True)
class Display:
    """How records are shown."""

    item_format: int = 0
    local_time: bool = True
    with_zone: bool = False
    with_millis: bool = False


def items(answer: Answer, display: Display, *, descending: bool = False) -> dict[str, Any]:
    """Return ``{"items": [...]}``, the list already written."""
    if display.item_format == 0:
        chunks = _single(answer, display)
    elif display.item_format == 1:
        chunks = _merged(answer, display, descending)
    else:
        chunks = _columns(answer, display)
    written = b",".join(_written(chunk)[1:-1] for chunk in chunks if chunk)
    return {"items": orjson.Fragment(b"[" + written + b"]")}


def as_texts(answer: Answer) -> Answer:
    """Return the answer with its values as texts, as the last-changed store shows them."""
    return Answer(
        answer.series,
        answer.starts,
        answer.time,
        [text_of(value) for value in answer.values],
        answer.quality,
        answer.zones,
    )


def text_of(value: Any) -> str | None:
    """Return a value as text: numbers and other JSON as JSON writes them."""
    if value is None or isinstance(value, str):
        return value
    return str(value) if type(value) is int else orjson.dumps(_writable(value)).decode()


def durations(found: Sequence[StateDurations]) -> dict[str, Any]:
    """Return the durations of states; a time without a known state is ``"Unknown"``."""
    return {
        "items": [
            {
                "scanEndTimestamp": one.scanned_to_ms,
                "pointId": one.series.point,
                "assetId": one.series.asset,
                "durations": [
                    {
                        "duration": part.milliseconds,
                        "status": UNKNOWN_STATUS if part.state is UNKNOWN else _writable(part.state),
                    }
                    for part in one.durations
                ],
            }
            for one in found
        ]
    }


def liveness(found: Sequence[Liveness]) -> dict[str, Any]:
    """Return what was found out about points that may be dead."""
    return {
        "items": [
            {
                "assetId": one.series.asset,
                "pointId": one.series.point,
                "duration": one.duration_ms,
                "judgeResult": one.dead,
                "lastChangedValue": text_of(one.value),
                "lastChangedTimestamp": one.changed_ms,
            }
            for one in found
        ]
    }


def _single(answer: Answer, display: Display) -> Iterator[list[dict[str, Any]]]:
    """Give the objects in chunks, over the borders of series: there may be thousands with one record each."""
    lengths = np.diff(answer.starts).tolist()
    names = chain.from_iterable(map(repeat, answer.series, lengths))
    if display.local_time:
        rows = zip(names, answer.time.tolist(), answer.values, _local(answer, display), strict=True)
        items = (
            {"assetId": asset, "timestamp": time, point: value, "localtime": text}
            for (asset, point), time, value, text in rows
        )
    else:
        bare = zip(names, answer.time.tolist(), answer.values, strict=True)
        items = ({"assetId": asset, "timestamp": time, point: value} for (asset, point), time, value in bare)
    for low in range(0, len(answer), _CHUNK):
        chunk = list(islice(items, _CHUNK))
        if answer.quality is not None:
            for item, grade in zip(chunk, answer.quality[low : low + _CHUNK], strict=True):
                item["quality"] = _grade(grade)
        yield chunk


def _merged(answer: Answer, display: Display, descending: bool) -> Iterator[list[dict[str, Any]]]:
    """Give the objects asset by asset. Quality is an object too there: one grade per point."""
    local = _local(answer, display)
    for asset, places in groupby(range(len(answer.series)), lambda place: answer.series[place].asset):
        merged: dict[int, dict[str, Any]] = {}
        for place in places:
            _merge(answer, local, place, asset, merged)
        yield [merged[time] for time in sorted(merged, reverse=descending)]


def _merge(
    answer: Answer, local: list[str], place: int, asset: str, merged: dict[int, dict[str, Any]]
) -> None:
    point, rows = answer.series[place].point, _rows(answer, place)
    times = answer.time[rows].tolist()
    for number, (time, value) in enumerate(zip(times, answer.values[rows], strict=True), rows.start):
        item = merged.get(time)
        if item is None:
            item = merged[time] = {"assetId": asset, "timestamp": time}
            if local:
                item["localtime"] = local[number]
        item[point] = value
    if answer.quality is not None:
        for time, grade in zip(times, answer.quality[rows], strict=True):
            merged[time].setdefault("quality", {})[point] = _grade(grade)


def _columns(answer: Answer, display: Display) -> Iterator[list[dict[str, Any]]]:
    local = _local(answer, display)
    for place, (asset, point) in enumerate(answer.series):
        rows = _rows(answer, place)
        if rows.start == rows.stop:
            continue
        item: dict[str, Any] = {"assetId": asset, "pointId": point}
        if local:
            item["localTime"] = local[rows]
        item["timestamp"] = answer.time[rows].tolist()
        item["value"] = answer.values[rows]
        if answer.quality is not None:
            item["dataQuality"] = answer.quality[rows]
        yield [item]


def _rows(answer: Answer, place: int) -> slice:
    return slice(int(answer.starts[place]), int(answer.starts[place + 1]))


def _local(answer: Answer, display: Display) -> list[str]:
    """Return the local time of each record, by the clock of its device; nothing where it is not shown."""
    if not display.local_time:
        return []
    zones = [answer.zones[one.asset] for one in answer.series]
    options = {"with_zone": display.with_zone, "with_millis": display.with_millis}
    if len(set(zones)) < 2:
        return local_texts(answer.time, zones[0], **options) if zones else []
    code = {zone: number for number, zone in enumerate(dict.fromkeys(zones))}
    of_row = np.repeat([code[zone] for zone in zones], np.diff(answer.starts))
    texts = np.empty(len(answer), dtype=object)
    for zone, number in code.items():
        rows = np.flatnonzero(of_row == number)
        texts[rows] = local_texts(answer.time[rows], zone, **options)
    return list(texts)


def _grade(grade: int | None) -> str | None:
    return None if grade is None else str(grade)


def _written(chunk: list[dict[str, Any]]) -> bytes:
    try:
        return orjson.dumps(chunk)
    except TypeError:
        # An integer of more than 64 bits: its digits are written as they are.
        return orjson.dumps(_writable(chunk))


def _writable(value: Any) -> Any:
    if isinstance(value, list):
        return [_writable(part) for part in value]
    if isinstance(value, dict):
        return {key: _writable(part) for key, part in value.items()}
    if type(value) is int and not _LEAST <= value <= _GREATEST:
        return orjson.Fragment(str(value))
    return value

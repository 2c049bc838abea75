"""Bodies of reads: parsed strictly, every refusal names the vendor's field.

A key that is nearly one of the call's, or is one of another read call's, is refused: ignoring ``pointId``
where ``pointIds`` is meant would answer another question. Other unknown keys are ignored.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

from redrive.errors import FieldProblem, Problem, ProblemCode, invalid
from redrive.services.timeseries.reads.aggregates import Expression
from redrive.services.timeseries.reads.filters import Comparison, number_of
from redrive.services.timeseries.reads.frame import Series
from redrive.services.timeseries.reads.newest import Condition, Watch
from redrive.services.timeseries.reads.selection import Selection
from redrive.services.timeseries.reads.spans import Span
from redrive.wire.enos.parameters import (
    boolean,
    id_list,
    integer,
    optional_integer,
    optional_text,
    text,
)
from redrive.wire.enos.tsdb import codes
from redrive.wire.enos.tsdb.shapes import Display

Body = Mapping[str, Any]
T = TypeVar("T")

SERIES_LIMIT = 3_000
STATE_SERIES_LIMIT = 10
RESULT_LIMIT = 640_000
PAGE_SIZE = 1_000
LONGEST_BUCKET_MINUTES = 1_440
#: Of ``boundaryType`` sample, in seconds: a leap year.
LONGEST_STEP_SECONDS = 366 * 86_400
LONGEST_WINDOW_MINUTES = 100 * 366 * 1_440

SHOWN = ("localTimeAccuracy", "localTimeFormat", "itemFormat")
SERIES = ("modelId", "assetIds", "pointIds")
SPAN = ("startTime", "endTime")
BOUNDARY = ("boundaryType", "interval", "interpolation")
AGGREGATE = ("modelId", "assetIds", "pointIdsWithLogic", "interval", "pageSize")
LATEST = ("timeWindow", "ifWithLocalTime")
FILTER = ("modelId", "assetIds", "pointId", "operator", "valueFilter")
STATES = ("autoInterpolate", "status", "ifWithUnknown")
EVERY_KEY = frozenset((*SHOWN, *SERIES, *SPAN, *BOUNDARY, *AGGREGATE, *LATEST, *FILTER, *STATES)) | {
    "withQuality",
    "orderBy",
    "payload",
}

_KEYS = 64
_OPERANDS = 1_000
_LONGEST_ENTRY = 200
_EPOCH = datetime(1970, 1, 1)
_DATE = r"(\d{4})-(\d{2})-(\d{2})"
# The vendor's sample of /ai has three digits in its seconds ("00:00:000"): a leading zero more is taken.
_CLOCK = r"(\d{2}):(\d{2}):0?(\d{2})(?:\.(\d{1,3}))?"
_LOCAL = re.compile(f"{_DATE} {_CLOCK}")
_INSTANT = re.compile(rf"{_DATE}T{_CLOCK}\s?(?:(Z)|([+-])(\d{{2}}):?(\d{{2}}))")
_FORMS = "2019-06-01T00:00:00+08:00 (one instant for all) or 2019-06-01 00:00:00 (each device's local time)"
_CALL = re.compile(r"([A-Za-z]+)\s*\(\s*([^()]+?)\s*\)")


def check_keys(body: Body, accepted: Collection[str]) -> None:
    """Refuse keys that are likely meant for something; see the module."""
    if len(body) > _KEYS:
        raise invalid("body", f"at most {_KEYS} parameters", f"{len(body):,}")
    for key in body:
        if key in accepted:
            continue
        near = _nearest(key, accepted)
        if near is None and key not in EVERY_KEY:
            continue
        shown = key[:80]
        raise Problem(
            ProblemCode.INVALID,
            f"{shown}: expected {near or 'no such parameter in this call'}, got {shown}",
            hint=f"write {near}" if near else f"this call takes {', '.join(sorted(accepted))}",
            fields=(FieldProblem(shown, near or "no such parameter in this call"),),
        )


def _nearest(key: str, accepted: Collection[str]) -> str | None:
    lowered = {name.lower(): name for name in accepted}
    found = difflib.get_close_matches(key.lower()[:80], lowered, n=1, cutoff=0.85)
    return lowered[found[0]] if found else None


def selection(
    body: Body, *, limit: int = SERIES_LIMIT, points: str = "pointIds", most: int | None = None
) -> Selection:
    """Return assets by points; their product is limited."""
    assets, found = id_list(body, "assetIds"), id_list(body, points)
    if most is not None and len(found) > most:
        raise invalid(points, "one point" if most == 1 else f"at most {most} points", f"{len(found)} points")
    check_series(len(assets), len(found), limit, points)
    return Selection(tuple(assets), tuple(found), optional_text(body, "modelId"))


def asset_ids(body: Body) -> tuple[str, ...]:
    """Return the assets, in order, each once."""
    return tuple(id_list(body, "assetIds"))


def check_series(assets: int, points: int, limit: int, field: str) -> None:
    """Refuse more than ``limit`` points of assets."""
    if assets * points > limit:
        expected = f"assets x points of at most {limit:,}"
        raise invalid(field, expected, f"{assets:,} x {points:,} = {assets * points:,}")


def page_size(body: Body, series: int) -> int:
    """Return how many records per point of an asset; records in all are limited."""
    size = integer(body, "pageSize", default=PAGE_SIZE, low=1, high=RESULT_LIMIT)
    if series * size > RESULT_LIMIT:
        expected = f"assets x points x pageSize of at most {RESULT_LIMIT:,}"
        raise invalid("pageSize", expected, f"{series:,} x {size:,} = {series * size:,}")
    return size


def span(body: Body) -> Span:
    """Return the span between ``startTime`` and ``endTime``, both in the same form."""
    start, start_local = _time(body, "startTime")
    end, end_local = _time(body, "endTime")
    if start_local != end_local:
        raise invalid("endTime", "the same form as startTime", text(body, "endTime"))
    if end <= start:
        raise invalid("endTime", f"a time after startTime {text(body, 'startTime')}", text(body, "endTime"))
    return Span(start, end, start_local)


def _time(body: Body, name: str) -> tuple[int, bool]:
    """Return milliseconds and whether they are a reading of a local clock."""
    written = text(body, name)
    match = _LOCAL.fullmatch(written) or _INSTANT.fullmatch(written)
    if match is None:
        raise invalid(name, _FORMS, written)
    parts = match.groups()
    try:
        moment = datetime(*(int(part) for part in parts[:6]))  # type: ignore[arg-type]
    except ValueError:
        raise invalid(name, f"a date and time that exist, as {_FORMS}", written) from None
    millis = (moment - _EPOCH) // timedelta(milliseconds=1) + int((parts[6] or "0").ljust(3, "0"))
    if len(parts) == 7:
        return millis, True
    return millis - _offset_ms(name, written, parts[8], parts[9], parts[10]), False


def _offset_ms(name: str, written: str, sign: str | None, hours: str, minutes: str) -> int:
    if sign is None:
        return 0
    if int(hours) > 18 or int(minutes) > 59:
        raise invalid(name, "an offset from UTC of at most 18 hours", written)
    total = (int(hours) * 60 + int(minutes)) * 60_000
    return total if sign == "+" else -total


def display(body: Body, *, always_local: bool = True) -> Display:
    """Return how records are shown. Where it is not ``always_local``, local time is asked for."""
    return Display(
        item_format=integer(body, "itemFormat", default=0, low=0, high=2),
        local_time=always_local or boolean(body, "ifWithLocalTime"),
        with_zone=integer(body, "localTimeFormat", default=0, low=0, high=1) == 1,
        with_millis=boolean(body, "localTimeAccuracy"),
    )


def word(body: Body, name: str, among: Mapping[str, T], *, default: str | None = None) -> T:
    """Return what a word stands for; upper and lower case are one."""
    value = optional_text(body, name) or default
    found = among.get(" ".join(value.lower().split())) if value is not None else None
    if found is None:
        raise invalid(name, f"one of {', '.join(among)}", value or "")
    return found


def expressions(body: Body) -> tuple[int, tuple[Expression, ...]]:
    """Return the interval in minutes and the functions of points; no functions where the interval is 0.

    ``sum(p1),avg(p2)``; with an interval of 0 the names of points, which come back as such.
    """
    minutes = integer(body, "interval", low=0, high=LONGEST_BUCKET_MINUTES)
    field = "pointIdsWithLogic"
    entries = id_list(body, field)
    if minutes == 0:
        for entry in entries:
            if "(" in entry or ")" in entry:
                raise invalid(field, "points without functions, as interval is 0", entry)
        return 0, tuple(Expression(codes.FUNCTIONS["last"], entry, entry) for entry in entries)
    found: dict[str, Expression] = {}
    for entry in entries:
        match = _CALL.fullmatch(entry) if len(entry) <= _LONGEST_ENTRY else None
        function = codes.FUNCTIONS.get(match[1].lower()) if match else None
        if match is None or function is None:
            names = ", ".join(codes.FUNCTIONS)
            raise invalid(field, f"function(point) with one of {names}, as interval is not 0", entry)
        label = f"{match[1]}({match[2]})"
        found.setdefault(label, Expression(function, match[2], label))
    return minutes, tuple(found.values())


def condition(body: Body) -> Condition:
    """Return ``operator`` and ``valueFilter``."""
    how = word(body, "operator", codes.OPERATORS)
    operands = words(_filter(body), "valueFilter")
    if how is Comparison.AMONG:
        return Condition(how, operands)
    if how is not Comparison.BETWEEN:
        # One value: a text may hold commas.
        return Condition(how, (_filter(body).strip(),))
    if len(operands) != 2:
        raise invalid("valueFilter", "two values, as operator is between", _filter(body))
    low, high = (number_of(operand) for operand in operands)
    if low is not None and high is not None and low > high:
        raise invalid("valueFilter", "the lower value first", _filter(body))
    return Condition(how, operands)


def words(written: str, name: str) -> tuple[str, ...]:
    """Return what stands between commas."""
    found = tuple(part.strip() for part in written.split(","))
    if len(found) > _OPERANDS:
        raise invalid(name, f"at most {_OPERANDS:,} values", f"{len(found):,}")
    return found


def statuses(body: Body) -> tuple[str, ...]:
    """Return the states of ``status``; none for all."""
    return tuple(word for word in words(optional_text(body, "status") or "", "status") if word)


def _filter(body: Body) -> str:
    value = body.get("valueFilter")
    if isinstance(value, int | float):
        return str(value).lower() if isinstance(value, bool) else repr(value)
    return text(body, "valueFilter")


def window(body: Body) -> int | None:
    """Return ``timeWindow`` in minutes, None where it is not set."""
    return optional_integer(body, "timeWindow", low=0, high=LONGEST_WINDOW_MINUTES)


def watches(body: Body) -> list[Watch]:
    """Return the entries of ``payload``."""
    payload = body.get("payload")
    if not isinstance(payload, list) or not payload:
        raise invalid("payload", "a list of {assetId, pointId, interval}", "" if payload is None else payload)
    if len(payload) > SERIES_LIMIT:
        raise invalid("payload", f"at most {SERIES_LIMIT:,} entries", f"{len(payload):,}")
    found = []
    for place, entry in enumerate(payload):
        if not isinstance(entry, dict):
            raise invalid(f"payload[{place}]", "an object with assetId, pointId and interval", entry)
        check_keys(entry, ("assetId", "pointId", "interval"))
        series = Series(text(entry, "assetId"), text(entry, "pointId"))
        found.append(Watch(series, integer(entry, "interval", low=0, high=2**53)))
    return found

"""What the read calls take, for the description of the API (OpenAPI). The parsers hold to ``parameters``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redrive.wire.enos.descriptions import Schema, call, fields

_TIME = "2019-06-01T00:00:00+08:00, or 2019-06-01 00:00:00 in each device's local time"
_FLAG = {"type": "boolean", "default": False}

FIELDS: dict[str, dict[str, Any]] = {
    "modelId": {"type": "string", "description": "the model of all assets"},
    "assetIds": {"type": "string", "minLength": 1, "description": "assets, separated by commas"},
    "pointIds": {"type": "string", "minLength": 1, "description": "points, separated by commas"},
    "pointId": {"type": "string", "minLength": 1, "description": "one point"},
    "pointIdsWithLogic": {
        "type": "string",
        "minLength": 1,
        "description": "sum(p1),avg(p2): count, avg, sum, max, min, first, last; points alone with interval 0",
    },
    "interval": {"type": "integer", "minimum": 0, "description": "minutes; of boundaryType sample: seconds"},
    "startTime": {"type": "string", "description": f"in the span; {_TIME}"},
    "endTime": {"type": "string", "description": f"not in the span; {_TIME}"},
    "pageSize": {"type": "integer", "minimum": 1, "maximum": 640_000, "default": 1_000},
    "orderBy": {"type": "string", "enum": ["timestamp asc", "timestamp desc"], "default": "timestamp asc"},
    "withQuality": _FLAG,
    "boundaryType": {
        "type": "string",
        "enum": ["inside", "outside", "interpolated", "sample"],
        "default": "inside",
    },
    "interpolation": {
        "type": "string",
        "enum": ["linear", "previous", "near", "after"],
        "default": "linear",
    },
    "localTimeAccuracy": {**_FLAG, "description": "show milliseconds"},
    "localTimeFormat": {"type": "integer", "enum": [0, 1], "default": 0, "description": "1: show the offset"},
    "itemFormat": {"type": "integer", "enum": [0, 1, 2], "default": 0},
    "ifWithLocalTime": _FLAG,
    "timeWindow": {"type": "integer", "minimum": 0, "description": "minutes; older values are left out"},
    "operator": {"type": "string", "enum": ["eq", "nq", "gt", "lt", "ge", "le", "between", "in"]},
    "valueFilter": {
        "type": "string",
        "minLength": 1,
        "description": "one value, two for between, any for in",
    },
    "autoInterpolate": {**_FLAG, "description": "tell the state at the start, from up to 30 days before"},
    "status": {"type": "string", "description": "states, separated by commas; all without"},
    "ifWithUnknown": {"type": "boolean", "description": "true without a status filter"},
    "payload": {
        "type": "array",
        "minItems": 1,
        "maxItems": 3_000,
        "items": {
            "type": "object",
            "required": ["assetId", "pointId", "interval"],
            "properties": {
                "assetId": {"type": "string", "minLength": 1},
                "pointId": {"type": "string", "minLength": 1},
                "interval": {"type": "integer", "minimum": 0, "description": "milliseconds"},
            },
        },
    },
}

#: Fields that every call with them asks for.
MANDATORY = frozenset(
    {"assetIds", "pointIds", "pointId", "pointIdsWithLogic", "startTime", "endTime"}
    | {"operator", "valueFilter", "payload"}
)


def described(names: Sequence[str], *more: str, query: Sequence[Schema] = ()) -> dict[str, Any]:
    """Return the description of a call that takes ``names``; ``more`` are mandatory in this call too."""
    required = {name for name in names if name in MANDATORY} | set(more)
    return call(query=query, body=fields({name: FIELDS[name] for name in names}, sorted(required)))

"""The vendor's words of reads in ours. Tables only."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from redrive.services.timeseries.assets import StorageType
from redrive.services.timeseries.reads.aggregation import Function
from redrive.services.timeseries.reads.filters import Comparison
from redrive.services.timeseries.reads.interpolation import Interpolation
from redrive.services.timeseries.reads.samples import Boundary
from redrive.services.timeseries.reads.selection import ANY, STANDARD

#: Which storage types a call serves.
AI = frozenset({StorageType.AI_RAW})
AI_NORMALIZED = frozenset({StorageType.AI_NORMALIZED})
ELECTRIC_POWER = frozenset({StorageType.PI})
GENERIC = frozenset({StorageType.GENERIC})
RAW = STANDARD
UNFORMATTED = frozenset({StorageType.UNFORMATTED})
UNIFIED_RAW = ANY

FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {
        "count": Function.COUNT,
        "avg": Function.AVG,
        "sum": Function.SUM,
        "max": Function.MAX,
        "min": Function.MIN,
        "first": Function.FIRST,
        "last": Function.LAST,
    }
)

BOUNDARIES: Mapping[str, Boundary] = MappingProxyType(
    {
        "inside": Boundary.INSIDE,
        "outside": Boundary.OUTSIDE,
        "interpolated": Boundary.INTERPOLATED,
        "sample": Boundary.SAMPLE,
    }
)

INTERPOLATIONS: Mapping[str, Interpolation] = MappingProxyType(
    {
        "linear": Interpolation.LINEAR,
        "previous": Interpolation.PREVIOUS,
        "near": Interpolation.NEAR,
        "after": Interpolation.AFTER,
    }
)

OPERATORS: Mapping[str, Comparison] = MappingProxyType(
    {
        "eq": Comparison.EQUAL,
        "nq": Comparison.NOT_EQUAL,
        "gt": Comparison.GREATER,
        "lt": Comparison.LESS,
        "ge": Comparison.AT_LEAST,
        "le": Comparison.AT_MOST,
        "between": Comparison.BETWEEN,
        "in": Comparison.AMONG,
    }
)

#: Whether the order is descending.
ORDERS: Mapping[str, bool] = MappingProxyType({"timestamp asc": False, "timestamp desc": True})

UNKNOWN_STATUS = "Unknown"

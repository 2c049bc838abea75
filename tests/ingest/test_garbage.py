"""Whatever comes in is stored or refused with a reason; nothing else ever happens."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from redrive.errors import Problem
from redrive.ingest import arrow, rows, values
from redrive.services.timeseries.mapping import batches_of, fit, wanted_columns

SCALAR = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**450), 10**450),
    st.floats(),
    st.text(max_size=5),
)
JSON = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
VALUE = st.one_of(JSON, st.fixed_dictionaries({"value": JSON}, optional={"quality": JSON, "more": JSON}))
LINE = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {}, optional={"asset": JSON, "point": JSON, "time": JSON, "value": VALUE, "quality": JSON, "values": JSON}
    ),
    st.fixed_dictionaries(
        {"asset": st.sampled_from(["a", "b,c", ""]), "time": st.one_of(st.integers(), st.just("2026-01-01"))},
        optional={
            "point": st.sampled_from(["p", "q()"]),
            "value": VALUE,
            "values": st.dictionaries(st.text(max_size=3), VALUE, max_size=3),
        },
    ),
)  # fmt: skip


@given(st.lists(LINE, max_size=4))
@settings(max_examples=400, deadline=None)
def test_any_lines_are_taken_or_refused(lines: list[Any]) -> None:
    with contextlib.suppress(Problem):
        batch = rows.ndjson_batch(
            "\n".join(json.dumps(line) for line in lines).encode("utf-8", "surrogatepass")
        )
        batch.validate(full=True)


@given(st.binary(max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_taken_or_refused(body: bytes) -> None:
    for read in (rows.ndjson_batch, arrow.stream_batch, values.parse):
        with contextlib.suppress(Problem):
            read(body)


@given(st.dictionaries(st.text(max_size=3), VALUE, max_size=4), st.integers(-(10**20), 10**20))
@settings(max_examples=300, deadline=None)
def test_any_values_are_taken_or_refused(points: dict[str, Any], time: int) -> None:
    with contextlib.suppress(Problem):
        batch = rows.wide_batch(["a"], [time], [points], lambda row, point: f"{row}.{point}")
        batch.validate(full=True)
        assert batch.num_rows == len(points)


KINDS = [
    pa.int8(), pa.uint64(), pa.float32(), pa.float64(), pa.bool_(), pa.string(), pa.large_string(), pa.binary(),
    pa.date32(), pa.date64(), pa.timestamp("s"), pa.timestamp("ns", "UTC"), pa.time64("us"), pa.duration("ms"),
    pa.list_(pa.int8()), pa.struct([("x", pa.int8())]), pa.null(), pa.decimal128(10, 2), pa.string_view(),
    pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int8(), pa.int64()), pa.float16(),
]  # fmt: skip


@given(st.lists(st.sampled_from(KINDS), min_size=4, max_size=4), st.booleans())
@settings(max_examples=400, deadline=None)
def test_columns_of_any_types_are_taken_or_refused(kinds: list[pa.DataType], with_quality: bool) -> None:
    names = ["asset", "point", "time", "value"]
    columns = [pa.nulls(3, kind) if pa.types.is_nested(kind) else _some(kind) for kind in kinds]
    table = pa.table(dict(zip(names, columns, strict=True)))
    if with_quality:
        table = table.append_column("quality", columns[0])
    with contextlib.suppress(Problem):
        arrow.batch_of(table)
    with contextlib.suppress(Problem):
        for mapped in batches_of(table, fit(wanted_columns({}), table.column_names)):
            mapped.batch.validate(full=True)


def _some(kind: pa.DataType) -> pa.Array:
    for made in (["1", "0", "1"], [1, 0, 1], [1.0, 0.0, 1.0], [True, False, True], [b"1", b"0", b"1"]):
        with contextlib.suppress(pa.ArrowException, TypeError, ValueError):
            return pa.array(made, kind)
    with contextlib.suppress(pa.ArrowException):
        return pa.array([1, 0, 1]).cast(kind)
    return pa.nulls(3, kind)

"""Whatever comes in is stored or refused with a reason; nothing else ever happens."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from redrive.errors import Problem, ProblemCode
from redrive.ingest import arrow, rows, values
from redrive.ingest.samples import BATCH
from redrive.services.timeseries.mapping import batches_of, fit, wanted_columns

T = TypeVar("T")

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

#: What can be stored, so that not everything is refused.
GOOD = st.one_of(st.booleans(), st.integers(), st.floats(-1e300, 1e300), st.text("ab\n\u20ac", max_size=5))
GOOD_LINE = st.one_of(
    st.fixed_dictionaries(
        {"asset": st.just("a"), "point": st.sampled_from(["p", "q"]), "time": st.integers(0, 10**12), "value": GOOD},
        optional={"quality": st.integers(0, 9)},
    ),
    st.fixed_dictionaries(
        {
            "asset": st.just("b"),
            "time": st.just("2026-01-01T00:00:00Z"),
            "values": st.dictionaries(st.sampled_from(["p", "q"]), GOOD, max_size=2),
        }
    ),
)  # fmt: skip


def taken(read: Callable[..., T], *given: Any) -> T | None:
    """Return what was read; None where it was refused with a reason."""
    try:
        return read(*given)
    except Problem as problem:
        assert problem.code in (ProblemCode.INVALID, ProblemCode.TOO_LARGE)
        assert problem.detail and problem.fields
        return None


def check(batch: pa.Table) -> None:
    """A batch has the columns of the log, and nothing in it is broken."""
    batch.validate(full=True)
    assert batch.schema == BATCH


@given(st.lists(LINE, max_size=4) | st.lists(GOOD_LINE, max_size=4))
@settings(max_examples=400, deadline=None)
def test_any_lines_are_taken_or_refused(lines: list[Any]) -> None:
    body = "\n".join(json.dumps(line) for line in lines).encode("utf-8", "surrogatepass")
    batch = taken(rows.ndjson_batch, body)
    if batch is not None:
        check(batch)
        assert batch.num_rows == sum(len(line["values"]) if "values" in line else 1 for line in lines)


@given(st.binary(max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_taken_or_refused(body: bytes) -> None:
    for read in (rows.ndjson_batch, arrow.stream_batch):
        batch = taken(read, body)
        if batch is not None:
            check(batch)
    value = taken(values.parse, body)
    if value is not None:
        assert value == json.loads(body.decode())


@given(st.dictionaries(st.text(max_size=3), VALUE, max_size=4), st.integers(-(10**20), 10**20))
@settings(max_examples=300, deadline=None)
def test_any_values_are_taken_or_refused(points: dict[str, Any], time: int) -> None:
    batch = taken(rows.wide_batch, ["a"], [time], [points], lambda row, point: f"{row}.{point}")
    if batch is not None:
        check(batch)
        assert batch.num_rows == len(points)


KINDS = [
    pa.int8(), pa.uint64(), pa.float32(), pa.float64(), pa.bool_(), pa.string(), pa.large_string(), pa.binary(),
    pa.date32(), pa.date64(), pa.timestamp("s"), pa.timestamp("ns", "UTC"), pa.time64("us"), pa.duration("ms"),
    pa.list_(pa.int8()), pa.struct([("x", pa.int8())]), pa.null(), pa.decimal128(10, 2), pa.string_view(),
    pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int8(), pa.int64()), pa.float16(),
]  # fmt: skip


#: Kinds of columns that fit: asset, point, time, value.
GOOD_KINDS = st.tuples(
    st.sampled_from(
        [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
    ),
    st.sampled_from(
        [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
    ),
    st.sampled_from([pa.int8(), pa.uint64(), pa.date32(), pa.timestamp("s"), pa.timestamp("ns", "UTC")]),
    st.sampled_from(KINDS),
)


@given(st.lists(st.sampled_from(KINDS), min_size=4, max_size=4) | GOOD_KINDS, st.booleans())
@settings(max_examples=400, deadline=None)
def test_columns_of_any_types_are_taken_or_refused(kinds: Sequence[pa.DataType], with_quality: bool) -> None:
    names = ["asset", "point", "time", "value"]
    columns = [pa.nulls(3, kind) if pa.types.is_nested(kind) else _some(kind) for kind in kinds]
    table = pa.table(dict(zip(names, columns, strict=True)))
    if with_quality:
        table = table.append_column("quality", columns[0])
    batch = taken(arrow.batch_of, table)
    if batch is not None:
        check(batch)
        assert batch.num_rows == table.num_rows
    columns = fit(wanted_columns({}), table.column_names)
    for mapped in taken(list, batches_of(table, columns)) or ():
        check(mapped.batch)
        assert mapped.batch.num_rows + mapped.skipped == table.num_rows


def _some(kind: pa.DataType) -> pa.Array:
    for made in (["1", "0", "1"], [1, 0, 1], [1.0, 0.0, 1.0], [True, False, True], [b"1", b"0", b"1"]):
        with contextlib.suppress(pa.ArrowException, TypeError, ValueError):
            return pa.array(made, kind)
    with contextlib.suppress(pa.ArrowException):
        return pa.array([1, 0, 1]).cast(kind)
    return pa.nulls(3, kind)

"""Arrow streams of clients: every column type a client may have, and nothing that harms the server."""

from __future__ import annotations

import pyarrow as pa
import pytest

from redrive.errors import Problem, ProblemCode
from redrive.ingest import arrow, untrusted


def stream(table: pa.Table, compression: str | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=2)
    return bytes(sink.getvalue().to_pybytes())


def table(**columns: object) -> pa.Table:
    base: dict[str, object] = {
        "asset": ["a", "b", "a"],
        "point": ["p", "p", "q"],
        "time": [1, 2, 3],
        "value": [1.5, 2.5, 3.5],
    }
    base.update(columns)
    return pa.table({name: column for name, column in base.items() if column is not None})


def test_a_stream_of_plain_columns_is_a_batch() -> None:
    batch = arrow.stream_batch(stream(table()))
    assert batch.to_pylist()[2] == {
        "asset": "a", "point": "q", "time_ms": 3, "number": 3.5, "text": None, "kind": 0, "quality": None
    }  # fmt: skip


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int16(), pa.string())]
)
def test_names_may_be_any_kind_of_text(kind: pa.DataType, compression: str | None) -> None:
    names = (
        pa.array(["a", "b", "a"]).cast(kind) if kind != pa.string_view() else pa.array(["a", "b", "a"], kind)
    )
    batch = arrow.stream_batch(stream(table(asset=names), compression))
    assert batch["asset"].to_pylist() == ["a", "b", "a"]


@pytest.mark.parametrize(
    ("time", "found"),
    [
        (pa.array([0, 1, 2], pa.timestamp("s")), [0, 1000, 2000]),
        (pa.array([5, 6, 7], pa.timestamp("ms", "Europe/Berlin")), [5, 6, 7]),
        (pa.array([5000, 6000, -7000], pa.timestamp("us", "UTC")), [5, 6, -7]),
        (pa.array([5_000_000, 0, 0], pa.timestamp("ns")), [5, 0, 0]),
        (pa.array([5, 6, 7], pa.int32()), [5, 6, 7]),
        (pa.array([0, 1, 2], pa.date32()), [0, 86_400_000, 172_800_000]),
    ],
)
def test_time_may_be_any_kind_of_instant(time: pa.Array, found: list[int]) -> None:
    assert arrow.stream_batch(stream(table(time=time)))["time_ms"].to_pylist() == found


@pytest.mark.parametrize(
    ("value", "numbers", "texts", "kind"),
    [
        (pa.array([1, 2, 2**53 + 1], pa.int64()), [1, 2, None], [None, None, str(2**53 + 1)], 1),
        (pa.array([1, 2, 2**64 - 1], pa.uint64()), [1, 2, None], [None, None, str(2**64 - 1)], 1),
        (pa.array([1, -2, 3], pa.int16()), [1, -2, 3], [None] * 3, 1),
        (pa.array([True, False, True]), [1, 0, 1], [None] * 3, 2),
        (pa.array(["x", "", "z"]), [None] * 3, ["x", "", "z"], 3),
        (pa.array([1.5, 0, -1], pa.float32()), [1.5, 0, -1], [None] * 3, 0),
    ],
)
def test_values_keep_their_kind(
    value: pa.Array, numbers: list[object], texts: list[object], kind: int
) -> None:
    batch = arrow.stream_batch(stream(table(value=value)))
    assert batch["number"].to_pylist() == numbers
    assert batch["text"].to_pylist() == texts
    assert set(batch["kind"].to_pylist()) == {kind}


def test_what_a_batch_holds_can_be_sent_again() -> None:
    mixed = {"number": [1.5, 3.0, None], "text": [None, None, "x"], "kind": pa.array([0, 1, 3], pa.int8())}
    batch = arrow.stream_batch(stream(table(value=None, **mixed)))
    assert batch.select(["number", "text", "kind"]).to_pylist() == pa.table(mixed).to_pylist()


@pytest.mark.parametrize(
    ("columns", "word"),
    [
        ({"asset": ["a", None, "b"]}, "asset"),
        ({"asset": pa.array([1, 2, 3])}, "asset"),
        ({"asset": ["a", "b,c", "d"]}, "commas"),
        ({"time": [1, None, 3]}, "time"),
        ({"time": ["1", "2", "3"]}, "time"),
        ({"time": pa.array([1, 2, 3], pa.timestamp("us"))}, "whole milliseconds"),
        ({"time": [1, 2, 10**15]}, "1900 to 2262"),
        ({"time": pa.array([1, 2, 2**63], pa.uint64())}, "columns"),
        ({"time": pa.array([1, 2, 2**60], pa.timestamp("s"))}, "columns"),
        ({"value": [1.0, None, 2.0]}, "value"),
        ({"value": [1.0, float("nan"), 2.0]}, "finite"),
        ({"value": [1.0, float("inf"), 2.0]}, "finite"),
        ({"value": [[1], [2], [3]]}, "value"),
        ({"quality": [1, -1, 2]}, "quality"),
        ({"quality": ["1", "2", "3"]}, "quality"),
        ({"value": None}, "columns"),
        ({"extra": [1, 2, 3]}, "columns"),
        ({"value": None, "number": [1.5, 1.0, 1.0], "text": [None, None, None], "kind": [1, 1, 1]}, "whole number"),
        ({"value": None, "number": [1.0, 1.0, 1.0], "text": [None, None, None], "kind": [3, 1, 1]}, "kind"),
        ({"value": None, "number": [1.0, 2.0, 1.0], "text": [None, None, None], "kind": [2, 2, 1]}, "0 or 1"),
        ({"value": None, "number": [1.0, 2.0, None], "text": [None, None, "x1"], "kind": [0, 1, 1]}, "digits"),
    ],
)  # fmt: skip
def test_a_bad_column_is_named(columns: dict[str, object], word: str) -> None:
    with pytest.raises(Problem, match=word):
        arrow.stream_batch(stream(table(**columns)))


@pytest.mark.parametrize("body", [b"", b"x" * 100, b"\xff\xff\xff\xff\x10\x00\x00\x00" + b"\0" * 16])
def test_what_is_no_stream_is_refused(body: bytes) -> None:
    with pytest.raises(Problem, match=r"Arrow IPC stream|at least one sample"):
        arrow.stream_batch(body)


def test_a_damaged_stream_never_gets_through_unchecked() -> None:
    whole = stream(table(), "lz4")
    for at in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[at] ^= 0xFF
        try:
            arrow.stream_batch(bytes(damaged))
        except Problem:
            continue


def test_a_column_name_that_is_no_text_is_refused() -> None:
    damaged = stream(table(), None).replace(b"asset", b"ass\xffet"[:5])
    with pytest.raises(Problem):
        arrow.stream_batch(damaged)


def test_a_few_bytes_that_stand_for_gigabytes_are_refused_before_they_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arrow, "STREAM_BYTES", 10_000_000)
    bomb = stream(table(value=pa.array(["x" * 60_000_000, "", ""])), "zstd")
    assert len(bomb) < 100_000
    assert untrusted.memory_of(bomb) > 60_000_000
    with pytest.raises(Problem, match="needs 60") as caught:
        arrow.stream_batch(bomb)
    assert caught.value.code is ProblemCode.TOO_LARGE

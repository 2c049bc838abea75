"""How columns of files become samples: what is understood, what is left out, what is refused."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from redrive.errors import Problem
from redrive.services.timeseries.mapping import Columns, batches_of, fit, wanted_columns


def rows(table: pa.Table, texts_only: bool = False, **mapping: Any) -> list[tuple[Any, ...]]:
    columns = fit(wanted_columns(mapping), table.column_names)
    found = []
    for mapped in batches_of(table, columns, texts_only=texts_only):
        for row in mapped.batch.to_pylist():
            value = row["number"] if row["text"] is None else row["text"]
            found.append((row["asset"], row["point"], row["time_ms"], value, row["kind"]))
    return found


def skipped(table: pa.Table, texts_only: bool = False, **mapping: Any) -> int:
    columns = fit(wanted_columns(mapping), table.column_names)
    return sum(mapped.skipped for mapped in batches_of(table, columns, texts_only=texts_only))


LONG = pa.table({"asset": ["a", "b"], "point": ["p", "q"], "time": [1, 2], "value": [1.5, 2.5]})
WIDE = pa.table(
    {
        "station": ["a", "b"],
        "at": pa.array([1000, 2000], pa.timestamp("ms")),
        "temp": [1.5, None],
        "wind": [3, 4],
    }
)


def test_the_long_form_needs_no_mapping() -> None:
    assert rows(LONG) == [("a", "p", 1, 1.5, 0), ("b", "q", 2, 2.5, 0)]
    renamed = LONG.rename_columns(["id", "name", "at", "v"])
    assert rows(renamed, asset="id", point="name", time="at", value="v") == rows(LONG)


def test_without_point_and_value_every_other_column_is_a_point() -> None:
    expected = [("a", "temp", 1000, 1.5, 0), ("a", "wind", 1000, 3, 1), ("b", "wind", 2000, 4, 1)]
    assert rows(WIDE, asset="station", time="at") == expected
    assert rows(WIDE, asset="station", time="at", points="*") == expected
    assert rows(WIDE, asset="station", time="at", points=["wind"]) == expected[1:]
    assert rows(WIDE, asset="station", time="at", points={"wind": "speed"})[0][1] == "speed"


def test_what_has_no_value_is_counted_and_left_out() -> None:
    assert skipped(WIDE, asset="station", time="at") == 1
    table = pa.table(
        {
            "asset": ["a"] * 4,
            "point": ["p"] * 4,
            "time": [1, 2, 3, 4],
            "value": [1.0, None, float("nan"), 2.0],
        }
    )
    assert rows(table) == [("a", "p", 1, 1.0, 0), ("a", "p", 4, 2.0, 0)]
    assert skipped(table) == 2
    assert skipped(table.slice(1, 2)) == 2


def test_all_samples_may_be_of_one_asset() -> None:
    table = LONG.drop(["asset"])
    assert [row[0] for row in rows(table, asset_id="plant")] == ["plant", "plant"]


def test_assets_may_be_numbers() -> None:
    assert rows(LONG.set_column(0, "asset", pa.array([7, 8])))[0][0] == "7"


@pytest.mark.parametrize(
    ("unit", "time", "found"),
    [
        ("s", pa.array([1, 2]), [1000, 2000]),
        ("us", pa.array([1000, 2000]), [1, 2]),
        ("ns", pa.array([10**6, 2 * 10**6]), [1, 2]),
        ("ms", pa.array(["5", "6"]), [5, 6]),
        ("ms", pa.array([5.0, 6.0]), [5, 6]),
        ("ms", pa.array(["1970-01-01T00:00:01Z", "1970-01-01T01:00:01+01:00"]), [1000, 1000]),
        ("ms", pa.array(["1970-01-01 00:00:01", "1970-01-01T00:00:02.5"]), [1000, 2500]),
        ("ms", pa.array([0, 86_400_000], pa.timestamp("ms", "Asia/Tokyo")), [0, 86_400_000]),
    ],
)
def test_time_comes_in_many_forms(unit: str, time: pa.Array, found: list[int]) -> None:
    assert [row[2] for row in rows(LONG.set_column(2, "time", time), time_unit=unit)] == found


def test_parts_of_milliseconds_are_refused_or_dropped_when_asked() -> None:
    fine = LONG.set_column(2, "time", pa.array([1_500, -1_500], pa.timestamp("us")))
    with pytest.raises(Problem, match="whole milliseconds"):
        rows(fine)
    assert [row[2] for row in rows(fine, floor_times=True)] == [1, -2]


def test_texts_of_a_csv_are_numbers_where_they_read_as_numbers() -> None:
    texts = ["1", " -2.5 ", "1e3", "on", "", "0x10", "nan", "1_000", ".5", "7."]
    table = pa.table(
        {"asset": ["a"] * 10, "point": ["p"] * 10, "time": [str(n) for n in range(10)], "value": texts}
    )
    found = {row[2]: row[3:] for row in rows(table, texts_only=True)}
    assert found == {
        0: (1.0, 0), 1: (-2.5, 0), 2: (1000.0, 0), 3: ("on", 3), 5: ("0x10", 3), 6: ("nan", 3), 7: ("1_000", 3),
        8: (0.5, 0), 9: (7.0, 0),
    }  # fmt: skip
    assert skipped(table, texts_only=True) == 1


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"point": "x"}, "no column x; its columns are asset, point, time, value"),
        ({"asset": "station"}, "no column station"),
        ({"quality": "q"}, "no column q"),
        ({"points": ["nope"]}, "no column nope"),
        ({"valu": "v"}, "mapping.valu"),
        ({"points": 5}, "mapping.points"),
        ({"points": []}, "mapping.points"),
        ({"points": {"a": 1}}, "mapping.points"),
        ({"time_unit": "hours"}, "mapping.time_unit"),
        ({"floor_times": "yes"}, "mapping.floor_times"),
        ({"asset": None}, "mapping.asset"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused(mapping: dict[str, Any], words: str) -> None:
    with pytest.raises(Problem, match=words):
        rows(LONG, **mapping)


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("asset", ["a", None], "asset"),
        ("asset", ["a", "x,y"], "commas"),
        ("point", ["p", "avg(q)"], "parentheses"),
        ("time", [1, None], "time"),
        ("time", ["1", "yesterday"], "time"),
        ("time", ["1970-01-01T00:00:01Z", "1970-01-01 00:00:01"], "time"),
        ("time", [1, 10**15], "1900 to 2262"),
        ("time", [1.5, 2.0], "time"),
        ("value", [float("inf"), 1.0], "finite"),
        ("value", [[1], [2]], "value"),
    ],
)
def test_a_row_that_cannot_be_stored_refuses_its_range(column: str, values: list[Any], words: str) -> None:
    table = LONG.set_column(LONG.column_names.index(column), column, pa.array(values))
    with pytest.raises(Problem, match=words):
        rows(table)


def test_the_mapping_survives_its_journey_through_the_job() -> None:
    columns = wanted_columns({"asset_id": "x", "points": {"a": "b"}, "time_unit": "s", "floor_times": True})
    assert Columns.from_json(columns.to_json()) == columns

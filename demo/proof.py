"""What the figures of the demonstration are compared with, and how they are counted."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from demo.enos import Enos
from demo.server import Native, Server
from demo.weather import POINTS, Weather

#: The service answers at most 640,000 values in one call.
_PAGE_SIZE = 640_000 // len(POINTS)


class SurpriseError(Exception):
    """Something is not as it must be."""


def expect(what: str, found: object, wanted: object) -> None:
    """Insist on a figure."""
    if found != wanted:
        raise SurpriseError(f"{what}: expected {wanted}, got {found}")


def ms(instant: str) -> int:
    """Return epoch milliseconds."""
    return int(datetime.fromisoformat(instant).timestamp() * 1000)


def rows_deleted(native: Native, job_id: int) -> int:
    """Return the sum over the ledgers of the units."""
    units = native.get(f"/v1/jobs/{job_id}/units", state="done", limit=500)["units"]
    return sum(int((unit["ledger"] or {}).get("rows_deleted", 0)) for unit in units)


def count_in_files(server: Server) -> int:
    """Count rows with another program's eyes: the Delta table as any reader opens it."""
    from deltalake import DeltaTable  # noqa: PLC0415 - only now, the demonstration starts sooner without it

    place = server.folder / "storage" / server.credentials["org_id"] / "samples"
    return int(DeltaTable(str(place)).to_pyarrow_dataset().count_rows())


def count_by_reading(enos: Enos, source: Weather, asset: str) -> int:
    """Return how many samples an asset has, by the documented count per day."""
    body = {
        "assetIds": asset,
        "pointIdsWithLogic": ",".join(f"count({point})" for point in POINTS),
        "interval": 1440,
        **_whole_time(source),
        "pageSize": _PAGE_SIZE,
        "itemFormat": 2,
    }
    items = enos.call("POST", "/tsdb-service/v2.1/ai-normalized", body)["data"]["items"]
    return sum(int(number) for item in items for number in item["value"])


def compare_asset(enos: Enos, source: Weather, asset: str, without: tuple[str, int, int]) -> int:
    """Compare every sample that an asset must have with the source; return how many there are.

    ``without``: a point, and the first and last instant (milliseconds) between which it must have none.
    """
    body = {
        "assetIds": asset,
        "pointIds": ",".join(POINTS),
        **_whole_time(source),
        "pageSize": _PAGE_SIZE,
        "itemFormat": 2,
    }
    items = enos.call("POST", "/tsdb-service/v2.1/raw", body)["data"]["items"]
    read = {item["pointId"]: _pairs(item["timestamp"], item["value"]) for item in items}
    gone, start_ms, end_ms = without
    total = 0
    for point in POINTS:
        series = source.series(asset, point, 0, 2**53)
        wanted = _pairs(series["time_ms"].to_pylist(), series["value"].to_pylist())
        if point == gone:
            wanted = [(time_ms, value) for time_ms, value in wanted if not start_ms <= time_ms <= end_ms]
        if read[point] != wanted:
            raise SurpriseError(f"{asset} {point}: what is read is not what was imported")
        total += len(wanted)
    return total


def _pairs(times: list[int], values: list[Any]) -> list[tuple[int, float]]:
    return list(zip(times, map(float, values), strict=True))


def _whole_time(source: Weather) -> dict[str, str]:
    """Return a range around every sample."""
    return {
        "startTime": "2012-12-31T00:00:00+00:00",
        "endTime": f"{2013 + source.years}-01-02T00:00:00+00:00",
    }

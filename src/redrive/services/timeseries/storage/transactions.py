"""The transaction numbers of a table (app id to number), read from the log once and then commit by commit.

deltalake answers for one app id by reading the whole log since the last checkpoint (17 ms after 200 commits);
every commit of ours asks for three.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import pyarrow.parquet as pq

from redrive.services.timeseries.storage.folder import Folder, Vanished, log_path

_CHECKPOINT = re.compile(r"^_delta_log/(\d{20})\.checkpoint.*\.parquet$")

_TRIES = 5


class Transactions:
    """Not thread-safe: the log's lock guards it. What ``at`` returned never changes."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._version = -1
        self._numbers: dict[str, int] = {}

    def at(self, version: int) -> Mapping[str, int]:
        """Return the numbers as of ``version``, which is not older than the one asked for before."""
        if version == self._version:
            return self._numbers
        numbers = None
        if 0 <= self._version < version:
            numbers = self._follow(self._version, version, self._numbers)
        for _ in range(_TRIES):
            if numbers is not None:
                break
            # A commit that is cleaned away while we read is covered by a newer checkpoint.
            start, found = self._checkpointed(version)
            numbers = self._follow(start, version, found)
        if numbers is None:
            raise OSError(f"the log of {self._folder.uri} has a gap before version {version}")
        self._version, self._numbers = version, numbers
        return numbers

    def _follow(self, start: int, end: int, numbers: Mapping[str, int]) -> dict[str, int] | None:
        followed = dict(numbers)
        try:
            for version in range(start + 1, end + 1):
                for line in self._folder.read(log_path(version)).splitlines():
                    if line.startswith(b'{"txn"'):
                        entry = json.loads(line)["txn"]
                        followed[entry["appId"]] = entry["version"]
        except Vanished:
            return None
        return followed

    def _checkpointed(self, version: int) -> tuple[int, dict[str, int]]:
        """Return the newest checkpoint up to ``version`` and its numbers; -1 where there is none."""
        parts: dict[int, list[str]] = {}
        for file in self._folder.list("_delta_log"):
            match = _CHECKPOINT.match(file.path)
            if match and int(match[1]) <= version:
                parts.setdefault(int(match[1]), []).append(file.path)
        if not parts:
            return -1, {}
        newest = max(parts)
        numbers: dict[str, int] = {}
        for path in parts[newest]:
            with self._folder.open(path) as source:
                found = pq.ParquetFile(source).read(columns=["txn.appId", "txn.version"])
            for row in found.to_pylist():
                if (row.get("txn") or {}).get("appId") is not None:
                    numbers[row["txn"]["appId"]] = row["txn"]["version"]
        return newest, numbers

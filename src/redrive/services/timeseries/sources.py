"""Files that are imported: opened, looked at, cut into ranges that can be read by themselves.

A source is a file that was uploaded into the organization's staging folder, or one on this machine below a
folder that the administrator named; any other path is refused, also through symbolic links.

CSV: UTF-8, a header line, one of ``, ; tab |`` between the columns (whichever the header has most of), no line
breaks inside values. Texts have no types; what they become is said in ``mapping``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from redrive.errors import Problem, ProblemCode, invalid
from redrive.services.timeseries.mapping import Columns, Mapped, batches_of, fit
from redrive.services.timeseries.storage.folder import Folder, Vanished

#: About how many samples a unit imports, and how many are in memory at a time.
UNIT_SAMPLES = 2_000_000
TABLE_SAMPLES = 500_000
#: A unit of a CSV is about this long.
CSV_BYTES = 32 * 1024 * 1024
_HEADER_BYTES = 1024 * 1024
_TABLE_BYTES = 128 * 1024 * 1024
_DELIMITERS = b",;\t|"


class Format(StrEnum):
    """What a file is."""

    PARQUET = "parquet"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class Source:
    """A file to import. ``staged``: ``path`` is below the staging folder; else it is one of this machine.

    ``mark`` (inode and time of the last change) tells whether a file of this machine is still the same: what was
    planned for one file must not be read out of another.
    """

    path: str
    format: Format
    name: str
    size: int
    staged: bool
    mark: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return what ``from_json`` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Source:
        """Return what ``to_json`` gave."""
        return cls(**{**data, "format": Format(data["format"])})


def format_of(name: str) -> Format:
    """Return the format that a file's name tells; a Problem where it tells none."""
    endings = {".parquet": Format.PARQUET, ".pq": Format.PARQUET, ".csv": Format.CSV, ".tsv": Format.CSV}
    ending = Path(name).suffix.lower()
    if ending not in endings:
        raise invalid("name", "a file .parquet or .csv", name)
    return endings[ending]


def local_source(path: str, roots: Sequence[Path]) -> Source:
    """Return a file of this machine as a source; a Problem where it is not below one of ``roots``."""
    refused = Problem(
        ProblemCode.FORBIDDEN,
        "the server may not read this file",
        hint="upload it, or let the administrator name its folder with import_roots",
        reason="import_roots",
    )
    try:
        real = Path(path).resolve(strict=True)
        inside = any(real.is_relative_to(root.resolve()) for root in roots)
    except (OSError, ValueError, RuntimeError):
        raise refused from None
    if not inside or not real.is_file():
        raise refused
    facts = real.stat()
    mark = f"{facts.st_ino}-{facts.st_mtime_ns}"
    return Source(str(real), format_of(real.name), real.name, facts.st_size, staged=False, mark=mark)


def opened(source: Source, staging: Folder, roots: Sequence[Path]) -> Any:
    """Return the open file of a source; a Problem where it is gone."""
    try:
        if source.staged:
            return staging.open(source.path)
        found = local_source(source.path, roots)
        if source.mark and (found.mark, found.size) != (source.mark, source.size):
            raise Problem(
                ProblemCode.CONFLICT,
                f"the file {source.name} is not the one that the import began with",
                hint="import it again",
                reason="source_changed",
            )
        # Not mapped: a file that somebody cuts short would end the process.
        return pa.OSFile(found.path)
    except (Vanished, OSError):
        raise Problem(
            ProblemCode.NOT_FOUND,
            f"the file {source.name} is not there any more",
            hint="import it again",
            reason="source_gone",
        ) from None


@dataclass(frozen=True, slots=True)
class Plan:
    """How a file is read: the columns, and ranges that together are the file, each once."""

    columns: Columns
    ranges: list[dict[str, int]]


def check(file: Any, source: Source, wanted: Columns) -> Columns:
    """Return the columns of a file as they would be read; ``Problem`` or ``ArrowException`` where they cannot."""
    present = _header(file)[0] if source.format is Format.CSV else pq.ParquetFile(file).schema_arrow.names
    return fit(wanted, present)


def plan(file: Any, source: Source, wanted: Columns) -> Plan:
    """Return the plan of a file. ``Problem`` or ``ArrowException`` where it is not one that can be read."""
    if source.format is Format.CSV:
        return _plan_csv(file, wanted)
    found = pq.ParquetFile(file)
    columns = fit(wanted, found.schema_arrow.names)
    most = max(1, UNIT_SAMPLES // columns.per_row)
    ranges: list[dict[str, int]] = []
    for group in range(found.metadata.num_row_groups):
        rows = found.metadata.row_group(group).num_rows
        if ranges and ranges[-1]["rows"] + rows <= most:
            ranges[-1]["groups"] += 1
            ranges[-1]["rows"] += rows
        elif rows:
            ranges.append({"first": group, "groups": 1, "rows": rows})
    return Plan(columns, ranges)


def batches(file: Any, source: Source, columns: Columns, span: Mapping[str, int]) -> Iterator[Mapped]:
    """Yield the samples of one range of a file, about ``TABLE_SAMPLES`` at a time."""
    read = _read_csv if source.format is Format.CSV else _read_parquet
    for table in read(file, columns, span):
        yield from batches_of(table, columns, texts_only=source.format is Format.CSV)


def _read_parquet(file: Any, columns: Columns, span: Mapping[str, int]) -> Iterator[pa.Table]:
    schema = pq.read_schema(file)
    file.seek(0)
    names = [name for name in (columns.asset, columns.point) if name in columns.names]
    repeated = [name for name in names if name is not None and pa.types.is_string(schema.field(name).type)]
    found = pq.ParquetFile(file, read_dictionary=repeated)
    groups = list(range(span["first"], span["first"] + span["groups"]))
    rows = max(1, min(TABLE_SAMPLES // columns.per_row, _TABLE_BYTES // _row_bytes(found, groups)))
    for batch in found.iter_batches(rows, groups, columns.names, use_threads=False):
        yield pa.Table.from_batches([batch])


def _row_bytes(file: pq.ParquetFile, groups: Sequence[int]) -> int:
    """Return about how many bytes a row takes, by what the file says."""
    sizes = [file.metadata.row_group(group) for group in groups]
    rows = max(1, sum(int(size.num_rows) for size in sizes))
    return max(1, sum(int(size.total_byte_size) for size in sizes) // rows)


def _plan_csv(file: Any, wanted: Columns) -> Plan:
    size = file.size()
    names, delimiter = _header(file)
    columns = fit(wanted, names)
    ranges: list[dict[str, int]] = []
    start = 0
    while start < size:
        end = _line_end(file, min(size, start + CSV_BYTES), size)
        ranges.append({"start": start, "end": end, "delimiter": delimiter})
        start = end
    return Plan(columns, ranges)


def _header(file: Any) -> tuple[list[str], int]:
    file.seek(0)
    line = bytes(file.read(_HEADER_BYTES)).partition(b"\n")[0]
    delimiter = max(_DELIMITERS, key=lambda code: line.count(bytes([code])))
    if not line.strip():
        raise invalid("header", "a line with the names of the columns")
    parse = pcsv.ParseOptions(delimiter=chr(delimiter))
    return pcsv.read_csv(pa.BufferReader(line + b"\n"), parse_options=parse).column_names, delimiter


def _line_end(file: Any, start: int, size: int) -> int:
    """Return where the line that ``start`` lies in ends."""
    at = start
    while at < size:
        file.seek(at)
        part = bytes(file.read(min(65_536, size - at)))
        found = part.find(b"\n")
        if found >= 0:
            return at + found + 1
        at += len(part)
    return size


def _read_csv(file: Any, columns: Columns, span: Mapping[str, int]) -> Iterator[pa.Table]:
    names, delimiter = _header(file)
    file.seek(span["start"])
    body = file.read_buffer(span["end"] - span["start"])
    reader = pcsv.open_csv(
        pa.BufferReader(body),
        read_options=pcsv.ReadOptions(
            column_names=names,
            skip_rows=1 if span["start"] == 0 else 0,
            use_threads=False,
            block_size=8 * 2**20,
        ),
        parse_options=pcsv.ParseOptions(delimiter=chr(delimiter)),
        convert_options=pcsv.ConvertOptions(
            column_types={name: pa.string() for name in names},
            include_columns=columns.names,
            strings_can_be_null=False,
        ),
    )
    for batch in reader:
        yield pa.Table.from_batches([batch])

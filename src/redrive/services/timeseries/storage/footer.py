"""The footer of a Parquet file as plain values, so that row groups can be carried over byte by byte.

A footer is one struct of the Thrift compact protocol. It is read into ``{field id: (type, value)}``, changed, and
written again; unknown fields survive. Field ids are those of parquet.thrift (parquet-format 2.10).
"""

from __future__ import annotations

import struct
from typing import Any

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
MAGIC = b"PAR1"

#: A struct: field id to (type, value); a list is (element type, values).
Struct = dict[int, tuple[int, Any]]

# FileMetaData
NUM_ROWS, ROW_GROUPS = 3, 4
# RowGroup
COLUMNS, GROUP_ROWS, GROUP_OFFSET, ORDINAL = 1, 3, 5, 7
# ColumnChunk
CHUNK_OFFSET, META_DATA, PAGE_INDEXES = 2, 3, (4, 5, 6, 7)
# ColumnMetaData
COMPRESSED_SIZE, DATA_PAGE, INDEX_PAGE, DICTIONARY_PAGE, BLOOM_FILTER = 7, 9, 10, 11, (14, 15)


def read(file: memoryview) -> Struct:
    """Return the footer of a whole file; ``ValueError`` where that is no plain Parquet file."""
    if len(file) < 12 or file[:4] != MAGIC or file[-4:] != MAGIC:
        raise ValueError("not a plain Parquet file")
    size = int.from_bytes(file[-8:-4], "little")
    return _Reader(bytes(file[len(file) - 8 - size : len(file) - 8])).struct()


def write(footer: Struct) -> bytes:
    """Return what stands behind the last row group of a file."""
    out = bytearray()
    _write_struct(out, footer)
    return bytes(out) + len(out).to_bytes(4, "little") + MAGIC


def groups(footer: Struct) -> list[Struct]:
    """Return the row groups."""
    found: list[Struct] = footer[ROW_GROUPS][1][1]
    return found


def span(group: Struct) -> tuple[int, int]:
    """Return where the pages of a row group begin and end; ``ValueError`` where it has parts elsewhere."""
    starts, ends = [], []
    for chunk in group[COLUMNS][1][1]:
        column = chunk[META_DATA][1]
        if any(field in column for field in BLOOM_FILTER) or any(field in chunk for field in PAGE_INDEXES):
            raise ValueError("pages outside of the row group")
        pages = [column[field][1] for field in (DATA_PAGE, DICTIONARY_PAGE) if field in column]
        start = min(page for page in pages if page > 0)
        starts.append(start)
        ends.append(start + column[COMPRESSED_SIZE][1])
    return min(starts), max(ends)


def moved(group: Struct, shift: int, ordinal: int) -> Struct:
    """Return a row group whose pages lie ``shift`` bytes further on."""
    chunks = []
    for chunk in group[COLUMNS][1][1]:
        column = dict(chunk[META_DATA][1])
        for field in (DATA_PAGE, INDEX_PAGE, DICTIONARY_PAGE):
            if field in column and column[field][1] > 0:
                column[field] = (_I64, column[field][1] + shift)
        changed = dict(chunk)
        changed[META_DATA] = (_STRUCT, column)
        if changed.get(CHUNK_OFFSET, (_I64, 0))[1] > 0:
            changed[CHUNK_OFFSET] = (_I64, changed[CHUNK_OFFSET][1] + shift)
        chunks.append(changed)
    result = dict(group)
    result[COLUMNS] = (_LIST, (_STRUCT, chunks))
    if GROUP_OFFSET in result:
        result[GROUP_OFFSET] = (_I64, result[GROUP_OFFSET][1] + shift)
    if ORDINAL in result:
        result[ORDINAL] = (_I16, ordinal)
    return result


def with_groups(footer: Struct, held: list[Struct]) -> Struct:
    """Return the footer of a file of these row groups."""
    result = dict(footer)
    result[NUM_ROWS] = (_I64, sum(group[GROUP_ROWS][1] for group in held))
    result[ROW_GROUPS] = (_LIST, (_STRUCT, held))
    return result


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def struct(self) -> Struct:
        found: Struct = {}
        field = 0
        while True:
            head = self._data[self._at]
            self._at += 1
            if head == 0:
                return found
            kind = head & 0x0F
            field = field + (head >> 4) if head >> 4 else self._zigzag()
            if kind in (_TRUE, _FALSE):
                found[field] = (_TRUE, kind == _TRUE)
            else:
                found[field] = (kind, self._value(kind))

    def _value(self, kind: int) -> Any:
        if kind in (_I16, _I32, _I64):
            return self._zigzag()
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind == _STRUCT:
            return self.struct()
        if kind in (_LIST, _SET):
            return self._list()
        if kind == _DOUBLE:
            return struct.unpack("<d", self._bytes(8))[0]
        if kind in (_BYTE, _TRUE, _FALSE):
            return self._bytes(1)[0]
        raise ValueError(f"type {kind} in a footer")

    def _list(self) -> tuple[int, list[Any]]:
        head = self._data[self._at]
        self._at += 1
        size = head >> 4
        if size == 15:
            size = self._varint()
        kind = head & 0x0F
        return kind, [self._value(kind) for _ in range(size)]

    def _bytes(self, count: int) -> bytes:
        self._at += count
        return self._data[self._at - count : self._at]

    def _varint(self) -> int:
        result = shift = 0
        while True:
            byte = self._data[self._at]
            self._at += 1
            result |= (byte & 0x7F) << shift
            if byte < 0x80:
                return result
            shift += 7

    def _zigzag(self) -> int:
        number = self._varint()
        return (number >> 1) ^ -(number & 1)


def _write_struct(out: bytearray, fields: Struct) -> None:
    last = 0
    for field in sorted(fields):
        kind, value = fields[field]
        shown = kind if kind != _TRUE or value else _FALSE
        if 0 < field - last <= 15:
            out.append((field - last) << 4 | shown)
        else:
            out.append(shown)
            _write_zigzag(out, field)
        if kind != _TRUE:
            _write_value(out, kind, value)
        last = field
    out.append(0)


def _write_value(out: bytearray, kind: int, value: Any) -> None:
    if kind in (_I16, _I32, _I64):
        _write_zigzag(out, value)
    elif kind == _BINARY:
        _write_varint(out, len(value))
        out += value
    elif kind == _STRUCT:
        _write_struct(out, value)
    elif kind in (_LIST, _SET):
        element, values = value
        if len(values) < 15:
            out.append(len(values) << 4 | element)
        else:
            out.append(0xF0 | element)
            _write_varint(out, len(values))
        for each in values:
            _write_value(out, element, each)
    elif kind == _DOUBLE:
        out += struct.pack("<d", value)
    else:
        out.append(value)


def _write_varint(out: bytearray, number: int) -> None:
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _write_zigzag(out: bytearray, number: int) -> None:
    _write_varint(out, number << 1 if number >= 0 else (-number << 1) - 1)

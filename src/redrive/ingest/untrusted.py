"""How much memory an Arrow IPC stream will need, read from its messages without decompressing anything.

A few kilobytes of a compressed stream can stand for gigabytes. Each compressed buffer begins with its size
after decompression, so the sum is known beforehand. The offsets read here are the FlatBuffers layout of
Arrow's ``Message`` and ``RecordBatch`` tables (Arrow columnar format, "Encapsulated message format").
"""

from __future__ import annotations

import struct

import pyarrow as pa

_SCHEMA, _DICTIONARY, _RECORDS = 1, 2, 3


def memory_of(body: bytes) -> int:
    """Return the bytes that the buffers of all messages in ``body`` take when read. Raises ArrowInvalid."""
    total = 0
    reader = pa.ipc.MessageReader.open_stream(pa.py_buffer(body))
    while True:
        try:
            message = reader.read_next_message()
        except StopIteration:
            return total
        if message.body is not None:
            total += _memory_of_message(message.metadata.to_pybytes(), memoryview(message.body))


def _memory_of_message(metadata: bytes, body: memoryview) -> int:
    root = _u32(metadata, 0)
    kind_at = _field(metadata, root, 1)
    header_at = _field(metadata, root, 2)
    kind = metadata[kind_at] if kind_at else 0
    if kind not in (_DICTIONARY, _RECORDS) or not header_at:
        return len(body)
    records = header_at + _u32(metadata, header_at)
    if kind == _DICTIONARY:
        data_at = _field(metadata, records, 1)
        if not data_at:
            return len(body)
        records = data_at + _u32(metadata, data_at)
    if not _field(metadata, records, 3):
        return len(body)
    buffers_at = _field(metadata, records, 2)
    return _decompressed(metadata, buffers_at + _u32(metadata, buffers_at), body) if buffers_at else len(body)


def _decompressed(metadata: bytes, vector: int, body: memoryview) -> int:
    total = 0
    for place in range(_u32(metadata, vector)):
        offset, length = struct.unpack_from("<qq", metadata, vector + 4 + 16 * place)
        if length < 8:
            continue
        (size,) = struct.unpack_from("<q", body, offset)
        total += length if size < 0 else size
    return total


def _field(data: bytes, table: int, number: int) -> int:
    """Return where field ``number`` of a FlatBuffers table lies, 0 where it is absent."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    if 4 + 2 * number >= struct.unpack_from("<H", data, vtable)[0]:
        return 0
    offset = struct.unpack_from("<H", data, vtable + 4 + 2 * number)[0]
    return table + offset if offset else 0


def _u32(data: bytes, at: int) -> int:
    value: int = struct.unpack_from("<I", data, at)[0]
    return value

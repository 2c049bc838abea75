"""Whether rows are the same, bit for bit: by comparing them, or by a checksum that is kept in a ledger."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa

from redrive.services.timeseries.storage import columns

_MULTIPLIERS = [
    np.uint64(0x9E3779B97F4A7C15 * (2 * place + 1) & (2**64 - 1)) for place in range(len(columns.DISK))
]
_FINISH = np.uint64(0xFF51AFD7ED558CCD)
_NULL = np.uint64(0xA0761D6478BD642F)
#: Rows mixed at once: the numbers stay in the processor's cache.
_BLOCK_ROWS = 16_384


def checksum(table: pa.Table) -> int:
    """Return the sum, modulo 2**64, of one hash per row over all columns (files' form, one chunk).

    The order of rows and how they are spread over files do not matter, so sums of parts add up. Numbers
    count by their bits. It finds damage and loss; it is no defence against a forger.
    """
    constant = 0
    varying: list[tuple[np.uint64, columns.Array]] = []
    for multiplier, name in zip(_MULTIPLIERS, columns.DISK.names, strict=True):
        words = _words(table[name].chunk(0)) if table.num_rows else None
        if words is None:
            words = np.full(1, _NULL)
        if bool(np.all(words == words[0])):
            # As for every other row below, but once: kind, seq and such mostly are one value.
            only = int(words[0]) * int(multiplier) % 2**64
            constant = (constant + (only ^ only >> 32)) % 2**64
        else:
            varying.append((multiplier, words))
    total = 0
    with np.errstate(over="ignore"):
        for start in range(0, table.num_rows, _BLOCK_ROWS):
            end = min(start + _BLOCK_ROWS, table.num_rows)
            row = np.full(end - start, constant, dtype=np.uint64)
            for multiplier, words in varying:
                # Folded before it is added, so that a sum over columns does not cancel out.
                mixed = words[start:end] * multiplier
                mixed ^= mixed >> np.uint64(32)
                row += mixed
            row *= _FINISH
            row ^= row >> np.uint64(32)
            row *= _FINISH
            row ^= row >> np.uint64(29)
            total += int(row.sum())
    return total % 2**64


def same_rows(one: pa.Table, other: pa.Table) -> bool:
    """Return whether two tables (files' form, one chunk) have the same rows in the same order, bit for bit."""
    if one.num_rows != other.num_rows:
        return False
    return all(_same(one[name].chunk(0), other[name].chunk(0)) for name in columns.DISK.names)


def _same(one: pa.Array, other: pa.Array) -> bool:
    if one.null_count != other.null_count:
        return False
    if one.null_count == len(one):
        return True
    if one.null_count and not one.is_null().equals(other.is_null()):
        return False
    if pa.types.is_dictionary(one.type) and pa.types.is_dictionary(other.type):
        if not one.dictionary.equals(other.dictionary):
            one, other = one.dictionary_decode(), other.dictionary_decode()
        else:
            one, other = one.indices, other.indices
    elif pa.types.is_floating(one.type):
        bits = [array.fill_null(0.0).to_numpy(zero_copy_only=False).view(np.uint64) for array in (one, other)]
        return bool(np.array_equal(bits[0], bits[1]))
    return bool(one.equals(other))


def add_checksums(*sums: int) -> int:
    """Return the checksum of all rows together."""
    return sum(sums) % 2**64


def _words(array: pa.Array) -> columns.Array | None:
    """Return 64 bits per row that stand for its value; None where all are null."""
    if array.null_count == len(array):
        return None
    if pa.types.is_string(array.type):
        array = array.dictionary_encode()
    if pa.types.is_dictionary(array.type):
        hashes = [
            hashlib.blake2b(name.encode(), digest_size=8).digest() for name in array.dictionary.to_pylist()
        ]
        table = np.frombuffer(b"".join(hashes), dtype=np.uint64)
        indices = array.indices
        words = table[columns.numbers(indices.fill_null(0) if array.null_count else indices)]
    elif pa.types.is_floating(array.type):
        words = array.fill_null(0.0).to_numpy(zero_copy_only=False).view(np.uint64)
    else:
        words = (
            columns.numbers(array.fill_null(0) if array.null_count else array)
            .astype(np.int64)
            .view(np.uint64)
        )
    if array.null_count:
        words = np.where(array.is_null().to_numpy(zero_copy_only=False), _NULL, words)
    return words

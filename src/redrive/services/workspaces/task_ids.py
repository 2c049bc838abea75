"""Ids of tasks: each attempt of a job has its own, in the form of a UUID, and tells which it is.

A task id holds the job's id, the attempt's number and a checksum, in a UUID of version 8 (RFC 9562). So every attempt
has one, whoever started it, and nothing needs to be stored to find it again.
"""

from __future__ import annotations

import uuid
import zlib

_JOB_BITS, _ATTEMPT_BITS, _CHECK_BITS = 63, 31, 28
_VERSION, _VARIANT = 0x8, 0b10


def task_id(job_id: int, attempt: int) -> str:
    """Return the id of an attempt."""
    payload = job_id << _ATTEMPT_BITS | attempt
    bits = payload << _CHECK_BITS | _check(payload)
    high, middle, low = bits >> 74, bits >> 62 & 0xFFF, bits & (1 << 62) - 1
    return str(uuid.UUID(int=high << 80 | _VERSION << 76 | middle << 64 | _VARIANT << 62 | low))


def attempt_of(text: str) -> tuple[int, int] | None:
    """Return job and attempt of a task id; None where it is none of ours."""
    try:
        found = uuid.UUID(text)
    except ValueError:
        return None
    if str(found) != text.lower() or found.int >> 76 & 0xF != _VERSION or found.int >> 62 & 0b11 != _VARIANT:
        return None
    bits = (found.int >> 80) << 74 | (found.int >> 64 & 0xFFF) << 62 | found.int & (1 << 62) - 1
    payload, check = bits >> _CHECK_BITS, bits & (1 << _CHECK_BITS) - 1
    job_id, attempt = payload >> _ATTEMPT_BITS, payload & (1 << _ATTEMPT_BITS) - 1
    return (job_id, attempt) if check == _check(payload) and job_id and attempt else None


def _check(payload: int) -> int:
    return zlib.crc32(payload.to_bytes(12, "big")) & (1 << _CHECK_BITS) - 1

"""Request bodies with an end: read as a whole up to a limit, refused beyond it."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from redrive.errors import FieldProblem, Problem, ProblemCode, invalid


def require_plain(request: Request) -> None:
    """Refuse a body that is compressed as a whole: what it stands for is not known beforehand."""
    coding = request.headers.get("content-encoding", "identity")
    if coding.strip().lower() not in ("", "identity"):
        raise invalid("Content-Encoding", "none; formats such as Arrow and Parquet compress inside", coding)


def limited(request: Request, most_bytes: int) -> Request:
    """Return the same request, whose body ends in a refusal where it gets longer than ``most_bytes``.

    For what reads bodies by itself, as the framework does.
    """
    read = 0

    async def receive() -> Message:
        nonlocal read
        message = await request.receive()
        read += len(message.get("body", b""))
        if read > most_bytes:
            raise HTTPException(413, f"body: expected at most {most_bytes} bytes")
        return message

    return Request(request.scope, receive)


async def body_within(request: Request, most_bytes: int) -> bytes:
    """Return the body; a Problem (too large) as soon as it is known to be longer than ``most_bytes``."""
    told = request.headers.get("content-length", "")
    if told.isdigit() and int(told) > most_bytes:
        raise too_large("body", most_bytes)
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most_bytes:
            raise too_large("body", most_bytes)
        chunks.append(chunk)
    return b"".join(chunks)


def too_large(name: str, most_bytes: int) -> Problem:
    """Return the problem of a part that is longer than ``most_bytes``."""
    field = FieldProblem(name, f"at most {most_bytes} bytes")
    return Problem(ProblemCode.TOO_LARGE, field.sentence(), fields=(field,))

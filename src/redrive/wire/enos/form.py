"""The multipart form of the integration call: one ``enos-message``, any number of ``enos-file``.

The message is kept up to its limit; of files only the names and sizes are, as they are counted and not stored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import python_multipart
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from redrive.errors import invalid
from redrive.wire.bodies import too_large

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

#: Limits of the vendor's page.
MESSAGE_BYTES = 512 * 1024
FILE_BYTES = 100 * 1024 * 1024
_FILES = 100
_HEADER_BYTES = 8 * 1024

MESSAGE, FILE = "enos-message", "enos-file"


@dataclass(slots=True)
class Form:
    """What came: the message's text, and the size of each file by its name."""

    message: bytes
    files: dict[str, int] = field(default_factory=dict)


async def read_form(request: Request) -> Form:
    """Return the form of ``request``; a Problem names the part that is wrong."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise invalid("Content-Type", "multipart/form-data with a boundary", kind.decode("latin-1"))
    reader = _Reader()
    try:
        parser = python_multipart.MultipartParser(boundary, reader.callbacks())
        async for chunk in request.stream():
            parser.write(chunk)
        parser.finalize()
    except FormParserError:
        raise invalid("body", "a multipart form") from None
    if not reader.complete:
        raise invalid("body", "a multipart form with its closing boundary")
    if reader.message is None:
        raise invalid(MESSAGE, "one part with this name")
    return Form(bytes(reader.message), reader.files)


class _Reader:
    """Takes the events of the parser for one form."""

    def __init__(self) -> None:
        self.message: bytearray | None = None
        self.files: dict[str, int] = {}
        self.complete = False
        self._take: Callable[[bytes], None] = self._nothing
        self._name = b""
        self._value = b""
        self._disposition = b""
        self._header_bytes = 0
        self._file = ""

    def callbacks(self) -> MultipartCallbacks:
        """Return what the parser calls."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": lambda data, start, end: self._take(data[start:end]),
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._disposition = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._value += data[start:end]

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > _HEADER_BYTES * (1 + len(self.files)):
            raise invalid("body", "part headers of reasonable length")

    def _header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name = self._value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name == MESSAGE:
            if self.message is not None:
                raise invalid(MESSAGE, "exactly one part with this name", "two")
            self.message = bytearray()
            self._take = self._take_message
        elif name == FILE:
            self._file = options.get(b"filename", b"").decode("utf-8", "replace")
            if not self._file or self._file in self.files or len(self.files) >= _FILES:
                raise invalid(FILE, f"a file name of its own, and at most {_FILES} files", self._file)
            self.files[self._file] = 0
            self._take = self._take_file
        else:
            raise invalid("body", f"parts named {MESSAGE} and {FILE}", name)

    def _take_message(self, data: bytes) -> None:
        assert self.message is not None
        if len(self.message) + len(data) > MESSAGE_BYTES:
            raise too_large(MESSAGE, MESSAGE_BYTES)
        self.message += data

    def _take_file(self, data: bytes) -> None:
        self.files[self._file] += len(data)
        if self.files[self._file] > FILE_BYTES:
            raise too_large(FILE, FILE_BYTES)

    def _nothing(self, data: bytes) -> None:
        """Data outside a part, which the parser does not give."""

    def _end(self) -> None:
        self.complete = True

"""The folder of one table, on a local disk or in an S3-compatible store: write, read, list and remove its files.

Guarantees: a local file is on the disk after ``sync``, with its folder; removing is safe to repeat. What the
store says is told as a ``Failure`` (code ``storage``): transient, or ``needs_input`` where the disk is full or
access is refused; a file that is not there is ``Vanished``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs as pafs
from deltalake.exceptions import DeltaError

from redrive.errors import Failure, FailureClass

_MISSING_TEXT = re.compile(r"No such file|NoSuchKey|not found", re.IGNORECASE)
_FULL_TEXT = re.compile(r"No space left|os error 28|Disk quota|os error 122", re.IGNORECASE)
_REFUSED_TEXT = re.compile(
    r"Access_?Denied|Forbidden|Invalid_?Access_?Key_?Id|Signature_?Does_?Not_?Match|No_?Such_?Bucket"
    r"|Permission denied",
    re.IGNORECASE,
)
_REMOVERS = 8
_SYNCERS = 16


class Vanished(Exception):
    """A file that a snapshot names is gone: another commit replaced it meanwhile."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A file as the store lists it; ``path`` is relative to the table."""

    path: str
    size: int
    modified_seconds: float


@dataclass(frozen=True)
class Folder:
    """Where one table lies. ``uri`` is for deltalake, ``fs`` and ``root`` for pyarrow."""

    uri: str
    root: str
    fs: pafs.FileSystem
    local: bool
    options: Mapping[str, str] = field(default_factory=dict)

    def full(self, path: str) -> str:
        """Return the path of a file of the table within ``fs``."""
        return f"{self.root}/{path}"

    @contextlib.contextmanager
    def create(self, path: str) -> Iterator[Any]:
        """A sink for a new file, complete when the block ends; ``sync`` makes it durable."""
        full = self.full(path)
        if not self.local:
            with self.fs.open_output_stream(full) as sink:
                yield sink
            return
        Path(full).parent.mkdir(parents=True, exist_ok=True)
        with pa.OSFile(full, "wb") as sink:
            yield sink

    def sync(self, paths: Iterable[str]) -> None:
        """Make new files durable, with their folders; an object store has done so already.

        All at once: a file system writes its journal once for those that wait together.
        """
        files = [self.full(path) for path in paths] if self.local else []
        if files:
            _sync_all(files)
            _sync_all({str(Path(file).parent) for file in files} | {self.root})

    def open(self, path: str) -> Any:
        """Return a random-access file; ``Vanished`` where it is not there."""
        try:
            if self.local:
                return pa.memory_map(self.full(path))
            return self.fs.open_input_file(self.full(path))
        except FileNotFoundError:
            raise Vanished(path) from None

    def read(self, path: str) -> bytes:
        """Return a small file; ``Vanished`` where it is not there."""
        try:
            if self.local:
                return Path(self.full(path)).read_bytes()
            with self.fs.open_input_stream(self.full(path)) as source:
                return bytes(source.read())
        except FileNotFoundError:
            raise Vanished(path) from None

    def sync_log(self, version: int) -> None:
        """Make a commit durable; an object store has done so already."""
        if self.local:
            with contextlib.suppress(FileNotFoundError):
                _sync(self.full(log_path(version)))
            _sync(self.full("_delta_log"))

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files, also those that are gone already."""
        paths = list(paths)
        if self.local:
            for path in paths:
                Path(self.full(path)).unlink(missing_ok=True)
            parents = {Path(self.full(path)).parent for path in paths}
            _sync_all(str(parent) for parent in parents if parent.is_dir())
        elif paths:
            with ThreadPoolExecutor(min(_REMOVERS, len(paths))) as pool:
                list(pool.map(self._remove_object, paths))

    def _remove_object(self, path: str) -> None:
        try:
            self.fs.delete_file(self.full(path))
        except OSError as error:
            if not _is_missing(error):
                raise

    def list(self, below: str = "") -> list[Stored]:
        """Return every file below a folder of the table; none where there is no such folder."""
        base = self.full(below).rstrip("/")
        selector = pafs.FileSelector(base, recursive=True, allow_not_found=True)
        return [
            Stored(info.path[len(self.root) + 1 :], info.size, (info.mtime_ns or 0) / 1e9)
            for info in self.fs.get_file_info(selector)
            if info.type == pafs.FileType.File
        ]

    def remove_all(self) -> None:
        """Remove the whole table."""
        with contextlib.suppress(FileNotFoundError):
            self.fs.delete_dir(self.root)


def log_path(version: int) -> str:
    """Return the path of a commit in the Delta log."""
    return f"_delta_log/{version:020d}.json"


def make_folder(root_url: str, options: Mapping[str, str], *below: str) -> Folder:
    """Return the folder ``below`` the root of a store (a local path, ``file://`` or ``s3://bucket/prefix``)."""
    parts = urlsplit(root_url)
    tail = "/".join(below)
    if parts.scheme == "s3":
        root = f"{parts.netloc}{parts.path.rstrip('/')}/{tail}".rstrip("/")
        return Folder(f"s3://{root}", root, _object_store(options), False, dict(options))
    path = Path(parts.path if parts.scheme == "file" else root_url).absolute() / tail
    return Folder(str(path), str(path), pafs.LocalFileSystem(), True)


def option(options: Mapping[str, str], name: str) -> str | None:
    """Return an option of the store: as given, in any case, or from the environment."""
    for key, value in options.items():
        if key.upper() == name:
            return value
    return os.environ.get(name)


def _object_store(options: Mapping[str, str]) -> pafs.FileSystem:
    endpoint = option(options, "AWS_ENDPOINT_URL")
    arguments: dict[str, Any] = {
        "access_key": option(options, "AWS_ACCESS_KEY_ID"),
        "secret_key": option(options, "AWS_SECRET_ACCESS_KEY"),
        "session_token": option(options, "AWS_SESSION_TOKEN"),
        "region": option(options, "AWS_REGION") or option(options, "AWS_DEFAULT_REGION"),
        "connect_timeout": 5,
        "request_timeout": 60,
        "background_writes": False,
        # Small files go in one request instead of a multipart upload's three.
        "allow_delayed_open": True,
    }
    if endpoint:
        parts = urlsplit(endpoint)
        arguments |= {"endpoint_override": parts.netloc, "scheme": parts.scheme}
    return pafs.S3FileSystem(**{key: value for key, value in arguments.items() if value is not None})


@contextlib.contextmanager
def told_as_failure(target: str) -> Iterator[None]:
    """Turn what the store or the disk says within the block into a ``Failure``."""
    try:
        yield
    except (OSError, DeltaError) as error:
        raise as_failure(error, target) from error


def as_failure(error: BaseException, target: str) -> Failure:
    """Return the failure that an error of the store stands for."""
    text = str(error)
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT) or _FULL_TEXT.search(text):
        hint = "free or add space where the samples are stored, then retry; nothing half-done is left"
        return Failure(
            "storage", "the sample store is full", hint=hint, kind=FailureClass.NEEDS_INPUT, target=target
        )
    if number in (errno.EACCES, errno.EPERM, errno.EROFS) or _REFUSED_TEXT.search(text):
        hint = "check the owner of the folder, or the keys and the policy of the bucket, then retry"
        detail = f"the sample store refuses access: {_short(text)}"
        return Failure("storage", detail, hint=hint, kind=FailureClass.NEEDS_INPUT, target=target)
    detail = f"the sample store failed: {_short(text)}"
    hint = "it is tried again; if this stays, check that the store can be reached"
    return Failure("storage", detail, hint=hint, kind=FailureClass.TRANSIENT, target=target)


def damaged(path: str, error: BaseException, target: str) -> Failure:
    """Return the failure of a file that is there but is no file of samples any more."""
    return Failure(
        "storage",
        f"a file cannot be read: {path}: {_short(str(error))}",
        hint="it is damaged; restore it from a backup, or delete its range",
        kind=FailureClass.PERMANENT,
        target=target,
    )


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else line[:297] + "..."


def _is_missing(error: OSError) -> bool:
    return isinstance(error, FileNotFoundError) or bool(_MISSING_TEXT.search(str(error)))


def _sync_all(paths: Iterable[str]) -> None:
    waiting = list(paths)
    if len(waiting) < 2:
        for path in waiting:
            _sync(path)
        return
    with ThreadPoolExecutor(min(_SYNCERS, len(waiting))) as pool:
        list(pool.map(_sync, waiting))


def _sync(path: str | Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Work on several files at once, none of which outlives the call: what still ran would write behind a clean-up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Executor, wait
from typing import Any, TypeVar

T = TypeVar("T")


def each(pool: Executor, work: Callable[..., T], *arguments: Iterable[Any]) -> list[T]:
    """Return ``work`` of each, in order. After an error nothing runs any more when it is raised."""
    futures = [pool.submit(work, *given) for given in zip(*arguments, strict=True)]
    try:
        return [future.result() for future in futures]
    finally:
        for future in futures:
            future.cancel()
        wait(futures)

"""``redrive jobs watch``: jobs until they end, as live bars in a terminal and as lines elsewhere.

A server that restarts meanwhile is waited for; the bars go on where they were.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from redrive.cli import jobs_screen as screen
from redrive.cli.client import Api
from redrive.errors import Problem, ProblemCode

Json = dict[str, Any]

ENDED = {"succeeded", "failed", "cancelled"}
_FIRST_POLL_SECONDS = 0.1
_LONGEST_POLL_SECONDS = 1.0
_LINE_SECONDS = 2.0
#: How long a server may be away.
PATIENCE_SECONDS = 60.0


class View(Protocol):
    """What shows a job whenever it was asked for."""

    def __call__(self, job: Json) -> None:
        """Show the job as it stands."""


def watch(api: Api, ids: Sequence[str], out: Console, *, as_json: bool, timeout: float | None) -> bool:
    """Watch until all jobs have ended; return whether all succeeded. A Problem where ``timeout`` ran out."""
    if as_json or not out.is_terminal:
        return _follow(api, ids, _Lines(out, as_json), timeout, out)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[units]}"),
        TextColumn("{task.fields[pace]}"),
        console=out,
        transient=True,
    ) as progress:
        return _follow(api, ids, _Bars(progress), timeout, out)


def _follow(api: Api, ids: Sequence[str], show: View, timeout: float | None, out: Console) -> bool:
    left = dict.fromkeys(ids)
    final: dict[str, Json] = {}
    give_up = None if timeout is None else time.monotonic() + timeout
    pause = _FIRST_POLL_SECONDS
    while True:
        for job_id in list(left):
            job = _patiently(lambda job_id=job_id: api.get(f"/v1/jobs/{job_id}"))  # type: ignore[misc]
            show(job)
            if job["state"] in ENDED:
                final[job_id] = job
                del left[job_id]
        if not left:
            break
        if give_up is not None and time.monotonic() > give_up:
            raise Problem(
                ProblemCode.UNAVAILABLE, f"{len(left)} of {len(ids)} jobs have not ended in {timeout:g} s"
            )
        time.sleep(pause)
        pause = min(_LONGEST_POLL_SECONDS, pause * 1.3)
    if isinstance(show, _Bars):
        show.close()
        for job in final.values():
            out.print(verdict(job))
    return all(job["state"] == "succeeded" for job in final.values())


def _patiently(ask: Callable[[], Json]) -> Json:
    since = time.monotonic()
    while True:
        try:
            return ask()
        except Problem as problem:
            away = problem.code is ProblemCode.UNAVAILABLE and problem.reason != "certificate"
            if not away or time.monotonic() - since > PATIENCE_SECONDS:
                raise
        time.sleep(_LONGEST_POLL_SECONDS)


def verdict(job: Json) -> Text:
    """Return how a job ended, in a line or two."""
    line = Text.assemble(
        "job ", job["id"], " ", screen.state(job), f": {screen.units(job['progress'])} units"
    )
    if job["attempt"] > 1:
        line.append(f", attempt {job['attempt']}, {job['units_redone']} redone")
    if job["failure"]:
        line.append("\n  ").append_text(screen.failure_line(job["failure"], 300))
        if job["failure"]["hint"]:
            line.append("\n  hint: ").append_text(screen.plain(job["failure"]["hint"]))
        line.append(f"\n  then: redrive jobs retry {job['id']}")
    return line


class _Bars:
    """Live bars."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, Any] = {}

    def __call__(self, job: Json) -> None:
        units = job["progress"]
        values: dict[str, Any] = {
            "description": f"{job['id']} {escape(screen.plain(job['kind'], 30).plain)} "
            f"[{_colour(job)}]{screen.state(job).plain}[/]",
            "total": max(1, units["total"]),
            "completed": units["done"] + units["skipped"],
            "units": screen.units(units),
            "pace": screen.pace(units) if job["state"] == "running" else "",
        }
        if job["id"] in self._tasks:
            self._progress.update(self._tasks[job["id"]], **values)
        else:
            self._tasks[job["id"]] = self._progress.add_task(**values)

    def close(self) -> None:
        """Leave no bar behind; the verdicts follow."""
        self._progress.stop()


def _colour(job: Json) -> str:
    return str(screen.state(job).style) or "default"


class _Lines:
    """A line whenever the state changed, and every two seconds while units end."""

    def __init__(self, out: Console, as_json: bool) -> None:
        self._out = out
        self._as_json = as_json
        self._seen: dict[str, tuple[Any, ...]] = {}
        self._at: dict[str, float] = {}

    def __call__(self, job: Json) -> None:
        name, units = job["id"], job["progress"]
        stands = (job["state"], job["wanted"], job["attempt"])
        before = self._seen.get(name, (None,))
        moved = before[1:] != (units["done"], units["failed"], units["skipped"])
        due = time.monotonic() - self._at.get(name, 0) > _LINE_SECONDS
        if before[0] == stands and not (moved and due):
            return
        self._seen[name] = (stands, units["done"], units["failed"], units["skipped"])
        self._at[name] = time.monotonic()
        if self._as_json:
            typer.echo(json.dumps(job))
        elif job["state"] in ENDED:
            self._out.print(verdict(job))
        else:
            pace = f", {screen.pace(units)} left" if units["units_per_second"] is not None else ""
            self._out.print(
                Text.assemble("job ", name, " ", screen.state(job), f": {screen.units(units)} units{pace}")
            )

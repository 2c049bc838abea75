"""How jobs look in a terminal: pure functions from what the API answers to what Rich prints.

Piped output is not cut: ids must come out whole. Texts that others wrote (details, labels, reasons) are never
read as markup, and their control characters are not sent to the terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

Json = dict[str, Any]

_WIDE = 240
_COLOURS = {
    "queued": "cyan",
    "running": "blue",
    "paused": "yellow",
    "succeeded": "green",
    "failed": "red",
    "cancelled": "magenta",
    "waiting": "cyan",
    "done": "green",
    "unknown": "yellow",
    "skipped": "dim",
}
_WISHES = {"pause": "pausing", "cancel": "cancelling"}


def console() -> Console:
    """Return the standard output, wide where it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False, soft_wrap=False)


def plain(value: object, limit: int = 0, style: str = "") -> Text:
    """Return text that others wrote, harmless, cut at ``limit`` where that is not 0."""
    text = "".join(char if char.isprintable() else " " for char in str("" if value is None else value))
    return Text(text if not limit or len(text) <= limit else text[: limit - 1] + "…", style=style)


def moment(instant: str | None) -> str:
    """Return ``2026-11-23 22:10:33Z`` of an RFC 3339 instant."""
    return "" if instant is None else instant[:19].replace("T", " ") + "Z"


def duration(seconds: float | None) -> str:
    """Return ``1:02:03`` or ``2:03`` or ``0:03``, ``?`` where nobody can tell."""
    if seconds is None:
        return "?"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def state(item: Json) -> Text:
    """Return a job's or unit's state with its colour; a wish that is not yet fulfilled shows instead."""
    word = str(item["state"])
    shown = _WISHES.get(item.get("wanted") or "", word)
    if item.get("held"):
        shown += " (held)"
    return Text(shown, style=_COLOURS.get(word, ""))


def units(progress: Json) -> str:
    """Return ``3/10``, and how many failed."""
    ended = progress["done"] + progress["skipped"]
    failed = f", {progress['failed']} failed" if progress["failed"] else ""
    return f"{ended}/{progress['total']}{failed}"


def failure_line(failure: Json | None, limit: int = 60) -> Text:
    """Return a failure in one line."""
    return Text("") if failure is None else plain(f"{failure['code']}: {failure['detail']}", limit)


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        whole = column in {"Job", "Unit", "State", "Created", "At", "Fingerprint", "Last seen"}
        table.add_column(
            column, no_wrap=whole, overflow="fold", justify="right" if column == "Jobs" else "left"
        )
    return table


def job_table(jobs: Sequence[Json]) -> Table:
    """Return a list of jobs."""
    table = _table("Job", "State", "Kind", "Subject", "Units", "Attempt", "Created", "Failure")
    for job in jobs:
        table.add_row(
            job["id"],
            state(job),
            plain(job["kind"]),
            plain(job["subject"], 40),
            units(job["progress"]),
            str(job["attempt"]),
            moment(job["created_at"]),
            failure_line(job["failure"]),
        )
    return table


def job_screen(job: Json, attempts: Sequence[Json], failed: Sequence[Json]) -> RenderableType:
    """Return everything that a person wants to know about a job."""
    parts: list[RenderableType] = [_facts(job), Text()]
    if job["failure"] is not None:
        parts += [Text("Failure", style="bold"), _failure(job["failure"]), Text()]
    if failed:
        parts += [Text("Failed units", style="bold"), unit_table(failed), Text()]
    parts += [Text("Attempts", style="bold"), attempt_table(attempts), Text()]
    parts.append(_way_on(job))
    return Group(*parts)


def _facts(job: Json) -> Table:
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    progress = job["progress"]
    rows: list[tuple[str, RenderableType]] = [
        ("Job", Text(job["id"])),
        ("Kind", plain(job["kind"])),
        ("Subject", plain(job["subject"])),
        ("State", state(job)),
        ("Units", _bar(progress)),
        ("Attempt", Text(f"{job['attempt']}, {job['units_redone']} units redone in it")),
        ("Submitted", plain(f"{moment(job['created_at'])} by {job['actor']}")),
        ("Started", Text(moment(job["started_at"]))),
        ("Ended", Text(moment(job["ended_at"]))),
        ("Rerun of", Text(job["origin_id"] or "")),
        ("Superseded by", Text(job["superseded_by"] or "")),
        ("Asked", plain(job.get("spec"), 400)),
    ]
    if job["state"] == "running":
        rows.insert(5, ("Time left", Text(pace(progress))))
    if job["state"] == "queued":
        rows.insert(5, ("Runs at", Text(moment(job["run_at"]))))
    for name, value in rows:
        if not isinstance(value, Text) or value.plain:
            facts.add_row(name, value)
    return facts


def pace(progress: Json) -> str:
    """Return the time left and the rate."""
    rate = progress["units_per_second"]
    return "?" if rate is None else f"{duration(progress['seconds_left'])} at {rate:.3g} units/s"


def _bar(progress: Json) -> Table:
    line = Table.grid(padding=(0, 1))
    line.add_row(
        ProgressBar(max(1, progress["total"]), progress["done"] + progress["skipped"], width=30),
        Text(f"{units(progress)}, {progress['running']} running"),
    )
    return line


def _failure(failure: Json) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in (
        ("What", f"{failure['code']}: {failure['detail']}"),
        ("Do", failure["hint"]),
        ("On", failure["target"]),
        ("Class", f"{failure['class']}, fingerprint {failure['fingerprint']}"),
    ):
        if value:
            table.add_row(name, plain(value))
    return table


def _way_on(job: Json) -> Text:
    if job["retryable"]:
        return Text(f"Retry it, keeping what is done: redrive jobs retry {job['id']}")
    return plain(job["why_not"]["sentence"] if job["why_not"] else "")


def attempt_table(attempts: Sequence[Json]) -> Table:
    """Return a job's attempts."""
    table = _table("No", "Cause", "By", "At", "Outcome", "Done", "Redone", "Failed", "Why")
    for attempt in attempts:
        outcome = attempt["outcome"] or "under way"
        why = attempt["reason"] or ""
        if attempt["failure"]:
            why = f"{why}; " if why else ""
            why += f"{attempt['failure']['code']}: {attempt['failure']['detail']}"
        ended = attempt["outcome"] is not None
        table.add_row(
            str(attempt["number"]),
            attempt["cause"],
            plain(attempt["actor"], 30),
            moment(attempt["created_at"]),
            Text(outcome, style=_COLOURS.get(outcome, "")),
            *(str(attempt[name]) if ended else "" for name in ("units_done", "units_redone", "units_failed")),
            plain(why, 100),
        )
    return table


def unit_table(found: Sequence[Json]) -> Table:
    """Return units."""
    table = _table("Unit", "Phase", "State", "Label", "Tries", "Ended", "Ledger or failure")
    for unit in found:
        ledger = ", ".join(f"{name} {value}" for name, value in (unit["ledger"] or {}).items())
        last = failure_line(unit["failure"], 100) if unit["failure"] else plain(ledger, 100)
        table.add_row(
            unit["id"],
            str(unit["phase"]),
            state(unit),
            plain(unit["label"], 60),
            str(unit["tries"]),
            moment(unit["ended_at"]),
            last,
        )
    return table


def event_table(found: Sequence[Json]) -> Table:
    """Return events."""
    table = _table("At", "Attempt", "Event", "By", "Data")
    for event in found:
        data = {name: value for name, value in (event["data"] or {}).items() if value not in ("", None)}
        text = ", ".join(f"{name} {value}" for name, value in data.items())
        table.add_row(
            moment(event["at"]),
            str(event["attempt"]),
            event["name"],
            plain(event["actor"], 30),
            plain(text, 120),
        )
    return table


def cause_table(found: Sequence[Json]) -> Table:
    """Return causes of failures."""
    table = _table("Jobs", "Kind", "Class", "What", "Do", "Last seen", "Fingerprint")
    for cause in found:
        sample = cause["sample"]
        table.add_row(
            str(cause["jobs"]),
            plain(cause["kind"]),
            sample["class"],
            failure_line(sample, 80),
            plain(sample["hint"], 80),
            moment(cause["last_seen"]),
            cause["fingerprint"],
        )
    return table

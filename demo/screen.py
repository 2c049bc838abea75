"""What the viewer sees: headings, the calls that are made, progress of a job, tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

console = Console(highlight=False)
_steps = 0


def step(title: str) -> None:
    """Begin a numbered step."""
    global _steps
    _steps += 1
    console.print()
    console.rule(f"[bold]{_steps}. {title}", align="left", style="dim")


def say(text: str) -> None:
    """Print a sentence; Rich's markup is understood."""
    console.print(Padding(text, (0, 0, 0, 3)))


def shown(command: str) -> None:
    """Print a command that the viewer could type, whole."""
    console.print(Text(_indented(f"$ {command}"), style="cyan"), soft_wrap=True)


def answered(body: Mapping[str, Any]) -> None:
    """Print an answer as it came."""
    console.print(Text(_indented(json.dumps(body)), style="green"), soft_wrap=True)


def _indented(text: str) -> str:
    return "   " + text.replace("\n", "\n   ")


def watch(
    title: str, look: Callable[[], Mapping[str, Any]], ended: Callable[[Mapping[str, Any]], bool]
) -> None:
    """Show a job's units as a bar until ``ended``; ``look`` returns the job as ``/v1/jobs/{id}`` tells it."""
    columns = (
        TextColumn("   {task.description:<26}"),
        BarColumn(bar_width=36),
        MofNCompleteColumn(),
        TextColumn("units"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, refresh_per_second=20) as progress:
        task = progress.add_task(title, total=None, note="")
        while True:
            job = look()
            units = job["progress"]
            note = f"{units['failed']} failed" if units["failed"] else ""
            total = units["total"] - units["skipped"]
            progress.update(task, total=total, completed=units["done"], note=f"{job['state']} {note}")
            if ended(job):
                return


def table(title: str, rows: list[tuple[str, str, str]]) -> None:
    """Print three columns: what, a figure, a remark."""
    drawn = Table(title=title, title_justify="left", title_style="bold", show_header=False, show_lines=False)
    drawn.add_column(style="bold")
    drawn.add_column(justify="right")
    drawn.add_column()
    for row in rows:
        drawn.add_row(*row)
    console.print(Padding(drawn, (1, 0, 0, 3)))

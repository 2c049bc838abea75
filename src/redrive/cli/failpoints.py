"""``redrive failpoints``: named places in the code where a test or a demonstration makes a failure.

They act only where the server was started with ``--allow-failpoints``.
"""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.table import Table

from redrive.cli import jobs_screen as screen
from redrive.cli.client import Api, connect
from redrive.cli.up import Config, DataDir
from redrive.engine import failpoints

app = typer.Typer(help="Places where tests and demonstrations make failures.", invoke_without_command=True)

_PATH = "/v1/failpoints"

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="One of the names that `redrive failpoints list` prints.")]
Action = Annotated[
    str, typer.Argument(help="error[:COUNT], delay:SECONDS, exit, stop or off, and behind it ,after=N.")
]


@app.callback()
def default(context: typer.Context) -> None:
    """List the failpoints, or arm them for every worker."""
    if context.invoked_subcommand is None:
        list_failpoints()


@app.command("list")
def list_failpoints(as_json: AsJson = False, data_dir: DataDir = None, config: Config = None) -> None:
    """List every failpoint and what is armed there."""
    with connect(data_dir, config) as api:
        body = api.get(_PATH)
    if as_json:
        typer.echo(json.dumps(body, indent=2))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("Name", no_wrap=True)
    table.add_column("Armed", no_wrap=True)
    table.add_column("Where")
    for point in body["failpoints"]:
        table.add_row(point["name"], screen.plain(point["action"], style="red"), point["interrupts"])
    out = screen.console()
    out.print(table)
    if not body["allowed"]:
        out.print("This server does not let failures be made: start it with --allow-failpoints.")


@app.command("set")
def arm(name: Name, action: Action, data_dir: DataDir = None, config: Config = None) -> None:
    """Arm one failpoint for every worker; the others stay as they are."""
    failpoints.parse(action)
    with connect(data_dir, config) as api:
        _put(api, {**_armed(api), name: action})
    typer.echo(f"{name}: {action}")


@app.command()
def clear(
    name: Annotated[str | None, typer.Argument(help="Only this one. [default: all]")] = None,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Disarm one failpoint, or all."""
    with connect(data_dir, config) as api:
        left = {other: action for other, action in _armed(api).items() if name is not None and other != name}
        _put(api, left)
    typer.echo(f"{name or 'all'}: off")


def _armed(api: Api) -> dict[str, str]:
    return {
        point["name"]: point["action"]
        for point in api.get(_PATH)["failpoints"]
        if point["action"] is not None
    }


def _put(api: Api, actions: dict[str, str]) -> None:
    api.put(_PATH, {"failpoints": actions})

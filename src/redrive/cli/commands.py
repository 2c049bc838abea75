"""Every command: one visible list. A new file of commands is an import and a line here."""

from __future__ import annotations

import typer

import redrive
from redrive.cli import audit, failpoints, identity, jobs, timeseries, workspaces
from redrive.cli.up import serve, up, worker

app = typer.Typer(
    name="redrive",
    help="A server for long-running data jobs that survive failure.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(up)
app.command()(serve)
app.command()(worker)
app.add_typer(jobs.app, name="jobs")
app.command()(jobs.verify)
app.add_typer(timeseries.app, name="timeseries")
app.add_typer(workspaces.app, name="workspaces")
app.add_typer(failpoints.app, name="failpoints")
app.add_typer(identity.app, name="identity")
app.add_typer(identity.master_app, name="keys")
app.command()(audit.audit)


@app.command()
def version() -> None:
    """Print the version of the program."""
    typer.echo(redrive.__version__)

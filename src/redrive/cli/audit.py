"""``redrive audit``: the trail of refusals and changes of rights, read from the database directly."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.text import Text

from redrive.cli import jobs_screen as screen
from redrive.cli.accounts import AsJson, moment, open_account, print_json, print_table
from redrive.cli.up import Config, DatabaseUrl, DataDir
from redrive.clock import now
from redrive.errors import invalid
from redrive.identity.audit import PAGE_LIMIT, AuditFilter, Entry, listing

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def audit(
    outcome: Annotated[str | None, typer.Option(help="Only changed, or only refused.")] = None,
    actor: Annotated[str | None, typer.Option(help="Only of this actor.")] = None,
    action: Annotated[
        str | None, typer.Option(help="Only this action, with * where wanted: iam:users:*")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Since an instant (2026-11-27T06:00Z), or 30m, 12h, 7d.")
    ] = None,
    before: Annotated[int | None, typer.Option(min=1, help="Older than this entry.")] = None,
    strangers: Annotated[
        bool, typer.Option("--strangers/--no-strangers", help="Also callers whom no account knows.")
    ] = True,
    limit: Annotated[int, typer.Option(min=1, max=PAGE_LIMIT, help="At most as many.")] = 50,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """List who was refused what, and who changed rights, newest first."""
    if outcome not in (None, "changed", "refused"):
        raise invalid("--outcome", "changed or refused", outcome)
    asked = AuditFilter(
        outcome=outcome,
        actor=actor,
        action=action,
        since=None if since is None else _instant(since),
        before=before,
        limit=limit,
    )
    with open_account(data_dir, database_url, config) as account, account.db.transaction() as conn:
        found = listing(conn, account.id, asked, strangers=strangers)
    if as_json:
        print_json([{**dataclasses.asdict(entry), "detail": dict(entry.detail)} for entry in found])
        return
    rows = [_row(entry) for entry in found]
    columns = ("Entry", "At", "Outcome", "Actor", "Action", "Resource", "Times", "From", "Reason")
    print_table(columns, rows, "There are no such entries.")
    if len(found) == limit:
        screen.console().print(Text(f"There may be more: --before {found[-1].id}", style="dim"))


def _row(entry: Entry) -> tuple[object, ...]:
    place = f"{entry.surface} {entry.address}".strip()
    times = "" if entry.times == 1 else entry.times
    return (
        entry.id,
        moment(entry.at),
        entry.outcome,
        entry.actor,
        entry.action,
        entry.resource,
        times,
        place,
        entry.reason,
    )


def _instant(text: str) -> datetime:
    unit = _UNITS.get(text[-1:])
    if unit is not None and text[:-1].isdigit() and len(text) <= 6:
        return now() - timedelta(**{unit: int(text[:-1])})
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise invalid("--since", "an instant such as 2026-11-27T06:00Z, or 30m, 12h, 7d", text) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)

"""``redrive jobs``: what runs, what failed and why, and the verbs. ``redrive verify``: the proof.

Exit status: 0 as wished; 1 it was done, but a job failed, was refused or could not be proved; 2 nothing was done
(no server, no such job, a wrong option).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from redrive.cli import jobs_screen as screen
from redrive.cli.client import Api, connect
from redrive.cli.jobs_watch import watch as watch_jobs
from redrive.cli.up import Config, DataDir
from redrive.errors import Problem, ProblemCode, invalid

app = typer.Typer(help="Jobs: what runs, what failed and why; retry, pause, cancel.", no_args_is_help=True)

Json = dict[str, Any]

_IDS_AT_ONCE = 10_000
_FILTERS = ("kind", "state", "subject", "fingerprint", "created_from", "created_to")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")]
JobIds = Annotated[list[str], typer.Argument(metavar="JOB...", help="Ids of jobs.")]
Limit = Annotated[int, typer.Option(min=1, help="At most as many.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the job's history.")]


@app.command("list")
def list_jobs(
    kind: Annotated[list[str] | None, typer.Option(help="Only of this kind; repeatable.")] = None,
    state: Annotated[list[str] | None, typer.Option(help="Only in this state; repeatable.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only on this subject.")] = None,
    fingerprint: Annotated[str | None, typer.Option(help="Only failed with this cause.")] = None,
    before: Annotated[str | None, typer.Option(help="Older than this job.")] = None,
    limit: Limit = 50,
    ids: Annotated[bool, typer.Option("--ids", help="Print ids only, for `redrive jobs retry -`.")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """List jobs, newest first."""
    query = {"kind": kind, "state": state, "subject": subject, "fingerprint": fingerprint, "before": before}
    with connect(data_dir, config) as api:
        found, following = api.listed("/v1/jobs", "jobs", "before", query, limit)
    if as_json:
        _print_json({"jobs": found, "next": following})
    elif ids:
        for job in found:
            typer.echo(job["id"])
    elif not found:
        typer.echo("There are no such jobs.")
    else:
        out = screen.console()
        out.print(screen.job_table(found))
        if following is not None:
            out.print(Text(f"There are more: --before {following}", style="dim"))


@app.command()
def show(job: JobId, as_json: AsJson = False, data_dir: DataDir = None, config: Config = None) -> None:
    """Show one job: progress, attempts, why it failed, what to do."""
    with connect(data_dir, config) as api:
        found = api.get(_path(job))
        attempts = api.get(_path(job, "attempts"))["attempts"]
        failed = []
        if found["progress"]["failed"]:
            failed = api.get(_path(job, "units"), {"state": "failed", "limit": 5})["units"]
    if as_json:
        _print_json({"job": found, "attempts": attempts, "failed_units": failed})
    else:
        screen.console().print(screen.job_screen(found, attempts, failed))


@app.command()
def watch(
    jobs: JobIds,
    timeout: Annotated[float | None, typer.Option(help="Give up after as many seconds.")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Watch jobs until they end. Exit status 1 where one failed or was cancelled."""
    with connect(data_dir, config) as api:
        good = watch_jobs(
            api, [_checked(job) for job in jobs], screen.console(), as_json=as_json, timeout=timeout
        )
    if not good:
        raise typer.Exit(1)


@app.command()
def retry(
    jobs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[JOB|NAME=VALUE]...", help="Ids of jobs (- reads them), or more of --filter."
        ),
    ] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="NAME=VALUE",
            help=f"Retry all that match: {', '.join(_FILTERS)}. Without state: the failed ones.",
        ),
    ] = None,
    reason: Reason = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing, say what would be.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    follow: Annotated[bool, typer.Option("--watch", help="Then watch them (with ids).")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Start new attempts of failed or cancelled jobs; what is done is kept.

    With ids: exit status 1 where one was refused. With --filter: one operation, after a question.
    """
    words = list(jobs or [])
    terms = [*(filters or []), *(word for word in words if "=" in word)]
    ids = [word for word in words if "=" not in word]
    if "-" in ids:
        ids = [word for word in ids if word != "-"] + sys.stdin.read().split()
    if bool(terms) == bool(ids):
        raise Problem(ProblemCode.INVALID, "name jobs by their ids or by --filter, one of both")
    with connect(data_dir, config) as api:
        if terms:
            _retry_filtered(api, _filter(terms), reason, dry_run=dry_run, yes=yes, as_json=as_json)
            return
        good = _retry_listed(api, ids, reason, dry_run=dry_run, as_json=as_json)
        if follow and good and not dry_run:
            good = watch_jobs(api, ids, screen.console(), as_json=as_json, timeout=None)
    if not good:
        raise typer.Exit(1)


def _filter(terms: list[str]) -> Json:
    wanted: Json = {}
    for term in terms:
        name, sign, value = term.partition("=")
        if not sign or not value or name not in _FILTERS:
            raise invalid("--filter", f"NAME=VALUE with one of {', '.join(_FILTERS)}", term)
        if name == "state":
            wanted.setdefault("states", []).append(value)
        elif name in wanted:
            raise invalid("--filter", f"{name} once", term)
        else:
            wanted[name] = value
    return wanted


def _retry_filtered(api: Api, wanted: Json, reason: str, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    if dry_run or not yes:
        count = api.post("/v1/jobs/retry", {"filter": wanted, "dry_run": True})["count"]
        if dry_run:
            answer = {"count": count, "dry_run": True}
            _print_json(answer) if as_json else typer.echo(f"{count} jobs would be retried.")
            return
        if count == 0:
            typer.echo("No job matches: nothing to retry.")
            return
        if not sys.stdin.isatty():
            raise Problem(ProblemCode.INVALID, f"{count} jobs would be retried", hint="say --yes to do it")
        typer.confirm(f"Retry {count} jobs?", abort=True)
    answer = api.post("/v1/jobs/retry", {"filter": wanted, "reason": reason})
    _print_json(answer) if as_json else typer.echo(f"{answer['count']} jobs are queued again.")


def _retry_listed(api: Api, ids: list[str], reason: str, *, dry_run: bool, as_json: bool) -> bool:
    results: list[Json] = []
    for start in range(0, len(ids), _IDS_AT_ONCE):
        part = ids[start : start + _IDS_AT_ONCE]
        answer = api.post("/v1/jobs/retry", {"ids": part, "reason": reason, "dry_run": dry_run})
        results += answer["results"]
    retried = sum(bool(result["retried"]) for result in results)
    if as_json:
        _print_json({"count": retried, "dry_run": dry_run, "results": results})
    else:
        for result in results:
            if not result["retried"]:
                why = result["why_not"]
                typer.echo(f"{result['id']}: {why['sentence']} ({why['reason']})", err=True)
        word = "would be retried" if dry_run else "queued again"
        typer.echo(f"{retried} of {len(results)} jobs {word}.")
    return retried == len(results)


@app.command()
def resume(
    jobs: JobIds,
    reason: Reason = "",
    as_json: AsJson = False,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Let paused jobs go on, in the same attempt."""
    _each(jobs, "resume", reason, as_json, data_dir, config)


@app.command()
def pause(
    jobs: JobIds,
    reason: Reason = "",
    as_json: AsJson = False,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Pause jobs: running units reach their next commit point first."""
    _each(jobs, "pause", reason, as_json, data_dir, config)


@app.command()
def cancel(
    jobs: JobIds,
    reason: Reason = "",
    as_json: AsJson = False,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """End jobs: running units reach their next commit point first. A retry can take them up again."""
    _each(jobs, "cancel", reason, as_json, data_dir, config)


@app.command()
def rerun(
    jobs: JobIds,
    reason: Reason = "",
    as_json: AsJson = False,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Submit ended jobs anew, as new jobs; nothing is kept. Prints the new ids."""
    _each(jobs, "rerun", reason, as_json, data_dir, config)


def _each(
    ids: list[str], verb: str, reason: str, as_json: bool, data_dir: Path | None, config: Path | None
) -> None:
    """Call a verb for each job; those that are refused do not keep the others from it."""
    answers: list[Json] = []
    refused = 0
    with connect(data_dir, config) as api:
        for job_id in ids:
            try:
                job = api.post(_path(job_id, verb), {"reason": reason})
            except Problem as problem:
                if problem.code not in {ProblemCode.CONFLICT, ProblemCode.NOT_FOUND}:
                    raise
                refused += 1
                answers.append(
                    {"id": job_id, "refused": {"reason": problem.reason, "detail": problem.detail}}
                )
                typer.echo(problem.detail, err=True)
                continue
            answers.append(job)
            if not as_json:
                new = f", a rerun of {job_id}" if verb == "rerun" else ""
                typer.echo(f"job {job['id']}: {screen.state(job).plain}{new}")
    if as_json:
        _print_json(answers)
    if refused:
        raise typer.Exit(1)


@app.command()
def failures(
    kind: Annotated[str | None, typer.Option(help="Only of this kind.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most as many causes.")] = 50,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """List what is broken: failed jobs, grouped by cause."""
    with connect(data_dir, config) as api:
        body = api.get("/v1/failures", {"kind": kind, "limit": limit})
    if as_json:
        _print_json(body)
    elif not body["failures"]:
        typer.echo("No job has failed.")
    else:
        out = screen.console()
        out.print(screen.cause_table(body["failures"]))
        out.print(Text("Retry all of one cause: redrive jobs retry --filter fingerprint=...", style="dim"))
        if body["more"]:
            out.print(Text("There are more causes: --limit", style="dim"))


@app.command()
def units(
    job: JobId,
    state: Annotated[list[str] | None, typer.Option(help="Only in this state; repeatable.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """List the units of a job: the pieces that are committed or redone as a whole."""
    with connect(data_dir, config) as api:
        found, following = api.listed(_path(job, "units"), "units", "after", {"state": state}, limit)
    if as_json:
        _print_json({"units": found, "next": following})
        return
    out = screen.console()
    out.print(screen.unit_table(found) if found else Text("There are no such units."))
    if following is not None:
        out.print(Text("There are more: --limit", style="dim"))


@app.command()
def events(
    job: JobId,
    limit: Limit = 200,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """List what happened to a job."""
    with connect(data_dir, config) as api:
        found, following = api.listed(_path(job, "events"), "events", "after", {}, limit)
    if as_json:
        _print_json({"events": found, "next": following})
        return
    out = screen.console()
    out.print(screen.event_table(found))
    if following is not None:
        out.print(Text("There are more: --limit", style="dim"))


def verify(job: JobId, as_json: AsJson = False, data_dir: DataDir = None, config: Config = None) -> None:
    """Check what a job's ledger says against its target. Exit status 1 where it is not proved."""
    with connect(data_dir, config) as api:
        proof = api.get(_path(job, "verify"))
    if as_json:
        _print_json(proof)
    else:
        out = screen.console()
        table = Table.grid(padding=(0, 2))
        for check in proof["checks"]:
            mark = Text("ok", style="green") if check["ok"] else Text("NOT", style="bold red")
            table.add_row(mark, screen.plain(check["name"]), screen.plain(check["detail"], style="dim"))
        out.print(table)
        for name, total in proof["totals"].items():
            out.print(screen.plain(f"{_words(name)} in the ledger: {total}"))
        for name, value in proof["findings"].items():
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value or "none"
            out.print(screen.plain(f"{_words(name)}: {shown}"))
        if not proof["target_checked"]:
            out.print(Text("The target was not looked at: this kind of job has no check of its own."))
        out.print(
            Text(
                "Proved." if proof["ok"] else "NOT proved.", style="bold green" if proof["ok"] else "bold red"
            )
        )
    if not proof["ok"]:
        raise typer.Exit(1)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _checked(job_id: str) -> str:
    if not job_id.isascii() or not job_id.isdigit():
        raise invalid("JOB", "the id of a job, digits only", job_id)
    return job_id


def _path(job_id: str, part: str = "") -> str:
    return f"/v1/jobs/{_checked(job_id)}" + (f"/{part}" if part else "")


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))

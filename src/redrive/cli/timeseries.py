"""``redrive timeseries``: import files of samples; list, show and apply models and assets.

Exit status: 0 as wished; 1 a file was not imported as a whole; 2 nothing was done.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from redrive.cli import jobs_screen as screen
from redrive.cli.client import Api, connect
from redrive.cli.jobs_watch import watch
from redrive.cli.up import Config, DataDir
from redrive.errors import Problem, ProblemCode, invalid

app = typer.Typer(help="Time series: import files; models and assets.", no_args_is_help=True)
models = typer.Typer(help="Models: points, how they are stored, for how long.", no_args_is_help=True)
assets = typer.Typer(help="Assets: their model, time zone, device keys.", no_args_is_help=True)
app.add_typer(models, name="models")
app.add_typer(assets, name="assets")

Json = dict[str, Any]

_KINDS = {
    ".parquet": "application/vnd.apache.parquet",
    ".pq": "application/vnd.apache.parquet",
    ".csv": "text/csv",
    ".tsv": "text/csv",
}
_READ_BYTES = 1024 * 1024

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Limit = Annotated[int, typer.Option(min=1, help="At most as many.")]


@app.command("import")
def import_files(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Parquet or CSV files.")],
    asset: Annotated[str | None, typer.Option(help="The column of assets. [asset]")] = None,
    asset_id: Annotated[str | None, typer.Option(help="All samples are of this asset.")] = None,
    time: Annotated[str | None, typer.Option(help="The column of instants. [time]")] = None,
    point: Annotated[str | None, typer.Option(help="Long form: the column of points. [point]")] = None,
    value: Annotated[str | None, typer.Option(help="Long form: the column of values. [value]")] = None,
    quality: Annotated[str | None, typer.Option(help="Long form: the column of qualities.")] = None,
    points: Annotated[
        str | None, typer.Option(help="Wide form: columns that are points (a,b=point_b,c), or *.")
    ] = None,
    time_unit: Annotated[str | None, typer.Option(help="Of numbers: s, ms, us or ns. [ms]")] = None,
    floor_times: Annotated[bool, typer.Option("--floor-times", help="Drop parts of milliseconds.")] = False,
    on_server: Annotated[
        bool, typer.Option("--on-server", help="The files are the server's own, below its import_roots.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the jobs.")] = False,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Import files of samples, each as a job of its own.

    A file with the columns asset, point, time, value needs no options. Without a point and a value column, every
    other column is taken as a point. Samples without a value are left out and counted.
    """
    given = {
        "asset": asset,
        "asset_id": asset_id,
        "time": time,
        "point": point,
        "value": value,
        "quality": quality,
        "points": _points(points),
        "time_unit": time_unit,
        "floor_times": floor_times or None,
    }
    mapping = {name: found for name, found in given.items() if found is not None}
    if not on_server:
        for file in files:
            _check_file(file)
    out = screen.console()
    with connect(data_dir, config) as api:
        started = [(file, _start(api, file, mapping, out, on_server=on_server)) for file in files]
        if detach:
            for file, job_id in started:
                out.print(f"{file.name}: job {job_id}")
            return
        good = watch(api, [job_id for _, job_id in started], out, as_json=False, timeout=None)
        for file, job_id in started:
            out.print(f"{file.name}: {_counted(api, job_id)}")
    if not good:
        raise typer.Exit(1)


@app.command()
def apply(
    file: Annotated[Path, typer.Argument(help='JSON: {"models": [...], "assets": [...]}.')],
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Put the models and assets of a file, all or none; what it does not name stays."""
    try:
        body = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Problem(ProblemCode.INVALID, f"{file} cannot be read as JSON: {error}") from None
    if not isinstance(body, dict):
        raise invalid(str(file), "an object with models and assets")
    with connect(data_dir, config) as api:
        done = api.post("/v1/timeseries/registry", body)
    typer.echo(f"{done['created']} new, {done['changed']} replaced")


@models.command("list")
def list_models(
    limit: Limit = 100, as_json: AsJson = False, data_dir: DataDir = None, config: Config = None
) -> None:
    """List models in order of id."""
    _list("models", limit, as_json, connect(data_dir, config), ("id", "name", "points", "retention_days"))


@models.command("show")
def show_model(model: str, as_json: AsJson = False, data_dir: DataDir = None, config: Config = None) -> None:
    """Show a model and its points."""
    with connect(data_dir, config) as api:
        found = api.get(f"/v1/timeseries/models/{quote(model, safe='')}")
    if as_json:
        _print_json(found)
        return
    out = screen.console()
    out.print(_table([found], ("id", "name", "retention_days")))
    out.print(_table(found["points"], ("id", "value_type", "storage_types", "retention_days")))


@assets.command("list")
def list_assets(
    model: Annotated[str | None, typer.Option(help="Only of this model.")] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """List assets in order of id."""
    shown = ("id", "name", "model_id", "time_zone", "product_key", "device_key")
    _list("assets", limit, as_json, connect(data_dir, config), shown, {"model_id": model})


@assets.command("show")
def show_asset(asset: str, as_json: AsJson = False, data_dir: DataDir = None, config: Config = None) -> None:
    """Show an asset."""
    with connect(data_dir, config) as api:
        found = api.get(f"/v1/timeseries/assets/{quote(asset, safe='')}")
    if as_json:
        _print_json(found)
    else:
        screen.console().print(_table([found], tuple(found)))


def _check_file(file: Path) -> None:
    if file.suffix.lower() not in _KINDS:
        raise invalid("FILE", f"a file that ends in {', '.join(_KINDS)}", file)
    if not file.is_file():
        raise Problem(ProblemCode.NOT_FOUND, f"there is no file {file}")


def _points(text: str | None) -> Any:
    if text is None or text == "*":
        return text
    pairs = [part.partition("=") for part in text.split(",") if part]
    return {column: name or column for column, _, name in pairs}


def _start(api: Api, file: Path, mapping: Json, out: Console, *, on_server: bool) -> str:
    """Hand a file over and return the id of its job."""
    if on_server:
        body = {"path": str(file), "mapping": mapping}
        return str(api.post("/v1/timeseries/imports", body)["job_id"])
    kind = _KINDS[file.suffix.lower()]
    query = {"name": file.name, "mapping": json.dumps(mapping)}
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=out,
        transient=True,
        disable=not out.is_terminal,
    ) as progress:
        task = progress.add_task(f"{file.name} up", total=file.stat().st_size)
        done = api.upload(
            "/v1/timeseries/imports",
            kind,
            query,
            lambda: _chunks(file, lambda at: progress.update(task, completed=at)),
        )
    return str(done["job_id"])


def _chunks(file: Path, show: Callable[[int], None]) -> Iterator[bytes]:
    sent = 0
    with file.open("rb") as source:
        while chunk := source.read(_READ_BYTES):
            yield chunk
            sent += len(chunk)
            show(sent)


def _counted(api: Api, job_id: str) -> str:
    """Return how many samples a job stored."""
    units, _ = api.listed(f"/v1/jobs/{job_id}/units", "units", "after", {"state": "done"}, 1_000_000)
    ledgers = [unit.get("ledger") or {} for unit in units]
    rows, skipped = (sum(ledger.get(name, 0) for ledger in ledgers) for name in ("rows", "skipped"))
    return f"{rows:,} samples" + (f", {skipped:,} without a value left out" if skipped else "")


def _list(
    name: str, limit: int, as_json: bool, api: Api, shown: Sequence[str], query: Json | None = None
) -> None:
    with api:
        found, following = api.listed(f"/v1/timeseries/{name}", name, "after", query or {}, limit)
    if as_json:
        _print_json({name: found, "next": following})
        return
    out = screen.console()
    out.print(_table(found, shown) if found else f"There are no {name}.")
    if following is not None:
        out.print(f"There are more: --limit {limit * 2}")


def _table(items: Sequence[Json], shown: Sequence[str]) -> Table:
    table = Table(*shown, box=None, pad_edge=False, header_style="bold")
    for item in items:
        table.add_row(*(screen.plain(_word(item[name]), 60) for name in shown))
    return table


def _word(value: Any) -> str:
    if isinstance(value, list):
        names = [part["id"] if isinstance(part, dict) else str(part) for part in value]
        return ", ".join(names) or "none"
    return "" if value is None else str(value)


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2))

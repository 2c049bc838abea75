"""Run the benchmarks, one after the other, and print one table.

    make bench                     all
    make bench ONLY=engine_start   those whose name holds the word (several: ONLY="engine jobs")
    make bench QUICK=1             small sizes, a few minutes: to see that it works, not to quote

Each benchmark is a script of its own (``python -m bench.NAME``) with a limit of time; what it reports
(``bench.results``) goes into the table and into ``build/bench-results.json``, with the day and the machine.
Its other words go to the terminal as they come. Ends with 1 where a benchmark broke, not where one was slow.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.results import RESULTS_FILE, shown

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "build" / "bench-results.json"


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A script, how long it may take, and what makes it small."""

    name: str
    limit_minutes: float
    arguments: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()


BENCHMARKS = (
    Benchmark("engine_empty_jobs", 15, ("--runs", "3"), ("--seconds", "3")),
    Benchmark("engine_start", 2),
    Benchmark("engine_bulk_retry", 10, (), ("--jobs", "50000")),
    Benchmark("jobs_over_http", 15, (), ("--jobs", "50000", "--seconds", "5")),
    Benchmark("import_parquet", 10, (), ("--days", "1")),
    Benchmark("ingest_over_http", 10, (), ("--seconds", "1")),
    Benchmark("deletion_end_to_end", 15, ("--postgres",), ("--days", "1")),
    Benchmark("storage_bench", 15, (), ("--days", "1")),
    Benchmark("reads_over_http", 15, (), ("--days", "1", "--minutes", "20")),
    Benchmark("policy_decisions", 10, (), ("--seconds", "0.5", "--no-peer")),
    Benchmark("signed_requests", 2, (), ("--seconds", "0.5")),
    Benchmark("replication_postgres", 20, (), ("--millions", "0.5")),
    Benchmark("tokens_of_users", 5, (), ("--runs", "5")),
    Benchmark("storage_read_bench", 20, (), ("--millions", "5", "--moves", "20")),
)


def run(benchmark: Benchmark, arguments: tuple[str, ...]) -> tuple[list[dict[str, Any]], str]:
    """Run one; return its figures, and what went wrong ("" where nothing did)."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results"
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        env = {**os.environ, RESULTS_FILE: str(results), "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        command = [sys.executable, "-m", f"bench.{benchmark.name}", *arguments]
        try:
            ended = subprocess.run(
                command, cwd=ROOT, env=env, timeout=benchmark.limit_minutes * 60, check=False
            )
            wrong = f"ended with {ended.returncode}" if ended.returncode else ""
        except subprocess.TimeoutExpired:
            wrong = f"not done within {benchmark.limit_minutes:g} minutes"
        lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    return [json.loads(line) for line in lines], wrong


def machine() -> str:
    """Say what this ran on, and how busy that was: a figure of a busy machine is a lower bound."""
    load = os.getloadavg()[1]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}, load {load:.1f}"
    )


def keep(entry: dict[str, Any]) -> None:
    KEPT.parent.mkdir(exist_ok=True)
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else []
    KEPT.write_text(json.dumps([*kept, entry], indent=1) + "\n", encoding="utf-8")


def table(entries: list[dict[str, Any]]) -> Table:
    made = Table(title="Benchmarks")
    for name in ("what", "ours", "beside", "its figure", "ratio", "target", "", "note"):
        made.add_column(
            name, overflow="fold", justify="right" if name in {"ours", "its figure", "ratio"} else "left"
        )
    for entry in entries:
        for f in entry["figures"]:
            ratio = "" if f["ratio"] is None else f"{shown(f['ratio'])} x"
            beside = "" if f["beside_value"] is None else shown(f["beside_value"])
            reached = {True: "[green]reached[/]", False: "[red]missed[/]", None: ""}[f["reached"]]
            ours = f"{shown(f['ours'])} {f['unit']}"
            made.add_row(f["what"], ours, f["beside"], beside, ratio, f["target"], reached, f["note"])
        if entry["wrong"]:
            made.add_row(f"[red]{entry['name']}: {entry['wrong']}[/]")
        elif not entry["figures"]:
            made.add_row(entry["name"], *[""] * 6, "in words, above")
        made.add_section()
    return made


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("only", nargs="*", help="words; run what holds one of them in its name")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    chosen = [b for b in BENCHMARKS if not options.only or any(word in b.name for word in options.only)]
    if not chosen:
        parser.error(f"there are: {', '.join(b.name for b in BENCHMARKS)}")
    entries = []
    for benchmark in chosen:
        print(f"== {benchmark.name} ({machine()})", flush=True)
        begun = time.monotonic()
        figures, wrong = run(benchmark, benchmark.quick if options.quick else benchmark.arguments)
        entry = {
            "name": benchmark.name,
            "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "quick": options.quick,
            "seconds": round(time.monotonic() - begun, 1),
            "figures": figures,
            "wrong": wrong,
        }
        entries.append(entry)
        keep(entry)
    console = Console(width=None if sys.stdout.isatty() else 180)
    console.print(table(entries))
    console.print(f"kept in {KEPT.relative_to(ROOT)}")
    sys.exit(any(entry["wrong"] for entry in entries))


if __name__ == "__main__":
    main()

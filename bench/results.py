"""What a benchmark says: one ``report`` for each figure. It is printed, and collected by ``bench.run``.

A script under ``bench/`` is run alone (``python -m bench.engine_empty_jobs``) or by the runner, which sets
``REDRIVE_BENCH_RESULTS`` to a file that gets one line of JSON for each figure.
"""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS_FILE = "REDRIVE_BENCH_RESULTS"

_COMPARED: dict[str, Callable[[float, float], bool]] = {">=": operator.ge, "<=": operator.le}


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured thing. ``target`` reads like ">= 15000" (ours) or ">= 15 x" (ours : beside).

    ``ratio`` is how many times better ours is than ``beside``; above 1 we are ahead.
    """

    what: str
    ours: float
    unit: str
    target: str = ""
    beside: str = ""
    beside_value: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        if not self.beside_value or not self.ours:
            return None
        faster_is_more = self.unit.endswith("/s")
        return self.ours / self.beside_value if faster_is_more else self.beside_value / self.ours

    @property
    def reached(self) -> bool | None:
        """None where there is no target, or nothing to hold against it."""
        if not self.target:
            return None
        sign, wanted, *times = self.target.split()
        value = self.ratio if times else self.ours
        return None if value is None else _COMPARED[sign](value, float(wanted.replace(",", "")))


def report(figure: Figure) -> None:
    """Print a figure and hand it to the runner, if one listens."""
    words = [f"{figure.what}: {shown(figure.ours)} {figure.unit}"]
    if figure.beside:
        words.append(f"beside {figure.beside} {shown(figure.beside_value)} (ratio {shown(figure.ratio)})")
    if figure.target:
        words.append(f"target {figure.target}: {verdict(figure)}")
    if figure.note:
        words.append(figure.note)
    print("; ".join(words), flush=True)
    if path := os.environ.get(RESULTS_FILE):
        with Path(path).open("a", encoding="utf-8") as file:
            facts = {**asdict(figure), "ratio": figure.ratio, "reached": figure.reached}
            file.write(json.dumps(facts) + "\n")


def verdict(figure: Figure) -> str:
    return {True: "reached", False: "missed", None: ""}[figure.reached]


def shown(value: float | None) -> str:
    """Return a number as people read it: 3 figures that count, thousands apart."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"

"""``/metrics``: requests of this process, and the state of the queue as the database has it.

The queue's figures are the same from every API process of a cluster: read one of them, or take the maximum.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric

import redrive
from redrive.database import Database
from redrive.engine.figures import Figures, figures

#: Counting a million jobs takes a tenth of a second; readers that come together share it.
_FRESH_SECONDS = 5.0
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The figures of one API process."""

    def __init__(self, db: Database) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._registry.register(_Queue(db))
        self._requests = Counter(
            "redrive_http_requests",
            "Requests answered.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "redrive_http_request_seconds",
            "Time to the end of the answer.",
            ["route"],
            registry=self._registry,
            buckets=_BUCKETS,
        )

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request. ``route`` is a template, never a path: paths have no end."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """Return all figures in the exposition format."""
        return generate_latest(self._registry)


class _Queue:
    """A collector: asks the database when it is read."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._lock = threading.Lock()
        self._last: tuple[float, Figures] | None = None

    def describe(self) -> list[Metric]:
        """Nothing: registration must not ask the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the queue's figures."""
        present = self._figures()
        info = GaugeMetricFamily("redrive_info", "The program.", labels=["version"])
        info.add_metric([redrive.__version__], 1)
        yield info
        jobs = GaugeMetricFamily("redrive_jobs", "Jobs by kind and state.", labels=["kind", "state"])
        for kind, state, count in present.jobs:
            jobs.add_metric([kind, state], count)
        yield jobs
        units = GaugeMetricFamily(
            "redrive_units", "Units that are running, unknown or ready.", labels=["state"]
        )
        for state, count in present.units:
            units.add_metric([state], count)
        yield units
        yield GaugeMetricFamily(
            "redrive_workers", "Workers that beat in the last seconds.", value=float(present.workers)
        )
        yield GaugeMetricFamily(
            "redrive_oldest_ready_seconds",
            "How long the unit that is ready longest has waited.",
            value=present.oldest_ready_seconds,
        )

    def _figures(self) -> Figures:
        with self._lock:
            if self._last is None or time.monotonic() - self._last[0] > _FRESH_SECONDS:
                self._last = (time.monotonic(), figures(self._db))
            return self._last[1]

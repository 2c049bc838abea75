"""A million jobs, asked over HTTP: list and filter pages, causes of failure, single retries at 100 a second.

    python -m bench.jobs_over_http [--jobs 1000000] [--data-dir DIR]

Starts `redrive up` without workers on an empty folder (or on the one of an earlier run), fsync on. Retries come
by our own call and by the vendor's documented one (`PUT .../resubmit`, signed). Prints milliseconds as a caller
on the same machine sees them; those of a retry count from when it was due, so that a queue would show.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import http.client
import itertools
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from bench.results import Figure, report
from redrive.cli.direct import open_database
from redrive.database import Database
from redrive.identity.credentials import Credentials, read_credentials
from redrive.identity.keys import find_tenant
from redrive.settings import Settings

FIRST = 400_000_000_000_000_000
RATE = 100

JOBS = """
insert into jobs (id, tenant_id, kind, subject, spec, lanes, state, phase, total_units, done_units, failed_units,
                  open_units, failure, fingerprint, actor, run_at, created_at, started_at, ended_at)
select %(first)s + n, %(tenant)s, 'kind.' || n / 7 %% 5,
       case n %% 3 when 0 then 'one for many' when 1 then 'asset-' || n %% 997 end,
       jsonb_build_object('table', 'orders_' || n, 'note', repeat('x', 100)), 4, s.state, 1, 2,
       case s.state when 'succeeded' then 2 when 'failed' then 1 else 0 end,
       case s.state when 'failed' then 1 else 0 end,
       case when s.state in ('queued', 'cancelled') then 2 else 0 end,
       case s.state when 'failed' then jsonb_build_object('code', 'network', 'detail', 'reset by peer ' || n,
           'hint', 'look', 'class', 'transient', 'target', 't', 'fingerprint', c.cause) end,
       case s.state when 'failed' then c.cause end, 'bench', t.at, t.at,
       case when s.state <> 'queued' then t.at end,
       case when s.state <> 'queued' then t.at + interval '2 s' end
from generate_series(1, %(count)s) n
cross join lateral (select case when n %% 20 < 11 then 'succeeded' when n %% 20 < 17 then 'failed'
                                when n %% 20 < 18 then 'cancelled' else 'queued' end) s (state)
cross join lateral (select 'cause' || case when n %% 100 < 60 then 1 when n %% 100 < 95 then 2
                                           else n %% 5000 end) c (cause)
cross join lateral (select now() - make_interval(secs => %(count)s - n)) t (at)
"""
UNITS = """
insert into units (id, job_id, tenant_id, kind, phase, state, attempt, claim, failure, ledger, ended_at)
select j.id + (j.id - %(first)s) + k, j.id, j.tenant_id, j.kind, 1, u.state, 1, 1,
       case u.state when 'failed' then j.failure end, case u.state when 'done' then '{"rows": 10}'::jsonb end,
       case when u.state in ('done', 'failed') then j.ended_at end
from jobs j
cross join generate_series(0, 1) k
cross join lateral (select case when j.state = 'succeeded' or j.state = 'failed' and k = 0 then 'done'
                                when j.state = 'failed' then 'failed' else 'waiting' end) u (state)
"""
ATTEMPTS = """
insert into attempts (job_id, number, cause, actor, created_at, started_at, ended_at, outcome)
select id, 1, 'submit', 'bench', created_at, started_at, ended_at,
       case when state in ('succeeded', 'failed', 'cancelled') then state end from jobs
"""


DELETIONS = """
with chosen as (
    update jobs set kind = 'timeseries.deletion', spec = jsonb_build_object('org_id', %(org)s::text)
    where id in (select id from jobs where state = 'failed' order by id desc limit %(count)s) returning id
), as_well as (
    update units u set kind = 'timeseries.deletion' from chosen c where u.job_id = c.id
)
insert into timeseries_deletions (job_id, tenant_id, model_id, asset_ids, start_ms, end_ms, actor)
select id, %(tenant)s, 'm', '{asset-1,asset-2}', 0, 1000, 'bench' from chosen
"""
#: Jobs that have a failed deletion behind them, for the vendor's call.
DELETION_JOBS = 10_000


class Caller:
    """One connection that stays open; calls return (milliseconds, answer)."""

    def __init__(self, port: int, credentials: Credentials) -> None:
        pair = f"{credentials.access_key}:{credentials.secret_key}"
        self._headers = {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def __call__(self, path: str, body: Any = None, **headers: str) -> tuple[float, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {**self._headers, "Content-Type": "application/json", **headers}
        return self.send("GET" if data is None else "POST", path, data, headers)

    def send(self, method: str, path: str, data: bytes | None, headers: dict[str, str]) -> tuple[float, Any]:
        begun = time.perf_counter()
        self._http.request(method, path, data, headers)
        answer = self._http.getresponse()
        text = answer.read()
        took = (time.perf_counter() - begun) * 1000
        assert answer.status < 300, text
        return took, json.loads(text)


class VendorCaller(Caller):
    """The same, as the vendor's pages say: a token, and every call signed with it."""

    def __init__(self, port: int, credentials: Credentials) -> None:
        super().__init__(port, credentials)
        self._who = credentials
        now = str(time.time_ns() // 1_000_000)
        proof = _sha256(f"{credentials.access_key}{now}{credentials.secret_key}")
        body = {"appKey": credentials.access_key, "encryption": proof, "timestamp": int(now)}
        _, answer = self("/apim-token-service/v2.0/token/get", body)
        self._token = answer["data"]["accessToken"]

    def resubmit(self, job_id: str) -> tuple[float, Any]:
        now = str(time.time_ns() // 1_000_000)
        named = sorted({"orgId": self._who.org_id, "JobId": job_id}.items())
        text = self._token + "".join(name + value for name, value in named) + now + self._who.secret_key
        headers = {"apim-accesstoken": self._token, "apim-signature": _sha256(text), "apim-timestamp": now}
        path = f"/tsdb-service/v2.1/data/resubmit?{urlencode(named)}"
        took, answer = self.send("PUT", path, None, headers)
        assert answer["code"] == 0, answer
        return took, answer


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def load(db: Database, tenant: int, org_id: str, count: int) -> None:
    with db.transaction() as conn:
        if conn.execute("select from jobs limit 1").fetchone() is not None:
            return
        begun = time.perf_counter()
        for statement in (JOBS, UNITS, ATTEMPTS):
            named = {"first": FIRST, "tenant": tenant, "count": count}
            used = {name: value for name, value in named.items() if f"%({name})s" in statement}
            conn.execute(statement, used or None)
        conn.execute(DELETIONS, {"org": org_id, "tenant": tenant, "count": min(DELETION_JOBS, count // 20)})
    with db.connect() as conn:
        conn.execute("vacuum analyze")
    print(f"loaded {count:,} jobs in {time.perf_counter() - begun:.0f} s")


def figures(label: str, times: list[float]) -> tuple[float, float]:
    """Print a line and return the middle and the 99th percentile, in milliseconds."""
    ordered = sorted(times)
    p50, p99 = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
    print(f"{label:52} p50 {p50:7.1f}   p99 {p99:7.1f}   max {ordered[-1]:7.1f} ms", flush=True)
    return p50, p99


def pages(call: Caller, count: int) -> None:
    middle = str(FIRST + count // 2)
    queries: list[dict[str, Any]] = [
        {},
        {"limit": 500},
        {"before": middle},
        {"kind": "kind.3"},
        {"state": "failed"},
        {"state": "failed", "kind": "kind.2", "before": middle},
        {"state": "paused"},
        {"subject": "one for many"},
        {"subject": "one for many", "state": "failed"},
        {"subject": "asset-5"},
        {"subject": "none"},
        {"fingerprint": "cause1"},
        {"fingerprint": "cause1", "subject": "asset-5"},
        {"fingerprint": "cause2", "kind": "kind.1", "before": middle},
    ]
    slowest = 0.0
    for query in queries:
        path = f"/v1/jobs?{urlencode(query)}"
        p50, _ = figures(f"jobs {query}", [call(path)[0] for _ in range(25)])
        slowest = max(slowest, p50)
    what = f"slowest of {len(queries)} list and filter pages, {count:,} jobs"
    report(Figure(what, slowest, "ms", "<= 50", note="median of 25 calls each"))
    figures("failures", [call("/v1/failures")[0] for _ in range(10)])
    for wanted in ({}, {"kind": "kind.1"}, {"fingerprint": "cause1"}, {"subject": "one for many"}):
        body = {"filter": wanted, "dry_run": True}
        figures(f"dry run of a retry {wanted}", [call("/v1/jobs/retry", body)[0] for _ in range(5)])


def failed_jobs(call: Caller, count: int, **query: str) -> list[str]:
    """Return ids of failed jobs, spread over more than are wanted."""
    ids: list[str] = []
    place: dict[str, str] = {}
    while len(ids) < count * 3:
        _, page = call(f"/v1/jobs?{urlencode({'state': 'failed', 'limit': 500, **query, **place})}")
        ids += [job["id"] for job in page["jobs"]]
        if page["next"] is None:
            break
        place = {"before": page["next"]}
    return random.sample(ids, count)


def at_steady_rate(callers: list[Any], act: Callable[[Any, int], object], count: int) -> list[float]:
    """Call ``act(caller, number)`` at ``RATE`` a second; return milliseconds from when each call was due."""
    free = list(callers)

    def one(number: int, due: float) -> float:
        time.sleep(max(0.0, due - time.perf_counter()))
        call = free.pop()
        act(call, number)
        free.append(call)
        return (time.perf_counter() - due) * 1000

    start = time.perf_counter() + 0.1
    with ThreadPoolExecutor(len(callers)) as pool:
        return list(pool.map(one, itertools.count(), [start + number / RATE for number in range(count)]))


def retries(port: int, credentials: Credentials, seconds: int, jobs: int) -> None:
    count = min(seconds * RATE, jobs // 60)
    ours = Caller(port, credentials)
    deletions = failed_jobs(ours, count, kind="timeseries.deletion")
    others = failed_jobs(ours, 2 * count)
    others = [job_id for job_id in dict.fromkeys(others) if job_id not in set(deletions)]
    keyed = others[count:]
    reason = {"reason": "bench"}
    measured: dict[str, tuple[type[Caller], Callable[[Any, int], object], int]] = {
        "retry call": (Caller, lambda call, n: call(f"/v1/jobs/{others[n]}/retry", reason), count),
        "retry call with Idempotency-Key": (
            Caller,
            lambda call, n: call(f"/v1/jobs/{keyed[n]}/retry", reason, **{"Idempotency-Key": keyed[n]}),
            len(keyed),
        ),
        "resubmit call": (VendorCaller, lambda call, n: call.resubmit(deletions[n]), count),
    }
    for label, (kind, act, many) in measured.items():
        callers = [kind(port, credentials) for _ in range(8)]  # new ones: the server closes what lay idle
        act_on = at_steady_rate(callers, act, many)
        p50, p99 = figures(f"{label} at {RATE}/s", act_on)
        report(Figure(f"{label} at {RATE}/s, {jobs:,} jobs: median", p50, "ms", "<= 5"))
        report(Figure(f"{label} at {RATE}/s, {jobs:,} jobs: 99 %", p99, "ms", "<= 30"))


def serve(folder: Path, work: Callable[[int, Settings], None]) -> None:
    arguments = ["up", "--data-dir", str(folder), "--port", "0", "--workers", "0", "--log-level", "error"]
    server = subprocess.Popen(
        [sys.executable, "-m", "redrive.cli", *arguments], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        line = next(line for line in server.stdout if line.startswith("Redrive is ready"))
        work(int(line.rpartition(":")[2]), Settings(data_dir=folder))
    finally:
        server.terminate()
        server.wait(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--data-dir", type=Path)
    options = parser.parse_args()

    def measure(port: int, settings: Settings) -> None:
        credentials = read_credentials(settings.data_dir / "credentials.json")
        assert credentials is not None
        with open_database(settings) as db:
            with db.transaction() as conn:
                tenant = find_tenant(conn, credentials.project_id).id
            load(db, tenant, credentials.org_id, options.jobs)
        pages(Caller(port, credentials), options.jobs)
        retries(port, credentials, options.seconds, options.jobs)

    if options.data_dir is not None:
        serve(options.data_dir, measure)
    else:
        with tempfile.TemporaryDirectory() as folder:
            serve(Path(folder) / "data", measure)


if __name__ == "__main__":
    main()

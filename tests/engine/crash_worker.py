"""A worker process for crash tests: ``python -m tests.engine.crash_worker URL``.

Its kind writes one row per unit into the table ``effects`` behind the fence, in a transaction of its own,
so that a kill between effect and record is possible; the probe looks whether the row is there.
"""

from __future__ import annotations

import os
import signal
import sys

from redrive.database import Database
from redrive.engine import claiming, failpoints
from redrive.engine.kinds import Done, Kind, Outcome, RetryPolicy, Work
from redrive.engine.worker import Worker


def run(work: Work) -> Outcome:
    work.wait(0.005)
    with work.db.transaction() as conn:
        claiming.fence(conn, work)
        conn.execute("insert into effects values (%s, %s)", [work.unit_id, work.claim])
    return Done({"claim": work.claim})


def probe(work: Work) -> Done | None:
    with work.db.transaction() as conn:
        claiming.fence(conn, work)
        row = conn.execute("select claim from effects where unit_id = %s", [work.unit_id]).fetchone()
    return Done({"claim": row.claim}) if row is not None else None


def main() -> None:
    failpoints.arm_all(os.environ.get("REDRIVE_FAILPOINTS", ""))
    with Database(sys.argv[1], name="crash-worker", idle_seconds=claiming.IDLE_SECONDS) as db:
        kind = Kind("test.kind", "a test", run, probe=probe, retry=RetryPolicy(first_delay_seconds=0.01))
        worker = Worker(db, [kind], threads=2, lease_seconds=float(os.environ.get("LEASE_SECONDS", "1")))
        signal.signal(signal.SIGTERM, lambda *_: worker.stop())
        worker.run()


if __name__ == "__main__":
    main()

"""Importing files: straight into the tables, in parallel, exactly once. Job kind ``timeseries.import``.

::

    phase 0  plan      look at the file, cut it into ranges
    phase 1  import    per range: take a sequence, read, one Delta commit, latest values      (lanes)
    phase 2  clean up  remove the uploaded file

Guarantees: each range is in the tables once, whatever dies in between: its commit carries the unit's app id,
and a unit whose worker vanished is fenced and looked up before it is read again. What has to be known of its samples
afterwards is told before the commit, so a unit whose commit stands ends well also where its file is gone. A
deletion that is launched after a range took its sequences waits for it. Imported samples obey the same rules as
ingested ones.

Refuses: files outside the configured folders; what ingest would refuse, by range; guesses about columns.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import Connection

from redrive import clock
from redrive.database import Database, Queries
from redrive.engine import claiming, failpoints, jobs
from redrive.engine.kinds import Done, Kind, Outcome, Planned, RetryPolicy, Work
from redrive.engine.model import PLAN_UNIT, Json, NewJob, NewUnit
from redrive.errors import Failure, FailureClass, Problem
from redrive.ingest import arrow, log
from redrive.ingest.samples import joined, names, with_place
from redrive.services.timeseries import latest, registry, sources
from redrive.services.timeseries.mapping import Columns
from redrive.services.timeseries.newest import distinct
from redrive.services.timeseries.sources import Source
from redrive.services.timeseries.storage import OrgTable, SampleStore
from redrive.services.timeseries.storage.folder import Folder, as_failure

queries = Queries.beside(__file__, "imports.sql")

KIND = "timeseries.import"
LANES = 8
IMPORT, CLEAN_UP = 1, 2
#: Ranges that one process reads at a time: more would take memory and make nothing faster.
AT_ONCE = 2
#: A range takes so many sequences, one for each table that it is read in: of equal samples the later one wins, and
#: that is told by the sequence. What needs more tables gives the last sequence to the rest.
SEQUENCES = 64
#: What may matter for latest values is folded when it has more rows than that.
NEWEST_ROWS = 1_000_000
#: Uploaded files of imports that never ended well are removed after this long.
STAGED_SECONDS = 14 * 86_400.0


def submit(
    conn: Connection[Any], tenant_id: int, org_id: str, source: Source, wanted: Columns, *, actor: str
) -> int:
    """Submit the import of a file in the caller's transaction; return the job's id."""
    spec = {"org_id": org_id, "source": source.to_json(), "columns": wanted.to_json()}
    new = NewJob(KIND, tenant_id, spec, actor, units=[PLAN_UNIT], subject=f"samples:{org_id}", lanes=LANES)
    return jobs.submit(conn, new)


def kind(store: SampleStore, roots: Sequence[Path]) -> Kind:
    """Return the job kind over an open store; ``roots`` are the folders of this machine that may be read."""
    reader = _Reader(store, tuple(roots), threading.Semaphore(AT_ONCE))
    return Kind(
        KIND,
        "import of a file of samples",
        run=partial(_run, reader),
        probe=partial(_probe, reader),
        retry=RetryPolicy(max_tries=5),
        verify=partial(_verify, store),
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """With what files are read and samples stored."""

    store: SampleStore
    roots: tuple[Path, ...]
    turns: threading.Semaphore

    def table(self, work: Work) -> OrgTable:
        return self.store.table(work.spec["org_id"])

    def staging(self, work: Work) -> Folder:
        return self.store.staging(work.spec["org_id"])

    def open(self, work: Work) -> tuple[Any, Source]:
        source = Source.from_json(work.spec["source"])
        return sources.opened(source, self.staging(work), self.roots), source


@dataclass(slots=True)
class _Range:
    """The samples of a unit under their sequences, read once; what is known of them afterwards."""

    reader: _Reader
    work: Work
    seq: int
    stored_ms: int
    newest: list[pa.Table] = field(default_factory=list)
    placed: int = 0
    skipped: int = 0
    told: dict[str, Any] = field(default_factory=dict)

    def tables(self) -> Iterator[pa.Table]:
        """Yield the samples in tables of about ``TABLE_SAMPLES``, then tell what was in them."""
        self.newest, self.placed, self.skipped = [], 0, 0
        file, source = self.reader.open(self.work)
        columns = Columns.from_json(self.work.unit_spec["columns"])
        waiting: list[pa.Table] = []
        with file:
            for mapped in sources.batches(file, source, columns, self.work.unit_spec["span"]):
                self.skipped += mapped.skipped
                waiting.append(mapped.batch)
                if sum(batch.num_rows for batch in waiting) >= sources.TABLE_SAMPLES // 2:
                    yield self._placed(waiting)
                    waiting = []
            if any(batch.num_rows for batch in waiting):
                yield self._placed(waiting)
        if not source.staged:
            self.reader.open(self.work)[0].close()  # refused where it is not the same file any more
        self._tell()

    def _placed(self, batches: list[pa.Table]) -> pa.Table:
        seq = self.seq + min(self.placed, SEQUENCES - 1)
        self.placed += 1
        table, newest = distinct(with_place(joined(batches), seq, self.stored_ms))
        self.newest.append(newest)
        if len(self.newest) > 1 and sum(each.num_rows for each in self.newest) > NEWEST_ROWS:
            # A row group may hold a hundred million samples: what matters of them is a few for each series.
            self.newest = [distinct(joined(self.newest))[1]]
        return table

    def _tell(self) -> None:
        found = {
            "unit_id": self.work.unit_id,
            "found": arrow.encode(joined(self.newest)).to_pybytes() if self.newest else None,
            "skipped": self.skipped,
        }

        def tell(conn: Connection[Any]) -> None:
            claiming.fence(conn, self.work)
            conn.execute(queries.tell, found)

        self.work.db.run(tell)
        self.told["skipped"] = self.skipped


def _run(reader: _Reader, work: Work) -> Outcome:
    try:
        match work.phase:
            case 0:
                return _plan(reader, work)
            case 1:
                with reader.turns:
                    return _import(reader, work)
            case _:
                return _clean_up(reader, work)
    except psycopg.Error:
        raise  # our database is away, which is a Problem too: the file is not to blame
    except (Problem, pa.ArrowException, OSError) as error:
        raise _failure(reader, work, error) from error


def _failure(reader: _Reader, work: Work, error: Exception) -> Failure:
    """Return what an error means that reading the file raised."""
    if isinstance(error, OSError) and (error.errno is not None or not reader.staging(work).local):
        return as_failure(error, work.spec["source"]["name"])
    # A reader also tells a damaged file as an OSError, without a number.
    detail = error.detail if isinstance(error, Problem) else str(error).partition("\n")[0]
    hint = error.hint if isinstance(error, Problem) else ""
    return Failure(
        "import",
        f"{work.label}: {detail}",
        hint=hint or "mend the file or say how its columns are to be read, and import it again",
        kind=FailureClass.NEEDS_INPUT,
        target=work.spec["source"]["name"],
    )


def _plan(reader: _Reader, work: Work) -> Outcome:
    file, source = reader.open(work)
    with file:
        found = sources.plan(file, source, Columns.from_json(work.spec["columns"]))
    columns = found.columns.to_json()
    units = [
        NewUnit({"span": span, "columns": columns}, IMPORT, _label(source, span)) for span in found.ranges
    ]
    if source.staged:
        units.append(NewUnit({}, CLEAN_UP, "remove the uploaded file"))
    return Planned(units, {"ranges": len(found.ranges), "columns": columns})


def _label(source: Source, span: Json) -> str:
    if "groups" in span:
        last = span["first"] + span["groups"] - 1
        return f"row groups {span['first']} to {last}" if span["groups"] > 1 else f"row group {last}"
    return f"bytes {span['start']} to {span['end']}"


def _app_id(work: Work) -> str:
    return f"import/{work.unit_id}"


def _import(reader: _Reader, work: Work) -> Outcome:
    table = reader.table(work)
    part = _begin(reader, work)
    try:
        # How many samples were skipped comes to it when the last table is read.
        told = part.told = {"seq": part.seq, "stored_ms": part.stored_ms}
        done = table.append(part.tables(), app_id=_app_id(work), claim=work.claim, ledger=told, checked=False)
    except claiming.LeaseLostError:
        raise
    except BaseException:
        _close(table, work)
        raise
    failpoints.hit("timeseries.import.committed")
    if done.repeated:
        return _finish_again(reader, work, done.ledger or {})
    return _finish(work, part, {"rows": done.rows, "files": done.files, "bytes": done.size})


def _begin(reader: _Reader, work: Work) -> _Range:
    """Take a sequence for the unit, or the one that an earlier try took and did not use."""

    def begin(conn: Connection[Any]) -> _Range:
        claiming.fence(conn, work)
        row = conn.execute(queries.find, {"unit_id": work.unit_id}).fetchone()
        if row is not None:
            return _Range(reader, work, row.seq, row.stored_ms)
        taken = log.take_seqs(conn, work.tenant_id, SEQUENCES)
        place = {"seq": taken.seq, "stored_ms": taken.stored_ms}
        conn.execute(queries.open, {"unit_id": work.unit_id, "tenant_id": work.tenant_id, **place})
        return _Range(reader, work, taken.seq, taken.stored_ms)

    return work.db.run(begin)


def _close(table: OrgTable, work: Work) -> None:
    """Let deletions go on that wait for this unit, once it is certain that it stored nothing."""
    try:
        stored = table.settle_claim(_app_id(work), work.claim)
    except Failure:
        # It is not certain: the next try, or the probe, finds out.
        return
    if stored is None:
        _end_hold(work)


def _end_hold(work: Work) -> None:
    """Let deletions go on that wait for the unit; fenced, since a later claim may have sequences of its own."""

    def close(conn: Connection[Any]) -> None:
        claiming.fence(conn, work)
        conn.execute(queries.close, {"unit_id": work.unit_id})

    work.db.run(close)


def _finish(work: Work, part: _Range, ledger: Json) -> Done:
    """Take what was stored into the registry and the latest values, and end the unit's hold on deletions."""

    def finish(conn: Connection[Any]) -> None:
        claiming.fence(conn, work)
        if part.newest:
            samples = joined(part.newest)
            registry.add_seen(conn, work.tenant_id, names(samples["asset"]))
            latest.write(conn, work.tenant_id, samples)
        conn.execute(queries.close, {"unit_id": work.unit_id})

    work.db.run(finish)
    return Done({"seq": part.seq, "skipped": part.skipped, **ledger})


def _finish_again(reader: _Reader, work: Work, ledger: Json) -> Done:
    """Finish a unit whose commit stood before, from what was told before it. Where nothing is left of that, the
    unit was finished too, and only its outcome was lost."""
    with work.db.transaction() as conn:
        row = conn.execute(queries.find, {"unit_id": work.unit_id}).fetchone()
    part = _Range(reader, work, int(ledger["seq"]), int(ledger["stored_ms"]))
    part.skipped = int(ledger.get("skipped", row.skipped if row is not None else 0))
    if row is not None:
        part.newest = [arrow.decode(row.found)] if row.found is not None else []
    return _finish(work, part, {"rows": ledger["rows"]})


def _probe(reader: _Reader, work: Work) -> Done | None:
    """Fence the vanished claim, and look whether its commit stands."""
    if work.phase != IMPORT:
        return None
    ledger = reader.table(work).settle_claim(_app_id(work), work.claim)
    if ledger is not None:
        return _finish_again(reader, work, ledger)
    _end_hold(work)
    return None


def _clean_up(reader: _Reader, work: Work) -> Outcome:
    staging = reader.staging(work)
    source = Source.from_json(work.spec["source"])
    staging.remove([source.path])
    sweep_staged(staging)
    return Done({"removed": source.name})


def sweep_staged(staging: Folder) -> None:
    """Remove uploads that nobody can need any more. Safe to repeat."""
    oldest = clock.now().timestamp() - STAGED_SECONDS
    staging.remove([file.path for file in staging.list() if file.modified_seconds < oldest])


def _verify(store: SampleStore, db: Database, job_id: int) -> Json:
    """Check the ledger of an import against the tables: each range's commit stands, with as many samples.

    Samples may be gone since: deleted on purpose, or replaced by later ones. The tables remember commits for 30
    days.
    """
    with db.transaction() as conn:
        (job,) = conn.execute(queries.job, {"job_id": job_id}).fetchall()
        units = conn.execute(queries.done_units, {"job_id": job_id, "phase": IMPORT}).fetchall()
    table = store.table(job.spec["org_id"])
    missing, different = [], []
    for unit in units:
        effect = table.effect(f"import/{unit.id}")
        if effect is None:
            missing.append(unit.label)
        elif effect.get("rows") != unit.ledger["rows"]:
            different.append(unit.label)
    return {
        "verified": not missing and not different,
        "ranges_checked": len(units),
        "rows": sum(unit.ledger["rows"] for unit in units),
        "skipped": sum(unit.ledger.get("skipped", 0) for unit in units),
        "ranges_not_found": missing[:20],
        "ranges_that_differ": different[:20],
    }

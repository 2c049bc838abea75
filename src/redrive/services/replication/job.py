"""Moving a database: the job kind ``replication.transfer``.

::

    phase 0  plan        dump the structure, cut the tables into chunks                    (once)
    phase 1  structure   schemas, types, tables, views, functions in the target            (one unit)
    phase 2  rows        one unit = a range of a table's key = one COPY = one transaction in the target
    phase 3  keys        primary and unique keys, indexes, checks: one unit each
    phase 4  links       foreign keys, triggers, rules
    phase 5  end         sequences go on where the source's are; materialized views are filled

The effect of a unit and its record are one transaction in the target (``records``). All chunks read one snapshot
while its holder lives (``snapshots``). Where it has died, a table that was not finished is begun anew on the next
one: without the source's log there is no other way to one moment. What was finished stays.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg
from psycopg import Connection, sql

from redrive.database import Database
from redrive.endpoints.databases import postgres
from redrive.endpoints.databases.model import Endpoint
from redrive.engine import claiming, failpoints
from redrive.engine.kinds import Again, Done, Kind, Outcome, Planned, Replaced, RetryPolicy, Work
from redrive.engine.model import JobState, Json, NewJob, NewUnit
from redrive.errors import Failure, FailureClass
from redrive.services.replication import precheck, records, structure, tables
from redrive.services.replication.loading import Chunk
from redrive.services.replication.model import PRECHECK, RELEASE, TRANSFER, End, Phase
from redrive.services.replication.records import Generation
from redrive.services.replication.snapshots import Snapshots, forget
from redrive.services.replication.tables import Table
from redrive.services.replication.task import Parts, Task, load_for, load_task

queries = tables.queries

#: So many units of one task run at once, on all machines together.
LANES = 4
#: Failures that pass by themselves are tried so often before the task waits for a person.
TRIES = 8
_LOOK_SECONDS = 0.5


def kinds(parts: Parts, *, chunk_rows: int = tables.CHUNK_ROWS) -> tuple[Kind, ...]:
    """Return the job kinds over the open parts of a process."""
    run = _Run(parts, Snapshots(), chunk_rows)
    return (
        Kind(
            TRANSFER,
            "moving a database",
            run.unit,
            retry=RetryPolicy(max_tries=TRIES),
            verify=partial(_verify, parts),
            reruns=False,
        ),
        Kind(RELEASE, "clearing up after a database was moved", partial(_release, parts), reruns=False),
        Kind(PRECHECK, "looking whether a database can be moved", partial(_precheck, parts), reruns=False),
    )


def transfer(tenant_id: int, task_id: int, actor: str) -> NewJob:
    """Return the job of a task."""
    return NewJob(TRANSFER, tenant_id, {"task_id": task_id}, actor, lanes=LANES)


def releasing(tenant_id: int, task_id: int, actor: str) -> NewJob:
    """Return the job that clears up what the target keeps of a task."""
    return NewJob(RELEASE, tenant_id, {"task_id": task_id}, actor, [NewUnit({}, label="clear up the target")])


def prechecking(tenant_id: int, task_id: int, actor: str) -> NewJob:
    """Return the job that looks whether a task can be started."""
    return NewJob(PRECHECK, tenant_id, {"task_id": task_id}, actor, [NewUnit({}, label="precheck")])


@dataclass(frozen=True, slots=True)
class _Run:
    """What the units of a transfer work with."""

    parts: Parts
    snapshots: Snapshots
    chunk_rows: int

    def unit(self, work: Work) -> Outcome:
        """Do one unit."""
        task = load_for(self.parts, work)
        match work.phase:
            case 0:
                return self._plan(task, work)
            case Phase.ROWS:
                return self._chunk(task, work)
            case Phase.END:
                return self._end(task, work)
            case _:
                return self._make(task, work)

    def _plan(self, task: Task, work: Work) -> Outcome:
        source = task.end(End.SOURCE)
        dumped = structure.dump(self.parts.guard, source, task.source_password, task.settings.objects)
        chosen = task.settings.objects is not None
        before = structure.prelude(self.parts.guard, source, task.source_password) if chosen else []
        units = [_made_by("pre-data", Phase.STRUCTURE, None, "structure")]
        with self._connected(source, task.source_password) as conn:
            for table in tables.tables(conn, task.settings.objects):
                units += self._chunks(conn, table, generation=1)
        for entry in structure.entries(dumped, "post-data"):
            phase = Phase.LINKS if entry.sort in structure.LINKING else Phase.KEYS
            units.append(_made_by("post-data", phase, entry.number, f"{entry.sort.lower()} {entry.called}"))
        units.append(NewUnit({}, Phase.END, "sequences and views"))
        with work.db.transaction() as conn:
            claiming.fence(conn, work)
            conn.execute(_PUT_DUMP, {"job_id": work.job_id, "dump": dumped, "before": before})
        return Planned(units, {"units": len(units), "structure_bytes": len(dumped)})

    def _chunks(self, conn: Connection[Any], table: Table, generation: int) -> list[NewUnit]:
        ranges = tables.chunks(
            tables.bounds(conn, table, self.chunk_rows) if table.rows > self.chunk_rows else []
        )
        return [
            NewUnit(
                {
                    "schema": table.schema,
                    "table": table.name,
                    "to_schema": table.schema,
                    "to_table": table.name,
                    "columns": list(table.columns),
                    "key": [list(each) for each in table.key],
                    "plain": table.plain,
                    "from": low,
                    "to": high,
                    "generation": generation,
                },
                Phase.ROWS,
                f"{table.label} {place} of {len(ranges)}" if len(ranges) > 1 else table.label,
            )
            for place, (low, high) in enumerate(ranges, 1)
        ]

    def _make(self, task: Task, work: Work) -> Outcome:
        """Make a part of the structure in the target."""
        if work.phase > Phase.ROWS:
            with work.db.transaction() as conn:
                forget(conn, work)
        with work.db.transaction() as conn:
            row = conn.execute(_DUMP, {"job_id": work.job_id}).fetchone()
        if row is None:
            raise AssertionError("a transfer without its structure")
        script = structure.statements(bytes(row.dump), work.unit_spec["section"], work.unit_spec["numbers"])
        with self._recording(task, work) as record:
            if record.ledger is not None:
                return Done(record.ledger)
            if work.phase == Phase.STRUCTURE:
                _make_needed(record.conn, row.before)
            record.conn.execute(_ROOM_TO_SORT)
            record.conn.execute(script.encode())
            record.conn.execute("reset all")
            ledger = {"made": work.label}
            record.put(ledger)
            failpoints.hit("replication.recorded")
        failpoints.hit("replication.committed")
        return Done(ledger)

    def _chunk(self, task: Task, work: Work) -> Outcome:
        source = task.end(End.SOURCE)
        with (
            self._connected(source, task.source_password) as reader,
            self._target(task, work) as (writer, done),
        ):
            if done is not None:
                return Done(done)
            snapshot = self.snapshots.join(work, reader, partial(self._open, source, task.source_password))
            generation = Generation(int(work.unit_spec["generation"]), snapshot, work.unit_id)
            chunk = Chunk(task.vendor_id, work, reader, writer, generation)
            outcome = chunk.load()
            reader.execute("rollback")
            if outcome is not None:
                return outcome
            following = chunk.begin_anew()
            if following is None:
                return Done(chunk.nothing_left)
            return Replaced(self._all_chunks(task, chunk, following), chunk.nothing_left)

    def _all_chunks(self, task: Task, chunk: Chunk, generation: Generation) -> list[NewUnit]:
        """Return all chunks of the table of ``chunk``, cut anew."""
        spec = chunk.work.unit_spec
        found = tables.tables(chunk.source, task.settings.objects)
        for table in found:
            if (table.schema, table.name) == (spec["schema"], spec["table"]):
                return self._chunks(chunk.source, table, generation.number)
        raise Failure(
            "table_gone",
            f"the source has no table {chunk.label} any more",
            hint="put it back, or make a task without it",
            kind=FailureClass.NEEDS_INPUT,
            target=chunk.label,
        )

    def _end(self, task: Task, work: Work) -> Outcome:
        """Let the target's sequences go on where the source's are, and fill the materialized views that it fills."""
        with self._connected(task.end(End.SOURCE), task.source_password) as reader:
            chosen = task.settings.objects
            values = _sequences(reader)
            views = reader.execute(queries.filled_views).fetchall() if chosen is None else []
        with self._recording(task, work) as record:
            if record.ledger is not None:
                return Done(record.ledger)
            there = {(row.schema, row.name) for row in record.conn.execute(queries.sequences).fetchall()}
            moved = [each for each in values if each[:2] in there or chosen is None]
            for schema, name, value, is_called in moved:
                place = sql.Identifier(schema, name).as_string(record.conn)
                record.conn.execute("select setval(%s::regclass, %s, %s)", (place, value, is_called))
            for view in views:
                refresh = sql.SQL("refresh materialized view {}").format(
                    sql.Identifier(view.schema, view.name)
                )
                record.conn.execute(refresh)
            ledger = {"sequences": len(moved), "views": len(views)}
            record.put(ledger)
        return Done(ledger)

    # -- connections

    def _open(self, endpoint: Endpoint, password: str, closing: contextlib.ExitStack) -> Connection[Any]:
        return postgres.open_connection(
            self.parts.guard, endpoint, password, purpose="replication", closing=closing
        )

    @contextlib.contextmanager
    def _connected(self, endpoint: Endpoint, password: str) -> Iterator[Connection[Any]]:
        with postgres.connected(self.parts.guard, endpoint, password, purpose="replication") as conn:
            yield conn

    @contextlib.contextmanager
    def _target(self, task: Task, work: Work) -> Iterator[tuple[Connection[Any], Json | None]]:
        """A connection to the target, where this claim has been announced; and what the unit did there already."""
        with self._connected(task.end(End.TARGET), task.target_password) as conn:
            records.prepare(conn)
            yield conn, records.take(conn, task.vendor_id, work)

    @contextlib.contextmanager
    def _recording(self, task: Task, work: Work) -> Iterator[records.Record]:
        with self._target(task, work) as (conn, _), records.recording(conn, task.vendor_id, work) as record:
            yield record


def _made_by(section: str, phase: int, number: int | None, label: str) -> NewUnit:
    return NewUnit({"section": section, "numbers": None if number is None else [number]}, phase, label)


def _make_needed(conn: Connection[Any], scripts: Sequence[str]) -> None:
    """Make what tables refer to, as far as it is not there."""
    for script in scripts:
        try:
            with conn.transaction():
                conn.execute(script.encode())
        except _THERE_ALREADY:
            continue


#: An index of a large table is sorted in memory where it may take this much.
_ROOM_TO_SORT = "set local maintenance_work_mem = '256MB'"
_THERE_ALREADY = (
    psycopg.errors.DuplicateObject,
    psycopg.errors.DuplicateSchema,
    psycopg.errors.DuplicateFunction,
    psycopg.errors.DuplicateTable,
)


def _sequences(conn: Connection[Any]) -> list[tuple[str, str, int, bool]]:
    found = []
    for row in conn.execute(queries.sequences).fetchall():
        query = sql.SQL("select last_value, is_called from {}").format(sql.Identifier(row.schema, row.name))
        value = conn.execute(query).fetchone()
        if value is not None:
            found.append((row.schema, row.name, int(value.last_value), bool(value.is_called)))
    return found


def _release(parts: Parts, work: Work) -> Outcome:
    task = load_for(parts, work)
    if task.state in (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED):
        return Again({}, after_seconds=_LOOK_SECONDS)  # its units come to their end first
    target = task.end(End.TARGET)
    with postgres.connected(parts.guard, target, task.target_password, purpose="release") as conn:
        records.forget(conn, task.vendor_id)
    return Done({"cleared": str(target)})


def _precheck(parts: Parts, work: Work) -> Outcome:
    task = load_for(parts, work)
    findings = precheck.look(parts.guard, task)
    return Done({"findings": [precheck.as_json(finding) for finding in findings]})


def _verify(parts: Parts, db: Database, job_id: int) -> Json:
    """Compare counts and checksums of every table that was moved, as both databases are now."""
    with db.transaction() as conn:
        row = conn.execute("select tenant_id, spec from jobs where id = %s", (job_id,)).fetchone()
        if row is None:
            raise AssertionError("a job that is verified is there")
        units = conn.execute(_MOVED, {"job_id": job_id}).fetchall()
    task = load_task(parts, db, row.tenant_id, int(row.spec["task_id"]))
    checks = []
    with (
        postgres.connected(
            parts.guard, task.end(End.SOURCE), task.source_password, purpose="verify"
        ) as source,
        postgres.connected(
            parts.guard, task.end(End.TARGET), task.target_password, purpose="verify"
        ) as target,
    ):
        for unit in units:
            figures = [_figures(conn, unit.schema, unit.name) for conn in (source, target)]
            same = figures[0] == figures[1]
            detail = (
                f"{figures[0][0]} rows" if same else f"{figures[0]} in the source, {figures[1]} in the target"
            )
            checks.append({"name": f"{unit.schema}.{unit.name} is the same", "ok": same, "detail": detail})
    return {"checks": checks}


def _figures(conn: Connection[Any], schema: str, name: str) -> tuple[int, str]:
    query = "select count(*) as n, coalesce(sum(hashtextextended(t::text, 0)), 0)::text as sum from only {} t"
    try:
        row = conn.execute(sql.SQL(query).format(sql.Identifier(schema, name))).fetchone()
    except psycopg.errors.UndefinedTable:
        return 0, "no such table"
    return (int(row.n), str(row.sum)) if row is not None else (0, "")


_PUT_DUMP = (
    "insert into replication_structures (job_id, dump, before) values (%(job_id)s, %(dump)s, %(before)s) "
    "on conflict (job_id) do update set dump = excluded.dump, before = excluded.before"
)
_DUMP = "select dump, before from replication_structures where job_id = %(job_id)s"
_MOVED = (
    "select distinct spec ->> 'to_schema' as schema, spec ->> 'to_table' as name from units "
    "where job_id = %(job_id)s and phase = 2 order by 1, 2"
)

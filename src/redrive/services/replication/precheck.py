"""Whether a database can be moved: each item is a question to the databases, and what to do where it says no."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from psycopg import Connection

from redrive.database import Queries
from redrive.endpoints.databases import postgres
from redrive.endpoints.databases.model import Endpoint
from redrive.endpoints.guard import Guard
from redrive.errors import Failure
from redrive.services.replication import tables
from redrive.services.replication.model import End, Finding
from redrive.services.replication.tables import Table
from redrive.services.replication.task import Task

queries = Queries.beside(__file__, "precheck.sql")

#: The oldest server that is read and written.
OLDEST_VERSION = 130000
_NAMED = 10


def look(guard: Guard, task: Task) -> list[Finding]:
    """Return every finding. What cannot be asked because a database is away is not asked."""
    found: list[Finding] = []
    ends = ((End.SOURCE, task.source_password), (End.TARGET, task.target_password))
    reached = True
    for end, password in ends:
        finding = _connection(guard, task.end(end), password, end)
        found.append(finding)
        reached = reached and finding.ok
    if not reached:
        return found
    source, target = task.end(End.SOURCE), task.end(End.TARGET)
    with (
        postgres.connected(guard, source, task.source_password, purpose="precheck") as there,
        postgres.connected(guard, target, task.target_password, purpose="precheck") as here,
    ):
        chosen = tables.tables(there, task.settings.objects)
        found += _versions(there, here)
        found += _encodings(there, here)
        found.append(_selected(task, chosen))
        found.append(_may_read(there, chosen))
        found.append(_may_create(here))
        found.append(_not_there_yet(here, chosen))
        found.append(_extensions(there, here))
        found.append(_with_keys(chosen))
        found.append(_without_large_objects(there))
    return found


def as_json(finding: Finding) -> dict[str, Any]:
    """Return a finding as JSON."""
    return asdict(finding)


def _connection(guard: Guard, endpoint: Endpoint, password: str, end: End) -> Finding:
    item = "srcDbConnection" if end is End.SOURCE else "dstDbConnection"
    try:
        with postgres.connected(guard, endpoint, password, purpose="precheck") as conn:
            conn.execute("select 1")
    except Failure as failure:
        return Finding(item, "network", False, failure.code, failure.detail, failure.hint)
    return Finding(item, "network", True)


def _number(conn: Connection[Any], query: str) -> Any:
    row = conn.execute(query).fetchone()
    return row[0] if row is not None else None


def _versions(source: Connection[Any], target: Connection[Any]) -> Iterator[Finding]:
    old, new = source.info.server_version, target.info.server_version
    for item, version in (("srcDbVersionSupport", old), ("dstDbVersionSupport", new)):
        yield Finding(
            item,
            "db_version",
            version >= OLDEST_VERSION,
            "version_too_old",
            f"the server's version is {version // 10000}",
            f"version {OLDEST_VERSION // 10000} or later is needed",
        )
    yield Finding(
        "dbVersionMeetRequirement",
        "db_version",
        new // 10000 >= old // 10000,
        "target_older",
        f"the target ({new // 10000}) is older than the source ({old // 10000}): it may refuse some structure",
        "move to the same version, or a later one",
        warning=True,
    )


def _encodings(source: Connection[Any], target: Connection[Any]) -> Iterator[Finding]:
    there, here = (_number(conn, queries.encoding) for conn in (source, target))
    yield Finding(
        "dbCharacterSetConsistency",
        "db_params",
        there == here,
        "encoding_differs",
        f"the source has {there}, the target {here}",
        f"make the target's database with the encoding {there}",
    )


def _selected(task: Task, found: list[Table]) -> Finding:
    wanted = {(each.schema, each.name) for each in task.settings.objects or ()}
    there = {(table.schema, table.name) for table in found} | {(table.schema, "") for table in found}
    missing = sorted(wanted - there)
    return Finding(
        "userSelectObjectsCheck",
        "src_info_check",
        not missing,
        "object_missing",
        f"the source has no {_some([f'{schema}.{name}' for schema, name in missing])}",
        "select tables that are there",
    )


def _may_read(source: Connection[Any], found: list[Table]) -> Finding:
    rows = source.execute(queries.unreadable, _names(found)).fetchall()
    return Finding(
        "srcDbPrivilegesIsEnough",
        "db_user_privilege",
        not rows,
        "may_not_read",
        f"the account may not read all of {_some([row.name for row in rows])}",
        "grant it SELECT there (and USAGE on the schemas; BYPASSRLS where policies hide rows)",
    )


def _may_create(target: Connection[Any]) -> Finding:
    return Finding(
        "dstDbPrivilegesIsEnough",
        "db_user_privilege",
        bool(_number(target, queries.may_create)),
        "may_not_create",
        "the account may not create schemas in the target's database",
        "grant it CREATE on the database",
    )


def _not_there_yet(target: Connection[Any], found: list[Table]) -> Finding:
    rows = target.execute(queries.present, _names(found)).fetchall()
    return Finding(
        "dstDbObjectConflict",
        "db_object_conflict_check",
        not rows,
        "object_exists",
        f"the target has {_some([row.name for row in rows])} already",
        "drop them there, or select other tables",
    )


def _extensions(source: Connection[Any], target: Connection[Any]) -> Finding:
    wanted = {row.name for row in source.execute(queries.extensions).fetchall()}
    there = {row.name for row in target.execute(queries.available_extensions).fetchall()}
    missing = sorted(wanted - there)
    return Finding(
        "extensionsAvailable",
        "db_object_dependency_check",
        not missing,
        "extension_missing",
        f"the target's server does not have {_some(missing)}",
        "install them there",
    )


def _with_keys(found: list[Table]) -> Finding:
    without = [table.label for table in found if not table.key]
    return Finding(
        "tablesHavePrimaryKeys",
        "src_info_check",
        not without,
        "no_key",
        f"{_some(without)} have no key: each is moved in one piece, and from its start where that fails",
        "give them a primary key",
        warning=True,
    )


def _without_large_objects(source: Connection[Any]) -> Finding:
    return Finding(
        "largeObjects",
        "src_info_check",
        not _number(source, queries.large_objects),
        "large_objects",
        "the source has large objects (pg_largeobject), which are not moved",
        "move them by pg_dump --large-objects, or keep them in columns of the type bytea",
        warning=True,
    )


def _names(found: list[Table]) -> dict[str, Any]:
    return {"schemas": [table.schema for table in found], "names": [table.name for table in found]}


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more

"""The structure of a PostgreSQL database, by its own tools: dumped once, made in the target part by part.

``pg_dump`` writes what there is, ``pg_restore`` turns a part of it into SQL; we run that SQL ourselves, in a
transaction that records it, so that nothing is made twice and nothing is left half made.

Owners, privileges and subscriptions are not taken over: the target's are the account's that writes there.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from redrive.database.embedded import bundled_programs
from redrive.endpoints.databases.model import Endpoint
from redrive.endpoints.guard import Guard
from redrive.errors import Failure, FailureClass
from redrive.services.replication.model import Chosen

_DUMP_SECONDS = 600
#: A dump of the structure alone; a database with a hundred thousand tables has about 100 MB.
_DUMP_BYTES = 256 * 1024 * 1024
_WITHOUT = (
    "--no-owner",
    "--no-privileges",
    "--no-publications",
    "--no-subscriptions",
    "--no-security-labels",
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a dump's table of contents: the number that names it, its sort, and what it is called."""

    number: int
    sort: str
    called: str


#: Sorts of entries that tables refer to.
NEEDED = frozenset({"SCHEMA", "EXTENSION", "COLLATION", "SHELL TYPE", "TYPE", "DOMAIN", "FUNCTION"})
#: Sorts of entries that stand in the last section and refer to other tables, or fire when rows are written.
LINKING = frozenset({"FK CONSTRAINT", "TRIGGER", "EVENT TRIGGER", "RULE", "POLICY", "ROW SECURITY"})


def dump(guard: Guard, endpoint: Endpoint, password: str, objects: Sequence[Chosen] | None) -> bytes:
    """Return the structure of a database, or of the chosen tables, as ``pg_dump`` writes it.

    ``Failure``: ``structure`` with the tool's own words.
    """
    address = guard.resolve(endpoint.host, endpoint.port)
    words = [
        str(bundled_programs() / "pg_dump"),
        "--format=custom",
        "--schema-only",
        "--no-password",
        *_WITHOUT,
    ]
    for each in objects or ():
        words.append(f"--table={_pattern(each.schema)}.{_pattern(each.name) if each.name else '*'}")
    with tempfile.TemporaryDirectory(prefix="redrive-") as folder:
        file = Path(folder) / "structure"
        environment = {
            "PGHOST": address.host,
            "PGHOSTADDR": address.ip,
            "PGPORT": str(address.port),
            "PGUSER": endpoint.user,
            "PGPASSWORD": password,
            "PGDATABASE": endpoint.database or "postgres",
            "PGCONNECT_TIMEOUT": "10",
            "PGAPPNAME": "redrive structure",
            "PGPASSFILE": os.devnull,
            "PGSSLMODE": "verify-full" if endpoint.tls else "prefer",
        }
        if endpoint.tls:
            authority = Path(folder) / "ca.pem"
            authority.write_text(endpoint.ca_pem, encoding="ascii", errors="replace")
            environment["PGSSLROOTCERT"] = str(authority) if endpoint.ca_pem else "system"
        _run([*words, f"--file={file}"], environment, str(endpoint))
        if file.stat().st_size > _DUMP_BYTES:
            raise Failure(
                "structure",
                f"{endpoint}: the structure alone has more than {_DUMP_BYTES} bytes",
                hint="move fewer tables in one task",
                kind=FailureClass.NEEDS_INPUT,
                target=str(endpoint),
            )
        return file.read_bytes()


def prelude(guard: Guard, endpoint: Endpoint, password: str) -> list[str]:
    """Return the SQL of what chosen tables may need besides themselves, statement by statement.

    A dump of chosen tables holds no schemas, types and functions; some of these may be in the target already.
    """
    dumped = dump(guard, endpoint, password, None)
    needed = [entry for entry in entries(dumped, "pre-data") if entry.sort in NEEDED]
    return [statements(dumped, "pre-data", [entry.number]) for entry in needed]


def entries(dumped: bytes, section: str) -> list[Entry]:
    """Return the table of contents of a section (``pre-data``, ``post-data``), in the order to make it."""
    found = []
    for line in _restore(dumped, ["--list", f"--section={section}"]).splitlines():
        number, semicolon, rest = line.partition(";")
        if semicolon and number.strip().isdigit():
            # "table oid, object oid, SORT in capitals, schema, name, owner"
            words = rest.split()[2:]
            sort = " ".join(word for word in _while_capitals(words))
            called = " ".join(words[len(sort.split()) : -1])
            found.append(Entry(int(number), sort, called))
    return found


def _while_capitals(words: Iterable[str]) -> Iterable[str]:
    for word in words:
        if not word.isupper():
            return
        yield word


def statements(dumped: bytes, section: str, numbers: Sequence[int] | None = None) -> str:
    """Return the SQL that makes a section, or the entries of these numbers in it."""
    words = [f"--section={section}", *_WITHOUT, "--file=-"]
    if numbers is not None:
        words.append("--use-list=@list")
    said = _restore(dumped, words, list_="".join(f"{number};\n" for number in numbers or ()))
    # Commands of psql's own, which keep a dump from doing more than a dump may; we run no commands.
    return "\n".join(
        line for line in said.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))
    )


def _restore(dumped: bytes, words: Sequence[str], list_: str = "") -> str:
    with tempfile.TemporaryDirectory(prefix="redrive-") as folder:
        file, wanted = Path(folder) / "structure", Path(folder) / "list"
        file.write_bytes(dumped)
        wanted.write_text(list_, encoding="ascii")
        named = [word.replace("@list", str(wanted)) for word in words]
        return _run([str(bundled_programs() / "pg_restore"), *named, str(file)], {}, "the dumped structure")


def _run(words: Sequence[str], environment: Mapping[str, str], target: str) -> str:
    plain = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
    try:
        done = subprocess.run(
            words,
            env={**plain, "LC_ALL": "C.UTF-8", **environment},
            capture_output=True,
            text=True,
            timeout=_DUMP_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Failure(
            "structure",
            f"{target}: its structure was not read within {_DUMP_SECONDS} s",
            hint="see whether somebody holds a lock on its tables, then retry",
            kind=FailureClass.TRANSIENT,
            target=target,
        ) from error
    if done.returncode == 0:
        return done.stdout
    said = (
        " ".join(line.strip() for line in done.stderr.splitlines() if "error:" in line) or done.stderr.strip()
    )
    lower = said.lower()
    for words_, code, hint, sort in _SAID:
        if any(word in lower for word in words_):
            raise Failure(code, f"{target}: {said[:_LONGEST]}", hint=hint, kind=sort, target=target)
    raise Failure(
        "structure",
        f"{target}: {said[:_LONGEST]}",
        hint="mend what it says, then retry",
        kind=FailureClass.NEEDS_INPUT,
        target=target,
    )


_LONGEST = 1_000
#: What the tools say of a server that they cannot reach, or that does not let them in: they have no codes.
_SAID = (
    (
        ("password authentication failed", "no password supplied"),
        "credentials",
        "correct the user or the password, then retry",
        FailureClass.NEEDS_INPUT,
    ),
    (
        ("permission denied",),
        "privilege",
        "grant the account what it lacks, then retry",
        FailureClass.NEEDS_INPUT,
    ),
    (
        (
            "connection to server",
            "could not connect",
            "server closed the connection",
            "starting up",
            "shutting down",
        ),
        "away",
        "it goes on by itself when the database is back",
        FailureClass.TRANSIENT,
    ),
)


def _pattern(name: str) -> str:
    """Return a name as a pattern that stands for itself."""
    return '"' + name.replace('"', '""') + '"'

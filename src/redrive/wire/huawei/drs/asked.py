"""Bodies that callers send, as settings of ours. Pure; what is wrong is told by the vendor's name of the field.

Fields that the vendor knows and we have no use for are kept where they are told again, and passed over elsewhere.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from redrive.clock import from_ms
from redrive.endpoints.databases.model import DEFAULT_PORTS, Endpoint, Engine
from redrive.errors import Problem, ProblemCode, invalid
from redrive.services.replication.model import Chosen, Conflict, End, TaskSettings, Use
from redrive.wire.huawei.drs.codes import (
    DIRECTIONS,
    END_OF_WORD,
    MODE_OF_WORD,
    NETWORKS,
    USE_OF_WORD,
)

Body = Mapping[str, Any]
T = TypeVar("T")

#: So many tasks a call names at most; of calls that connect to databases fewer.
BATCH_LIMIT, CONNECTIONS_LIMIT = 10_000, 100
_TEXT, _CERTIFICATE = 1_000, 65_536
_PORTS = range(1, 65_536)
_LATEST_MS = 253_402_300_799_999
_PAGE, _MOST_PER_PAGE = 5, 100
#: Told again as they were named.
_NOTES = (
    "job_direction", "net_type", "node_type", "customize_sutnet_id", "bind_eip", "is_target_readonly", "node_num",
    "expired_days", "tags",
)  # fmt: skip
_REQUIRED = (
    "name", "db_use_type", "engine_type", "job_direction", "net_type", "node_type", "customize_sutnet_id",
    "source_endpoint", "target_endpoint",
)  # fmt: skip


def entries(body: Body, *, name: str = "jobs", limit: int = BATCH_LIMIT) -> list[Any]:
    """Return the list of a batch."""
    found = body.get(name)
    if found is None or found == []:
        raise empty(name)
    if not isinstance(found, list):
        raise invalid(name, "a list", type(found).__name__)
    if len(found) > limit:
        raise invalid(name, f"at most {limit} tasks", len(found))
    return found


def objects(
    body: Body, id_field: str = "job_id", *, limit: int = BATCH_LIMIT, unique: bool = True
) -> list[Body]:
    """Return the entries of a batch, each an object that names a task."""
    found = entries(body, limit=limit)
    for place, entry in enumerate(found):
        if not isinstance(entry, dict):
            raise invalid(f"jobs[{place}]", "an object", type(entry).__name__)
    if unique:
        no_duplicates([text(entry, id_field, required=True) for entry in found], id_field)
    return found


def ids(body: Body, *, unique: bool = False) -> list[str]:
    """Return the ids of a batch that is a list of these."""
    found = entries(body)
    for place, entry in enumerate(found):
        if not isinstance(entry, str) or not entry or len(entry) > _TEXT:
            raise invalid(f"jobs[{place}]", "the id of a task", type(entry).__name__)
    if unique:
        no_duplicates(found, "jobs")
    return found


def no_duplicates(found: Sequence[str], name: str) -> None:
    """Refuse a batch that names a task twice."""
    if len(set(found)) != len(found):
        raise Problem(ProblemCode.INVALID, f"there are duplicate {name} in the request", reason="duplicate")


def empty(name: str) -> Problem:
    """Return the problem of a parameter that is missing."""
    return Problem(ProblemCode.INVALID, f"the parameter {name} is empty", reason="empty")


def text(body: Body, name: str, *, required: bool = False, most: int = _TEXT) -> str:
    """Return a text; empty where it is not given."""
    value = body.get(name)
    if value is None or value == "":
        if required:
            raise empty(name)
        return ""
    if not isinstance(value, str) or len(value) > most or "\0" in value:
        raise invalid(name, f"text of at most {most} characters", type(value).__name__)
    return value


def flag(body: Body, name: str) -> bool | None:
    """Return true or false; None where it is not given."""
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise invalid(name, "true or false", value)
    return value


def word(body: Body, name: str, known: Mapping[str, T], default: str = "") -> T:
    """Return what one of the vendor's words stands for."""
    found = text(body, name, required=not default) or default
    if found not in known:
        raise invalid(name, ", ".join(known), found)
    return known[found]


def one_of(body: Body, name: str, known: Sequence[str]) -> str:
    """Return one of some words."""
    return word(body, name, {each: each for each in known})


# -- tasks


def creation(body: Body) -> TaskSettings:
    """Return what a new task is to be."""
    for name in _REQUIRED:
        if body.get(name) in (None, ""):
            raise empty(name)
    one_of(body, "job_direction", DIRECTIONS)
    one_of(body, "net_type", NETWORKS)
    if flag(body, "multi_write"):
        raise Problem(
            ProblemCode.INVALID, "multi_write: dual-active recovery is not supported yet", reason="schema"
        )
    return TaskSettings(
        name=text(body, "name"),
        use=word(body, "db_use_type", USE_OF_WORD),
        mode=word(body, "task_type", MODE_OF_WORD, "FULL_INCR_TRANS"),
        engine=text(body, "engine_type"),
        description=text(body, "description"),
        notes={name: body[name] for name in _NOTES if _is_small(body.get(name))},
    )


def _is_small(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) <= 20 and all(isinstance(each, dict) and _is_flat(each) for each in value)
    return isinstance(value, bool) or (isinstance(value, str | int) and len(str(value)) <= 256)


def _is_flat(value: Mapping[str, Any]) -> bool:
    return all(isinstance(each, str) and len(each) <= 64 for each in value.values()) and len(value) <= 4


@dataclass(frozen=True, slots=True)
class NamedDatabase:
    """A database as a call names it, with its password."""

    endpoint: Endpoint
    password: str


def database(body: Body) -> NamedDatabase:
    """Return the database that an endpoint names."""
    kind = text(body, "db_type", required=True)
    if kind != "postgresql":
        raise Problem(
            ProblemCode.INVALID,
            f"db_type: only postgresql is supported yet, got {kind[:40]}",
            reason="not_supported",
        )
    port = body.get("db_port")
    number = (
        int(port) if isinstance(port, str) and port.isascii() and port.isdigit() and len(port) < 6 else port
    )
    if number is None:
        number = DEFAULT_PORTS[Engine.POSTGRESQL]
    if isinstance(number, bool) or number not in _PORTS:
        raise invalid("db_port", "1 to 65535", port)
    tls = bool(flag(body, "ssl_link"))
    endpoint = Endpoint(
        Engine.POSTGRESQL,
        text(body, "ip", required=True, most=255),
        number,
        text(body, "db_user", required=True, most=128),
        text(body, "db_name", most=128),
        tls,
        _certificate(body) if tls else "",
    )
    return NamedDatabase(endpoint, text(body, "db_password", required=True))


def _certificate(body: Body) -> str:
    coded = text(body, "ssl_cert_key", required=True, most=_CERTIFICATE)
    try:
        plain = base64.b64decode(coded, validate=True)
        found = plain.decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        raise invalid("ssl_cert_key", "a certificate as PEM, in Base64") from None
    wanted = text(body, "ssl_cert_check_sum")
    if wanted and wanted.lower() != hashlib.sha256(plain).hexdigest():
        raise invalid("ssl_cert_check_sum", "the SHA-256 of the certificate", wanted)
    return found


def end_of(body: Body) -> End:
    """Return the end that a call is about."""
    return word(body, "end_point_type", END_OF_WORD, "so")


@dataclass(frozen=True, slots=True)
class Selection:
    """What was chosen; ``objects`` None: everything. ``databases``: those that it was chosen from, by name."""

    objects: list[Chosen] | None
    databases: frozenset[str] = frozenset()


def selection(body: Body) -> Selection:
    """Return what was chosen. A schema that was chosen stands for all of its tables."""
    if not flag(body, "selected"):
        return Selection(None)
    listed = body.get("job")
    if not isinstance(listed, list) or not listed:
        raise empty("job")
    by_id = _by_id(listed)
    chosen: list[Chosen] = []
    everything, databases = False, set[str]()
    for each in by_id.values():
        sort, name, wanted = _object(each)
        if sort == "database" and wanted != "false":
            databases.add(name)
            everything = everything or wanted == "true"
        elif wanted == "true":
            databases |= _database_of(each)
            chosen.append(Chosen(name, "") if sort == "schema" else Chosen(_schema_of(each, by_id), name))
    if not chosen and not everything:
        raise invalid("job", "at least one object whose select is true")
    return Selection(None if everything else chosen, frozenset(databases))


def _by_id(listed: list[Any]) -> dict[str, Body]:
    found: dict[str, Body] = {}
    for place, each in enumerate(listed):
        if not isinstance(each, dict):
            raise invalid(f"job[{place}]", "an object", type(each).__name__)
        found[text(each, "id", required=True)] = each
    return found


def _object(entry: Body) -> tuple[str, str, str]:
    """Return what an object is, its name, and whether it is chosen (``true``, ``false``, ``partial``)."""
    sort = one_of(entry, "object_type", ("database", "schema", "table", "view"))
    name, alias = text(entry, "object_name", required=True), text(entry, "object_alias_name")
    wanted = one_of({"select": entry.get("select") or "false"}, "select", ("true", "false", "partial"))
    if alias and alias != name:
        raise _not_supported("object_alias_name: renaming is not supported yet")
    if sort == "view" and wanted == "true":
        raise _not_supported("object_type: views come with everything; they cannot be chosen alone yet")
    return sort, name, wanted


def _not_supported(detail: str) -> Problem:
    return Problem(ProblemCode.INVALID, detail, reason="not_supported")


#: Between the names in the id of an object: ``plant-*-*-stock-*-*-items``.
OF = "-*-*-"


def _database_of(entry: Body) -> set[str]:
    """Return the database in the id of a schema or table; none where the id is in no such form."""
    names = text(entry, "id").split(OF)
    return {names[0]} if len(names) > 1 else set()


def _schema_of(entry: Body, by_id: Mapping[str, Body]) -> str:
    """Return the schema of a table: that of its parent, or of its id; public where its parent is the database.

    Never a guess: a table of another schema may have the same name.
    """
    names, parent_id = text(entry, "id").split(OF), text(entry, "parent_id")
    parent = by_id.get(parent_id)
    if parent is not None and parent.get("object_type") == "schema":
        return text(parent, "object_name", required=True)
    if len(names) == 3:
        return names[1]
    if parent is None and parent_id not in ("", names[0]):
        raise invalid("parent_id", "a schema or database of the request", parent_id)
    return "public"


def policy(body: Body) -> Conflict:
    """Return what becomes of rows that the target has already."""
    return word(body, "conflict_policy", {each.value: each for each in Conflict}, Conflict.STOP.value)


def start_time(body: Body) -> datetime | None:
    """Return when a task is to start; None: now."""
    given = body.get("start_time")
    if given in (None, ""):
        return None
    number = str(given)
    if not (number.isascii() and number.isdigit() and int(number) <= _LATEST_MS):
        raise invalid("start_time", "milliseconds since 1970, as text", number)
    return from_ms(int(number)) if int(number) else None


# -- pages


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list: its number from 1, and its length; 0: everything."""

    number: int
    length: int

    def of(self, items: Sequence[T]) -> Sequence[T]:
        """Return the page; a Problem where there is none such."""
        if not self.length:
            return items
        begin = (self.number - 1) * self.length
        if items and begin >= len(items):
            raise Problem(ProblemCode.INVALID, "cur_page is beyond the last page", reason="page_too_high")
        return items[begin : begin + self.length]


def page(body: Body, per_page: int = _PAGE) -> Page:
    """Return the page that is asked for."""
    number, length = _count(body, "cur_page", 1), _count(body, "per_page", per_page)
    if length > _MOST_PER_PAGE:
        raise _bad_page(f"per_page: expected 0 to {_MOST_PER_PAGE}, got {length}")
    if number == 0 or length == 0:
        if number > 1:
            raise _bad_page("cur_page: expected 0 or 1 where everything is asked for")
        return Page(1, 0)
    return Page(number, length)


def page_req(body: Body) -> Page:
    """Return the page that a batch asks for."""
    asked = body.get("page_req")
    if asked is None:
        return Page(1, _PAGE)
    if not isinstance(asked, dict):
        raise _bad_page("page_req: expected an object")
    return page(asked)


def _count(body: Body, name: str, default: int) -> int:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 1_000_000:
        raise _bad_page(f"{name}: expected a number from 0 to 1000000")
    return value


def _bad_page(detail: str) -> Problem:
    return Problem(ProblemCode.INVALID, detail, reason="page")


def use_of(body: Body) -> Use:
    """Return what the tasks of a list are for."""
    return word(body, "db_use_type", USE_OF_WORD)

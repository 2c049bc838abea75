"""The calls of the service. Each is authorised by an action on each task that it names.

A batch answers a result for each of its tasks, in their order, under the code of success: one that is refused keeps
no other from being done. Only a request that is wrong as a whole is refused as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated, Any, ClassVar

import psycopg
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from redrive.database import Database
from redrive.errors import Failure, Problem, ProblemCode
from redrive.identity.access import Principal, require
from redrive.kinds import replication
from redrive.services.replication import service
from redrive.services.replication.model import End
from redrive.services.replication.service import TaskFilter
from redrive.services.replication.task import Parts, Task
from redrive.wire.huawei.auth import DataCaller
from redrive.wire.huawei.codes import Surface
from redrive.wire.huawei.drs import asked, shapes
from redrive.wire.huawei.drs.codes import DELETE_TYPES, DRS, PAUSE_MODES, PRECHECK_MODES
from redrive.wire.huawei.envelope import BODY_BYTES, JSON_BODY, HuaweiRoute, json_body, render

Connection = psycopg.Connection[Any]
Entry = Mapping[str, Any]

#: Tests of connections that run at once for one request; each may take ten seconds.
_TESTS_AT_ONCE = 8
#: What concerns one task of a batch alone; anything else concerns the request.
_OF_ONE = (ProblemCode.INVALID, ProblemCode.CONFLICT, ProblemCode.NOT_FOUND)
_ACTION = "drs:migrationJob:"


class DrsRoute(HuaweiRoute):
    """A route of the service. A body has room for 10,000 tasks, or as many chosen objects, indented too."""

    surface: ClassVar[Surface] = DRS
    body_bytes: ClassVar[int] = 4 * BODY_BYTES


router = APIRouter(prefix="/v3/{project_id}", route_class=DrsRoute, tags=["huawei: drs"])

Body = Annotated[dict[str, Any], Depends(json_body)]


def _db(request: Request) -> Database:
    db: Database = request.app.state.parts.db
    return db


def _parts(request: Request) -> Parts:
    parts = request.app.state.parts
    return replication(parts.settings, parts.sealer)


def _require(caller: Principal, operation: str, ids: Sequence[str] = ("*",)) -> None:
    for each in ids:
        require(caller, f"{_ACTION}{operation}", caller.urn("drs", "migrationJob", each[:64]))


def _ids(found: Sequence[Entry], field: str = "job_id") -> list[str]:
    return [asked.text(entry, field, required=True) for entry in found]


def _each(
    request: Request,
    entries: Sequence[Entry],
    work: Callable[[Connection, Entry], None],
    field: str = "job_id",
) -> list[dict[str, Any]]:
    """Do ``work`` for each entry, in a transaction of its own; return the results."""
    results = []
    for entry in entries:

        def one(conn: Connection, entry: Entry = entry) -> None:
            work(conn, entry)

        results.append(shapes.outcome(asked.text(entry, field), _outcome(partial(_db(request).run, one))))
    return results


def _outcome(work: Callable[[], object]) -> Problem | None:
    try:
        work()
    except Problem as problem:
        if problem.code not in _OF_ONE:
            raise
        return problem
    return None


def _as_problem(failure: Failure) -> Problem:
    """Return a database that could not be reached as the problem of the call that needs it."""
    reason = "credentials" if failure.code == "credentials" else "no_connection"
    return Problem(ProblemCode.CONFLICT, failure.detail, hint=failure.hint, reason=reason)


# -- configuring


@router.post("/jobs/batch-creation", status_code=202, openapi_extra=JSON_BODY)
def create(request: Request, caller: DataCaller, body: Body) -> Response:
    """Create tasks that are to be configured."""
    _require(caller, "create")
    results = []
    for entry in asked.entries(body, limit=asked.CONNECTIONS_LIMIT):
        made: list[Task] = []

        def one(conn: Connection, entry: Any = entry, made: list[Task] = made) -> None:
            if not isinstance(entry, dict):
                raise Problem(ProblemCode.INVALID, "jobs: expected objects", reason="body")
            made[:] = [service.create(conn, caller.tenant_id, asked.creation(entry), {})]

        problem = _outcome(partial(_db(request).run, one))
        results.append(
            shapes.created(made[0]) if problem is None else {"status": "failed", **shapes.refused(problem)}
        )
    return render(shapes.batch(results), 202)


@router.post("/jobs/batch-connection", openapi_extra=JSON_BODY)
def test_connections(request: Request, caller: DataCaller, body: Body) -> Response:
    """Connect to databases, and tell of each whether it answers. A task comes once for each of its ends."""
    found = asked.objects(body, "id", limit=asked.CONNECTIONS_LIMIT, unique=False)
    _require(caller, "modify", _ids(found, "id"))
    parts, db = _parts(request), _db(request)

    def look(entry: Entry) -> Problem | None:
        def test() -> None:
            named = asked.database(entry)
            asked.end_of(entry)
            db.run(lambda conn: service.require_configuring(conn, caller.tenant_id, str(entry["id"])))
            _reached(parts, named)

        return _outcome(test)

    with ThreadPoolExecutor(_TESTS_AT_ONCE) as pool:
        problems = list(pool.map(look, found))
    results = [
        {"success": problem is None, **shapes.outcome(str(entry["id"]), problem)}
        for entry, problem in zip(found, problems, strict=True)
    ]
    return render(shapes.batch(results))


def _reached(parts: Parts, named: asked.NamedDatabase) -> None:
    try:
        service.test_connection(parts, named.endpoint, named.password)
    except Failure as failure:
        raise _as_problem(failure) from None


@router.put("/jobs/batch-modification", openapi_extra=JSON_BODY)
def modify(request: Request, caller: DataCaller, body: Body) -> Response:
    """Rename or describe tasks; name their databases, which are reached once more before they are stored."""
    found = asked.objects(body, limit=asked.CONNECTIONS_LIMIT)
    _require(caller, "modify", _ids(found))
    parts = _parts(request)

    def change(entry: Entry) -> None:
        vendor_id = asked.text(entry, "job_id", required=True)
        named = {
            name: asked.text(entry, name) for name in ("name", "description") if entry.get(name) is not None
        }
        ends: dict[End, asked.NamedDatabase] = {}
        if asked.flag(entry, "store_db_info"):
            for end in End:
                given = entry.get(f"{end}_endpoint")
                if not isinstance(given, dict):
                    raise asked.empty(f"{end}_endpoint")
                ends[end] = asked.database(given)
            _db(request).run(lambda conn: service.require_configuring(conn, caller.tenant_id, vendor_id))
            for each in ends.values():
                _reached(parts, each)

        def store(conn: Connection) -> None:
            service.change(conn, caller.tenant_id, vendor_id, **named)
            for end, each in ends.items():
                service.store_endpoint(
                    conn, caller.tenant_id, vendor_id, end, each.endpoint, each.password, parts, tested=True
                )

        _db(request).run(store)

    results = [
        shapes.outcome(asked.text(entry, "job_id"), _outcome(partial(change, entry))) for entry in found
    ]
    return render(shapes.batch(results))


@router.put("/jobs/batch-select-objects", status_code=202, openapi_extra=JSON_BODY)
def select_objects(request: Request, caller: DataCaller, body: Body) -> Response:
    """Say which tables tasks move. Here ``status`` is a Boolean, and the count has another name."""
    found = asked.objects(body, limit=asked.CONNECTIONS_LIMIT)
    _require(caller, "modify", _ids(found))

    def select(conn: Connection, entry: Entry) -> None:
        chosen = asked.selection(entry)
        service.select_objects(
            conn, caller.tenant_id, str(entry["job_id"]), chosen.objects, databases=chosen.databases
        )

    results = [
        {"job_id": result.pop("id"), **result, "status": result["status"] == "success"}
        for result in _each(request, found, select)
    ]
    return render({"all_counts": len(results), "results": results}, 202)


@router.post("/jobs/batch-sync-policy", openapi_extra=JSON_BODY)
def set_policy(request: Request, caller: DataCaller, body: Body) -> Response:
    """Say what becomes of rows that the target has already."""
    found = asked.objects(body)
    _require(caller, "modify", _ids(found))

    def store(conn: Connection, entry: Entry) -> None:
        service.change(conn, caller.tenant_id, str(entry["job_id"]), conflict=asked.policy(entry))

    return render(shapes.batch(_each(request, found, store)))


@router.post("/jobs/batch-precheck", openapi_extra=JSON_BODY)
def precheck(request: Request, caller: DataCaller, body: Body) -> Response:
    """Let workers look whether tasks can be started, or retried."""
    found = asked.objects(body)
    _require(caller, "precheck", _ids(found))

    def begin(conn: Connection, entry: Entry) -> None:
        asked.one_of(entry, "precheck_mode", PRECHECK_MODES)
        service.begin_precheck(conn, caller.tenant_id, str(entry["job_id"]), actor=caller.actor)

    results = [{"precheck_id": result["id"], **result} for result in _each(request, found, begin)]
    return render(shapes.batch(results))


@router.post("/jobs/batch-precheck-result", openapi_extra=JSON_BODY)
def precheck_results(request: Request, caller: DataCaller, body: Body) -> Response:
    """Tell what the last prechecks have found; without ``result`` while they run."""
    wanted = asked.ids(body, unique=True)
    _require(caller, "get", wanted)

    def read(conn: Connection) -> list[dict[str, Any]]:
        results = []
        for vendor_id, task, problem in _found(conn, caller, wanted):
            if task is None:
                results.append({"precheck_id": vendor_id, **shapes.refused(problem or service.unknown())})
            else:
                results.append(shapes.precheck_body(task, service.precheck_result(conn, task)))
        return results

    return render(shapes.batch(_db(request).run(read)))


# -- running


@router.post("/jobs/batch-starting", status_code=202, openapi_extra=JSON_BODY)
def start(request: Request, caller: DataCaller, body: Body) -> Response:
    """Start tasks whose prechecks have passed, now or at a time."""
    found = asked.objects(body)
    _require(caller, "start", _ids(found))

    def begin(conn: Connection, entry: Entry) -> None:
        at = asked.start_time(entry)
        service.start(conn, caller.tenant_id, str(entry["job_id"]), actor=caller.actor, run_at=at)

    return render(shapes.batch(_each(request, found, begin)), 202)


@router.post("/jobs/batch-pause-task", openapi_extra=JSON_BODY)
def pause(request: Request, caller: DataCaller, body: Body) -> Response:
    """Pause tasks."""
    found = asked.objects(body)
    _require(caller, "pause", _ids(found))

    def stop(conn: Connection, entry: Entry) -> None:
        asked.one_of(entry, "pause_mode", PAUSE_MODES)
        service.pause(conn, caller.tenant_id, str(entry["job_id"]), actor=caller.actor)

    return render(shapes.batch(_each(request, found, stop)))


@router.post("/jobs/batch-retry-task", openapi_extra=JSON_BODY)
def retry(request: Request, caller: DataCaller, body: Body) -> Response:
    """Retry failed tasks and resume paused ones, all in one statement; done chunks are kept."""
    found = asked.objects(body)
    ids = _ids(found)
    for entry in found:
        # Of a task whose objects were not edited it says nothing: a plain retry, whatever it is.
        asked.flag(entry, "is_sync_re_edit")
    _require(caller, "retry", ids)
    answers = _db(request).run(lambda conn: service.retry(conn, caller.tenant_id, ids, actor=caller.actor))
    return render(shapes.batch([shapes.outcome(vendor_id, answers[vendor_id]) for vendor_id in ids]))


@router.put("/jobs/batch-modify-pwd", openapi_extra=JSON_BODY)
def change_passwords(request: Request, caller: DataCaller, body: Body) -> Response:
    """Give tasks other passwords for their databases; a task comes once for each of its ends."""
    found = asked.objects(body, unique=False)
    _require(caller, "modify", _ids(found))
    parts = _parts(request)

    def store(conn: Connection, entry: Entry) -> None:
        end, password = asked.end_of(entry), asked.text(entry, "db_password", required=True)
        service.set_password(conn, caller.tenant_id, str(entry["job_id"]), end, password, parts)

    results = [
        {**result, **({"end_point_type": entry["end_point_type"]} if entry.get("end_point_type") else {})}
        for entry, result in zip(found, _each(request, found, store), strict=True)
    ]
    return render(shapes.batch(results))


@router.delete("/jobs/batch-jobs", status_code=202, openapi_extra=JSON_BODY)
def stop_or_delete(request: Request, caller: DataCaller, body: Body) -> Response:
    """Stop tasks for good, or delete those that were stopped."""
    found = asked.objects(body)
    _require(caller, "delete", _ids(found))

    def end(conn: Connection, entry: Entry) -> None:
        sort, vendor_id = asked.one_of(entry, "delete_type", DELETE_TYPES), str(entry["job_id"])
        if sort == "delete":
            service.delete(conn, caller.tenant_id, vendor_id)
        else:
            forced = sort == "force_terminate"
            service.release(conn, caller.tenant_id, vendor_id, actor=caller.actor, force=forced)

    return render(shapes.batch(_each(request, found, end)), 202)


# -- looking


def _found(
    conn: Connection, caller: Principal, wanted: Sequence[str]
) -> list[tuple[str, Task | None, Problem | None]]:
    """Return of each id its task, or why there is none."""
    tasks = service.by_ids(conn, caller.tenant_id, wanted)
    answers: list[tuple[str, Task | None, Problem | None]] = []
    for vendor_id in wanted:
        task = tasks.get(vendor_id)
        if task is None:
            answers.append((vendor_id, None, service.unknown()))
        elif task.deleted_at is not None:
            answers.append((vendor_id, None, service.gone()))
        else:
            answers.append((vendor_id, task, None))
    return answers


def _told(
    request: Request, caller: Principal, wanted: Sequence[str], tell: Callable[[Task], dict[str, Any]]
) -> Response:
    """Answer with what is told of each task; a bad request where not one of them is there."""
    answers = _db(request).run(lambda conn: _found(conn, caller, wanted))
    results = [
        tell(task) if task is not None else shapes.not_shown(vendor_id, problem or service.unknown())
        for vendor_id, task, problem in answers
    ]
    status = 200 if any(task is not None for _, task, _ in answers) else 400
    return render(shapes.batch(results), status)


@router.post("/jobs/batch-detail", openapi_extra=JSON_BODY)
def details(request: Request, caller: DataCaller, body: Body) -> Response:
    """Tell of tasks, five of them where no page is asked for."""
    wanted = asked.page_req(body).of(asked.ids(body))
    _require(caller, "get", wanted)
    return _told(request, caller, wanted, shapes.detail_body)


@router.post("/jobs/batch-status", openapi_extra=JSON_BODY)
def statuses(request: Request, caller: DataCaller, body: Body) -> Response:
    """Tell where tasks stand, five of them where no page is asked for."""
    wanted = asked.page_req(body).of(asked.ids(body))
    _require(caller, "get", wanted)
    return _told(request, caller, wanted, shapes.status_body)


@router.post("/jobs/batch-progress", status_code=202, openapi_extra=JSON_BODY)
def progress(request: Request, caller: DataCaller, body: Body) -> Response:
    """Tell how far tasks are."""
    wanted = asked.ids(body)
    _require(caller, "get", wanted)

    def read(conn: Connection) -> list[dict[str, Any]]:
        answers = _found(conn, caller, wanted)
        reached = service.progress(conn, [task for _, task, _ in answers if task is not None])
        return [
            shapes.progress_body(task, reached[task.id])
            if task is not None
            else {"job_id": vendor_id, **shapes.refused(problem or service.unknown())}
            for vendor_id, task, problem in answers
        ]

    return render(shapes.batch(_db(request).run(read)), 202)


@router.post("/jobs", openapi_extra=JSON_BODY)
def list_tasks(request: Request, caller: DataCaller, body: Body) -> Response:
    """List tasks, newest first."""
    _require(caller, "list")
    page, names = (
        asked.page(body, 10),
        [each.strip() for each in asked.text(body, "name").split(",") if each.strip()],
    )
    wanted = TaskFilter(
        use=asked.use_of(body), names=names or None, engine=asked.text(body, "engine_type") or None
    )
    network, status = asked.text(body, "net_type"), asked.text(body, "status")
    found = _db(request).run(lambda conn: service.listing(conn, caller.tenant_id, wanted))
    rows = [
        row
        for row in map(shapes.listed, found)
        if status in ("", row["status"]) and network in ("", row.get("net_type"))
    ]
    return render({"total_record": len(rows), "jobs": list(page.of(rows))})


# -- what is not done yet


_NOT_YET = (
    ("PUT", "/jobs/batch-limit-speed"),
    ("POST", "/jobs/create-compare-task"),
    ("POST", "/jobs/query-compare-result"),
    ("POST", "/jobs/batch-rpo-and-rto"),
    ("POST", "/jobs/cluster/batch-connection"),
    ("POST", "/jobs/batch-get-params"),
    ("POST", "/jobs/{job_id}/params"),
    ("POST", "/jobs/batch-replace-definer"),
    ("POST", "/jobs/batch-transformation"),
    ("POST", "/jobs/{job_id}/switch-vip"),
    ("GET", "/jobs/{job_id}/get-switch-vip-status"),
    ("POST", "/jobs/batch-switchover"),
    ("POST", "/jobs/disaster-recovery-monitoring-data"),
    ("POST", "/jobs/batch-struct-process"),
    ("POST", "/jobs/{type}/batch-struct-detail"),
    ("POST", "/jobs/batch-set-smn"),
    ("GET", "/jobs/{job_id}/get-src-user"),
    ("PUT", "/jobs/batch-update-user"),
    ("GET", "/node-type"),
    ("POST", "/available-zone"),
    ("GET", "/quotas"),
    ("POST", "/jobs/{job_id}/object/compare"),
    ("GET", "/jobs/{job_id}/object/compare"),
    ("GET", "/jobs/{job_id}/object/compare/{compare_type}"),
    ("POST", "/jobs/{job_id}/table/compare"),
    ("GET", "/jobs/{job_id}/table/compare"),
    ("POST", "/jobs/{job_id}/table/compare/{compare_job_id}"),
    ("GET", "/jobs/{job_id}/compare/{compare_job_id}/line-overview"),
    ("GET", "/jobs/{job_id}/compare/{compare_job_id}/line-detail"),
    ("GET", "/jobs/{job_id}/compare/{compare_job_id}/content-overview"),
    ("GET", "/jobs/{job_id}/compare/{compare_job_id}/content-detail"),
    ("GET", "/jobs/{job_id}/compare/{compare_job_id}/content-difference"),
    ("DELETE", "/jobs/{job_id}/compare/{compare_job_id}"),
    ("POST", "/jobs/{job_id}/compare/result/file"),
    ("GET", "/jobs/{job_id}/compare/result/file"),
    ("GET", "/jobs/{job_id}/lts-log-switch"),
    ("PUT", "/jobs/{job_id}/lts-log-switch"),
    ("GET", "/job/{job_id}/tuning-params/query-params"),
    ("PUT", "/job/{job_id}/tuning-params/modify-params"),
)


def _not_yet(caller: DataCaller) -> Response:
    """Refuse: this is not done yet."""
    raise Problem(ProblemCode.INVALID, "the call is not supported yet", reason="not_supported")


for _method, _path in _NOT_YET:
    router.add_api_route(_path, _not_yet, methods=[_method], include_in_schema=False)

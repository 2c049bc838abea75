"""Imports over HTTP and from the command line: a file goes up, a job comes out, the samples can be read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pytest import MonkeyPatch, TempPathFactory
from typer.testing import CliRunner

from redrive.cli import client, timeseries
from redrive.database.embedded import EmbeddedPostgres
from redrive.engine import jobs
from redrive.identity.access import Action, parse_scope
from redrive.identity.builtin import key_policy
from redrive.identity.keys import create_key
from redrive.identity.master_key import open_sealer
from redrive.services.timeseries import imports
from redrive.services.timeseries.boxes import Box, Points
from redrive.services.timeseries.storage import SampleStore
from tests.engine.scene import until, working
from tests.wire_native.jobs_scene import Api, database_of_a_module, serving_api

IMPORTS = "/v1/timeseries/imports"
PARQUET = {"content-type": "application/vnd.apache.parquet"}
TABLE = pa.table({"asset": ["a", "b"], "point": ["p", "p"], "time": [1, 2], "value": [1.5, 2.5]})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: TempPathFactory) -> Path:
    """A folder of the server's machine that may be read."""
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def served(
    postgres: EmbeddedPostgres, database_url: str, tmp_path_factory: TempPathFactory, folder: Path
) -> Iterator[Api]:
    with (
        database_of_a_module(postgres) as db,
        serving_api(db, tmp_path_factory.mktemp("api"), import_roots=str(folder)) as api,
    ):
        yield api


@pytest.fixture
def api(served: Api) -> Iterator[Api]:
    """The API with a worker that imports."""
    served.clear()
    with served.db.transaction() as conn:
        conn.execute("truncate timeseries_assets, timeseries_points, timeseries_models, timeseries_latest")
    store = SampleStore(served.settings.storage, None, served.db)
    store.folder(served.credentials.org_id).remove_all()
    with working(served.db, imports.kind(store, served.settings.import_folders)):
        yield served
    store.close()


def stored(api: Api) -> list[tuple[Any, ...]]:
    store = SampleStore(api.settings.storage, None, api.db)
    table = store.table(api.credentials.org_id)
    if table.snapshot() is None:
        return []
    found = table.scan(Box(frozenset("ab"), Points.all(), -(2**40), 2**40)).to_pylist()
    return [(row["asset"], row["point"], row["time_ms"], row["number"]) for row in found]


SAMPLES = [("a", "p", 1, 1.5), ("b", "p", 2, 2.5)]


def body(table: pa.Table = TABLE) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())


def ended(api: Api, answer: httpx.Response) -> str:
    assert answer.status_code == 202, answer.text
    job_id = answer.json()["job_id"]
    assert answer.headers["location"] == f"/v1/jobs/{job_id}"

    def state() -> str | None:
        found = api.job(job_id)["state"]
        return str(found) if found in {"succeeded", "failed"} else None

    return str(until(state))


def staged(api: Api) -> list[Path]:
    return [path for path in Path(api.settings.storage).rglob("imports/*/*") if path.is_file()]


def test_an_uploaded_file_is_imported_and_removed(api: Api) -> None:
    answer = api.http.post(IMPORTS, content=body(), headers=PARQUET, params={"name": "weather.parquet"})
    assert ended(api, answer) == "succeeded"
    assert stored(api) == SAMPLES
    assert staged(api) == []


def test_a_csv_with_a_mapping_is_imported(api: Api) -> None:
    csv = b"station,at,p\na,1,1.5\nb,2,2.5\n"
    mapping = {"asset": "station", "time": "at", "points": "*"}
    answer = api.http.post(
        IMPORTS, content=csv, headers={"content-type": "text/csv"}, params={"mapping": json.dumps(mapping)}
    )
    assert ended(api, answer) == "succeeded"
    assert stored(api) == SAMPLES


def test_a_file_of_the_server_is_imported_where_it_may_be_read(api: Api, folder: Path) -> None:
    (folder / "weather.parquet").write_bytes(body())
    answer = api.http.post(IMPORTS, json={"path": str(folder / "weather.parquet")})
    assert ended(api, answer) == "succeeded"
    assert stored(api) == SAMPLES
    assert (folder / "weather.parquet").exists()


@pytest.mark.parametrize(
    ("sent", "status", "words"),
    [
        ({"content": b"nonsense", "headers": PARQUET}, 422, "cannot be read as|file that can be read"),
        ({"content": b"", "headers": PARQUET}, 422, "file that can be read"),
        ({"content": b"a,b\n1,2\n", "headers": {"content-type": "text/csv"}}, 422, "no column"),
        ({"content": body(), "headers": PARQUET, "params": {"mapping": "{"}}, 422, "mapping"),
        ({"content": body(), "headers": PARQUET, "params": {"mapping": '{"x":1}'}}, 422, "mapping.x"),
        ({"content": body(), "headers": PARQUET, "params": {"mapping": '{"asset":"x"}'}}, 422, "no column x"),
        ({"content": body(), "headers": {"content-type": "image/png"}}, 422, "Content-Type"),
        ({"json": {"path": "/etc/passwd"}}, 403, "may not read"),
        ({"json": {"path": "../x.parquet"}}, 403, "may not read"),
        ({"json": {}}, 422, "path"),
        ({"json": {"path": "x", "mappings": {}}}, 422, "mappings"),
    ],
)
def test_what_cannot_be_imported_is_refused_at_once(
    api: Api, sent: dict[str, Any], status: int, words: str
) -> None:
    answer = api.http.post(IMPORTS, **sent)
    assert answer.status_code == status, answer.text
    assert any(word in answer.json()["detail"] for word in words.split("|"))
    assert staged(api) == []
    with api.db.transaction() as conn:
        assert jobs.listing(conn, api.tenant_id, jobs.JobFilter(kinds=[imports.KIND])) == []


def test_a_repeated_request_gets_its_answer_also_when_the_file_is_gone(api: Api, folder: Path) -> None:
    (folder / "gone.parquet").write_bytes(body())
    request = {"json": {"path": str(folder / "gone.parquet")}, "headers": {"idempotency-key": "gone"}}
    first = api.http.post(IMPORTS, **request)
    assert ended(api, first) == "succeeded"
    (folder / "gone.parquet").unlink()
    again = api.http.post(IMPORTS, **request)
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["location"] == first.headers["location"]


def test_the_same_key_imports_once(api: Api) -> None:
    headers = {**PARQUET, "idempotency-key": "once"}
    first = api.http.post(IMPORTS, content=body(), headers=headers)
    assert ended(api, first) == "succeeded"
    again = api.http.post(IMPORTS, content=body(), headers=headers)
    assert again.json() == first.json()
    assert staged(api) == []
    other = api.http.post(IMPORTS, content=body(TABLE.slice(1)), headers=headers)
    assert other.status_code == 422


def test_a_caller_of_some_assets_may_not_import(api: Api) -> None:
    permissions = {Action.WRITE: parse_scope("a*")}
    with api.db.transaction() as conn:
        user = conn.execute("select id from users limit 1").fetchone()
        sealer = open_sealer(api.db, api.settings)
        pair = create_key(
            conn,
            sealer,
            tenant_id=api.tenant_id,
            user_id=user.id,
            name="some",
            policy=key_policy(permissions),
        )
    with httpx.Client(base_url=api.url, auth=(pair.access_key, pair.secret_key)) as some:
        assert some.post(IMPORTS, content=body(), headers=PARQUET).status_code == 403
    assert httpx.post(api.url + IMPORTS, content=body(), headers=PARQUET).status_code == 401


def test_an_upload_that_breaks_off_leaves_nothing(api: Api) -> None:
    def parts() -> Iterator[bytes]:
        yield body()
        raise KeyError("the line is cut")

    with pytest.raises(KeyError):
        api.http.post(IMPORTS, content=parts(), headers=PARQUET)
    until(lambda: staged(api) == [])


@pytest.fixture
def command(api: Api, monkeypatch: MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv(client.URL, api.url)
    monkeypatch.setenv(client.ACCESS_KEY, api.credentials.access_key)
    monkeypatch.setenv(client.SECRET_KEY, api.credentials.secret_key)

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(timeseries.app, list(arguments))

    yield run


def test_the_command_imports_files_and_tells_how_many_samples(api: Api, command: Any, tmp_path: Path) -> None:
    (tmp_path / "one.parquet").write_bytes(body(TABLE.slice(0, 1)))
    (tmp_path / "two.csv").write_text("id,point,at,value\nb,p,2,2.5\nb,q,3,\n")
    done = command("import", str(tmp_path / "one.parquet"))
    assert done.exit_code == 0, done.output
    assert "1 samples" in done.output
    done = command("import", str(tmp_path / "two.csv"), "--asset", "id", "--time", "at")
    assert done.exit_code == 0, done.output
    assert "1 without a value" in done.output
    assert stored(api) == SAMPLES


def test_the_command_says_what_is_wrong_with_a_file(command: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("asset,point,time,value\na,p,1,1\na,p,yesterday,2\n")
    done = command("import", str(tmp_path / "bad.csv"))
    assert done.exit_code == 1
    assert "yesterday" in done.output


def test_the_command_applies_and_shows_the_registry(api: Api, command: Any, tmp_path: Path) -> None:
    registry = {
        "models": [{"id": "m", "points": [{"id": "p"}]}],
        "assets": [{"id": "a", "model_id": "m", "time_zone": "Europe/Berlin"}, {"id": "b"}],
    }
    (tmp_path / "registry.json").write_text(json.dumps(registry))
    assert "3 new" in command("apply", str(tmp_path / "registry.json")).output
    assert "Europe/Berlin" in command("assets", "list").output
    assert json.loads(command("assets", "list", "--json").output)["assets"][0]["id"] == "a"
    assert json.loads(command("assets", "show", "a", "--json").output)["model_id"] == "m"
    assert "p" in command("models", "show", "m").output
    assert json.loads(command("models", "list", "--json").output)["models"][0]["id"] == "m"

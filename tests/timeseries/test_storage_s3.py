from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import flask
import pytest
from moto.s3.models import S3Backend
from moto.server import ThreadedMotoServer

from redrive.database import Database
from redrive.errors import Problem
from redrive.services.timeseries.boxes import Box, Points
from redrive.services.timeseries.storage import OrgTable, SampleStore
from redrive.services.timeseries.storage.probing import sign
from tests.timeseries.samples import rows_of, walk

MINUTES = [1_700_000_000_000 + 60_000 * minute for minute in range(500)]
EVER = (-(2**60), 2**60)


@pytest.fixture(scope="module")
def options() -> Iterator[dict[str, str]]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }
    server.stop()


@pytest.fixture
def bucket(options: dict[str, str]) -> str:
    client = boto3.client(
        "s3",
        endpoint_url=options["AWS_ENDPOINT_URL"],
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket="samples")
    return "s3://samples/redrive"


@pytest.fixture
def table(bucket: str, options: dict[str, str], db: Database) -> Iterator[OrgTable]:
    store = SampleStore(bucket, options, db)
    yield store.table("o1")
    store.close()


def test_an_object_store_is_probed_for_conditional_writes(
    bucket: str, options: dict[str, str], db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SampleStore(bucket, options, db)
    store.probe()
    _forget_conditions(monkeypatch)
    with pytest.raises(Problem, match="conditional writes"):
        store.probe()
    monkeypatch.undo()
    with pytest.raises(Problem, match="refuses access"):
        SampleStore("s3://no-such-bucket", options, db).probe()
    assert store.folder("o1").list() == []
    store.close()


def _forget_conditions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the server one of those that create a file whether it is there or not."""
    really = S3Backend.get_object

    def get_object(self: S3Backend, *arguments: Any, **options: Any) -> Any:
        conditional = flask.request.headers.get("If-None-Match") == "*"
        return None if conditional else really(self, *arguments, **options)

    monkeypatch.setattr(S3Backend, "get_object", get_object)


def test_a_store_that_cannot_be_reached_is_a_problem(options: dict[str, str], db: Database) -> None:
    store = SampleStore("s3://samples/x", {**options, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, db)
    with pytest.raises(Problem, match="the sample store failed"):
        store.probe()


def test_the_signature_is_the_one_of_the_specification() -> None:
    """The example 'PUT Object' of AWS's page on signing S3 requests (sigv4-header-based-auth)."""
    headers = {
        "date": "Fri, 24 May 2013 00:00:00 GMT",
        "x-amz-storage-class": "REDUCED_REDUNDANCY",
    }
    signed = sign(
        "PUT",
        "https://examplebucket.s3.amazonaws.com/test%24file.text",
        headers,
        b"Welcome to Amazon S3.",
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "us-east-1",
        "20130524T000000Z",
    )
    assert signed["authorization"].endswith(
        "Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
    )


def test_samples_live_in_an_object_store(table: OrgTable) -> None:
    samples = walk(["a", "b", "c"], ["p", "q"], MINUTES)
    table.append(samples, app_id="move/o1", claim=1, step=1)
    box = Box(frozenset(["a", "c"]), Points.only(["q"]), MINUTES[100], MINUTES[400])

    erased = table.erase(box, app_id="job/1", claim=1, seq_max=1)

    assert erased.rows_deleted == 600
    rest = [row for row in rows_of(samples) if not box.contains(*row[:3])]
    assert rows_of(table.scan(Box(frozenset("abc"), Points.all(), *EVER))) == rest
    snapshot = table.snapshot()
    assert snapshot is not None
    stored = {file.path for file in table.folder.list() if "_delta_log" not in file.path}
    assert stored == set(snapshot.files)
    assert table.settle_claim("job/1", 2) == erased.as_ledger()
    assert table.sweep(1).files_removed == 0

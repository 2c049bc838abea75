"""Uploads wait in an object store where samples lie in one, so that any machine's worker can import them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from redrive.database import Database
from redrive.engine.model import JobState
from redrive.services.timeseries import imports, sources
from redrive.services.timeseries.ingest import Ingest
from redrive.services.timeseries.mapping import Columns
from redrive.services.timeseries.sources import Source
from redrive.services.timeseries.storage import SampleStore
from tests.engine.scene import ended, working
from tests.timeseries.ingest_scene import ORG, TENANT, Place, add_tenant
from tests.timeseries.test_imports import expected, table


@pytest.fixture
def place(db: Database) -> Iterator[Place]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }
    boto3.client(
        "s3", endpoint_url=options["AWS_ENDPOINT_URL"], aws_access_key_id="key",
        aws_secret_access_key="secret", region_name="us-east-1",
    ).create_bucket(Bucket="samples")  # fmt: skip
    add_tenant(db)
    store, ingest = SampleStore("s3://samples/redrive", options, db), Ingest(db)
    yield Place(db, Path("/nowhere"), store, ingest)
    ingest.close()
    store.close()
    server.stop()


@pytest.mark.parametrize("form", sources.Format)
def test_an_uploaded_file_is_imported_from_the_object_store(
    place: Place, tmp_path: Path, form: sources.Format
) -> None:
    found = table(300)
    path = tmp_path / f"samples.{form}"
    if form is sources.Format.PARQUET:
        pq.write_table(found, path, row_group_size=100)
    else:
        lines = [
            ",".join([r["asset"], r["point"], r["time"].isoformat(), repr(r["value"])])
            for r in found.to_pylist()
        ]
        path.write_text("\n".join(["asset,point,time,value", *lines]))
    staging = place.store.staging(ORG)
    with staging.create(f"7/file.{form}") as sink:
        sink.write(path.read_bytes())
    source = Source(f"7/file.{form}", form, path.name, path.stat().st_size, staged=True)
    with place.db.transaction() as conn:
        job_id = imports.submit(conn, TENANT, ORG, source, Columns(), actor="tester")
    with working(place.db, imports.kind(place.store, [])):
        job = ended(place.db, job_id, 30)
    assert job.state is JobState.SUCCEEDED, job.failure
    assert place.read() == expected(found)
    assert staging.list() == []

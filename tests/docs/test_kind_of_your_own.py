"""The example of docs/kinds.md runs as it stands there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from redrive.database import Database
from redrive.engine.model import JobState
from redrive.engine.recovery import retry
from redrive.engine.verification import verify
from tests.docs.pages import blocks, text
from tests.engine.scene import TENANT, ended, working


def test_the_example_runs_fails_with_a_hint_and_is_retried(db: Database, tmp_path: Path) -> None:
    kind_code, submit_code = blocks(text("kinds.md"), "python")
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    scope: dict[str, Any] = {"tenant_id": TENANT, "folder": tmp_path, "db": db}
    exec(kind_code, scope)
    exec(submit_code, scope)
    kind, job_id = scope["CHECKSUMS"], scope["job_id"]

    with working(db, kind):
        job = ended(db, job_id)
    assert job.state is JobState.SUCCEEDED
    assert job.done_units == 4
    assert verify(db, {kind.name: kind}, TENANT, job_id).ok

    (tmp_path / "b").write_text("changed")
    assert not verify(db, {kind.name: kind}, TENANT, job_id).ok


def test_a_file_that_went_missing_is_a_failure_with_a_hint(db: Database, tmp_path: Path) -> None:
    kind_code, submit_code = blocks(text("kinds.md"), "python")
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").symlink_to(tmp_path / "later" / "b")
    scope: dict[str, Any] = {"tenant_id": TENANT, "folder": tmp_path, "db": db}
    exec(kind_code, scope)
    exec(submit_code, scope)
    with working(db, scope["CHECKSUMS"]):
        job = ended(db, scope["job_id"])
        assert job.state is JobState.FAILED
        assert job.failure is not None and job.failure["hint"] == "put it back, then retry"
        (tmp_path / "later").mkdir()
        (tmp_path / "later" / "b").write_text("b")
        db.run(lambda conn: retry(conn, TENANT, job.id, actor="maria"))
        job = ended(db, job.id)
    assert job.state is JobState.SUCCEEDED
    assert job.attempt == 2
    assert job.attempt_done == 1

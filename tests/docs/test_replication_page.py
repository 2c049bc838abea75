"""What docs/replication.md says works as it is written, against a real server and real databases."""

from __future__ import annotations

import ast
import tempfile
from pathlib import Path

import pytest

from redrive.wire.huawei.drs.asked import BATCH_LIMIT, CONNECTIONS_LIMIT
from tests.docs.pages import ROOT, blocks, first_cells, text
from tests.docs.test_workspaces_page import shell
from tests.replication.scene import PASSWORD, same, users_server
from tests.replication.test_moving import SHOP, TABLES
from tests.servers import Launch

SOURCES = [
    *(ROOT / "src" / "redrive" / "services" / "replication").glob("*.py"),
    *(ROOT / "src" / "redrive" / "endpoints" / "databases").glob("*.py"),
]


@pytest.mark.timeout(120)
def test_the_page_works_as_it_is_written(launch: Launch, tmp_path: Path) -> None:
    script = "\n".join(blocks(text("replication.md"), "sh"))
    with (
        tempfile.TemporaryDirectory(prefix="redrive-test-users-") as folder,
        users_server(Path(folder)) as server,
    ):
        source, target = server.make(SHOP), server.make()
        launch("up", data_dir=tmp_path / "redrive-data")
        for written, real in (
            ("10.0.0.5", "127.0.0.1"),
            ("10.0.0.6", "127.0.0.1"),
            ('"db_port": 5432', f'"db_port": {server.port}'),
            ("not-this-one", PASSWORD.replace("'", "'\\''")),
            ('"plant2"', f'"{target}"'),
            ('"plant"', f'"{source}"'),
        ):
            assert written in script
            script = script.replace(written, real)
        said = shell(tmp_path, script)
        same(server, source, target, *TABLES)
        assert server.rows(target, "select from pg_namespace where nspname = 'redrive'") == []
    assert "FULL_TRANSFER_COMPLETE" in said and "RELEASE_RESOURCE_COMPLETE" in said
    assert said.count('"status":"success"') == 7 and '"progress": "100"' in said


def test_every_code_that_a_task_can_fail_with_is_told() -> None:
    assert failures() <= first_cells(text("replication.md"))


def failures() -> set[str]:
    """The codes of failures in the sources: of calls, and of the tables of what databases say."""
    nodes = [node for path in SOURCES for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    calls = [node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    raised = [call.args[0] for call in calls if call.func.id == "Failure" and call.args]  # type: ignore[attr-defined]
    rows = [node.elts for node in nodes if isinstance(node, ast.Tuple) and len(node.elts) in (3, 4)]
    listed = [row[1] for row in rows if isinstance(row[0], ast.Tuple | ast.Attribute)]
    found = {node.value for node in [*raised, *listed] if isinstance(node, ast.Constant)}
    assert {"credentials", "away", "table_gone"} <= found
    return {str(code) for code in found} - {"internal"}


def test_the_limits_are_those_of_the_code() -> None:
    page = text("replication.md")
    assert f"{BATCH_LIMIT:,} tasks in a call, {CONNECTIONS_LIMIT} where" in page

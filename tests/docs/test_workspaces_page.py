"""What docs/workspaces.md and the quickstart say about workspaces works as it is written, against a real server."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from redrive.wire.huawei.codes import UNKNOWN_CALL, UNKNOWN_CALLER
from redrive.wire.huawei.workspace.codes import REASONS, STATUS_WORDS
from tests.docs.controller import controller
from tests.docs.pages import ROOT, blocks, first_cells, text
from tests.servers import Launch
from tests.workspaces.scene import PASSWORD

SOURCE = ROOT / "src" / "redrive"
FAILING = (
    *(SOURCE / "services" / "workspaces" / "steps").glob("*.py"),
    SOURCE / "services" / "workspaces" / "job.py",
    SOURCE / "services" / "timeseries" / "leaving.py",
    SOURCE / "endpoints" / "guard.py",
    SOURCE / "endpoints" / "tls.py",
    *(SOURCE / "endpoints" / "directory").glob("*.py"),
)


def shell(folder: Path, script: str) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["timeout", "60", "bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=70,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


@pytest.mark.timeout(120)
def test_the_page_works_as_it_is_written(launch: Launch, tmp_path: Path) -> None:
    script = "\n".join(blocks(text("workspaces.md"), "sh"))
    assert script.count("10.0.0.5") == 1 and PASSWORD in script
    with controller(tmp_path, tmp_path / "plant-ca.pem") as port:
        launch("up", "--directory-ldaps-port", str(port), data_dir=tmp_path / "redrive-data")
        said = shell(tmp_path, script.replace("10.0.0.5", "127.0.0.1"))
    assert '"job_error_code": "directory_credentials"' in said
    assert '"status": "SUBSCRIPTION_FAILED"' in said and '"config_status": "1"' in said
    assert said.count("(kept)") == 5
    assert said.count('"status": "FAIL"') == 1 and '"job_type": "cancelWorkspace"' in said
    assert said.strip().endswith("CLOSED")
    for name in ("register.json", "login.json", "token.txt"):
        assert not (tmp_path / name).exists()


@pytest.mark.timeout(120)
def test_the_vendors_client_of_the_quickstart_works_as_it_is_written(launch: Launch, tmp_path: Path) -> None:
    page = text("quickstart.md")
    launch("up", data_dir=tmp_path / "redrive-data")
    [project] = [block for block in blocks(page, "sh") if "projects create" in block]
    [script] = blocks(page, "python")
    shell(tmp_path, project)
    (tmp_path / "sdk.py").write_text(script)
    lines = shell(tmp_path, "python sdk.py").splitlines()
    assert lines[0].startswith("FAIL ") and "127.0.0.1" in lines[0]
    assert "   directory FAILED" in lines and "   key (kept) SUCCESS" in lines
    assert sum("(kept)" in line for line in lines) == 5
    assert lines[-1] == "SUBSCRIBED"


def test_every_code_of_a_failed_step_is_told() -> None:
    codes = {code for path in FAILING for code in _codes(path)}
    assert {"subnet_unknown", "held", "superseded", "directory_name_taken", "certificate_name"} <= codes
    told = _cells(text("workspaces.md"))
    assert codes <= told, f"docs/workspaces.md lacks {sorted(codes - told)}"


def test_every_status_and_every_code_of_a_refusal_is_told() -> None:
    assert set(STATUS_WORDS.values()) <= first_cells(text("workspaces.md"))
    decision = text("decisions/0060-huawei-gateway.md")
    for code in (*REASONS.values(), UNKNOWN_CALLER, UNKNOWN_CALL):
        assert f"`{code}`" in decision, code


def _cells(page: str) -> set[str]:
    rows = [line.split("|") for line in page.splitlines() if line.startswith("|")]
    return {word.strip("` ") for row in rows for cell in row for word in cell.split(",")}


def _codes(path: Path) -> set[str]:
    """The codes of failures that a module makes: first words of calls, and what is assigned to ``code``."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            place = {"Failure": 0, "needs_input": 0, "_failed": 1}.get(node.func.id)
            if place is not None and len(node.args) > place:
                found |= _text(node.args[place])
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
            (target,) = node.targets
            if isinstance(target, ast.Tuple) and ast.unparse(target.elts[0]) == "code":
                found |= _text(node.value.elts[0])
    return found


def _text(node: ast.expr) -> set[str]:
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()

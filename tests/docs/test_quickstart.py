"""A newcomer types the quickstart: every block of docs/quickstart.md, in one shell, against a server that runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import blocks, text
from tests.servers import Launch


@pytest.mark.timeout(120)
def test_the_quickstart_works_as_it_is_written(launch: Launch, tmp_path: Path) -> None:
    page = text("quickstart.md")
    assert "redrive up" in page
    server = launch("up", data_dir=tmp_path / "redrive-data")
    script = "\n".join(blocks(page, "sh"))
    assert script.count("redrive verify") == 2
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, f"{said[-3000:]}\n{server.log.read_text()[-1000:]}"
    assert '"status":"ready"' in said
    assert said.count("Proved.") == 2
    assert '"accepted":3' in said
    assert "insurance claim" in said
    assert '"status":2' in said
    _another_program_reads_the_table(tmp_path)


def _another_program_reads_the_table(folder: Path) -> None:
    [script] = blocks(text("tables.md"), "python")
    script += "\nprint(newest.num_rows, sorted(set(table['asset'].to_pylist())))"
    kept = (
        3 * (28 - 1 - 3) * 1440 - 3 * 2 + 3
    )  # the ends of both deletions are gone too; three came by themselves
    wanted = f"{kept} ['pump-1', 'pump-2', 'pump-3']"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == wanted

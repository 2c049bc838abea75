"""The pages say what the server does."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from redrive.identity import authentication, tokens
from redrive.identity.credentials import credentials_file
from redrive.settings import Settings
from redrive.wire.enos.codes import GATEWAY_CODES, GATEWAY_FAULT
from redrive.wire.native import idempotency
from tests.wire_enos.gateway_caller import ECHO, Gateway

DOCS = Path(__file__).parents[2] / "docs"


def test_the_shell_commands_of_the_page_make_a_signed_call(gateway: Gateway, settings: Settings) -> None:
    page = (DOCS / "security.md").read_text()
    block = next(text for text in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "apim-signature" in text)
    script = block.replace("/tsdb-service/v2.1/data/delete-detail", ECHO)
    path = credentials_file(settings)
    credentials = json.loads(path.read_text()) | {"endpoint": str(gateway.http.base_url).rstrip("/")}
    path.write_text(json.dumps(credentials))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=settings.data_dir,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert json.loads(done.stdout)["data"]["caller"] == "admin"


def test_the_decision_lists_every_gateway_code() -> None:
    text = (DOCS / "decisions" / "0010-enos-gateway-refusals.md").read_text()
    listed = {int(code) for code in re.findall(r"^ +\| (\d{4}) \|", text, re.MULTILINE)}
    assert listed == {*GATEWAY_CODES.values(), GATEWAY_FAULT}


def test_the_figures_of_the_page_are_those_of_the_code() -> None:
    page = (DOCS / "security.md").read_text()
    assert f"lives {tokens.LIFE.total_seconds():,.0f} s" in page
    assert f"within {authentication.CACHE_SECONDS:.0f} seconds" in page
    assert f"{tokens.CLOCK_SKEW.total_seconds() / 60:.0f} minutes off" in page
    assert f"waits up to {idempotency.WAIT_SECONDS} s" in page

"""docs/jobs.md says what the program does: every reason, every call."""

from __future__ import annotations

import re
from pathlib import Path

from redrive.engine.recovery import SENTENCES
from redrive.wire.native import failpoints, failures, jobs

TEXT = (Path(__file__).parents[2] / "docs" / "jobs.md").read_text(encoding="utf-8")


def test_every_reason_is_documented_with_its_sentence() -> None:
    documented = dict(re.findall(r"^\| `(\w+)` \| ([A-Z].*?) \|$", TEXT, re.MULTILINE))
    assert documented == {reason.value: sentence for reason, sentence in SENTENCES.items()}


def test_every_call_is_documented() -> None:
    documented = set(re.findall(r"^\| `((?:GET|POST|PUT) /v1/[^`]*)` \|", TEXT, re.MULTILINE))
    served = {
        f"{method} {route.path}"
        for router in (jobs.router, failures.router, failpoints.router)
        for route in router.routes
        for method in route.methods  # type: ignore[attr-defined]
    }
    assert documented == served

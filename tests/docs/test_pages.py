"""The pages say what there is: commands, settings, failpoints, metrics, kinds, packages; links lead somewhere."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pytest
from packaging.requirements import Requirement
from prometheus_client.core import Metric

from redrive.database import Database
from redrive.engine.failpoints import NAMES
from redrive.kinds import all_kinds
from redrive.settings import Settings
from redrive.wire.metrics import Metrics
from tests.docs.pages import DOCS, PAGES, ROOT, all_text, first_cells, text
from tools import commands, coverage


def test_the_list_of_commands_is_that_of_the_program() -> None:
    assert text("commands.md") == commands.page(), "write it anew: python -m tools"


def test_the_coverage_is_that_of_the_program_and_its_tests() -> None:
    assert text("coverage.md") == coverage.page(), "write it anew: python -m tools"


def test_commands_that_the_pages_name_exist() -> None:
    known = set(re.findall(r"^## `(redrive [a-z -]+)`$", text("commands.md"), re.MULTILINE))
    groups = {name.rpartition(" ")[0] for name in known} | {
        "redrive failpoints",
        *(word.rpartition(" ")[0] for word in known),
    }
    for page in PAGES:
        for line in _code(page.read_text(encoding="utf-8")):
            for words in re.findall(r"\bredrive ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)*)", line):
                parts = words.split()
                candidates = {"redrive " + " ".join(parts[:count]) for count in range(1, len(parts) + 1)}
                assert candidates & (known | groups), f"{page.name}: redrive {words}"


def _code(page: str) -> list[str]:
    return re.findall(r"^redrive .*$", page, re.MULTILINE) + re.findall(r"`(redrive [a-z][^`]*)`", page)


def test_every_setting_is_documented_with_its_default() -> None:
    lines = [line.split("|") for line in text("operations.md").splitlines() if line.startswith("| `")]
    told = {name: cells[2].strip() for cells in lines for name in re.findall(r"`(\w+)`", cells[1])}
    for item in dataclasses.fields(Settings):
        assert item.name in told, f"docs/operations.md does not tell the setting {item.name}"
        shown = str(item.default).lower() if isinstance(item.default, bool) else str(item.default)
        wanted = "" if item.default is None else f"`{shown}`"
        assert told[item.name] == wanted, f"the default of {item.name}"


def test_every_failpoint_is_documented() -> None:
    page = text("operations.md")
    for name, interrupts in NAMES.items():
        assert f"| `{name}` | {interrupts} |" in page, f"docs/operations.md lacks the failpoint {name}"
    told = re.findall(r"^\| `((?:engine|timeseries|replication)\.[a-z_.]+)` \|", page, re.MULTILINE)
    assert set(told) == set(NAMES)


def test_every_metric_is_documented(db: Database) -> None:
    figures = Metrics(db)
    figures.request("/x", "GET", 200, 0.1)
    families: list[Metric] = list(figures._registry.collect())
    ours = {
        name
        for family in families
        for name in {sample.name for sample in family.samples} | {family.name}
        if name.startswith("redrive_")
    }
    told = {cell.partition("{")[0] for cell in first_cells(text("operations.md"))}
    for name in ours:
        stem = re.sub(r"_(bucket|sum|count|created|total)$", "", name)
        assert told & {name, stem, f"{stem}_total"}, f"docs/operations.md lacks the metric {name}"


def test_every_kind_of_job_has_a_row(db: Database) -> None:
    rows = first_cells(text("kinds.md"))
    kinds = {kind.name for kind in all_kinds(_parts(db))}
    assert kinds <= rows
    assert {row for row in rows if row.startswith("timeseries.")} <= kinds


def _parts(db: Database) -> Any:
    return SimpleNamespace(
        db=db, store=None, settings=Settings(), sealer=None, authenticator=None, ingest=None
    )


def test_the_decision_about_foundations_lists_the_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {Requirement(line).name for line in project["dependencies"]}
    told = first_cells(text("decisions/0001-foundations.md"))
    assert needed == told - {"psycopg-pool"}


def test_every_page_is_reached_from_the_list_of_pages() -> None:
    listed = text("README.md")
    for page in sorted(DOCS.rglob("*.md")):
        name = page.relative_to(DOCS).as_posix()
        assert name == "README.md" or f"]({name})" in listed, f"docs/README.md does not link {name}"


def test_decisions_have_numbers_of_their_own() -> None:
    numbers = [page.name[:4] for page in sorted((DOCS / "decisions").glob("*.md"))]
    assert len(set(numbers)) == len(numbers)
    for page in sorted((DOCS / "decisions").glob("*.md")):
        assert page.read_text(encoding="utf-8").startswith(f"# {page.name[:4]} ")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in _anchors(found.read_text(encoding="utf-8")), f"{page.name}: {target}"


def _anchors(page: str) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_are_for_strangers(page: Path) -> None:
    found = page.read_text(encoding="utf-8")
    for hidden in (
        rf"(?<![\w.]){re.escape(str(ROOT))}\b",
        r"/(home|Users)/\w",
        r"/tmp/",
        r"/root/\w",
        r"\bissues? #?\d",
        r"#\d{1,4}\b",
        r"\bAI (model|assistant)",
        r"TODO",
    ):
        assert not re.search(hidden, found, re.IGNORECASE), f"{page.name}: {hidden}"


def test_every_word_of_the_api_is_explained() -> None:
    told = {word.lower() for word in re.findall(r"\*\*(.+?)\*\*", text("glossary.md"))}
    words = (
        "job unit attempt lease claim fencing cursor lane plan settle retry resume rerun recovery fingerprint"
    )
    words += (
        " ledger hold pipeline stage endpoint rule instance workspace model asset point project organization"
    )
    assert set(words.split()) | {"stage state", "quality workspace", "key pair"} <= told


def test_environment_variables_in_the_pages_exist() -> None:
    settings = {f"REDRIVE_{item.name.upper()}" for item in dataclasses.fields(Settings)}
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    for name in set(re.findall(r"\bREDRIVE_[A-Z_]+\b", all_text())):
        assert name in settings or name in source, name

"""The pages, and what stands in them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]


def text(name: str) -> str:
    """Return a page of docs/."""
    return (DOCS / name).read_text(encoding="utf-8")


def all_text() -> str:
    return "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


def blocks(page: str, language: str) -> list[str]:
    """Return the code blocks of a language; those behind a marker ``<!-- word -->`` are not among them."""
    return re.findall(rf"(?<!-->\n)^```{language}\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)


def first_cells(page: str) -> set[str]:
    """Return what stands as code in the first column of the tables."""
    cells = re.findall(r"^\| ([^|]*?) \|", page, re.MULTILINE)
    return {word for cell in cells for word in re.findall(r"`([^`]+)`", cell)}

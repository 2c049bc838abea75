"""Write every generated page anew: ``python -m tools``."""

from __future__ import annotations

from tools import commands, coverage
from tools.pages import DOCS

for name, make in (("commands.md", commands.page), ("coverage.md", coverage.page)):
    (DOCS / name).write_text(make(), encoding="utf-8")
    print(f"docs/{name}")

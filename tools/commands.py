"""``docs/commands.md``: every command with its options, as the program itself knows them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from redrive.cli.commands import app
from tools.pages import table

_HEAD = """# Commands

Made from the program by `python -m tools`; do not edit. `redrive COMMAND --help` says the same.

A command finds the server and its keys in `credentials.json` of the data folder (`--data-dir`, default
`./redrive-data`), or in `REDRIVE_URL`, `REDRIVE_ACCESS_KEY` and `REDRIVE_SECRET_KEY`. Exit status: 0 done; 1 done,
but something failed, was refused or is not proved; 2 nothing was done.
"""


def page() -> str:
    """Return the text of the page."""
    lines = [_HEAD]
    for name, command in walk(typer.main.get_command(app), "redrive"):
        lines += [f"## `{name}`", "", _plain(command.help or ""), ""]
        rows = [(_written(item), _meaning(item)) for item in parameters(command)]
        if rows:
            lines += [*table(("Argument or option", "Meaning"), rows), ""]
    return "\n".join(lines).rstrip() + "\n"


def walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield every command that does something, with its full name."""
    children = getattr(command, "commands", {})
    for child_name, child in sorted(children.items()):
        yield from walk(child, f"{name} {child_name}")
    if not children:
        yield name, command


def parameters(command: Any) -> list[Any]:
    """Return arguments, then options, without ``--help``."""
    found = [item for item in command.params if item.name != "help"]
    return sorted(found, key=lambda item: item.param_type_name != "argument")


def _written(item: Any) -> str:
    if item.param_type_name == "argument":
        return f"`{item.metavar or item.name.upper()}`"
    names = ", ".join(f"`{name}`" for name in [*item.opts, *item.secondary_opts])
    return names if item.is_flag else f"{names} `{item.metavar or _value(item.type_descriptor.annotation)}`"


def _value(annotation: object) -> str:
    """Return a word for what an option takes."""
    if annotation in (int, float):
        return "NUMBER"
    return "PATH" if annotation is Path else "TEXT"


def _meaning(item: Any) -> str:
    text = _plain(getattr(item, "help", None) or "")
    if item.param_type_name == "argument" or item.is_flag or item.default in (None, ""):
        return text
    return f"{text} (default: {item.default})"


def _plain(text: str) -> str:
    return re.sub(r"\s*\n\s*", " ", text.replace("\f", " ").strip())

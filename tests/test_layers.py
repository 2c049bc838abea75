"""Who may import whom (see the package's docstring), read from the syntax trees.

Arrows go one way; services, and vendors, do not know each other; the web framework stays in ``wire`` and
``console``; no two modules import each other, not even in a round.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"
PACKAGE = SOURCE / "redrive"

#: From the top. A module may import from its own layer's folder and from layers below.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("cli", "server"),
    ("wire", "console"),
    ("kinds",),
    ("parts",),
    ("services", "identity"),
    ("engine", "ingest", "endpoints"),
    ("database",),
    ("errors", "clock", "ids", "settings"),
)
#: Within one layer, who imports whom. Not the other way.
BESIDE = {("cli", "server"), ("settings", "errors")}
#: Folders whose members must not know each other.
STRANGERS = ("services", "wire")
#: What every vendor's edge is made of.
SHARED_BY_EDGES = {"acknowledgement", "app", "bodies", "callers", "metrics", "refusals", "requests"}
WEB = {"fastapi", "starlette", "uvicorn", "jinja2"}
#: Modules of services that are words and rules only.
PURE = "model"
IMPURE = {
    "psycopg",
    "psycopg_pool",
    "deltalake",
    "sqlalchemy",
    "httpx",
    "socket",
    "subprocess",
    "os",
    "threading",
}


@cache
def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports(name: str, *, when_loaded: bool = False) -> frozenset[str]:
    """Return the modules that ``name`` imports; with ``when_loaded`` only those at the time it is loaded."""
    tree = ast.parse(modules()[name].read_text(encoding="utf-8"))
    return frozenset(target for node in _nodes(tree, when_loaded) for target in _targets(node))


def _nodes(tree: ast.AST, when_loaded: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if when_loaded and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if when_loaded and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        yield from _nodes(node, when_loaded)


def _targets(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            yield full if full in modules() else node.module


def area(name: str) -> str:
    """Return the part of the package: ``redrive.engine.jobs`` is in ``engine``."""
    return name.split(".")[1] if "." in name else ""


def layer(name: str) -> int:
    for number, names in enumerate(LAYERS):
        if area(name) in names:
            return number
    raise AssertionError(f"{name} is in no layer: put it into tests/test_layers.py")


def ours() -> list[str]:
    return [name for name in modules() if name != "redrive"]


@pytest.mark.parametrize("name", ours())
def test_imports_point_downwards(name: str) -> None:
    for target in imports(name):
        if not target.startswith("redrive."):
            continue
        way = area(name), area(target)
        assert way[0] == way[1] or way in BESIDE or layer(target) > layer(name), f"{name} imports {target}"


@pytest.mark.parametrize("name", [name for name in ours() if area(name) in STRANGERS])
def test_services_and_vendors_do_not_know_each_other(name: str) -> None:
    parts = name.split(".")
    if len(parts) < 3 or parts[2] in SHARED_BY_EDGES:
        return
    for target in imports(name):
        there = target.split(".")
        if target.startswith(f"redrive.{area(name)}.") and there[2] not in SHARED_BY_EDGES:
            assert there[2] == parts[2], f"{name} imports {target}"


@pytest.mark.parametrize("name", [name for name in ours() if area(name) not in ("wire", "console")])
def test_only_the_edges_know_the_web(name: str) -> None:
    allowed = {"uvicorn"} if name == "redrive.server.api" else set()
    used = {target.split(".")[0] for target in imports(name)} & WEB
    assert used <= allowed, f"{name} imports {used}"


@pytest.mark.parametrize(
    "name", [name for name in ours() if area(name) == "services" and name.split(".")[-1] == PURE]
)
def test_models_are_pure(name: str) -> None:
    used = {target.split(".")[0] for target in imports(name)} & IMPURE
    below = {
        target
        for target in imports(name)
        if target.startswith("redrive.") and layer(target) < len(LAYERS) - 1
    }
    outside = {target for target in below if not target.startswith(name.rpartition(".")[0])}
    assert not used and not outside, f"{name} imports {used | outside}"


def test_no_modules_import_each_other_in_a_round() -> None:
    graph = {
        name: {target for target in imports(name, when_loaded=True) if target in modules()} for name in ours()
    }
    assert round_in(graph) == []
    assert round_in({"a": {"b"}, "b": {"c"}, "c": {"a"}}), "a round is found where there is one"


def round_in(graph: Mapping[str, set[str]]) -> list[str]:
    """Return the nodes of a round in ``graph``, none where there is no round."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_files_and_functions_are_short_enough_to_read() -> None:
    long = []
    for path in modules().values():
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > 500:
            long.append(f"{path.relative_to(SOURCE)}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > 80:
                    long.append(f"{path.relative_to(SOURCE)}: {node.name} has {length} lines")
    assert not long, "\n".join(long)

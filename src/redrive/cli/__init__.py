"""The command line. The list of commands is in :mod:`redrive.cli.commands`.

``main`` is the program. A ``Problem`` is printed as a sentence and a hint, without a traceback, and ends with
code 2; the commands themselves just raise it.
"""

from __future__ import annotations

import sys

from redrive.errors import Problem

#: They start processes that import for themselves; the other commands' imports would only delay them.
_STARTERS = ("up", "serve", "worker")


def main() -> None:
    """Run the program with the arguments of the process."""
    try:
        if sys.argv[1:2] and sys.argv[1] in _STARTERS:
            from redrive.cli.up import app  # noqa: PLC0415
        else:
            from redrive.cli.commands import app  # noqa: PLC0415
        app(prog_name="redrive")
    except Problem as problem:
        print(f"redrive: {problem.detail}", file=sys.stderr)
        if problem.hint:
            print(f"  hint: {problem.hint}", file=sys.stderr)
        sys.exit(2)

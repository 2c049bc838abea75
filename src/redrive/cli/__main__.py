"""``python -m redrive.cli``: the same as the program ``redrive``."""

from __future__ import annotations

from redrive.cli import main

main()

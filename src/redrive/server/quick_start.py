"""What makes a process of the server start sooner. Import it first, before anything imports ``structlog``.

``structlog`` imports ``rich`` where it finds it, to draw tracebacks in colour. That takes a fifth of a second in
every process; ours are written as JSON, or plainly in a terminal.
"""

from __future__ import annotations

import gc
import sys
from typing import Any


def _import_structlog_alone() -> None:
    if "structlog" in sys.modules or "rich" in sys.modules:
        return
    modules: dict[str, Any] = sys.modules
    modules["rich"] = None
    try:
        import structlog  # noqa: F401, PLC0415
    finally:
        del modules["rich"]


_import_structlog_alone()

# Nothing that imports make is garbage; looking for it again and again takes a tenth of the time.
gc.disable()


def imported() -> None:
    """Call it after the imports: garbage is collected from now on, what is there by now is never looked at."""
    gc.freeze()
    gc.enable()

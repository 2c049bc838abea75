"""What the processes say: one event a line on standard error, as JSON, or for people in a terminal.

Standard output is for answers only (``Redrive is ready: ...``). Libraries that use ``logging`` are taken in.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

#: Chatty at their own level of "info".
_QUIET = ("uvicorn", "uvicorn.error", "psycopg", "psycopg.pool", "asyncio", "botocore", "urllib3")


def _for_people() -> structlog.dev.ConsoleRenderer:
    # The default draws local variables into tracebacks, and those may be secrets.
    return structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)


def configure(level: str, *, part: str) -> None:
    """Set up logging of this process; ``part`` (supervisor, api, worker-1) stands in each line."""
    for_people = sys.stderr.isatty()
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    ]
    if not for_people:
        shared.append(structlog.processors.format_exc_info)
    last = _for_people() if for_people else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_logger_name,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.clear_contextvars()

    def name_part(
        _logger: object, _name: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event["part"] = part
        return event

    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        processors=[name_part, structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING if level != "debug" else logging.INFO)

"""PostgreSQL, the only database of the server: connections, named queries, migrations, the embedded server.

::

    Database      a pool; ``transaction()``, ``run(fn)`` with retries, ``connect()`` for LISTEN
    Queries       ``queries.sql`` beside the code, one attribute per named statement
    migrate       brings a database to the schema of this program
    embedded      a private PostgreSQL of our own, from the wheel's binaries
"""

from __future__ import annotations

from redrive.database.migrations import migrate
from redrive.database.pool import Database, DatabaseAway, Row, is_outage, is_retryable
from redrive.database.queries import Queries

__all__ = ["Database", "DatabaseAway", "Queries", "Row", "is_outage", "is_retryable", "migrate"]

"""The processes of the server.

::

    redrive up ── supervisor ──┬── PostgreSQL (embedded)
                               ├── api        (HTTP, on a socket that the supervisor holds)
                               └── workers    (runs units of jobs)

    redrive serve     an api process alone, redrive worker a worker alone: for many machines

Guarantees: what dies is started again, with growing pauses; the API's socket stays open meanwhile, so callers
wait instead of being refused. SIGTERM lets running requests end and units reach a commit point, and stops
everything within 10 s. Children notice the death of the supervisor (their standard input ends) and leave;
PostgreSQL stays and is adopted by the next start.
"""

from __future__ import annotations

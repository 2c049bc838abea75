"""Data Replication Service, API v3: tasks that move a database, in batches.

::

    routes   the calls
    asked    bodies, as settings of ours
    shapes   what is told
    codes    error codes and status words
"""

from __future__ import annotations

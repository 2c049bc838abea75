"""Redrive: a self-hosted server for long-running data jobs that must survive failure.

Layers, each importing only what is to its right::

    cli, server -> wire, console -> services, identity -> engine, ingest, endpoints
        -> database -> errors, clock, ids, settings
"""

from __future__ import annotations

__version__ = "0.1.0"

"""Workspace v2 as the vendor's client calls it: register, look, change, deregister, tasks, retry."""

from __future__ import annotations

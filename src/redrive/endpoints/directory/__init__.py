"""A directory that a workspace joins: Microsoft's Active Directory, or any LDAP server.

::

    check_dns ──► check_controllers ──► check_account ──► join        findings; `require` raises the worst
                                                          joined      the probe: may it have been done?
                                                          leave       the undo

Guarantees: every connection goes through the guard, to the address that it judged; referrals are not followed; every
question has limits of time and size; the password stands in no representation, log or failure, and is sent only after
TLS is as it must be (where TLS is wished).
"""

from __future__ import annotations

from redrive.endpoints.directory.checks import check_account, check_controller, check_controllers
from redrive.endpoints.directory.joining import join, joined, leave
from redrive.endpoints.directory.model import (
    Controller,
    Directory,
    Finding,
    Joined,
    Left,
    Ports,
    Reach,
    reach_of,
    require,
)
from redrive.endpoints.directory.names import check_dns

__all__ = [
    "Controller",
    "Directory",
    "Finding",
    "Joined",
    "Left",
    "Ports",
    "Reach",
    "check_account",
    "check_controller",
    "check_controllers",
    "check_dns",
    "join",
    "joined",
    "leave",
    "reach_of",
    "require",
]

"""What the tests about directories share."""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable

import pytest

from redrive.endpoints.directory import Controller, Directory, Ports, Reach
from redrive.endpoints.guard import Guard
from redrive.errors import Failure
from tests.endpoints.openldap import DOMAIN, PASSWORD

OPEN = Guard(allow_loopback=True)
ACTIVE = Controller("127.0.0.1", "dc1")
PLANT = Directory(DOMAIN, "admin", PASSWORD, (ACTIVE,))


def reach(*, ldap: int = 1, ldaps: int = 1, dns: int = 1, seconds: float = 5.0) -> Reach:
    return Reach(OPEN, Ports(ldap, ldaps, dns), connect_seconds=seconds, answer_seconds=seconds)


def changed(directory: Directory = PLANT, **values: object) -> Directory:
    return dataclasses.replace(directory, **values)  # type: ignore[arg-type]


def failure_of(call: Callable[[], object], secret: str = PASSWORD) -> Failure:
    """Return the failure of a call; it has a hint, and the password is nowhere in it."""
    with pytest.raises(Failure) as failed:
        call()
    failure = failed.value
    assert failure.hint and failure.detail.isprintable()
    told = "".join(traceback.format_exception(failure)) + repr(vars(failure))
    assert secret not in told
    return failure

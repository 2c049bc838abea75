"""A directory as a tenant describes it, where it is reached, and what looking at it gave. No connections here."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from redrive.endpoints.guard import Guard, guard_of
from redrive.endpoints.words import shown
from redrive.errors import Failure, FailureClass
from redrive.settings import Settings

_DOMAIN_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")
#: What Windows takes as the name of a computer.
_COMPUTER = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,13}[A-Za-z0-9])?")
_SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_LONGEST_ACCOUNT = 256
_MOST_SERVERS = 8


@dataclass(frozen=True, slots=True)
class Controller:
    """A domain controller: where it is, what it is called; ``standby`` is used when no other can be reached."""

    ip: str
    name: str
    standby: bool = False


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory to join. ``dns``: its name servers, to be checked. ``ca_pem``: whom to trust; None: the system."""

    domain_name: str
    admin_account: str
    password: str = field(repr=False)
    controllers: tuple[Controller, ...]
    dns: tuple[str, ...] = ()
    ldaps: bool = False
    ca_pem: str | None = field(default=None, repr=False)

    @property
    def base(self) -> str:
        """The domain's own entry: ``dc=plant,dc=example``."""
        return ",".join(f"dc={label}" for label in self.domain_name.rstrip(".").lower().split("."))

    def full_name(self, controller: Controller) -> str:
        """Return a controller's name with the domain."""
        name = controller.name.rstrip(".").lower()
        return name if "." in name else f"{name}.{self.domain_name.rstrip('.').lower()}"


@dataclass(frozen=True, slots=True)
class Ports:
    """Where directories listen."""

    ldap: int = 389
    ldaps: int = 636
    dns: int = 53


@dataclass(frozen=True, slots=True)
class Reach:
    """How directories are reached: the guard, the ports, and how long one may take to connect and to answer."""

    guard: Guard
    ports: Ports = Ports()
    connect_seconds: float = 5.0
    answer_seconds: float = 15.0


def reach_of(settings: Settings) -> Reach:
    """Return how a server reaches directories."""
    ports = Ports(settings.directory_ldap_port, settings.directory_ldaps_port, settings.directory_dns_port)
    return Reach(guard_of(settings), ports)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: ``said`` for people; ``failure`` where it is not as it must be."""

    said: str
    failure: Failure | None = None

    @property
    def ok(self) -> bool:
        """Whether it is as it must be."""
        return self.failure is None


@dataclass(frozen=True, slots=True)
class Joined:
    """Our object in the directory; ``created`` by this very call, or found.

    A server may write ``dn`` in other letters (CN, cn) than it was given: the same name.
    """

    dn: str
    created: bool


@dataclass(frozen=True, slots=True)
class Left:
    """What leaving came to: our object, where there was one, and whether it is deleted."""

    dn: str | None
    deleted: bool


def require(findings: Sequence[Finding]) -> None:
    """Raise where a finding is bad.

    The failure is that of the first one that needs a person, since trying again does not help then; its detail tells
    the others too.
    """
    bad = [finding.failure for finding in findings if finding.failure is not None]
    if not bad:
        return
    first = next((failure for failure in bad if failure.kind is not FailureClass.TRANSIENT), bad[0])
    others = [failure.detail for failure in bad if failure is not first]
    detail = "; also: ".join([first.detail, *others])
    raise Failure(first.code, detail, hint=first.hint, kind=first.kind, target=first.target)


def check_words(directory: Directory) -> None:
    """Refuse, before anything is connected to, what cannot be a domain or an account."""
    labels = directory.domain_name.removesuffix(".").split(".")
    if len(directory.domain_name) > 253 or not all(_DOMAIN_LABEL.fullmatch(label) for label in labels):
        raise needs_input(
            "directory_invalid",
            f"{directory.domain_name[:80]!r} is no domain",
            "a domain is like plant.example: letters, digits, '-', '_', with dots between",
        )
    if not 1 <= len(directory.controllers) <= _MOST_SERVERS or len(directory.dns) > _MOST_SERVERS:
        raise needs_input(
            "directory_invalid",
            f"{len(directory.controllers)} domain controllers and {len(directory.dns)} name servers are named",
            f"name 1 to {_MOST_SERVERS} domain controllers, and at most {_MOST_SERVERS} name servers",
        )
    for controller in directory.controllers:
        if not _is_ip(controller.ip):
            raise needs_input(
                "directory_invalid",
                f"{controller.ip[:80]!r} is no IP address of a domain controller",
                "an address is like 10.0.0.5 or fd00::5",
            )
        if not all(_DOMAIN_LABEL.fullmatch(label) for label in controller.name.removesuffix(".").split(".")):
            raise needs_input(
                "directory_invalid",
                f"{controller.name[:80]!r} is no name of a domain controller",
                "a name is like dc1 or dc1.plant.example",
            )
    account = directory.admin_account
    if not account.strip() or len(account) > _LONGEST_ACCOUNT or not account.isprintable():
        raise needs_input(
            "directory_invalid",
            f"{account[:80]!r} is no account",
            f"1 to {_LONGEST_ACCOUNT} characters without control characters",
        )
    if not directory.password:
        # LDAP takes a bind with a name and no password for an anonymous one: a success (RFC 4513, 5.1.2).
        raise needs_input(
            "directory_credentials",
            f"there is no password for the account {account}",
            "give the password by a modify call, then retry",
        )


def check_name(name: str, serial: str) -> None:
    """Refuse names and marks of computers that could not be written as they are."""
    if not _COMPUTER.fullmatch(name) or name.isdigit():
        raise needs_input(
            "directory_invalid",
            f"{name[:80]!r} is no name for a computer",
            "1 to 15 letters, digits and '-', not digits alone",
        )
    if not _SERIAL.fullmatch(serial):
        raise needs_input(
            "directory_invalid", f"{serial[:80]!r} is no mark", "1 to 64 of letters, digits, '._:-'"
        )


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def needs_input(code: str, detail: str, hint: str, target: str = "") -> Failure:
    """Return a failure that waits for a person. The detail may hold words of servers."""
    return Failure(code, shown(detail), hint=hint, kind=FailureClass.NEEDS_INPUT, target=target)

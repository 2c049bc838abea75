"""What can be asked of a workspace, what is wrong with it, and where a workspace stands. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from itertools import combinations
from typing import Any

from redrive.errors import invalid

Network = ipaddress.IPv4Network

#: The vendor's own network: nothing of a tenant may overlap it.
RESERVED = ipaddress.IPv4Network("172.16.0.0/12")
MOST_SUBNETS = 50
MOST_DEDICATED = 5
MOST_CONFLICTS = 50
_ENTERPRISE_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_NAME_LENGTH = 55
_PASSWORD_LENGTH = 255
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,63}")


class Access(StrEnum):
    """From where a workspace is reached."""

    INTERNET = "internet"
    DEDICATED = "dedicated"
    BOTH = "both"

    @property
    def ways(self) -> tuple[str, ...]:
        """Return the ways that it opens."""
        return ("internet", "dedicated") if self is Access.BOTH else (self.value,)


class DirectoryKind(StrEnum):
    """Whose users a workspace has: those of its account, or those of a directory that it joins."""

    LOCAL = "local"
    LDAP = "ldap"


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory to join. The password is not here: it is sealed, apart from the settings."""

    kind: DirectoryKind = DirectoryKind.LOCAL
    domain_name: str = ""
    admin_account: str = ""
    active_ip: str = ""
    active_name: str = ""
    standby_ip: str = ""
    standby_name: str = ""
    dns: tuple[str, ...] = ()
    delete_object: bool = False
    ldaps: bool = False
    ca_pem: str = ""
    #: Remembered for those who ask for them; nothing of ours depends on them.
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkspaceSettings:
    """What was asked for. ``subnets`` are names of known subnets, or networks as such."""

    directory: Directory = Directory()
    vpc_id: str = ""
    subnets: tuple[str, ...] = ()
    management_cidr: str = ""
    access: Access = Access.INTERNET
    dedicated_subnets: tuple[str, ...] = ()
    conflict_networks: tuple[str, ...] = ()
    enterprise_id: str = ""
    #: Remembered for those who ask for them; nothing of ours depends on them.
    notes: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON."""
        return asdict(self)


def settings_from(data: Mapping[str, Any]) -> WorkspaceSettings:
    """Return what ``WorkspaceSettings.to_json`` gave."""
    directory = dict(data["directory"])
    directory |= {"kind": DirectoryKind(directory["kind"]), "dns": tuple(directory["dns"])}
    rest = {name: value for name, value in data.items() if name not in ("directory", "access")}
    lists = {name: tuple(value) for name, value in rest.items() if isinstance(value, list)}
    return WorkspaceSettings(
        directory=Directory(**directory), access=Access(data["access"]), **{**rest, **lists}
    )


def checked(settings: WorkspaceSettings) -> WorkspaceSettings:
    """Return the settings, tidied; a Problem that names the field where one cannot be meant."""
    directory = settings.directory
    if directory.kind is DirectoryKind.LDAP:
        _check_directory(directory)
    if len(settings.subnets) > MOST_SUBNETS:
        raise invalid("subnets", f"at most {MOST_SUBNETS}", len(settings.subnets))
    for subnet in settings.subnets:
        if _ID.fullmatch(subnet) is None:
            raise invalid("subnets", "ids of 1 to 64 characters", subnet)
    if settings.vpc_id and _ID.fullmatch(settings.vpc_id) is None:
        raise invalid("vpc_id", "an id of 1 to 64 characters", settings.vpc_id)
    if settings.enterprise_id and _ENTERPRISE_ID.fullmatch(settings.enterprise_id) is None:
        raise invalid("enterprise_id", "1 to 32 digits, letters, _ and -", settings.enterprise_id)
    if len(settings.dedicated_subnets) > MOST_DEDICATED:
        raise invalid("dedicated_subnets", f"at most {MOST_DEDICATED}", len(settings.dedicated_subnets))
    if len(settings.conflict_networks) > MOST_CONFLICTS:
        raise invalid("conflict_networks", f"at most {MOST_CONFLICTS}", len(settings.conflict_networks))
    management = network("management_cidr", settings.management_cidr) if settings.management_cidr else None
    if management is not None and management.overlaps(RESERVED):
        raise invalid("management_cidr", f"a network outside {RESERVED}", management)
    return replace(
        settings,
        management_cidr=str(management or ""),
        dedicated_subnets=tuple(
            str(network("dedicated_subnets", each)) for each in settings.dedicated_subnets
        ),
        conflict_networks=tuple(
            str(network("conflict_networks", each)) for each in settings.conflict_networks
        ),
    )


def _check_directory(directory: Directory) -> None:
    required = {"domain_name": directory.domain_name, "admin_account": directory.admin_account}
    for name, value in required.items():
        _check_text(f"directory.{name}", value, required=True)
    _check_text("directory.active_name", directory.active_name)
    _check_text("directory.standby_name", directory.standby_name)
    _check_address("directory.active_ip", directory.active_ip, required=True)
    _check_address("directory.standby_ip", directory.standby_ip)
    for place, address in enumerate(directory.dns):
        _check_address(f"directory.dns[{place}]", address)


def check_password(password: str) -> None:
    """Refuse a password of a directory that none can have; it stands in no answer."""
    if not 1 <= len(password) <= _PASSWORD_LENGTH or "\0" in password:
        raise invalid("directory.password", f"1 to {_PASSWORD_LENGTH} characters")


def _check_text(name: str, value: str, *, required: bool = False) -> None:
    if (required and not value) or len(value) > _NAME_LENGTH or not value.isprintable():
        raise invalid(name, f"1 to {_NAME_LENGTH} printable characters", value)


def _check_address(name: str, value: str, *, required: bool = False) -> None:
    if not value and not required:
        return
    try:
        ipaddress.IPv4Address(value)
    except ValueError:
        raise invalid(name, "an IPv4 address", value) from None


def network(name: str, text: str) -> Network:
    """Return the IPv4 network that ``text`` names; a Problem where it is none."""
    try:
        return ipaddress.IPv4Network(text)
    except ValueError:
        raise invalid(name, "an IPv4 network such as 10.1.0.0/16", text) from None


def as_network(text: str) -> Network | None:
    """Return ``text`` as an IPv4 network, None where it is a name."""
    try:
        return ipaddress.IPv4Network(text)
    except ValueError:
        return None


def overlaps(named: Mapping[str, str]) -> list[str]:
    """Return what is wrong with networks by name: in reserved space, or over each other. Sentences."""
    networks = {name: ipaddress.IPv4Network(cidr) for name, cidr in named.items()}
    found = [
        f"{name} ({cidr}) overlaps the reserved range {RESERVED}"
        for name, cidr in networks.items()
        if cidr.overlaps(RESERVED)
    ]
    for (one, first), (other, second) in combinations(networks.items(), 2):
        if first.overlaps(second):
            found.append(f"{one} ({first}) and {other} ({second}) overlap")
    return found


class Status(StrEnum):
    """Where a workspace stands."""

    NONE = "none"
    QUEUED = "queued"
    REGISTERING = "registering"
    REGISTERED = "registered"
    REGISTRATION_FAILED = "registration_failed"
    DEREGISTERING = "deregistering"
    DEREGISTRATION_FAILED = "deregistration_failed"
    CLOSED = "closed"


REGISTRATION, DEREGISTRATION = "workspace.registration", "workspace.deregistration"
MODIFICATION, UNLOCKING = "workspace.modification", "workspace.unlocking"
#: In the order of the vendor's words for them.
KINDS = (REGISTRATION, DEREGISTRATION, MODIFICATION, UNLOCKING)
RETRIED = (REGISTRATION, DEREGISTRATION)

_OF_REGISTRATION = {
    "queued": Status.QUEUED,
    "running": Status.REGISTERING,
    "paused": Status.REGISTERING,
    "succeeded": Status.REGISTERED,
    "failed": Status.REGISTRATION_FAILED,
    "cancelled": Status.REGISTRATION_FAILED,
}
_OF_DEREGISTRATION = {
    "queued": Status.DEREGISTERING,
    "running": Status.DEREGISTERING,
    "paused": Status.DEREGISTERING,
    "succeeded": Status.CLOSED,
    "failed": Status.DEREGISTRATION_FAILED,
    "cancelled": Status.DEREGISTRATION_FAILED,
}


def status_of(kind: str, state: str) -> Status:
    """Return where a workspace stands, by its last registration or deregistration. Total over both."""
    return (_OF_REGISTRATION if kind == REGISTRATION else _OF_DEREGISTRATION)[state]


def sources(settings: WorkspaceSettings, cidrs: Mapping[str, str]) -> list[str] | None:
    """Return the networks from which calls may come; None: from anywhere."""
    if settings.access is not Access.DEDICATED:
        return None
    management = [settings.management_cidr] if settings.management_cidr else []
    return sorted({*settings.dedicated_subnets, *cidrs.values(), *management})


def known(subnets: Sequence[str], registered: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the networks of named subnets, and the names that stand for none."""
    found = {name: str(as_network(name) or registered.get(name, "")) for name in subnets}
    return {name: cidr for name, cidr in found.items() if cidr}, [n for n, cidr in found.items() if not cidr]

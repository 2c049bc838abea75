"""The one way out: whatever a tenant names is connected to through here (databases, directories, HTTP, MQTT).

::

    guard = guard_of(settings)
    address = guard.resolve("dc1.plant.example", 636)        Failure: address_refused, name_unknown
    connection = guard.connect(address, timeout_seconds=5)   Failure: connection_refused, unreachable, timed_out

Guarantees: a name is resolved once, and the connection goes to the very address that was judged, so that a name
server cannot change its answer in between. A name of which *any* address is forbidden is refused as a whole: which of
them would be taken is the resolver's choice, not ours.

Refuses always: link-local (where clouds give a machine its credentials), unspecified, multicast, broadcast and
reserved addresses, metadata services at other addresses, and Redrive's own PostgreSQL. Loopback is refused unless the
administrator allows it. An IPv6 address that carries an IPv4 address (mapped, NAT64, 6to4, Teredo, ISATAP) is judged
by both. Private networks are allowed: that is where the systems of the users are.

A library that wants to connect by itself is given ``address.ip``, never ``address.host``.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from redrive.endpoints import addresses
from redrive.errors import Failure, FailureClass
from redrive.settings import Settings

#: Returns the addresses of a name, as text, in the order to prefer. ``OSError`` where it has none.
Resolver = Callable[[str, int], Sequence[str]]

_LONGEST_NAME = 253
_LONGEST_LABEL = 63
_MOST_ADDRESSES = 64
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]+")
_POSTGRES_PORT = 5432


@dataclass(frozen=True, slots=True)
class Address:
    """What a name resolved to: ``ip`` is what is connected to, ``host`` only what the user called it."""

    host: str
    ip: str
    port: int

    def __str__(self) -> str:
        """Return ``host:port``, for people."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def system_resolver(host: str, port: int) -> Sequence[str]:
    """Return the addresses that the machine's own resolver gives, each once."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True, slots=True)
class Guard:
    """The rules; make it with :func:`guard_of`. Safe to use from several threads.

    ``forbidden``: (address or name, port) of servers that nobody may reach.
    """

    allow_loopback: bool
    forbidden: frozenset[tuple[str, int]] = frozenset()
    resolver: Resolver = field(default=system_resolver, repr=False, compare=False)

    def resolve(self, host: str, port: int) -> Address:
        """Return the one address to connect to; asks the resolver once.

        ``Failure``: ``address_refused`` (a person must name another address, or change the setting that the hint
        names), ``name_unknown`` (transient: a name server may be away).
        """
        name = _checked(host, port)
        if (name.lower().rstrip("."), port) in self.forbidden:
            raise _refused(name, port, "it is Redrive's own PostgreSQL", _OTHER_DATABASE)
        try:
            found = list(self.resolver(name, port))
        except (OSError, UnicodeError) as error:
            raise _unknown(name, port) from error
        if not found:
            raise _unknown(name, port)
        if len(found) > _MOST_ADDRESSES:
            raise _refused(name, port, f"it has more than {_MOST_ADDRESSES} addresses", "name one of them")
        for ip in found:
            self._judge(name, ip, port)
        return Address(name, found[0], port)

    def connect(self, address: Address, timeout_seconds: float) -> socket.socket:
        """Return a connection to ``address.ip``, with this time limit on each of its operations.

        ``Failure`` (transient): ``connection_refused``, ``unreachable``, ``timed_out``.
        """
        self._judge(address.host, address.ip, address.port)
        try:
            connection = socket.create_connection((address.ip, address.port), timeout=timeout_seconds)
        except OSError as error:
            raise not_connected(address, error, timeout_seconds) from error
        if connection.getsockname() == connection.getpeername():
            # A free port of this machine that the system happened to choose for our own end.
            connection.close()
            raise not_connected(address, ConnectionRefusedError(), timeout_seconds)
        return connection

    def _judge(self, host: str, text: str, port: int) -> None:
        ip = ipaddress.ip_address(text)
        shown = "" if host == text else f", which is {text}"
        rule = addresses.rule_against(ip)
        if rule:
            raise _refused(host, port, f"{rule}{shown}, is never connected to", "name another address")
        if self._is_own_database(ip, port):
            raise _refused(host, port, f"it is Redrive's own PostgreSQL{shown}", _OTHER_DATABASE)
        if addresses.is_loopback(ip) and not self.allow_loopback:
            raise _refused(
                host,
                port,
                f"a loopback address{shown}, leads back to Redrive's own machine",
                "name an address of another machine; an administrator allows this one with the setting "
                "allow_loopback_endpoints",
            )

    def _is_own_database(self, ip: addresses.Ip, port: int) -> bool:
        for name, its_port in self.forbidden:
            if its_port != port:
                continue
            try:
                its_ip = ipaddress.ip_address(name)
            except ValueError:
                continue  # a name; compared before anything is resolved
            if set(addresses.within(its_ip)) & set(addresses.within(ip)):
                return True
            # A server of this machine may listen on all its addresses.
            if addresses.is_of_this_machine(its_ip) and addresses.is_of_this_machine(ip):
                return True
        return False


_OTHER_DATABASE = "name a database of your own; Redrive's is not to be worked on"


def guard_of(settings: Settings, *, resolver: Resolver = system_resolver) -> Guard:
    """Return the guard of a server.

    Its PostgreSQL is forbidden by name and by every address that the name has now. One that is only reached
    through a socket in the file system has no address.
    """
    forbidden: set[tuple[str, int]] = set()
    for host, port in _postgres_of(settings):
        forbidden.add((host.lower().rstrip("."), port))
        try:
            forbidden |= {(str(ipaddress.ip_address(ip)), port) for ip in resolver(host, port)}
        except (OSError, UnicodeError):
            continue  # nobody can reach it by this name now; the name itself stays forbidden
    return Guard(settings.loopback_endpoints_allowed, frozenset(forbidden), resolver)


def not_connected(address: Address, error: OSError, timeout_seconds: float) -> Failure:
    """Return the failure that says why there is no connection."""
    if isinstance(error, ConnectionRefusedError):
        code, detail = "connection_refused", f"nothing listens at {address}"
        hint = "start the server there, or correct the address or the port"
    elif isinstance(error, TimeoutError):
        code, detail = "timed_out", f"{address} did not answer within {timeout_seconds:g} s"
        hint = "is the server up, and does the firewall let Redrive's machine through?"
    else:
        code, detail = "unreachable", f"{address} cannot be reached: {error.strerror or error}"
        hint = "is there a way from Redrive's machine to this network?"
    return Failure(code, detail, hint=hint, kind=FailureClass.TRANSIENT, target=str(address))


def _checked(host: str, port: int) -> str:
    """Return the name, or refuse what is none before any resolver sees it."""
    shown = repr(host[:80])
    if not 1 <= port <= 65_535:
        raise _refused(shown, port, "it has no such port", "a port is 1 to 65535")
    if not host:
        raise _refused(shown, port, "it is no name", "give a host name or an IP address")
    if host.startswith("[") and host.endswith("]"):
        raise _refused(shown, port, "it stands in brackets", "write an IPv6 address without them")
    if "%" in host:
        raise _refused(shown, port, "it names a network interface", "name an address that needs none")
    if ":" in host:
        try:
            return str(ipaddress.IPv6Address(host)) if _IPV6.fullmatch(host) else _no_name(shown, port)
        except ValueError:
            return _no_name(shown, port)
    labels = host.removesuffix(".").split(".")
    if len(host) > _LONGEST_NAME or any(not 1 <= len(label) <= _LONGEST_LABEL for label in labels):
        raise _refused(
            shown,
            port,
            "it is no name",
            f"a name has at most {_LONGEST_NAME} characters, each part 1 to {_LONGEST_LABEL}",
        )
    if not _NAME.fullmatch(host):
        return _no_name(shown, port)
    return host


def _no_name(shown: str, port: int) -> str:
    raise _refused(
        shown,
        port,
        "it is neither a host name nor an IP address",
        "letters a to z, digits, '-', '_' and '.'; other letters in their xn-- form; the port stands apart",
    )


def _refused(host: str, port: int, why: str, hint: str) -> Failure:
    return Failure(
        "address_refused",
        f"{host}, port {port}, is refused: {why}",
        hint=hint,
        kind=FailureClass.NEEDS_INPUT,
        target=f"{host}:{port}",
    )


def _unknown(host: str, port: int) -> Failure:
    return Failure(
        "name_unknown",
        f"no address is known for the name {host}",
        hint="is it spelt right, and do the name servers of Redrive's machine know it?",
        kind=FailureClass.TRANSIENT,
        target=f"{host}:{port}",
    )


def _postgres_of(settings: Settings) -> list[tuple[str, int]]:
    """Return host and port of every server that ``database_url`` names; sockets in the file system left out."""
    try:
        told = conninfo_to_dict(settings.database_url or "")
    except ProgrammingError:
        return []  # such an address connects nobody
    hosts = [str(told.get(name) or "").split(",") for name in ("host", "hostaddr")]
    ports = str(told.get("port") or "").split(",")
    found = []
    for names in hosts:
        for number, host in enumerate(names):
            if not host or host.startswith(("/", "@")):
                continue
            port = ports[number] if number < len(ports) else ports[0]
            found.append((host, int(port) if port.isdigit() else _POSTGRES_PORT))
    return found

"""What an IP address is, and what stands in it. Pure, but for :func:`is_of_this_machine`."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

Ip = IPv4Address | IPv6Address

#: The last 32 bits are an IPv4 address (RFC 6052).
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
#: Where the IPv4 address stands depends on the network's own configuration (RFC 8215): refused as a whole.
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
_THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")
_BROADCAST = IPv4Address("255.255.255.255")
#: Where clouds tell a machine its credentials; those that are not link-local.
_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in ("fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16", "fd20:ce::254")
)


def within(ip: Ip) -> Iterator[Ip]:
    """Yield the address and every address that stands in it: a gateway may take it for that one."""
    yield ip
    if isinstance(ip, IPv4Address):
        return
    number = int(ip)
    inner = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
    is_isatap = (number >> 32) & 0xFDFF_FFFF == 0x0000_5EFE  # RFC 5214
    if ip in _NAT64 or is_isatap:
        inner.append(IPv4Address(number & 0xFFFF_FFFF))
    yield from (each for each in inner if each is not None)


def rule_against(ip: Ip) -> str:
    """Return the rule that always forbids an address, in words; empty where there is none. Loopback is no rule."""
    for each in within(ip):
        rule = _rule_against(each)
        if rule:
            return rule if each == ip else f"{rule} ({each}, inside of it)"
    return ""


def is_loopback(ip: Ip) -> bool:
    """Return whether the address, or one that stands in it, leads back to this machine."""
    return any(each.is_loopback for each in within(ip))


def is_of_this_machine(ip: Ip) -> bool:
    """Return whether the address is loopback or one of this machine's own."""
    if is_loopback(ip):
        return True
    for each in within(ip):
        family = socket.AF_INET if each.version == 4 else socket.AF_INET6
        # No route, or no such family here: then it is not ours.
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            # Nothing is sent: the system only chooses the address that it would send from.
            probe.connect((str(each), 9))
            if ipaddress.ip_address(probe.getsockname()[0]) == each:
                return True
    return False


def _rule_against(ip: Ip) -> str:
    rules = {
        "the unspecified address": ip.is_unspecified or (ip.version == 4 and ip in _THIS_NETWORK),
        "a link-local address": ip.is_link_local,
        "a multicast address": ip.is_multicast,
        "the broadcast address": ip == _BROADCAST,
        "an address of a cloud's metadata service": ip in _METADATA,
        "a reserved address": _is_reserved(ip),
    }
    return next((rule for rule, holds in rules.items() if holds), "")


def _is_reserved(ip: Ip) -> bool:
    if isinstance(ip, IPv4Address):
        return ip.is_reserved
    if ip in _LOCAL_NAT64:
        return True
    # ::/8 is reserved too, but holds loopback and the forms that are judged by the address inside.
    return ip.is_reserved and not ip.is_loopback and ip.ipv4_mapped is None and ip not in _NAT64

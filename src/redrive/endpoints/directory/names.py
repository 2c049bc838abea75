"""What the name servers of a directory say about it: its controllers, and their addresses.

Every server that is named is asked by itself, at the address that the guard judged, so a wrong answer is known to be
whose.

``Failure`` in findings: ``dns_domain_unknown``, ``dns_controller_missing``, ``dns_address`` (need a person);
``timed_out``, ``unreachable``, ``dns_refused``, ``dns_protocol`` (transient); those of the guard.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import TYPE_CHECKING

from redrive.endpoints.directory.model import Controller, Directory, Finding, Reach, check_words, needs_input
from redrive.endpoints.guard import Address
from redrive.errors import Failure, FailureClass

if TYPE_CHECKING:
    from dns.message import ChainingResult

#: A packet of UDP gets lost now and then.
_TRIES = 2


def check_dns(directory: Directory, reach: Reach) -> tuple[Finding, ...]:
    """Return what each name server says of the domain and its controllers. No server named: said, not a fault."""
    check_words(directory)
    if not directory.dns:
        return (Finding("no name server is named: what it would say of the domain is not checked"),)
    return tuple(finding for server in directory.dns for finding in _check_server(directory, server, reach))


def _check_server(directory: Directory, server: str, reach: Reach) -> Iterator[Finding]:
    try:
        address = reach.guard.resolve(server, reach.ports.dns)
        yield _controllers(directory, address, reach)
    except Failure as failure:
        # It would say the same to every further question.
        yield Finding(failure.detail, failure)
        return
    for controller in directory.controllers:
        try:
            yield _address(directory, controller, address, reach)
        except Failure as failure:
            yield Finding(failure.detail, failure)


def _controllers(directory: Directory, server: Address, reach: Reach) -> Finding:
    name = f"_ldap._tcp.{directory.domain_name.rstrip('.')}"
    found = _ask(server, name, "SRV", reach)
    records = found.answer or ()
    named = sorted({str(each.target).rstrip(".").lower() for each in records})
    if not named:
        raise needs_input(
            "dns_domain_unknown",
            f"the name server {server} does not know the domain {directory.domain_name}: it has no {name}",
            "correct the domain or the name server's address",
            str(server),
        )
    missing = [
        directory.full_name(each) for each in directory.controllers if directory.full_name(each) not in named
    ]
    if missing:
        failure = needs_input(
            "dns_controller_missing",
            f"the name server {server} does not name {' nor '.join(missing)} as a controller of "
            f"{directory.domain_name}, but {_some(named)}",
            "correct the controller's name, or its SRV record in the domain",
            str(server),
        )
        return Finding(failure.detail, failure)
    return Finding(f"the name server {server} names {_some(named)} for {directory.domain_name}")


def _address(directory: Directory, controller: Controller, server: Address, reach: Reach) -> Finding:
    name = directory.full_name(controller)
    wanted = ipaddress.ip_address(controller.ip)
    kind = "AAAA" if wanted.version == 6 else "A"
    found = _ask(server, name, kind, reach)
    addresses = sorted({str(each.address) for each in found.answer or ()})
    if str(wanted) in addresses:
        return Finding(f"the name server {server} says that {name} is {controller.ip}")
    said = f"says that {name} is {_some(addresses)}" if addresses else f"knows no address of {name}"
    failure = needs_input(
        "dns_address",
        f"the name server {server} {said}, but it is given as {controller.ip}",
        "correct the controller's address or name, or its record in the domain",
        str(server),
    )
    return Finding(failure.detail, failure)


def _ask(server: Address, name: str, kind: str, reach: Reach) -> ChainingResult:
    """Return a server's answer, aliases within it followed; a name that it does not know has an empty one."""
    import dns.exception  # noqa: PLC0415
    import dns.message  # noqa: PLC0415
    import dns.query  # noqa: PLC0415
    import dns.rcode  # noqa: PLC0415

    for tries_left in reversed(range(_TRIES)):
        query = dns.message.make_query(f"{name}.", kind)
        try:
            answer, _by_tcp = dns.query.udp_with_fallback(
                query,
                server.ip,
                timeout=reach.connect_seconds,
                port=server.port,
                ignore_unexpected=True,
                ignore_errors=True,
            )
            if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                raise _failed(
                    server, "dns_refused", f"answers {dns.rcode.to_text(answer.rcode())} for {name}"
                )
            return _chained(answer)
        except dns.exception.Timeout:
            if not tries_left:
                raise _failed(
                    server, "timed_out", f"did not answer within {reach.connect_seconds:g} s"
                ) from None
        except OSError as error:
            words = f"cannot be reached: {error.strerror or type(error).__name__}"
            raise _failed(server, "unreachable", words) from error
        except (dns.exception.DNSException, EOFError, ValueError) as error:
            words = f"does not answer as a name server: {type(error).__name__}"
            raise _failed(server, "dns_protocol", words) from error
    raise AssertionError("the last try returns or raises")


def _chained(answer: object) -> ChainingResult:
    from dns.message import QueryMessage  # noqa: PLC0415

    if not isinstance(answer, QueryMessage):
        raise ValueError("no answer to a query")
    return answer.resolve_chaining()


def _failed(server: Address, code: str, words: str) -> Failure:
    return Failure(
        code,
        f"the name server {server} {words}",
        hint="does a name server for the domain run there, and may Redrive's machine ask it?",
        kind=FailureClass.TRANSIENT,
        target=str(server),
    )


def _some(words: list[str]) -> str:
    return ", ".join(words[:5]) + (f" and {len(words) - 5} more" if len(words) > 5 else "")

"""A name server of the tests: answers what it is told to, by UDP and TCP."""

from __future__ import annotations

import socketserver
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from tests.endpoints.openldap import free_port

#: (name, type) to values.
Zone = Mapping[tuple[str, str], list[str]]


class NameServer:
    """Its zone may be changed while it runs. ``truncates``: by UDP it says only that there is more."""

    def __init__(self, zone: Zone) -> None:
        self.zone = dict(zone)
        self.truncates = False
        self.rcode: int | None = None
        self.silent = False
        self.asked: list[str] = []
        self.port = free_port()

    def answer(self, wire: bytes, *, by_udp: bool) -> bytes:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        kind = question.rdtype.name
        name = question.name.to_text(omit_final_dot=True).lower()
        self.asked.append(f"{'udp' if by_udp else 'tcp'} {name} {kind}")
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        if self.rcode is not None:
            response.set_rcode(self.rcode)
        elif by_udp and self.truncates:
            response.flags |= dns.flags.TC
        elif not any(known == name for known, _kind in self.zone):
            response.set_rcode(dns.rcode.NXDOMAIN)
        else:
            alias = self.zone.get((name, "CNAME"))
            if alias:
                response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "CNAME", *alias))
                name = alias[0].rstrip(".")
            values = self.zone.get((name, kind))
            if values:
                response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", kind, *values))
        return response.to_wire()


@contextmanager
def serving(zone: Zone, ip: str = "127.0.0.1") -> Iterator[NameServer]:
    server = NameServer(zone)

    class Udp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            wire, sock = self.request
            if not server.silent:
                sock.sendto(server.answer(wire, by_udp=True), self.client_address)

    class Tcp(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            (length,) = struct.unpack("!H", self.rfile.read(2))
            wire = server.answer(self.rfile.read(length), by_udp=False)
            self.wfile.write(struct.pack("!H", len(wire)) + wire)

    with (
        socketserver.ThreadingUDPServer((ip, server.port), Udp) as udp,
        socketserver.ThreadingTCPServer((ip, server.port), Tcp) as tcp,
    ):
        threads = [threading.Thread(target=each.serve_forever, args=(0.01,)) for each in (udp, tcp)]
        for thread in threads:
            thread.start()
        try:
            yield server
        finally:
            for each in (udp, tcp):
                each.shutdown()
            for thread in threads:
                thread.join()

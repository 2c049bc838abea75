"""What name servers say of a directory, against a name server of the tests'."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import dns.rcode
import pytest

from redrive.endpoints.directory import Controller, check_dns, require
from redrive.endpoints.guard import Guard
from redrive.errors import FailureClass
from tests.endpoints.name_server import NameServer, serving
from tests.endpoints.openldap import DOMAIN, free_port
from tests.endpoints.scene import ACTIVE, PLANT, changed, failure_of, reach
from tests.endpoints.strange_servers import listening, says_nothing

SRV = (f"_ldap._tcp.{DOMAIN}", "SRV")
DC1, DC2 = ("dc1.plant.example", "A"), ("dc2.plant.example", "A")
NAMED = changed(dns=("127.0.0.1",))


@pytest.fixture
def names() -> Iterator[NameServer]:
    zone = {
        SRV: ["0 100 389 DC1.plant.example.", "10 100 389 dc2.plant.example."],
        DC1: ["127.0.0.1"],
        DC2: ["127.0.0.2", "10.0.0.2"],
    }
    with serving(zone) as server:
        yield server


def test_a_name_server_that_knows_the_domain(names: NameServer) -> None:
    directory = changed(
        NAMED, controllers=(ACTIVE, Controller("10.0.0.2", "dc2.plant.example", standby=True))
    )
    findings = check_dns(directory, reach(dns=names.port))
    require(findings)
    server = f"the name server 127.0.0.1:{names.port}"
    assert [finding.said for finding in findings] == [
        f"{server} names dc1.plant.example, dc2.plant.example for plant.example",
        f"{server} says that dc1.plant.example is 127.0.0.1",
        f"{server} says that dc2.plant.example is 10.0.0.2",
    ]


def test_without_a_name_server_nothing_is_asked_and_that_is_said() -> None:
    (finding,) = check_dns(PLANT, reach())
    assert finding.ok and "not checked" in finding.said


def test_a_controller_that_is_not_named(names: NameServer) -> None:
    directory = changed(NAMED, controllers=(ACTIVE, Controller("127.0.0.2", "dc9")))
    failure = failure_of(lambda: require(check_dns(directory, reach(dns=names.port))))
    assert (failure.code, failure.kind) == ("dns_controller_missing", FailureClass.NEEDS_INPUT)
    assert "does not name dc9.plant.example" in failure.detail
    assert "also: " in failure.detail and "knows no address of dc9.plant.example" in failure.detail


def test_a_controller_at_another_address(names: NameServer) -> None:
    directory = changed(NAMED, controllers=(Controller("127.0.0.9", "dc1"),))
    failure = failure_of(lambda: require(check_dns(directory, reach(dns=names.port))))
    assert failure.code == "dns_address"
    assert "dc1.plant.example is 127.0.0.1, but it is given as 127.0.0.9" in failure.detail


def test_an_alias_within_the_answer_is_followed(names: NameServer) -> None:
    names.zone = {SRV: names.zone[SRV], DC2: ["127.0.0.1"], (DC1[0], "CNAME"): ["dc2.plant.example."]}
    require(check_dns(NAMED, reach(dns=names.port)))


def test_a_domain_that_the_server_does_not_know(names: NameServer) -> None:
    other = changed(NAMED, domain_name="other.example")
    (finding,) = check_dns(other, reach(dns=names.port))
    assert finding.failure is not None and finding.failure.code == "dns_domain_unknown"
    names.zone = {DC1: ["127.0.0.1"], (SRV[0], "TXT"): ["x"]}
    (finding,) = check_dns(NAMED, reach(dns=names.port))
    assert finding.failure is not None and finding.failure.code == "dns_domain_unknown"


def test_a_long_answer_comes_by_tcp(names: NameServer) -> None:
    names.truncates = True
    require(check_dns(NAMED, reach(dns=names.port)))
    assert f"tcp {SRV[0]} SRV" in names.asked


@pytest.mark.parametrize("rcode", [dns.rcode.REFUSED, dns.rcode.SERVFAIL])
def test_a_server_that_refuses_is_asked_again_later(names: NameServer, rcode: int) -> None:
    names.rcode = rcode
    failure = failure_of(lambda: require(check_dns(NAMED, reach(dns=names.port))))
    assert (failure.code, failure.kind) == ("dns_refused", FailureClass.TRANSIENT)
    assert dns.rcode.to_text(dns.rcode.Rcode(rcode)) in failure.detail


def test_a_server_that_says_nothing_is_given_up_in_time(names: NameServer) -> None:
    names.silent = True
    failure = failure_of(lambda: require(check_dns(NAMED, reach(dns=names.port, seconds=0.1))))
    assert (failure.code, failure.kind) == ("timed_out", FailureClass.TRANSIENT)


def test_each_server_is_asked_by_itself(names: NameServer) -> None:
    """One that is away says nothing about the other."""
    directory = changed(NAMED, dns=("127.0.0.2", "127.0.0.1"))
    away, *there = check_dns(directory, reach(dns=names.port, seconds=0.1))
    assert not away.ok and "127.0.0.2" in away.said
    assert len(there) == 2 and all(finding.ok for finding in there)


def test_a_name_server_is_guarded_like_everything_else(names: NameServer) -> None:
    closed = dataclasses.replace(reach(dns=names.port), guard=Guard(allow_loopback=False))
    for server in ("127.0.0.1", "localhost", "169.254.169.254"):
        failure = failure_of(lambda s=server: require(check_dns(changed(NAMED, dns=(s,)), closed)))  # type: ignore[misc]
        assert failure.code == "address_refused"
    assert not names.asked


def test_a_tcp_server_that_hangs_after_a_truncated_answer(names: NameServer) -> None:
    port = free_port()
    with listening(says_nothing, port=port):
        failure = failure_of(lambda: require(check_dns(NAMED, reach(dns=port, seconds=0.1))))
    assert failure.code == "timed_out"

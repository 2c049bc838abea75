"""Servers that a tenant may name, by mistake or on purpose, and that are no directories: nothing hangs or leaks."""

from __future__ import annotations

import dataclasses
import socket
import threading
import time
from queue import SimpleQueue

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redrive.endpoints.directory import check_account, check_controller, check_controllers, join, require
from redrive.endpoints.guard import Guard
from redrive.errors import Failure, FailureClass
from tests.endpoints.openldap import BASE, PASSWORD
from tests.endpoints.scene import ACTIVE, PLANT, changed, failure_of, reach
from tests.endpoints.strange_servers import Behaviour, listening, says, says_nothing

SECONDS = 0.4


def looked_at(port: int, *, ldaps: bool = False) -> Failure:
    begun = time.monotonic()
    where = reach(ldap=port, ldaps=port, seconds=SECONDS)
    failure = failure_of(lambda: check_controller(changed(ldaps=ldaps), ACTIVE, where))
    assert time.monotonic() - begun < 3 * SECONDS + 1
    return failure


@pytest.mark.parametrize("ldaps", [False, True], ids=["ldap", "ldaps"])
def test_a_server_that_says_nothing_is_given_up_in_time(ldaps: bool) -> None:
    with listening(says_nothing) as port:
        failure = looked_at(port, ldaps=ldaps)
    assert (failure.code, failure.kind) == ("timed_out", FailureClass.TRANSIENT)


@pytest.mark.parametrize("ldaps", [False, True], ids=["ldap", "ldaps"])
def test_a_server_that_drips_is_given_up_in_time(ldaps: bool) -> None:
    """Each byte comes before the socket's own limit; the answer never ends."""
    head = b"\x16\x03\x03\x40\x00" if ldaps else b"\x30\x82\x40\x00"
    with listening(says(head, *[b"\x00"] * 100, every_seconds=0.05)) as port:
        failure = looked_at(port, ldaps=ldaps)
    assert failure.code == "timed_out"


def test_an_answer_without_end_is_not_read() -> None:
    with listening(says(b"\x30\x84\x7f\xff\xff\xff", *[b"\x00" * 65536] * 4)) as port:
        failure = looked_at(port)
    assert (failure.code, failure.kind) == ("directory_protocol", FailureClass.NEEDS_INPUT)
    assert "65536 bytes" in failure.detail


def test_a_web_server_is_no_directory() -> None:
    with listening(says(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")) as port:
        assert looked_at(port).code in {"directory_protocol", "directory_interrupted"}
        assert looked_at(port, ldaps=True).code == "tls_failed"


@given(st.lists(st.binary(min_size=1, max_size=64), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_bytes_are_a_failure_and_nothing_else(parts: list[bytes]) -> None:
    with listening(says(*parts)) as port:
        looked_at(port)


def tlv(tag: int, *parts: bytes) -> bytes:
    """Return a value as BER writes it: tag, length, content."""
    content = b"".join(parts)
    assert len(content) < 128
    return bytes([tag, len(content)]) + content


def number_of(asked: bytes) -> bytes:
    """Return the number of an LDAP message, as it stands there."""
    at = 2 + (asked[1] & 0x7F if asked[1] & 0x80 else 0)
    return asked[at : at + 2 + asked[at + 1]]


def result(tag: int, code: int, message: bytes = b"") -> bytes:
    return tlv(tag, tlv(0x0A, bytes([code])), tlv(0x04), tlv(0x04, message))


@given(st.binary(max_size=40), st.sampled_from([0x64, 0x65, 0x61, 0x73, 0x78, 0x79]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_answer_in_the_form_of_ldap_is_a_failure_and_nothing_else(inside: bytes, tag: int) -> None:
    def behave(connection: socket.socket, over: threading.Event) -> None:
        asked = connection.recv(4096)
        connection.sendall(tlv(0x30, number_of(asked), tlv(tag, inside)))

    with listening(behave) as port:
        looked_at(port)


def test_deep_nesting_and_huge_numbers_are_refused_quickly() -> None:
    nested = b"\x30\x84\x00\x00\xf0\x00" * 9000
    number = b"\x30\x84\x00\x00\xf0\x06\x02\x84\x00\x00\xf0\x00" + b"\x7f" * 0xF000
    for answer in (nested, number):
        begun = time.monotonic()
        with listening(says(answer[:65000])) as port:
            assert looked_at(port).code in {"directory_protocol", "timed_out", "directory_interrupted"}
        assert time.monotonic() - begun < 5


def answering_binds(code: int, message: str, base: str = BASE) -> Behaviour:
    """A server of the domain that answers a bind like that."""
    contexts = tlv(0x30, tlv(0x04, b"namingContexts"), tlv(0x31, tlv(0x04, base.encode())))
    root = tlv(0x64, tlv(0x04), tlv(0x30, contexts))

    def behave(connection: socket.socket, over: threading.Event) -> None:
        number = number_of(connection.recv(4096))
        connection.sendall(tlv(0x30, number, root) + tlv(0x30, number, result(0x65, 0)))
        number = number_of(connection.recv(4096))
        connection.sendall(tlv(0x30, number, result(0x61, code, message.encode())))

    return behave


def bound_to(behaviour: Behaviour) -> Failure:
    directory = changed(admin_account=f"uid=admin,{BASE}")
    with listening(behaviour) as port:
        (finding,) = check_account(directory, reach(ldap=port, seconds=1))
    return failure_of(lambda: require([finding]))


def test_what_a_server_says_steers_no_terminal() -> None:
    """`failure_of` looks at every failure: nothing in it but what can be printed, on one line."""
    failure = bound_to(answering_binds(49, "\x1b[2Jdata 52e\n\x00"))
    assert failure.code == "directory_credentials"
    failure = bound_to(answering_binds(53, "\x1b[31m\nno\u202e"))
    assert failure.detail.endswith(": [31m no")
    failure = bound_to(answering_binds(0, "", base="dc=\x1b[2J\n,dc=evil"))
    assert failure.code == "domain_unknown"
    assert "dc= [2J ,dc=evil" in failure.detail


def test_a_server_that_repeats_the_password_does_not_get_it_into_a_failure() -> None:
    failure = bound_to(answering_binds(53, f"no: {PASSWORD}"))
    assert failure.code == "directory_refused"
    assert "no: ***" in failure.detail


@pytest.mark.parametrize(
    ("number", "words", "hint"),
    [
        ("525", "no such account", "correct the account"),
        ("52e", "the password or the account is wrong", "correct the password by a modify call, then retry"),
        ("532", "the password has expired", "set a new one"),
        ("533", "the account is disabled", "enable it"),
        ("701", "the account has expired", "extend it"),
        ("773", "the password must be changed", "log on once"),
        ("775", "the account is locked", "unlock it"),
        ("999", "the password is wrong", "correct the password by a modify call, then retry"),
    ],
)
def test_the_numbers_of_active_directory_are_told_in_words(number: str, words: str, hint: str) -> None:
    failure = bound_to(answering_binds(49, f"80090308: LdapErr: DSID-0C090439, data {number}, v4563\0"))
    assert (failure.code, failure.kind) == ("directory_credentials", FailureClass.NEEDS_INPUT)
    assert words in failure.detail and hint in failure.hint


def test_a_server_that_wants_tls_and_one_that_is_busy() -> None:
    for code in (8, 13):
        failure = bound_to(answering_binds(code, "confidentiality required"))
        assert (failure.code, failure.kind) == ("directory_needs_tls", FailureClass.NEEDS_INPUT)
    for code in (51, 52):
        failure = bound_to(answering_binds(code, "later"))
        assert (failure.code, failure.kind) == ("directory_busy", FailureClass.TRANSIENT)


def test_nothing_is_connected_to_that_the_guard_refuses() -> None:
    asked: list[object] = []
    with listening(lambda connection, over: asked.append(connection)) as port:
        where = reach(ldap=port, ldaps=port)
        closed = dataclasses.replace(where, guard=Guard(allow_loopback=False))
        for ldaps in (False, True):
            directory = changed(ldaps=ldaps)
            for call in (
                lambda d=directory: require(check_controllers(d, closed)),
                lambda d=directory: require(check_account(d, closed)),
                lambda d=directory: join(d, closed, name="WKS-1", serial="s"),
            ):
                assert failure_of(call).code == "address_refused"  # type: ignore[arg-type]
    assert not asked


def test_no_connection_stays_open() -> None:
    """Also where the server misbehaves; warnings about open sockets are errors in these tests."""
    closed: SimpleQueue[str] = SimpleQueue()

    def behave(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(4096)
        connection.sendall(b"\x30\x05\x02\x01\x63\x65\x00")
        connection.settimeout(10)
        while connection.recv(4096):
            pass  # the farewell
        closed.put("closed")

    with listening(behave) as port:
        where = reach(ldap=port, seconds=SECONDS)
        for _ in range(5):
            failure = failure_of(lambda: join(PLANT, where, name="WKS-1", serial="s"))
            assert failure.code == "directory_protocol"
            assert closed.get(timeout=5) == "closed"

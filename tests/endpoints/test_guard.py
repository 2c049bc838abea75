"""The way out: what is refused, what is asked once, where the connection goes."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redrive.endpoints.guard import Address, Guard, guard_of
from redrive.errors import Failure, FailureClass
from redrive.settings import Settings, load

OPEN = Guard(allow_loopback=True)
CLOSED = Guard(allow_loopback=False)


def answering(*answers: list[str]) -> tuple[Callable[[str, int], list[str]], list[str]]:
    """A resolver that gives these answers one after the other, and the list of what it was asked."""
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers[len(asked) - 1]

    return resolve, asked


def literal(host: str, port: int) -> list[str]:
    return [host]


def refusal(guard: Guard, host: str, port: int = 636) -> Failure:
    with pytest.raises(Failure) as refused:
        guard.resolve(host, port)
    return refused.value


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


ALWAYS_REFUSED = [
    "169.254.169.254",
    "fe80::1",
    "0.0.0.0",
    "0.1.2.3",
    "::",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
    "240.0.0.1",
    "100.100.100.200",
    "fd00:ec2::254",
    "168.63.129.16",
    "64:ff9b:1::a00:1",
    "::a9fe:a9fe",
]


@pytest.mark.parametrize("guard", [OPEN, CLOSED], ids=["loopback allowed", "loopback refused"])
@pytest.mark.parametrize("ip", ALWAYS_REFUSED)
def test_some_addresses_are_refused_whatever_is_allowed(guard: Guard, ip: str) -> None:
    failure = refusal(guard, ip)
    assert failure.code == "address_refused"
    assert failure.kind is FailureClass.NEEDS_INPUT
    assert failure.hint


def carriers(inner: IPv4Address) -> list[IPv6Address]:
    """Return the forms of IPv6 in which an IPv4 address can stand."""
    number = int(inner)
    return [
        IPv6Address(0xFFFF << 32 | number),
        IPv6Address(int(IPv6Address("64:ff9b::")) | number),
        IPv6Address(0x2002 << 112 | number << 80 | 1),
        IPv6Address(0x2001_0000 << 96 | number << 64 | 0x1234),
        IPv6Address(0x2001_0000 << 96 | 0x0808_0808 << 64 | (number ^ 0xFFFF_FFFF)),
        IPv6Address(int(IPv6Address("2001:db8::")) | 0x5EFE << 32 | number),
    ]


@given(
    st.sampled_from(["127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4", "0.0.0.0/8"]), st.data()
)
def test_an_ipv6_address_is_judged_by_the_one_inside_too(network: str, data: st.DataObject) -> None:
    inner = data.draw(st.ip_addresses(v=4, network=network))
    assert isinstance(inner, IPv4Address)
    for outer in carriers(inner):
        assert refusal(Guard(allow_loopback=False, resolver=literal), str(outer)).code == "address_refused"


@given(st.ip_addresses())
def test_what_is_let_through_is_never_special(ip: IPv4Address | IPv6Address) -> None:
    try:
        address = Guard(allow_loopback=False, resolver=literal).resolve(str(ip), 443)
    except Failure:
        return
    let_through = ipaddress.ip_address(address.ip)
    assert let_through == ip
    assert not (ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified)
    carries = [ipaddress.ip_network("::ffff:0:0/96"), ipaddress.ip_network("64:ff9b::/96")]
    assert not ip.is_reserved or any(ip in network for network in carries)


@given(st.ip_addresses(), st.lists(st.ip_addresses(), max_size=4), st.integers(0, 4))
def test_one_forbidden_address_refuses_the_whole_name(
    ip: IPv4Address | IPv6Address, others: list[IPv4Address | IPv6Address], place: int
) -> None:
    found = [str(other) for other in others]
    found.insert(place, "169.254.169.254")
    failure = refusal(Guard(allow_loopback=True, resolver=lambda host, port: found), "db.example")
    assert failure.code == "address_refused"


@pytest.mark.parametrize(
    "ip", ["10.0.0.1", "192.168.1.1", "172.16.0.1", "fd12::1", "8.8.8.8", "2001:4860::1"]
)
def test_private_and_public_addresses_are_allowed(ip: str) -> None:
    assert CLOSED.resolve(ip, 636) == Address(ip, ip, 636)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "0x7f.1", "2130706433", "017700000001", "::1", "::ffff:127.0.0.1", "localhost"],
)
def test_every_way_to_write_loopback_is_loopback(host: str) -> None:
    failure = refusal(CLOSED, host)
    assert failure.code == "address_refused"
    assert "allow_loopback_endpoints" in failure.hint
    assert ipaddress.ip_address(OPEN.resolve(host, 80).ip).is_loopback or host.startswith("::ffff")


@pytest.mark.parametrize("host", ["0", "0x0", "0.0", "::ffff:0.0.0.0"])
def test_every_way_to_write_the_unspecified_address_is_refused(host: str) -> None:
    assert "unspecified" in refusal(OPEN, host).detail


def test_a_name_is_resolved_once_and_connected_to_as_it_was_judged(listener: socket.socket) -> None:
    """A name server that changes its answer after the check gains nothing."""
    resolver, asked = answering(["192.0.2.7"], ["127.0.0.1"])
    guard = Guard(allow_loopback=False, resolver=resolver)
    address = guard.resolve("rebinding.example", listener.getsockname()[1])
    with pytest.raises(Failure) as failed:
        guard.connect(address, timeout_seconds=0.2)
    assert failed.value.code in {"timed_out", "unreachable"}
    assert asked == ["rebinding.example"]
    listener.settimeout(0.1)
    with pytest.raises(TimeoutError):
        listener.accept()


def test_an_address_that_was_made_by_hand_is_judged_before_it_is_connected_to() -> None:
    with pytest.raises(Failure, match="loopback"):
        CLOSED.connect(Address("db.example", "127.0.0.1", 5432), timeout_seconds=1)


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("", "no name"),
        ("[::1]", "brackets"),
        ("[::1", "neither a host name"),
        ("a" * 64, "no name"),
        (".".join(["a" * 60] * 5), "no name"),
        ("a..b", "no name"),
        (".", "no name"),
        ("db\x00.example", "neither a host name"),
        ("db.example\n", "neither a host name"),
        ("db.example/x", "neither a host name"),
        ("user@db.example", "neither a host name"),
        ("db.example:5432", "neither a host name"),
        ("bücher.example", "neither a host name"),
        ("\udc80", "neither a host name"),
        ("fe80::1%lo", "network interface"),
        ("1:2:3", "neither a host name"),
        (" 127.0.0.1", "neither a host name"),
    ],
)
def test_what_is_no_name_is_refused_before_anything_is_asked(host: str, words: str) -> None:
    resolver, asked = answering()
    failure = refusal(Guard(allow_loopback=True, resolver=resolver), host)
    assert failure.code == "address_refused"
    assert words in failure.detail
    assert failure.detail.isprintable() and len(failure.detail) < 400
    assert failure.hint and not asked


@given(st.text(max_size=300), st.integers(-5, 70_000))
def test_any_text_is_resolved_or_refused_and_nothing_else(host: str, port: int) -> None:
    def nobody(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    with pytest.raises(Failure) as failed:
        Guard(allow_loopback=True, resolver=nobody).resolve(host, port)
    assert failed.value.code in {"address_refused", "name_unknown"}


def test_a_name_that_nobody_knows_is_tried_again_later() -> None:
    def nobody(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    for resolver in (nobody, lambda host, port: []):
        failure = refusal(Guard(allow_loopback=False, resolver=resolver), "nowhere.example")
        assert failure.code == "name_unknown"
        assert failure.kind is FailureClass.TRANSIENT
        assert "nowhere.example" in failure.detail and failure.hint


# -- connecting


def test_a_connection_goes_to_the_address(listener: socket.socket) -> None:
    address = OPEN.resolve("localhost", listener.getsockname()[1])
    with OPEN.connect(address, timeout_seconds=1) as connection:
        assert connection.getpeername() == listener.getsockname()
        assert connection.gettimeout() == 1


def test_nothing_listens_there(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    with pytest.raises(Failure) as failed:
        OPEN.connect(OPEN.resolve("localhost", port), timeout_seconds=1)
    failure = failed.value
    assert (failure.code, failure.kind) == ("connection_refused", FailureClass.TRANSIENT)
    assert f"localhost:{port}" in failure.detail and failure.hint


def test_a_server_that_takes_no_connection_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        waiting = [socket.socket() for _ in range(8)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(server.getsockname())
        with pytest.raises(Failure) as failed:
            OPEN.connect(OPEN.resolve("127.0.0.1", server.getsockname()[1]), timeout_seconds=0.3)
        for each in waiting:
            each.close()
    assert failed.value.code == "timed_out"
    assert "0.3 s" in failed.value.detail


# -- Redrive's own PostgreSQL, and the setting


def guard_for(url: str | None, **more: bool) -> Guard:
    return guard_of(Settings(database_url=url, **more))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("own", ["127.0.0.1", "localhost"])
def test_the_own_database_is_refused_even_where_loopback_is_allowed(own: str, host: str) -> None:
    guard = guard_for(f"postgresql://redrive:secret@{own}:5544/redrive", allow_loopback_endpoints=True)
    assert "Redrive's own PostgreSQL" in refusal(guard, host, 5544).detail
    assert guard.resolve(host, 5545).port == 5545


def test_the_own_database_is_refused_at_this_machine_s_other_addresses() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no other address")
        here = probe.getsockname()[0]
    guard = guard_for("postgresql://u@127.0.0.1/d", allow_loopback_endpoints=True)
    assert "Redrive's own PostgreSQL" in refusal(guard, here, 5432).detail


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@10.1.1.1,10.1.1.2:6000/d",
        "postgresql://u:p@db.internal/d?hostaddr=10.1.1.2&port=6000",
        "postgresql://u:p@/d?host=10.1.1.2&port=6000",
        "postgresql://u:p@[::ffff:10.1.1.2]:6000/d",
    ],
)
def test_every_address_of_the_own_database_is_refused(url: str) -> None:
    guard = guard_of(Settings(database_url=url), resolver=literal_or_nothing)
    for host in ("10.1.1.2", "::ffff:10.1.1.2"):
        assert "Redrive's own PostgreSQL" in refusal(guard, host, 6000).detail
    assert "secret" not in repr(guard)


def literal_or_nothing(host: str, port: int) -> list[str]:
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        raise socket.gaierror(socket.EAI_NONAME, "unknown") from None


def test_the_own_database_is_refused_by_its_name_and_by_what_it_resolves_to() -> None:
    names = {"db.internal": ["10.1.1.2"], "alias.internal": ["10.1.1.2"], "other.internal": ["10.1.1.3"]}
    guard = guard_of(
        Settings(database_url="postgresql://u:p@DB.internal/d"),
        resolver=lambda host, port: names[host.lower().rstrip(".")],
    )
    for host in ("db.internal", "DB.INTERNAL.", "alias.internal"):
        assert "Redrive's own PostgreSQL" in refusal(guard, host, 5432).detail
    assert guard.resolve("other.internal", 5432).ip == "10.1.1.3"


def test_a_database_behind_a_socket_has_no_address() -> None:
    assert not guard_for("postgresql://u:p@/d?host=%2Frun%2Fpostgresql&port=5432").forbidden
    assert not guard_for(None).forbidden


def test_loopback_is_allowed_where_all_is_on_one_machine_and_the_database_is_embedded(tmp_path: Path) -> None:
    alone = load({}, environ={}, config=_empty(tmp_path))
    assert alone.loopback_endpoints_allowed
    running = alone.with_database("postgresql://u:p@/d?host=%2Fx")
    assert load({}, environ=running.environment()).loopback_endpoints_allowed, "as its processes are told"
    assert not Settings(database_url="postgresql://u@h/d").loopback_endpoints_allowed
    assert not Settings(host="0.0.0.0", insecure=True).loopback_endpoints_allowed
    reached = Settings(host="0.0.0.0", insecure=True).with_database("postgresql://u:p@/d?host=%2Fx")
    assert not load({}, environ=reached.environment()).loopback_endpoints_allowed


@pytest.mark.parametrize(("word", "wanted"), [("1", True), ("0", False), ("", None)])
def test_the_administrator_decides_about_loopback(tmp_path: Path, word: str, wanted: bool | None) -> None:
    settings = load({}, environ={"REDRIVE_ALLOW_LOOPBACK_ENDPOINTS": word}, config=_empty(tmp_path))
    assert settings.allow_loopback_endpoints is wanted
    if wanted is not None:
        assert guard_of(settings).allow_loopback is wanted
        assert guard_of(settings.with_database("postgresql://u@h/d")).allow_loopback is wanted


def _empty(folder: Path) -> Path:
    (folder / "none.toml").touch()
    return folder / "none.toml"

"""Signatures against the vendor's published vector, and against requests that were tampered with."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from redrive.errors import Problem
from redrive.identity import signatures
from redrive.identity.signatures import DERIVED, PLAIN, Scope, Shown, Wire

ACCESS, SECRET = "QTWAOYTTINDUT2QVKYUC", "MFyfvK41ba2giqM7Uio6PznpdUKGpownRZlmVmHc"
AT = datetime(2019, 11, 15, 3, 36, 55, tzinfo=UTC)
NAMES = ("content-type", "host", "x-sdk-date")
VECTOR = Wire(
    "GET",
    b"/v1/77b6a44cba5143ab91d13ab9a8ff44fd/vpcs",
    b"limit=2&marker=13551d6b-755d-4757-b956-536f674975c0",
    (
        (b"content-type", b"application/json"),
        (b"host", b"service.region.example.com"),
        (b"x-sdk-date", b"20191115T033655Z"),
    ),
)
SIGNATURE = "7be6668032f70418fcc22abc52071e57aff61b84a1d2381bb430d6870f4f6ebe"
SHOWN = Shown(PLAIN, ACCESS, NAMES, SIGNATURE)


def signed(
    wire: Wire, body: bytes = b"", names: tuple[str, ...] = NAMES, scope: Scope | None = None
) -> Shown:
    shown = Shown(DERIVED if scope else PLAIN, ACCESS, names, "", scope)
    canonical = signatures.canonical_request(wire, names, signatures.payload_hash(wire, names, body))
    return replace(shown, signature=signatures.sign(shown, "20191115T033655Z", canonical, SECRET))


def refusal(shown: Shown, wire: Wire, body: bytes = b"", secret: str = SECRET, at: datetime = AT) -> Problem:
    with pytest.raises(Problem) as caught:
        signatures.check(shown, wire, body, secret, at)
    return caught.value


def test_the_published_vector() -> None:
    canonical = signatures.canonical_request(VECTOR, NAMES, hashlib.sha256(b"").hexdigest())
    assert (
        hashlib.sha256(canonical).hexdigest()
        == "b25362e603ee30f4f25e7858e8a7160fd36e803bb2dfe206278659d71a9bcd7a"
    )
    header = f"{PLAIN} Access={ACCESS}, SignedHeaders=content-type;host;x-sdk-date, Signature={SIGNATURE}"
    assert signatures.parse(header) == SHOWN
    signatures.check(SHOWN, VECTOR, b"", SECRET, AT)


@pytest.mark.parametrize(
    ("changed", "body"),
    [
        (replace(VECTOR, method="DELETE"), b""),
        (replace(VECTOR, path=VECTOR.path + b"x"), b""),
        (replace(VECTOR, path=b"/v1/other/../77b6a44cba5143ab91d13ab9a8ff44fd/vpcs"), b""),
        (replace(VECTOR, query=b"limit=3&marker=13551d6b-755d-4757-b956-536f674975c0"), b""),
        (replace(VECTOR, query=VECTOR.query + b"&more="), b""),
        (replace(VECTOR, headers=((b"content-type", b"text/plain"), *VECTOR.headers[1:])), b""),
        (VECTOR, b"a body"),
    ],
)
def test_whatever_is_changed_on_the_way_is_noticed(changed: Wire, body: bytes) -> None:
    problem = refusal(SHOWN, changed, body)
    assert (problem.reason, problem.detail) == ("signature", "verify aksk signature fail")
    assert problem.hint.startswith(f"{changed.method}|/v1/")
    assert SECRET not in problem.hint


def test_the_same_answer_for_another_secret() -> None:
    assert refusal(SHOWN, VECTOR, secret="another").reason == "signature"


@pytest.mark.parametrize("away", [timedelta(minutes=15, seconds=1), timedelta(days=-1)])
def test_an_instant_far_from_now_is_refused(away: timedelta) -> None:
    assert refusal(SHOWN, VECTOR, at=AT + away).reason == "clock"
    signatures.check(SHOWN, VECTOR, b"", SECRET, AT + timedelta(minutes=15))


def test_an_instant_that_is_not_signed_is_refused() -> None:
    shown = signed(VECTOR, names=("host",))
    assert "X-Sdk-Date" in refusal(shown, VECTOR).detail


def test_a_signed_header_must_stand_once() -> None:
    doubled = replace(VECTOR, headers=(*VECTOR.headers, (b"host", b"evil.example.com")))
    assert "more than once" in refusal(SHOWN, doubled).detail
    gone = replace(VECTOR, headers=VECTOR.headers[1:])
    assert "content-type is missing" in refusal(SHOWN, gone).detail


def test_a_body_may_be_signed_by_its_hash_or_openly_left_out() -> None:
    names = ("host", "x-sdk-content-sha256", "x-sdk-date")

    def with_hash(told: bytes) -> Wire:
        return replace(VECTOR, method="POST", headers=(*VECTOR.headers, (b"x-sdk-content-sha256", told)))

    for told in (hashlib.sha256(b"body").hexdigest().encode(), b"UNSIGNED-PAYLOAD"):
        signatures.check(signed(with_hash(told), b"body", names), with_hash(told), b"body", SECRET, AT)
    lied = with_hash(hashlib.sha256(b"body").hexdigest().encode())
    assert refusal(signed(lied, b"body", names), lied, b"another").reason == "signature"
    unsigned_mark = with_hash(b"UNSIGNED-PAYLOAD")
    assert refusal(replace(SHOWN), unsigned_mark, b"body").reason == "signature"


def test_blanks_and_odd_letters_are_encoded_as_the_clients_do() -> None:
    wire = replace(VECTOR, path=b"/v2/p/jobs/a%2Fb%20c~d", query=b"b=2&a=%E4%BD%A0+x&a=1&empty")
    lines = signatures.canonical_request(wire, NAMES, "").decode().split("\n")
    assert lines[1] == "/v2/p/jobs/a/b%20c~d/"
    assert lines[2] == "a=1&a=%E4%BD%A0%2Bx&b=2&empty="


def test_a_derived_key_is_good_for_its_day_region_and_service() -> None:
    scope = Scope("20191115", "local-1", "workspace")
    shown = signed(VECTOR, scope=scope)
    signatures.check(shown, VECTOR, b"", SECRET, AT)
    moved = replace(shown, scope=replace(scope, service="drs"))
    assert refusal(moved, VECTOR).reason == "signature"
    yesterday = signed(VECTOR, scope=replace(scope, day="20191114"))
    assert refusal(yesterday, VECTOR).reason == "clock"
    fields = f"SignedHeaders={';'.join(NAMES)}, Signature={shown.signature}"
    assert signatures.parse(f"{DERIVED} Credential={ACCESS}/{scope.words()}, {fields}") == shown


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic abc",
        PLAIN,
        f"{PLAIN} Access={ACCESS}",
        f"{PLAIN} Access={ACCESS}, SignedHeaders=host, Signature=zz",
        f"{PLAIN} Access={ACCESS}, SignedHeaders=Host;X-Sdk-Date, Signature={SIGNATURE}",
        f"{PLAIN} Access=, SignedHeaders=host, Signature={SIGNATURE}",
        f"{DERIVED} Credential={ACCESS}/20191115, SignedHeaders=host, Signature={SIGNATURE}",
        f"SDK-HMAC-SM3 Access={ACCESS}, SignedHeaders=host, Signature={SIGNATURE}",
        f"{PLAIN} Access={ACCESS}, SignedHeaders={';'.join(f'h{n}' for n in range(100))}, Signature={SIGNATURE}",
    ],
)
def test_a_header_that_is_not_understood_is_refused(header: str) -> None:
    with pytest.raises(Problem) as caught:
        signatures.parse(header)
    assert caught.value.reason == "signature_header"


@pytest.mark.parametrize("letter", ["a", " ", "=", ",", ";"])
def test_a_long_header_that_is_none_is_refused_in_no_time(letter: str) -> None:
    begun = time.perf_counter()
    with pytest.raises(Problem):
        signatures.parse(f"{PLAIN} " + letter * 8_100)
    assert time.perf_counter() - begun < 0.1

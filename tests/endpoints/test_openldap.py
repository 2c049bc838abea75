"""Joining a directory, against a real OpenLDAP."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from redrive.endpoints.directory import (
    Controller,
    Joined,
    Left,
    check_account,
    check_controller,
    check_controllers,
    join,
    joined,
    leave,
    require,
)
from redrive.errors import FailureClass
from tests.endpoints import openldap
from tests.endpoints.certificates import DAY, NOW, Pair, authority, issued
from tests.endpoints.openldap import BASE, DOMAIN, PASSWORD, Slapd, free_port, running
from tests.endpoints.scene import ACTIVE, PLANT, changed, failure_of, reach
from tests.endpoints.strange_servers import cuts_after_an_add, hangs_up, listening

pytestmark = pytest.mark.root

STANDBY = Controller("127.0.0.2", "dc2", standby=True)
WRONG = "wrong-secret"
OURS = {"name": "WKS-1", "serial": "workspace-1"}
THEIRS = {"name": "WKS-1", "serial": "workspace-2"}


@pytest.fixture(scope="session")
def root_authority() -> Pair:
    openldap.installed()
    return authority()


@pytest.fixture(scope="module")
def readable(root_authority: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    """A server with LDAP and LDAPS that tests only look at."""
    folder = tmp_path_factory.mktemp("slapd")
    with running(Slapd(folder / "ldap", certificate=issued(root_authority).write(folder))) as slapd:
        yield slapd


@pytest.fixture
def slapd(root_authority: Pair, tmp_path: Path) -> Iterator[Slapd]:
    """A server of the test's own."""
    with running(Slapd(tmp_path / "slapd")) as started:
        yield started


# -- the controller


def test_a_controller_is_found_as_it_must_be(readable: Slapd) -> None:
    (finding,) = check_controllers(PLANT, reach(ldap=readable.port))
    assert finding.ok
    assert finding.said == f"dc1.plant.example (127.0.0.1:{readable.port}) holds {BASE} (LDAP)"


def test_a_certificate_is_checked_and_its_end_told(readable: Slapd, root_authority: Pair) -> None:
    directory = changed(ldaps=True, ca_pem=root_authority.pem)
    said = check_controller(directory, ACTIVE, reach(ldaps=readable.tls_port))
    assert f"its certificate ends {NOW + 30 * DAY:%Y-%m-%d}" in said


@pytest.mark.parametrize(
    ("wrong", "code", "words"),
    [
        ({"ends": NOW - DAY}, "certificate_expired", f"{NOW - DAY:%Y-%m-%d}"),
        ({"begins": NOW + DAY}, "certificate_not_yet_valid", f"{NOW + DAY:%Y-%m-%d}"),
        ({"names": ("db.plant.example",)}, "certificate_name", "but for db.plant.example"),
        ({"names": (), "ips": ("127.0.0.9",)}, "certificate_name", "but for 127.0.0.9"),
    ],
)
def test_a_certificate_that_does_not_fit_is_refused(
    root_authority: Pair, tmp_path: Path, wrong: dict[str, object], code: str, words: str
) -> None:
    certificate = issued(root_authority, **{"begins": NOW - 2 * DAY, **wrong})  # type: ignore[arg-type]
    with running(Slapd(tmp_path / "slapd", certificate=certificate.write(tmp_path))) as slapd:
        directory = changed(ldaps=True, ca_pem=root_authority.pem)
        failure = failure_of(lambda: check_controller(directory, ACTIVE, reach(ldaps=slapd.tls_port)))
    assert (failure.code, failure.kind) == (code, FailureClass.NEEDS_INPUT)
    assert words in failure.detail


def test_a_certificate_may_be_for_the_address_instead_of_the_name(
    root_authority: Pair, tmp_path: Path
) -> None:
    certificate = issued(root_authority, names=(), ips=("127.0.0.1",))
    with running(Slapd(tmp_path / "slapd", certificate=certificate.write(tmp_path))) as slapd:
        directory = changed(ldaps=True, ca_pem=root_authority.pem)
        assert check_controller(directory, ACTIVE, reach(ldaps=slapd.tls_port))
        # The server's own certificate is as good as its authority's.
        assert check_controller(
            changed(directory, ca_pem=certificate.pem), ACTIVE, reach(ldaps=slapd.tls_port)
        )


def test_an_authority_that_is_not_the_tenant_s_is_not_trusted(readable: Slapd) -> None:
    for ca_pem in (authority("Another").pem, None):
        directory = changed(ldaps=True, ca_pem=ca_pem)
        failure = failure_of(lambda d=directory: join(d, reach(ldaps=readable.tls_port), **OURS))  # type: ignore[misc]
        assert failure.code == "certificate_untrusted"


def test_what_is_no_certificate_is_refused(readable: Slapd) -> None:
    for ca_pem in ("no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "\udc80", "é"):
        directory = changed(ldaps=True, ca_pem=ca_pem)
        failure = failure_of(lambda d=directory: check_controller(d, ACTIVE, reach(ldaps=readable.tls_port)))  # type: ignore[misc]
        assert failure.code == "certificate_invalid"


def test_a_port_that_speaks_no_tls_and_one_that_speaks_nothing_else(readable: Slapd) -> None:
    plain = failure_of(lambda: check_controller(changed(ldaps=True), ACTIVE, reach(ldaps=readable.port)))
    assert plain.code == "tls_failed"
    secured = failure_of(lambda: check_controller(PLANT, ACTIVE, reach(ldap=readable.tls_port)))
    assert secured.code == "directory_interrupted"


def test_a_server_of_another_domain_is_told_apart(readable: Slapd) -> None:
    for domain in ("example", "other.example", "sub.plant.example", "xplant.example"):
        failure = failure_of(
            lambda d=domain: check_controller(changed(domain_name=d), ACTIVE, reach(ldap=readable.port))
        )  # type: ignore[misc]
        assert failure.code == "domain_unknown"
        assert BASE in failure.detail
    assert check_controller(changed(domain_name="Plant.EXAMPLE."), ACTIVE, reach(ldap=readable.port))


def test_a_standby_controller_that_is_away_is_found(readable: Slapd) -> None:
    directory = changed(controllers=(STANDBY, ACTIVE))
    away, there = check_controllers(directory, reach(ldap=readable.port))
    assert there.ok and not away.ok
    assert away.said.startswith("the standby controller dc2.plant.example: nothing listens at 127.0.0.2:")
    failure = failure_of(lambda: require([there, away]))
    assert (failure.code, failure.kind) == ("connection_refused", FailureClass.TRANSIENT)


# -- the account


@pytest.mark.parametrize(
    "account",
    ["admin", "The Admin", "ADMIN", "admin@plant.example", f"uid=admin,ou=people,{BASE}"],
)
def test_the_account_is_taken(readable: Slapd, account: str) -> None:
    (finding,) = check_account(changed(admin_account=account), reach(ldap=readable.port))
    assert finding.ok, finding.said
    assert "without TLS" in finding.said


def test_with_tls_the_password_is_not_readable_and_nothing_says_so(
    readable: Slapd, root_authority: Pair
) -> None:
    directory = changed(ldaps=True, ca_pem=root_authority.pem)
    (finding,) = check_account(directory, reach(ldaps=readable.tls_port))
    assert finding.ok and "without TLS" not in finding.said


@pytest.mark.parametrize("account", ["admin", f"uid=nobody,ou=people,{BASE}"])
def test_a_wrong_password_waits_for_the_right_one(readable: Slapd, account: str) -> None:
    directory = changed(admin_account=account, password=WRONG)
    (finding,) = check_account(directory, reach(ldap=readable.port))
    failure = failure_of(lambda: require([finding]), WRONG)
    assert (failure.code, failure.kind) == ("directory_credentials", FailureClass.NEEDS_INPUT)
    assert failure.hint == "correct the password by a modify call, then retry"


def test_a_wrong_password_is_tried_once_not_at_every_controller(readable: Slapd) -> None:
    """It counts towards locking the account."""
    directory = changed(password=WRONG, controllers=(ACTIVE, ACTIVE, ACTIVE))
    assert len(check_account(directory, reach(ldap=readable.port))) == 1


@pytest.mark.parametrize(
    ("account", "why"),
    [
        ("nobody", "no entry"),
        ("Twin", "more than one"),
        ("*", "no entry"),
        ("adm*", "no entry"),
        ("admin)(objectClass=*", "does not know"),
        ("*)(uid=admin", "does not know"),
        ("x)(|(uid=admin)", "does not know"),
        ("admin\\2a", "no entry"),
        ("uid=admin,,", "no entry has this name"),
    ],
)
def test_an_account_is_a_value_never_a_condition(readable: Slapd, account: str, why: str) -> None:
    (finding,) = check_account(changed(admin_account=account), reach(ldap=readable.port))
    assert finding.failure is not None
    assert finding.failure.code == "directory_account_unknown"
    assert why in finding.said


def test_an_empty_password_is_refused_before_anybody_is_asked() -> None:
    """This server would call it a success, and nobody would be who they say."""
    asked: list[object] = []
    with listening(lambda connection, over: asked.append(connection)) as port:
        for call in (check_account, check_controllers):
            failure = failure_of(lambda c=call: c(changed(password=""), reach(ldap=port)))  # type: ignore[misc]
            assert failure.code == "directory_credentials"
        assert (
            failure_of(lambda: join(changed(password=""), reach(ldap=port), **OURS)).code
            == "directory_credentials"
        )
    assert not asked


def test_a_password_that_ldap_takes_for_none_is_refused(readable: Slapd) -> None:
    for password in ("\u00ad", "\u200b", "a\x00b", "\x00"):
        (finding,) = check_account(changed(password=password), reach(ldap=readable.port))
        assert not finding.ok
        failure = failure_of(lambda f=finding: require([f]), password)  # type: ignore[misc]
        assert failure.code == "directory_credentials"


def test_the_password_is_in_no_representation() -> None:
    assert PASSWORD not in repr(PLANT) + str(PLANT)


# -- joining


def test_a_workspace_joins_once_however_often_it_is_asked(slapd: Slapd) -> None:
    there = reach(ldap=slapd.port)
    assert joined(PLANT, there, **OURS) is None
    assert join(PLANT, there, **OURS) == Joined(f"cn=WKS-1,{BASE}", created=True)
    assert join(PLANT, there, **OURS) == Joined(f"cn=WKS-1,{BASE}", created=False)
    assert joined(PLANT, there, **OURS) == Joined(f"cn=WKS-1,{BASE}", created=False)
    assert slapd.entries("(&(objectClass=device)(serialNumber=workspace-1))") == [f"cn=WKS-1,{BASE}"]


def test_the_name_of_another_is_neither_taken_over_nor_deleted(slapd: Slapd) -> None:
    there = reach(ldap=slapd.port)
    join(PLANT, there, **THEIRS)
    failure = failure_of(lambda: join(PLANT, there, **OURS))
    assert (failure.code, failure.kind) == ("directory_name_taken", FailureClass.NEEDS_INPUT)
    assert f"cn=WKS-1,{BASE}" in failure.detail
    assert joined(PLANT, there, **OURS) is None
    assert leave(PLANT, there, **OURS, delete_object=True) == Left(None, deleted=False)
    assert slapd.entries() == [f"cn=WKS-1,{BASE}"]


def test_a_name_that_something_else_has_is_taken(slapd: Slapd) -> None:
    slapd.change(f"dn: cn=WKS-1,{BASE}\nchangetype: add\nobjectClass: organizationalRole\ncn: WKS-1\n")
    assert failure_of(lambda: join(PLANT, reach(ldap=slapd.port), **OURS)).code == "directory_name_taken"


def test_ours_is_found_among_many_of_its_name(slapd: Slapd) -> None:
    for number in range(15):
        unit = f"ou=u{number},{BASE}"
        slapd.change(
            f"dn: {unit}\nchangetype: add\nobjectClass: organizationalUnit\nou: u{number}\n\n"
            f"dn: cn=WKS-1,{unit}\nchangetype: add\nobjectClass: device\ncn: WKS-1\nserialNumber: s{number}\n"
        )
    for number in (0, 7, 14):
        found = joined(PLANT, reach(ldap=slapd.port), name="WKS-1", serial=f"s{number}")
        assert found == Joined(f"cn=WKS-1,ou=u{number},{BASE}", created=False)


def test_leaving_deletes_what_is_ours_once(slapd: Slapd) -> None:
    there = reach(ldap=slapd.port)
    join(PLANT, there, **OURS)
    join(PLANT, there, name="WKS-2", serial="workspace-2")
    assert leave(PLANT, there, **OURS, delete_object=False) == Left(f"cn=WKS-1,{BASE}", deleted=False)
    assert len(slapd.entries()) == 2
    assert leave(PLANT, there, **OURS, delete_object=True) == Left(f"cn=WKS-1,{BASE}", deleted=True)
    assert leave(PLANT, there, **OURS, delete_object=True) == Left(None, deleted=False)
    assert slapd.entries() == [f"cn=WKS-2,{BASE}"]


def test_computers_stand_where_the_directory_has_a_place_for_them(slapd: Slapd) -> None:
    slapd.change(
        f"dn: ou=computers,{BASE}\nchangetype: add\nobjectClass: organizationalUnit\nou: computers\n"
    )
    assert join(PLANT, reach(ldap=slapd.port), **OURS).created
    assert slapd.entries() == [f"cn=WKS-1,ou=computers,{BASE}"]
    # One that was moved is still ours.
    slapd.change(
        f"dn: cn=WKS-1,ou=computers,{BASE}\nchangetype: moddn\n"
        f"newrdn: cn=WKS-1\ndeleteoldrdn: 1\nnewsuperior: {BASE}\n"
    )
    assert joined(PLANT, reach(ldap=slapd.port), **OURS) == Joined(f"cn=WKS-1,{BASE}", created=False)


def test_an_account_without_the_right_is_told_so(slapd: Slapd) -> None:
    reader = changed(admin_account="reader")
    failure = failure_of(lambda: join(reader, reach(ldap=slapd.port), **OURS))
    assert (failure.code, failure.kind) == ("directory_forbidden", FailureClass.NEEDS_INPUT)
    join(PLANT, reach(ldap=slapd.port), **OURS)
    refused = failure_of(lambda: leave(reader, reach(ldap=slapd.port), **OURS, delete_object=True))
    assert refused.code == "directory_forbidden"
    assert slapd.entries()


@pytest.mark.parametrize(
    "name", ["", "a b", "x,dc=evil", "WKS*", "WKS)(cn=*", "-a", "a-", "a" * 16, "42", "ä", "a\x00", "a$"]
)
def test_a_name_that_is_none_is_refused_before_anybody_is_asked(name: str) -> None:
    assert failure_of(lambda: join(PLANT, reach(), name=name, serial="s")).code == "directory_invalid"


@pytest.mark.parametrize("serial", ["", "*", "a)(cn=*", "a b", "a" * 65, "\x00"])
def test_a_mark_that_is_none_is_refused(serial: str) -> None:
    assert (
        failure_of(lambda: leave(PLANT, reach(), name="a", serial=serial, delete_object=True)).code
        == "directory_invalid"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"domain_name": ""},
        {"domain_name": "plant..example"},
        {"domain_name": "plant,dc=evil.example"},
        {"domain_name": "plant.example)(cn=*"},
        {"domain_name": "a" * 64},
        {"domain_name": ".".join(["a" * 60] * 5)},
        {"admin_account": " "},
        {"admin_account": "a\x00"},
        {"admin_account": "a" * 300},
        {"controllers": ()},
        {"controllers": (ACTIVE,) * 9},
        {"controllers": (Controller("127.0.0.1", "dc1\x00"),)},
        {"controllers": (Controller("127.0.0.1", ""),)},
        {"controllers": (Controller("localhost", "dc1"),)},
        {"controllers": (Controller("127.1", "dc1"),)},
        {"controllers": (Controller("[::1]", "dc1"),)},
        {"dns": ("127.0.0.1",) * 9},
    ],
)
def test_what_cannot_be_a_directory_is_refused_before_anybody_is_asked(change: dict[str, object]) -> None:
    assert failure_of(lambda: check_controllers(changed(**change), reach())).code == "directory_invalid"


# -- what fails in the middle


def test_a_server_that_dies_between_the_add_and_its_answer_has_our_object(slapd: Slapd) -> None:
    def kill_when_added() -> None:
        deadline = time.monotonic() + 5
        while not slapd.entries():
            assert time.monotonic() < deadline
        slapd.end(signal.SIGKILL)

    with listening(cuts_after_an_add((slapd.ip, slapd.port), kill_when_added), ip="127.0.0.3") as between:
        cut = changed(controllers=(Controller("127.0.0.3", "dc1"),))
        failure = failure_of(lambda: join(cut, reach(ldap=between), **OURS))
    assert (failure.code, failure.kind) == ("directory_interrupted", FailureClass.TRANSIENT)
    down = failure_of(lambda: joined(PLANT, reach(ldap=slapd.port), **OURS))
    assert down.code == "connection_refused", "unknown is not 'nothing there'"
    slapd.start()
    there = reach(ldap=slapd.port)
    assert joined(PLANT, there, **OURS) == Joined(f"cn=WKS-1,{BASE}", created=False)
    assert join(PLANT, there, **OURS) == Joined(f"cn=WKS-1,{BASE}", created=False)
    assert slapd.entries() == [f"cn=WKS-1,{BASE}"]


def test_a_standby_stands_in_for_an_active_controller_that_is_away(slapd: Slapd, tmp_path: Path) -> None:
    with running(Slapd(tmp_path / "second", ip=STANDBY.ip, port=slapd.port)) as standby:
        directory = changed(controllers=(STANDBY, ACTIVE))
        there = reach(ldap=slapd.port)
        join(directory, there, **OURS)
        assert (len(slapd.entries()), len(standby.entries())) == (1, 0), "the active one, though named last"
        slapd.end(signal.SIGKILL)
        assert join(directory, there, name="WKS-2", serial="workspace-1").created
        assert standby.entries() == [f"cn=WKS-2,{BASE}"]
        failure = failure_of(lambda: joined(directory, there, **OURS))
        assert failure.code == "connection_refused", "the one that is away may have it"
        slapd.start()
        # Not replicated yet: found where it is, not made twice.
        again = join(directory, there, name="WKS-2", serial="workspace-1")
        assert again == Joined(f"cn=WKS-2,{BASE}", created=False)
        assert leave(directory, there, name="WKS-2", serial="workspace-1", delete_object=True).deleted
        standby.end(signal.SIGKILL)
        slapd.end(signal.SIGKILL)
        assert failure_of(lambda: join(directory, there, **OURS)).code == "connection_refused"


def test_a_controller_that_refuses_the_password_is_no_reason_to_go_on_elsewhere(slapd: Slapd) -> None:
    directory = changed(password=WRONG, controllers=(ACTIVE, STANDBY))
    failure = failure_of(lambda: join(directory, reach(ldap=slapd.port), **OURS), WRONG)
    assert failure.code == "directory_credentials"


def test_a_referral_is_told_and_not_followed(slapd: Slapd) -> None:
    """Followed, it would carry the password to wherever the directory points, past the guard."""
    asked: list[object] = []

    def note(connection: object, over: object) -> None:
        asked.append(connection)

    with listening(note) as trap:
        slapd.change(
            f"dn: ou=Computers,{BASE}\nchangetype: add\nobjectClass: referral\nobjectClass: extensibleObject\n"
            f"ou: Computers\nref: ldap://127.0.0.1:{trap}/ou=Computers,{BASE}\n"
        )
        failure = failure_of(lambda: join(PLANT, reach(ldap=slapd.port), **OURS))
        assert failure.code == "directory_referral"
        assert check_account(PLANT, reach(ldap=slapd.port))[0].ok
    assert not asked


def test_a_line_that_is_cut_at_once_is_tried_later(slapd: Slapd) -> None:
    with listening(hangs_up) as port:
        failure = failure_of(lambda: join(PLANT, reach(ldap=port), **OURS))
    assert (failure.code, failure.kind) == ("directory_interrupted", FailureClass.TRANSIENT)


def test_nothing_of_the_system_s_own_directory_is_used(slapd: Slapd) -> None:
    assert slapd.port != 389 and free_port() != 389
    assert DOMAIN not in (
        Path("/etc/ldap/ldap.conf").read_text() if Path("/etc/ldap/ldap.conf").exists() else ""
    )

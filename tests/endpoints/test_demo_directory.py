"""The directory of the demonstration, joined as it stands and as Microsoft's."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from redrive.endpoints.directory import (
    Joined,
    Left,
    check_account,
    check_controllers,
    join,
    joined,
    leave,
    require,
)
from tests.endpoints.openldap import BASE, PASSWORD, ROOT
from tests.endpoints.scene import PLANT, changed, failure_of, reach

OURS = {"name": "WKS-1", "serial": "workspace-1"}
WRONG = "wrong-secret"


@contextmanager
def serving(folder: Path, *more: str) -> Iterator[int]:
    secret = folder / "password"
    secret.write_text(f"{PASSWORD}\n")
    words = [*("--port", "0", "--domain", "plant.example", "--account", "admin"), *more]
    process = subprocess.Popen(
        [sys.executable, "-m", "demo.directory_server", *words, "--password-file", str(secret)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        ready = process.stdout.readline()
        assert ready.startswith("The directory plant.example is ready: ldap://127.0.0.1:")
        yield int(ready.rpartition(":")[2])
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module", params=["plain", "active"])
def flavour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def port(flavour: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    more = ["--active-directory"] if flavour == "active" else []
    with serving(tmp_path_factory.mktemp("demo"), *more) as found:
        yield found


@pytest.fixture
def dn(flavour: str) -> str:
    return f"cn=WKS-1,{'CN=Computers,' if flavour == 'active' else ''}{BASE}"


def test_it_is_as_it_must_be(port: int, flavour: str) -> None:
    (finding,) = check_controllers(PLANT, reach(ldap=port))
    require([finding])
    assert ("Active Directory" in finding.said) == (flavour == "active")
    require(check_account(PLANT, reach(ldap=port)))
    require(check_account(changed(admin_account="admin@plant.example"), reach(ldap=port)))


def test_a_workspace_joins_and_leaves(port: int, dn: str) -> None:
    there = reach(ldap=port)
    assert joined(PLANT, there, **OURS) is None
    assert join(PLANT, there, **OURS) == Joined(dn, created=True)
    assert join(PLANT, there, **OURS) == Joined(dn, created=False)
    assert joined(PLANT, there, **OURS) == Joined(dn, created=False)
    failure = failure_of(lambda: join(PLANT, there, name="WKS-1", serial="another"))
    assert failure.code == "directory_name_taken"
    assert leave(PLANT, there, name="WKS-1", serial="another", delete_object=True) == Left(
        None, deleted=False
    )
    assert leave(PLANT, there, **OURS, delete_object=False) == Left(dn, deleted=False)
    assert leave(PLANT, there, **OURS, delete_object=True) == Left(dn, deleted=True)
    assert leave(PLANT, there, **OURS, delete_object=True) == Left(None, deleted=False)
    assert joined(PLANT, there, **OURS) is None


def test_a_wrong_password_is_told_in_words(port: int, flavour: str) -> None:
    failure = failure_of(lambda: require(check_account(changed(password=WRONG), reach(ldap=port))), WRONG)
    assert failure.code == "directory_credentials"
    assert failure.hint == "correct the password by a modify call, then retry"
    assert ("the password or the account is wrong" in failure.detail) == (flavour == "active")


def test_only_the_account_may_change_anything(tmp_path: Path, port: int) -> None:
    import ldap3

    connection = ldap3.Connection(ldap3.Server("127.0.0.1", port=port, get_info="NO_INFO"))
    connection.open()
    assert not connection.add(f"cn=x,{BASE}", ["top", "device"], {"serialNumber": "x"})  # type: ignore[no-untyped-call]
    assert connection.result["description"] == "insufficientAccessRights"
    assert not connection.modify(BASE, {"description": [("MODIFY_REPLACE", ["x"])]})  # type: ignore[no-untyped-call]
    connection.unbind()


def test_what_windows_keeps_below_a_computer_goes_with_it(port: int, flavour: str, dn: str) -> None:
    import ldap3

    there = reach(ldap=port)
    join(PLANT, there, **OURS)
    name = "admin@plant.example" if flavour == "active" else f"uid=admin,ou=people,{BASE}"
    server = ldap3.Server("127.0.0.1", port=port, get_info="NO_INFO")
    with ldap3.Connection(server, name, PASSWORD, check_names=False) as connection:
        assert connection.add(f"cn=key,{dn}", ["top"], {"cn": "key"})  # type: ignore[no-untyped-call]
        if flavour == "active":
            assert leave(PLANT, there, **OURS, delete_object=True).deleted
            return
        failure = failure_of(lambda: leave(PLANT, there, **OURS, delete_object=True))
        assert failure.code == "directory_refused"
        assert connection.delete(f"cn=key,{dn}")  # type: ignore[no-untyped-call]
        assert leave(PLANT, there, **OURS, delete_object=True).deleted


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(PASSWORD)
    command = [sys.executable, "-m", "demo.directory_server", *("--port", "0", "--domain", "a.example")]
    command += ["--account", "a", "--password-file", str(tmp_path / "password")]
    starter = (
        "import subprocess, sys; process = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True);"
        "print(process.pid, process.stdout.readline())"
    )
    told = subprocess.run(
        [sys.executable, "-c", starter, *command], cwd=ROOT, capture_output=True, text=True, check=True
    )
    pid, deadline = int(told.stdout.split()[0]), time.monotonic() + 10
    while _runs(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_importing_a_directory_loads_no_library_and_opening_one_says_nothing() -> None:
    """Warnings of libraries are for us, and the time of their import for those who need them."""
    code = (
        "import sys, redrive.endpoints.directory as d, redrive.endpoints.guard as g\n"
        "assert not {'ldap3', 'dns', 'pyasn1'} & sys.modules.keys()\n"
        "where = d.Reach(g.Guard(allow_loopback=True), d.Ports(1, 1, 1), 0.1, 0.1)\n"
        "place = d.Directory('a.example', 'a', 'p', (d.Controller('127.0.0.1', 'c'),), dns=('127.0.0.1',))\n"
        "assert not d.check_controllers(place, where)[0].ok\n"
        "assert not d.check_dns(place, where)[0].ok\n"
        "from redrive.endpoints.directory.ldap import escaped\n"
        "assert escaped('*') == r'\\2a' and 'ldap3' in sys.modules\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")

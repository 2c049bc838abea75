"""A real OpenLDAP in a folder of its own, never the system's."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PROGRAM = Path("/usr/sbin/slapd")
ROOT = Path(__file__).parents[2]
DOMAIN, BASE = "plant.example", "dc=plant,dc=example"
PASSWORD = "correct horse (battery) staple*"

_CONFIG = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/slapd.pid
{tls}
database mdb
maxsize 104857600
suffix "{base}"
directory {folder}/data
rootdn "cn=root,{base}"
rootpw {password}
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="uid=admin,ou=people,{base}" manage by * read
"""

_ENTRIES = """
dn: {base}
objectClass: domain
dc: plant

dn: ou=people,{base}
objectClass: organizationalUnit
ou: people

dn: uid=admin,ou=people,{base}
objectClass: inetOrgPerson
uid: admin
cn: The Admin
sn: Admin
userPassword: {password}

dn: uid=reader,ou=people,{base}
objectClass: inetOrgPerson
uid: reader
cn: Reader
sn: Reader
userPassword: {password}

dn: uid=twin1,ou=people,{base}
objectClass: inetOrgPerson
uid: twin1
cn: Twin
sn: Twin
userPassword: {password}

dn: uid=twin2,ou=people,{base}
objectClass: inetOrgPerson
uid: twin2
cn: Twin
sn: Twin
userPassword: {password}
"""


class Slapd:
    """One server on ``ip``: LDAP at ``port``, LDAPS at ``tls_port`` where it has a certificate."""

    def __init__(
        self,
        folder: Path,
        *,
        ip: str = "127.0.0.1",
        port: int = 0,
        tls_port: int = 0,
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        self.folder = folder
        self.ip = ip
        self.port = port or free_port(ip)
        self.tls_port = tls_port or free_port(ip)
        self._tls = bool(certificate)
        (folder / "data").mkdir(parents=True)
        words = {"base": BASE, "password": PASSWORD, "folder": folder}
        tls = ""
        if certificate is not None:
            tls = f"TLSCertificateFile {certificate[0]}\nTLSCertificateKeyFile {certificate[1]}"
        config = _CONFIG.replace("rootpw {password}", f'rootpw "{PASSWORD}"').format(tls=tls, **words)
        (folder / "slapd.conf").write_text(config)
        self.load(_ENTRIES.format(**words))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def _here(self) -> tuple[str, str]:
        return "-H", f"ldap://{self.ip}:{self.port}"

    def load(self, ldif: str) -> None:
        """Add entries while the server is down."""
        subprocess.run(
            ["/usr/sbin/slapadd", "-q", "-f", self.folder / "slapd.conf"],
            input=ldif.encode(),
            capture_output=True,
            check=True,
        )

    def start(self) -> None:
        urls = f"ldap://{self.ip}:{self.port}" + (f" ldaps://{self.ip}:{self.tls_port}" if self._tls else "")
        # With the tests, however they end, ends the server.
        words = ["setpriv", "--pdeathsig", "KILL", PROGRAM, "-h", urls, "-f", "slapd.conf", "-d", "0"]
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(words, cwd=self.folder, stderr=log)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection((self.ip, self.port), timeout=1):
                return
            time.sleep(0.01)
        raise RuntimeError(f"slapd does not start: {(self.folder / 'log').read_text()[-1000:]}")

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop or kill it; safe to repeat."""
        if self._process is None:
            return
        self._process.send_signal(how)
        self._process.wait(10)
        self._process = None

    def entries(self, condition: str = "(objectClass=device)") -> list[str]:
        """Return the names of entries, as the server's own client sees them."""
        told = subprocess.run(
            [*("ldapsearch", "-x", "-LLL", "-o", "ldif-wrap=no"), *self._here, "-b", BASE, condition, "1.1"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        return [line.removeprefix("dn: ") for line in told.splitlines() if line.startswith("dn: ")]

    def change(self, ldif: str) -> None:
        """Add or change entries as the administrator."""
        subprocess.run(
            ["ldapmodify", "-x", *self._here, "-D", f"cn=root,{BASE}", "-w", PASSWORD],
            input=ldif.encode(),
            capture_output=True,
            check=True,
        )


def free_port(ip: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((ip, 0))
        port: int = probe.getsockname()[1]
        return port


def installed() -> None:
    """Install Debian's packages where they are missing; skip where that cannot be."""
    if not PROGRAM.exists() and os.geteuid() == 0:
        with (Path(tempfile.gettempdir()) / "redrive-test-packages.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            script = ROOT / "scripts" / "debian_packages.sh"
            subprocess.run([script, PROGRAM, "slapd", "ldap-utils"], check=True)
    if not PROGRAM.exists():
        pytest.skip("needs root and Debian's slapd")


@contextlib.contextmanager
def running(slapd: Slapd) -> Iterator[Slapd]:
    slapd.start()
    try:
        yield slapd
    finally:
        slapd.end(signal.SIGKILL)

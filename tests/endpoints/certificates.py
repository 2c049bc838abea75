"""Certificates, made for one test run."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write both into a folder; return the paths of certificate and key."""
        paths = folder / "server.pem", folder / "server.key"
        paths[0].write_text(self.pem)
        paths[1].write_bytes(
            self.key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return paths


def authority(name: str = "Plant Root") -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    return Pair(_signed(name, key, None, ca=True), key)


def issued(
    by: Pair,
    *,
    names: tuple[str, ...] = ("dc1.plant.example",),
    ips: tuple[str, ...] = (),
    begins: datetime = NOW - DAY,
    ends: datetime = NOW + 30 * DAY,
) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives = [x509.DNSName(name) for name in names]
    addresses = [x509.IPAddress(ipaddress.ip_address(ip)) for ip in ips]
    certificate = _signed(
        names[0] if names else ips[0],
        key,
        by,
        ca=False,
        begins=begins,
        ends=ends,
        alternatives=[*alternatives, *addresses],
    )
    return Pair(certificate, key)


def _signed(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    by: Pair | None,
    *,
    ca: bool,
    begins: datetime = NOW - 365 * DAY,
    ends: datetime = NOW + 365 * DAY,
    alternatives: list[x509.GeneralName] | None = None,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return builder.sign(by.key if by else key, hashes.SHA256())

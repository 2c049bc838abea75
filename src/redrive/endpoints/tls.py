"""TLS over a connection of the guard's, for servers whose certificate may be signed by anybody a tenant trusts.

Guarantees: the chain leads to ``ca_pem`` (or to the system's store where there is none), the certificate is for one
of the wanted names, and it is valid now; otherwise nothing is sent over the connection. OpenSSL decides that, not we.
A server's own certificate in ``ca_pem`` is trusted as it stands.

``Failure``: ``certificate_expired``, ``certificate_not_yet_valid``, ``certificate_untrusted``, ``certificate_name``
(all need a person), ``certificate_invalid`` (``ca_pem`` is none), ``tls_failed`` (no TLS there, or one too old).
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography import x509

from redrive.endpoints import words
from redrive.errors import Failure, FailureClass

#: OpenSSL's numbers (x509_vfy.h).
_NOT_YET_VALID, _EXPIRED = 9, 10
_WRONG_NAME = {62, 63, 64}
_MOST_NAMES = 20


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a server shows."""

    subject: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class Secured:
    """A connection under TLS, and the certificate that it rests on."""

    connection: ssl.SSLSocket
    certificate: Certificate


def trust(ca_pem: str | None) -> ssl.SSLContext:
    """Return a context that trusts ``ca_pem`` alone, or the system's store. ``Failure``: ``certificate_invalid``."""
    try:
        context = ssl.create_default_context(cadata=ca_pem or None)
    except (ssl.SSLError, ValueError, TypeError) as error:
        raise Failure(
            "certificate_invalid",
            "the certificate to trust cannot be read",
            hint="give the certificate of the authority as PEM: -----BEGIN CERTIFICATE-----",
            kind=FailureClass.NEEDS_INPUT,
        ) from error
    # The same on all versions of Python: 3.13 changed both. Certificates of Windows' authorities lack what strict
    # asks for, and who names the server's own certificate trusts it.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT
    return context


def secure(
    connect: Callable[[], socket.socket], target: str, names: Sequence[str], ca_pem: str | None
) -> Secured:
    """Return a connection under TLS whose certificate is for one of ``names`` (host names or IP addresses).

    ``connect`` gives a fresh connection, with its time limit set; it is called again for a name that does not match,
    since a handshake checks one name.
    """
    context = trust(ca_pem)
    refused: ssl.SSLCertVerificationError | None = None
    for name in names:
        try:
            return _handshake(context, connect(), name)
        except ssl.SSLCertVerificationError as error:
            refused = error
            if error.verify_code not in _WRONG_NAME:
                break
        except OSError as error:
            raise _no_tls(target, error) from error
    if refused is None:
        raise ValueError("no name to check")
    raise _not_accepted(target, names, refused, _shown_certificate(connect)) from refused


def _handshake(context: ssl.SSLContext, connection: socket.socket, name: str) -> Secured:
    try:
        secured = context.wrap_socket(connection, server_hostname=name)
    except BaseException:
        connection.close()
        raise
    # As OpenSSL read it: a stricter reader would refuse certificates that it accepts (of Samba, for one).
    shown: Mapping[str, Any] = secured.getpeercert() or {}
    return Secured(
        secured,
        Certificate(
            ", ".join(f"{key}={value}" for part in shown.get("subject", ()) for key, value in part)[:200],
            tuple(str(value)[:100] for _kind, value in shown.get("subjectAltName", ())[:_MOST_NAMES]),
            _instant(shown["notBefore"]),
            _instant(shown["notAfter"]),
        ),
    )


def _instant(text: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)


def _shown_certificate(connect: Callable[[], socket.socket]) -> Certificate | None:
    """Return what the server shows, unchecked, to say in the failure; nothing else is done on this connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with connect() as connection, context.wrap_socket(connection) as secured:
            found = x509.load_der_x509_certificate(secured.getpeercert(binary_form=True) or b"")
            return Certificate(
                found.subject.rfc4514_string()[:200],
                tuple(name[:100] for name in _names(found)[:_MOST_NAMES]),
                found.not_valid_before_utc,
                found.not_valid_after_utc,
            )
    except Exception:
        # What it would have said is missing in the failure, no more; readers of foreign bytes fail in many ways.
        return None


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))]


def _not_accepted(
    target: str,
    names: Sequence[str],
    error: ssl.SSLCertVerificationError,
    shown: Certificate | None,
) -> Failure:
    whose = f"the certificate of {target}" + (f" ({shown.subject})" if shown else "")
    if error.verify_code == _EXPIRED:
        code, detail = "certificate_expired", f"{whose}, or one that it rests on, has expired"
        detail += f"; its own end is {shown.not_after:%Y-%m-%d %H:%M} UTC" if shown else ""
        hint = "give the server a new certificate, then retry"
    elif error.verify_code == _NOT_YET_VALID:
        code, detail = "certificate_not_yet_valid", f"{whose}, or one that it rests on, is not valid yet"
        detail += f"; its own begin is {shown.not_before:%Y-%m-%d %H:%M} UTC" if shown else ""
        hint = "are the clocks of both machines right?"
    elif error.verify_code in _WRONG_NAME:
        code, detail = "certificate_name", f"{whose} is not for {' nor for '.join(names)}"
        detail += f", but for {', '.join(shown.names) or 'no name'}" if shown else ""
        hint = "correct the name of the server, or give it a certificate for this one"
    else:
        code, detail = "certificate_untrusted", f"{whose} is not trusted: {error.verify_message}"
        hint = "give the certificate of the authority that signed it"
    return Failure(code, words.shown(detail), hint=hint, kind=FailureClass.NEEDS_INPUT, target=target)


def _no_tls(target: str, error: OSError) -> Failure:
    if isinstance(error, TimeoutError):
        return Failure(
            "timed_out",
            f"{target} did not finish the TLS handshake in time",
            hint="does the port speak TLS?",
            kind=FailureClass.TRANSIENT,
            target=target,
        )
    reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
    return Failure(
        "tls_failed",
        f"{target} does not speak TLS as it should: {reason}",
        hint="TLS 1.2 or newer is needed; is it the port for TLS?",
        # A server that is just starting or stopping ends the connection as well.
        kind=FailureClass.TRANSIENT if isinstance(error, ConnectionError) else FailureClass.NEEDS_INPUT,
        target=target,
    )

"""The server's RSA key pair, to which a client can encrypt who it is.

Made when it is first asked for, one per database, private half sealed. A client that was given the public
half sends its access key and secret encrypted (RSA-OAEP, SHA-1, as its own library does it), so the header
stands for the key pair and needs TLS like a password does.
"""

from __future__ import annotations

from typing import Any

import psycopg
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from redrive.database import Queries
from redrive.identity.master_key import SERVER_KEYS, START_LOCK
from redrive.identity.sealing import Sealer

queries = Queries.beside(__file__)

KEY_BITS = 2048
BLOB_BYTES = KEY_BITS // 8

_NAME = "header"
# SHA-1 is what the clients use; in OAEP it needs no resistance to collisions.
_OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA1()), algorithm=hashes.SHA1(), label=None)  # noqa: S303


def public_key(conn: psycopg.Connection[Any], sealer: Sealer) -> bytes:
    """Return the public half as DER (SubjectPublicKeyInfo); make the pair where there is none."""
    conn.execute("select pg_advisory_xact_lock(%s)", (START_LOCK,))
    row = conn.execute(queries.find_server_key, {"name": _NAME}).fetchone()
    if row is not None:
        return bytes(row.public_key)
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    private = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    sealed = sealer.seal(private, SERVER_KEYS.place(_NAME))
    conn.execute(queries.insert_server_key, {"name": _NAME, "private_key": sealed, "public_key": public})
    return public


def private_key(conn: psycopg.Connection[Any], sealer: Sealer) -> rsa.RSAPrivateKey | None:
    """Return the private half, or None where no pair was made."""
    row = conn.execute(queries.find_server_key, {"name": _NAME}).fetchone()
    if row is None:
        return None
    key = serialization.load_der_private_key(sealer.open(row.private_key, SERVER_KEYS.place(_NAME)), None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError("the stored server key is not an RSA key")
    return key


def decrypt(key: rsa.RSAPrivateKey, blob: bytes) -> bytes | None:
    """Return what ``blob`` says, or None where it was not encrypted to ``key``."""
    try:
        return key.decrypt(blob, _OAEP)
    except ValueError:
        return None

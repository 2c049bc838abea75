"""Whether a place can hold sample tables: it must be writable and refuse to create a file that is there already.

That refusal (a conditional write) is what makes two processes that commit at the same time safe. A folder needs
hard links for it, an object store ``PUT`` with ``If-None-Match: *``. AWS S3 has it; of a store behind an endpoint
of its own we see for ourselves, with a request that we sign, since neither pyarrow nor deltalake can be asked.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx

from redrive.clock import now
from redrive.errors import Failure, Problem, ProblemCode
from redrive.ids import new_id
from redrive.services.timeseries.storage.folder import Folder, as_failure, option

_TIMEOUT_SECONDS = 15.0


def probe(folder: Folder) -> None:
    """Raise a ``Problem`` where the store cannot be written or lacks conditional writes; leaves nothing behind."""
    path = f".redrive-probe-{new_id()}"
    try:
        if folder.local:
            Path(folder.root).mkdir(parents=True, exist_ok=True)
        with folder.create(path) as sink:
            sink.write(b"redrive")
        refuses = _folder_refuses(folder, path) if folder.local else _store_refuses(folder, path)
    except (OSError, httpx.HTTPError) as error:
        failure: Failure = as_failure(error, folder.uri)
        raise Problem(
            ProblemCode.UNAVAILABLE, f"{folder.uri}: {failure.detail}", hint=failure.hint, reason="storage"
        ) from error
    finally:
        _remove(folder, path)
    if not refuses:
        raise Problem(
            ProblemCode.UNAVAILABLE,
            f"{folder.uri}: the store lacks conditional writes, so concurrent commits could be lost",
            hint="use a store that supports PUT with If-None-Match (AWS S3, MinIO, Ceph) or a local folder",
            reason="storage",
        )


def _remove(folder: Folder, path: str) -> None:
    try:
        folder.remove([path, f"{path}-link"])
    except OSError:
        # The probe says why already; a file of seven bytes is no reason to hide that.
        return


def _folder_refuses(folder: Folder, path: str) -> bool:
    link = folder.full(f"{path}-link")
    os.link(folder.full(path), link)
    try:
        os.link(folder.full(path), link)
    except FileExistsError:
        return True
    return False


def _store_refuses(folder: Folder, path: str) -> bool:
    endpoint = option(folder.options, "AWS_ENDPOINT_URL")
    key, secret = (option(folder.options, name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    if endpoint is None:
        return True
    if key is None or secret is None:
        raise Problem(
            ProblemCode.INVALID,
            "an S3 endpoint needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            hint="give them as environment variables or storage options",
            reason="storage",
        )
    address = f"{endpoint.rstrip('/')}/{quote(folder.full(path))}"
    headers = {"if-none-match": "*"}
    token = option(folder.options, "AWS_SESSION_TOKEN")
    if token is not None:
        headers["x-amz-security-token"] = token
    region = option(folder.options, "AWS_REGION") or option(folder.options, "AWS_DEFAULT_REGION")
    signed = sign("PUT", address, headers, b"again", key, secret, region or "us-east-1")
    answer = httpx.put(address, headers=signed, content=b"again", timeout=_TIMEOUT_SECONDS)
    if answer.status_code in (httpx.codes.PRECONDITION_FAILED, httpx.codes.CONFLICT):
        return True
    if answer.is_success or answer.status_code == httpx.codes.NOT_IMPLEMENTED:
        return False
    raise OSError(f"PUT answered {answer.status_code}: {answer.text[:200]}")


def sign(
    method: str,
    address: str,
    headers: Mapping[str, str],
    body: bytes,
    key: str,
    secret: str,
    region: str,
    stamp: str | None = None,
) -> dict[str, str]:
    """Return ``headers`` with an AWS signature, version 4, of a request without a query."""
    parts = urlsplit(address)
    stamp = stamp or now().strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(body).hexdigest()
    signed = {**headers, "host": parts.netloc, "x-amz-content-sha256": digest, "x-amz-date": stamp}
    names = ";".join(sorted(signed))
    lines = "".join(f"{name}:{signed[name].strip()}\n" for name in sorted(signed))
    request = "\n".join([method, parts.path, "", lines, names, digest])
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request.encode()).hexdigest()])
    sealed = f"AWS4{secret}".encode()
    for part in (stamp[:8], region, "s3", "aws4_request", text):
        sealed = hmac.new(sealed, part.encode(), hashlib.sha256).digest()
    credential = f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, Signature={sealed.hex()}"
    return {**signed, "authorization": credential}

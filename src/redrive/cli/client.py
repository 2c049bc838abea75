"""The commands' way to a running server: finds its address and keys, calls ``/v1``, and explains what fails.

Address and keys come from ``REDRIVE_URL``, ``REDRIVE_ACCESS_KEY`` and ``REDRIVE_SECRET_KEY``, or from
``credentials.json`` in the data folder. Keys of the file are never sent to an address from elsewhere.

Every POST carries an ``Idempotency-Key``, so a call whose answer was lost is simply made again. What the server
refuses is raised as the same ``Problem`` that it answered.
"""

from __future__ import annotations

import os
import ssl
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from redrive import settings as settings_module
from redrive.errors import FieldProblem, Problem, ProblemCode
from redrive.identity.credentials import credentials_file, read_credentials
from redrive.settings import Settings, is_loopback

URL, ACCESS_KEY, SECRET_KEY = "REDRIVE_URL", "REDRIVE_ACCESS_KEY", "REDRIVE_SECRET_KEY"

#: A retry of a million jobs is one call.
_TIMEOUT = httpx.Timeout(300.0, connect=10.0)
_TRIES = 4
_PAGE = 500
_BODY_SHOWN = 200
_GATEWAY_STATUSES = {502, 504}

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Server:
    """Where the server is and who calls; ``source`` says where that is known from."""

    url: str
    access_key: str
    secret_key: str = field(repr=False)
    source: str
    certificate: Path | None = None


def find_server(settings: Settings, environ: Mapping[str, str] | None = None) -> Server:
    """Return the server that the environment or the data folder names."""
    environ = os.environ if environ is None else environ
    url, access, secret = (environ.get(name, "").strip() for name in (URL, ACCESS_KEY, SECRET_KEY))
    path = credentials_file(settings)
    found = read_credentials(path)
    if url or access or secret:
        missing = [name for name, value in ((ACCESS_KEY, access), (SECRET_KEY, secret)) if not value]
        if missing:
            raise Problem(
                ProblemCode.INVALID,
                f"{' and '.join(missing)} not set, while {URL if url else 'the other one'} is",
                hint=f"set {ACCESS_KEY} and {SECRET_KEY}, or none of them to use {path}",
            )
        url = url or (found.endpoint if found else "http://127.0.0.1:8700")
        return Server(url.rstrip("/"), access, secret, "the environment", settings.tls_cert)
    if found is None:
        raise Problem(
            ProblemCode.NOT_FOUND,
            f"there is no server here: {path} does not exist",
            hint=f"start one with `redrive up`, name its folder with --data-dir, or set {URL}, {ACCESS_KEY} "
            f"and {SECRET_KEY}",
        )
    return Server(
        found.endpoint.rstrip("/"), found.access_key, found.secret_key, str(path), settings.tls_cert
    )


class Api:
    """Calls of one server. Close it, or use it as a context."""

    def __init__(self, server: Server) -> None:
        self.server = server
        parts = urlsplit(server.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise Problem(
                ProblemCode.INVALID,
                f"{server.url} (from {server.source}) is not an address",
                hint="write it as http://HOST:PORT",
            )
        self._http = httpx.Client(
            base_url=server.url,
            auth=(server.access_key, server.secret_key),
            timeout=_TIMEOUT,
            verify=_trust(server) if parts.scheme == "https" else True,
            # A proxy of the company never reaches this machine.
            trust_env=not is_loopback(parts.hostname),
        )

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Json:
        """Return the answer of GET; values of ``query`` that are None are left out."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        return self._answer(lambda: self._http.get(path, params=given))

    def post(self, path: str, body: Json) -> Json:
        """Return the answer of POST; made again with the same key where the answer was lost."""
        key = {"Idempotency-Key": str(uuid.uuid4())}
        return self._answer(lambda: self._http.post(path, json=body, headers=key))

    def upload(
        self, path: str, kind: str, query: Mapping[str, str], read: Callable[[], Iterator[bytes]]
    ) -> Json:
        """Return the answer of POST with a streamed body; sent again with the same key where it was lost."""
        headers = {"Idempotency-Key": str(uuid.uuid4()), "Content-Type": kind}
        return self._answer(lambda: self._http.post(path, content=read(), params=query, headers=headers))

    def put(self, path: str, body: Json) -> Json:
        """Return the answer of PUT."""
        return self._answer(lambda: self._http.put(path, json=body))

    def listed(
        self, path: str, name: str, cursor: str, query: Mapping[str, Any], count: int
    ) -> tuple[list[Json], str | None]:
        """Return ``count`` items at most, of as many pages as it takes, and the cursor of what follows."""
        found: list[Json] = []
        following: str | None = None
        while True:
            page = {**query, "limit": min(count - len(found), _PAGE)}
            if following is not None:
                page[cursor] = following
            body = self.get(path, page)
            found += body[name]
            following = body["next"]
            if following is None or len(found) >= count:
                return found, following

    def _answer(self, call: Callable[[], httpx.Response]) -> Json:
        for tries in range(1, _TRIES + 1):
            try:
                response = call()
            except httpx.ConnectError as error:
                raise self._unreachable(error) from None
            except (httpx.ReadTimeout, httpx.ConnectTimeout):
                raise Problem(
                    ProblemCode.UNAVAILABLE,
                    f"{self.server.url} does not answer in time",
                    hint="try again later",
                ) from None
            except (httpx.TransportError, httpx.InvalidURL) as error:
                if tries == _TRIES or isinstance(error, httpx.InvalidURL):
                    raise self._unreachable(error) from None
            else:
                if response.status_code != 503 or tries == _TRIES:
                    return self._content(response)
            time.sleep(0.25 * 2**tries)
        raise AssertionError("the loop above returns or raises")

    def _content(self, response: httpx.Response) -> Json:
        try:
            body = response.json()
        except ValueError:
            body = None
        if response.is_success and isinstance(body, dict):
            return body
        if isinstance(body, dict) and str(body.get("type", "")).startswith("urn:redrive:problem:"):
            raise self._problem(response, body)
        shown = response.text[:_BODY_SHOWN].strip()
        raise Problem(
            ProblemCode.UNAVAILABLE if response.status_code in _GATEWAY_STATUSES else ProblemCode.INVALID,
            f"{response.request.url} answered {response.status_code}, not as Redrive does: {shown}",
            hint=f"is this the address of the server? It is from {self.server.source}",
        )

    def _problem(self, response: httpx.Response, body: Json) -> Problem:
        word = body["type"].rpartition(":")[2]
        hint = body.get("hint") or ""
        if response.status_code == 401:
            hint = f"the keys are from {self.server.source}; `redrive identity rotate` makes new ones"
        fields = [
            FieldProblem(error["field"], error["expected"], error.get("got", ""))
            for error in body.get("errors") or ()
        ]
        code = ProblemCode(word) if word in set(ProblemCode) else ProblemCode.UNAVAILABLE
        return Problem(
            code, str(body.get("detail", "")), hint=hint, fields=fields, reason=body.get("reason") or ""
        )

    def _unreachable(self, error: Exception) -> Problem:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return Problem(
                ProblemCode.UNAVAILABLE,
                f"the certificate of {self.server.url} is not trusted: {error}",
                hint="name the certificate, or its authority, with SSL_CERT_FILE",
                reason="certificate",
            )
        return Problem(
            ProblemCode.UNAVAILABLE,
            f"no server answers at {self.server.url} ({error or type(error).__name__})",
            hint=f"start it with `redrive up`; the address is from {self.server.source}",
            reason="unreachable",
        )


def connect(data_dir: Path | None = None, config: Path | None = None) -> Api:
    """Return the calls of the server that the environment or the data folder names."""
    return Api(find_server(settings_module.load({"data_dir": data_dir}, config=config)))


def _trust(server: Server) -> ssl.SSLContext:
    """Return the usual trust, and besides the server's own certificate where it is known here."""
    trust = ssl.create_default_context()
    if server.certificate is not None:
        trust.load_verify_locations(server.certificate)
    return trust

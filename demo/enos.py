"""A caller of the EnOS calls as their pages describe them: token, then signed requests. Nothing of Redrive's."""

from __future__ import annotations

import hashlib
import json
import shlex
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import httpx


class RefusedError(Exception):
    """The server answered with a code other than 0."""


class Enos:
    """One key pair's calls. ``last_curl`` is the last call as a shell command."""

    def __init__(self, endpoint: str, org_id: str, access_key: str, secret_key: str) -> None:
        self._http = httpx.Client(base_url=endpoint, timeout=60)
        self._endpoint = endpoint
        self._org_id = org_id
        self._access_key = access_key
        self._secret_key = secret_key
        self._token = ""
        self.last_curl = ""

    def get_token(self) -> str:
        """Get an access token: the body carries a digest of key, time and secret."""
        now = _now_ms()
        body = {
            "appKey": self._access_key,
            "timestamp": now,
            "encryption": _sha256(f"{self._access_key}{now}{self._secret_key}"),
        }
        answer = self._http.post("/apim-token-service/v2.0/token/get", json=body).json()
        if answer["status"] != 0:
            raise RefusedError(f"token: {answer['status']} {answer['msg']}")
        self._token = str(answer["data"]["accessToken"])
        return self._token

    def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: str | int
    ) -> dict[str, Any]:
        """Make a signed call and return the whole answer; RefusedError where its code is not 0."""
        parameters = {name: str(value) for name, value in {"orgId": self._org_id, **query}.items()}
        text = "" if body is None else json.dumps(body)
        now = str(_now_ms())
        signed = "".join(name + parameters[name] for name in sorted(parameters))
        headers = {
            "apim-accesstoken": self._token,
            "apim-timestamp": now,
            "apim-signature": _sha256(self._token + signed + text + now + self._secret_key),
            "content-type": "application/json",
        }
        url = f"{path}?{urlencode(parameters)}"
        self.last_curl = _curl(method, self._endpoint + url, headers, text)
        answer: dict[str, Any] = self._http.request(method, url, content=text, headers=headers).json()
        if answer["code"] != 0:
            raise RefusedError(f"{path}: {answer['code']} {answer['msg']}")
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


def _curl(method: str, url: str, headers: Mapping[str, str], body: str) -> str:
    lines = [f"curl -X {method} {shlex.quote(url)}"]
    lines += [f"-H {shlex.quote(f'{name}: {value}')}" for name, value in headers.items()]
    if body:
        lines.append(f"-d {shlex.quote(body)}")
    return " \\\n  ".join(lines)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

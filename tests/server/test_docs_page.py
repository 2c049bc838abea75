"""The API page needs nothing from outside."""

from __future__ import annotations

import re

import httpx
from fastapi import FastAPI

from redrive.wire.native import operations
from redrive.wire.native.auth import native_principal
from tests.wire_enos.gateway_caller import serving


def somebody() -> str:
    return "somebody"


def test_the_api_page_takes_all_it_needs_from_this_server() -> None:
    app = FastAPI(title="Redrive", openapi_url=None, docs_url=None)
    app.include_router(operations.router)
    app.dependency_overrides[native_principal] = somebody
    with serving(app) as url, httpx.Client(base_url=url) as client:
        page = client.get("/docs").text
        wanted = re.findall(r'(?:src|href)="([^"]+)"', page)
        assert wanted and all(address.startswith("/docs/") for address in wanted)
        assert all(client.get(address).status_code == 200 for address in wanted)
        assert "http" not in page.replace("http-equiv", "")
        assert client.get("/docs/__init__.py").status_code == 404

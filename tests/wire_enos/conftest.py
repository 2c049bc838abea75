"""A first start, and a caller of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from redrive.database import Database
from redrive.identity.authentication import Authenticator
from redrive.identity.credentials import Credentials
from redrive.settings import Settings
from tests.wire_enos import poseidon_client
from tests.wire_enos.gateway_caller import Gateway, echo_app, serving


@pytest.fixture
def http(db: Database, settings: Settings, authenticator: Authenticator) -> Iterator[httpx.Client]:
    with serving(echo_app(db, settings, authenticator)) as url, httpx.Client(base_url=url) as client:
        yield client


@pytest.fixture
def gateway(http: httpx.Client, credentials: Credentials) -> Gateway:
    return Gateway(http, credentials.org_id, credentials.access_key, credentials.secret_key)


@pytest.fixture(scope="session")
def poseidon_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has the vendor's client."""
    return poseidon_client.installed(tmp_path_factory.mktemp("poseidon"))

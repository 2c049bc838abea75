"""``D/credentials.json``: what a client needs to call this server. Mode 0600, replaced as a whole."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from redrive.identity.sealing import write_private
from redrive.settings import Settings

_EVERYWHERE = {"", "0.0.0.0", "::"}  # noqa: S104


@dataclass(frozen=True, slots=True)
class Credentials:
    """The content of the file; the names are fixed, tools and documentation build on them."""

    endpoint: str
    domain_name: str
    user_name: str
    password: str
    project_id: str
    project_name: str
    org_id: str
    workspace_id: str
    access_key: str
    secret_key: str

    def __repr__(self) -> str:
        return f"Credentials({self.access_key} at {self.endpoint})"


def credentials_file(settings: Settings) -> Path:
    """Return where the file is."""
    return Path(settings.data_dir) / "credentials.json"


def endpoint_of(settings: Settings) -> str:
    """Return the address at which a client on this machine reaches the server."""
    host = "127.0.0.1" if settings.host in _EVERYWHERE else settings.host
    scheme = "https" if settings.tls_cert else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.port}"


def write_credentials(path: Path, credentials: Credentials) -> None:
    """Replace the file, durable on return."""
    write_private(path, json.dumps(dataclasses.asdict(credentials), indent=2) + "\n")


def read_credentials(path: Path) -> Credentials | None:
    """Return the content of the file, or None where there is none or it is not ours."""
    try:
        return Credentials(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def publish_endpoint(path: Path, endpoint: str) -> None:
    """Put another address into the file where there is one; call it when the bound port is known."""
    present = read_credentials(path)
    if present is not None and present.endpoint != endpoint:
        write_credentials(path, dataclasses.replace(present, endpoint=endpoint))

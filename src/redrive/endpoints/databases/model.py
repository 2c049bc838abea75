"""What names a user's database. The password is not here: it is sealed, apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Engine(StrEnum):
    """What kind of database it is."""

    POSTGRESQL = "postgresql"
    MYSQL = "mysql"


DEFAULT_PORTS: Mapping[Engine, int] = {Engine.POSTGRESQL: 5432, Engine.MYSQL: 3306}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A database of a user's. ``tls``: its certificate must lead to ``ca_pem``, without it to the system's store."""

    engine: Engine
    host: str
    port: int
    user: str
    database: str = ""
    tls: bool = False
    ca_pem: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the endpoint as JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """Return where it is, for people."""
        return f"{self.engine}://{self.host}:{self.port}/{self.database}"


def endpoint_from(data: Mapping[str, Any]) -> Endpoint:
    """Return what ``Endpoint.to_json`` gave."""
    return Endpoint(**{**data, "engine": Engine(data["engine"])})

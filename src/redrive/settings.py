"""What a process of Redrive is told: flags, then ``REDRIVE_*``, then ``redrive.toml``, then defaults.

Every setting has one name: ``data_dir`` is ``--data-dir``, ``REDRIVE_DATA_DIR`` and ``data_dir = "..."``
(or ``data-dir``) in the file. The file is ``redrive.toml`` in the working folder, or what ``--config`` names.

Refuses with a ``Problem`` that names the source: values that are no values, names in the file that are no
settings, half a TLS pair, a host that others can reach without TLS (unless ``insecure``), failpoints there.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redrive.errors import FieldProblem, Problem, ProblemCode, invalid

CONFIG_NAME = "redrive.toml"
_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off", ""}
_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a process; make them with :func:`load`, in tests directly."""

    data_dir: Path = Path("redrive-data")
    host: str = "127.0.0.1"
    port: int = 8700
    #: Worker processes that ``redrive up`` starts.
    workers: int = 2
    #: Units that run at a time in one worker process.
    worker_threads: int = 4
    #: None: the embedded PostgreSQL in ``data_dir``.
    database_url: str | None = field(default=None, repr=False)
    #: Where samples lie: a folder or ``s3://bucket/prefix``. None: ``data_dir/storage``.
    storage_url: str | None = None
    #: Folders of this machine below which files may be imported, with colons between. None: only uploads.
    import_roots: str | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    #: Listen on an address that others can reach without TLS.
    insecure: bool = False
    #: None: ``data_dir/master.key``.
    master_key_file: Path | None = None
    #: Let failpoints act, for tests and demonstrations on this machine.
    allow_failpoints: bool = False
    log_level: str = "info"
    #: Let tenants name addresses of this machine for their systems. None: see ``loopback_endpoints_allowed``.
    allow_loopback_endpoints: bool | None = None
    #: Where directories listen: LDAP, LDAP with TLS, and their name servers.
    directory_ldap_port: int = 389
    directory_ldaps_port: int = 636
    directory_dns_port: int = 53

    @property
    def loopback_endpoints_allowed(self) -> bool:
        """Whether tenants may name addresses of this machine.

        Unless an administrator says, only where all belongs to one person anyway: a server that only this machine
        reaches, with the embedded PostgreSQL.
        """
        if self.allow_loopback_endpoints is not None:
            return self.allow_loopback_endpoints
        return is_loopback(self.host) and self.database_url is None

    @property
    def storage(self) -> str:
        """The folder or address that samples lie under."""
        return self.storage_url or str(self.data_dir.absolute() / "storage")

    @property
    def import_folders(self) -> tuple[Path, ...]:
        """The folders of ``import_roots``."""
        return tuple(Path(root) for root in (self.import_roots or "").split(":") if root)

    @property
    def scheme(self) -> str:
        """``https`` with TLS, else ``http``."""
        return "https" if self.tls_cert else "http"

    def with_database(self, url: str) -> Settings:
        """Return the same settings with the address of a database that runs.

        What follows from there being no address (the database is the embedded one) is settled now: afterwards
        nobody could tell.
        """
        return dataclasses.replace(
            self, database_url=url, allow_loopback_endpoints=self.loopback_endpoints_allowed
        )

    def environment(self) -> dict[str, str]:
        """Return the ``REDRIVE_*`` variables that give a child process these settings.

        What is not set is there too, empty, so that a file which the child may find says nothing.
        """
        return {variable(item.name): _word(getattr(self, item.name)) for item in dataclasses.fields(self)}


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return f"REDRIVE_{name.upper()}"


def load(
    flags: Mapping[str, object] | None = None,
    *,
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Return the settings; a flag that is None was not given. ``Problem`` where something is wrong."""
    environ = os.environ if environ is None else environ
    config = config or (Path(environ["REDRIVE_CONFIG"]) if environ.get("REDRIVE_CONFIG") else None)
    in_file, file_name = _read_file(config)
    values: dict[str, Any] = {}
    for item in dataclasses.fields(Settings):
        name = item.name
        flag = (flags or {}).get(name)
        if flag is not None:
            values[name] = _value(f"--{name.replace('_', '-')}", item.type, flag)
        elif variable(name) in environ:
            values[name] = _value(variable(name), item.type, environ[variable(name)])
        elif name in in_file:
            values[name] = _value(f"{name} in {file_name}", item.type, in_file[name])
    settings = Settings(**{name: value for name, value in values.items() if value is not None})
    _check(settings)
    return settings


def require_safe_listener(settings: Settings) -> None:
    """Refuse to listen where others can read along, or trigger failpoints. For processes that serve."""
    if is_loopback(settings.host):
        return
    if settings.tls_cert is None and not settings.insecure:
        raise Problem(
            ProblemCode.INVALID,
            f"{settings.host} can be reached from other machines, and there is no TLS",
            hint="give --tls-cert and --tls-key, listen on 127.0.0.1, or accept it with --insecure "
            "(behind a proxy that speaks TLS)",
            reason="listener_insecure",
        )
    if settings.allow_failpoints:
        raise Problem(
            ProblemCode.INVALID,
            "failpoints can only be allowed on a loopback address",
            hint="listen on 127.0.0.1, or leave out --allow-failpoints",
            reason="listener_failpoints",
        )


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches ``host``. A name other than ``localhost`` may be anything."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _read_file(config: Path | None) -> tuple[dict[str, object], str]:
    path = config or Path(CONFIG_NAME)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if config is None:
            return {}, str(path)
        raise Problem(ProblemCode.INVALID, f"there is no file {path}", hint="see --config") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Problem(ProblemCode.INVALID, f"{path} cannot be read: {error}") from None
    found = {name.replace("-", "_"): value for name, value in content.items()}
    known = {item.name for item in dataclasses.fields(Settings)}
    unknown = [FieldProblem(name, "the name of a setting") for name in sorted(found.keys() - known)]
    if unknown:
        names = ", ".join(problem.name for problem in unknown)
        raise Problem(
            ProblemCode.INVALID,
            f"{path}: no such setting: {names}",
            hint=f"settings are {', '.join(sorted(known))}",
            fields=unknown,
        )
    return found, str(path)


def _value(source: str, wanted: Any, given: object) -> object:
    """Return ``given`` as the type that the field's annotation names; empty text is no value."""
    kind, _, rest = str(wanted).partition(" |")
    if rest and not str(given):
        return None
    if kind == "bool":
        return _truth(source, given)
    if kind == "int":
        try:
            return int(str(given))
        except ValueError:
            raise invalid(source, "a whole number", given) from None
    if not isinstance(given, (str, Path)):
        raise invalid(source, "text", given)
    if not str(given):
        return None
    return Path(given) if kind == "Path" else str(given)


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return "" if value is None else str(value)


def _truth(source: str, given: object) -> bool:
    word = str(given).strip().lower()
    if word not in _TRUE | _FALSE:
        raise invalid(source, "true or false", given)
    return word in _TRUE


def _check(settings: Settings) -> None:
    if not 0 <= settings.port <= 65_535:
        raise invalid("port", "0 to 65535 (0: any free one)", settings.port)
    for name in ("directory_ldap_port", "directory_ldaps_port", "directory_dns_port"):
        if not 1 <= getattr(settings, name) <= 65_535:
            raise invalid(name, "1 to 65535", getattr(settings, name))
    if not 0 <= settings.workers <= 256:
        raise invalid("workers", "0 to 256", settings.workers)
    if not 1 <= settings.worker_threads <= 256:
        raise invalid("worker_threads", "1 to 256", settings.worker_threads)
    if settings.log_level not in _LEVELS:
        raise invalid("log_level", f"one of {', '.join(_LEVELS)}", settings.log_level)
    url = settings.database_url
    if url is not None and not url.startswith(("postgresql://", "postgres://")):
        raise invalid("database_url", "postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise invalid("tls_cert", "both tls_cert and tls_key, or none")
    for name, path in (("tls_cert", settings.tls_cert), ("tls_key", settings.tls_key)):
        if path is not None and not os.access(path, os.R_OK):
            raise invalid(name, "a file that can be read", path)

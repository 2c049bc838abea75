"""``redrive up``, ``redrive serve``, ``redrive worker``: the server, in one piece or apart.

Options are read here and settings made of them; what runs is in ``redrive.server``, imported late so that
``--help`` is quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from redrive import settings as settings_module
from redrive.settings import Settings

_SERVER = "Server"
_STORE = "Storage"
_ENDPOINTS = "Systems that tenants name"

DataDir = Annotated[
    Path | None,
    typer.Option(help="Folder of the server's data. (default: ./redrive-data)", rich_help_panel=_STORE),
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        help="A PostgreSQL of your own, 15 or newer. (default: one is started in the data folder)",
        rich_help_panel=_STORE,
    ),
]
StorageUrl = Annotated[
    str | None,
    typer.Option(
        help="Where samples lie: a folder or s3://... (default: DATA_DIR/storage)", rich_help_panel=_STORE
    ),
]
MasterKeyFile = Annotated[
    Path | None,
    typer.Option(help="The key that seals secrets. (default: DATA_DIR/master.key)", rich_help_panel=_STORE),
]
Host = Annotated[
    str | None, typer.Option(help="Address to listen on. (default: 127.0.0.1)", rich_help_panel=_SERVER)
]
Port = Annotated[
    int | None, typer.Option(help="Port; 0 takes any free one. (default: 8700)", rich_help_panel=_SERVER)
]
TlsCert = Annotated[Path | None, typer.Option(help="Certificate chain, PEM.", rich_help_panel=_SERVER)]
TlsKey = Annotated[Path | None, typer.Option(help="Its private key, PEM.", rich_help_panel=_SERVER)]
Insecure = Annotated[
    bool | None,
    typer.Option("--insecure", help="Listen for other machines without TLS.", rich_help_panel=_SERVER),
]
Workers = Annotated[int | None, typer.Option(help="Worker processes. (default: 2)", rich_help_panel=_SERVER)]
WorkerThreads = Annotated[
    int | None, typer.Option(help="Units at a time in a worker. (default: 4)", rich_help_panel=_SERVER)
]
AllowFailpoints = Annotated[
    bool | None,
    typer.Option(
        "--allow-failpoints", help="Let tests and demonstrations make failures.", rich_help_panel=_SERVER
    ),
]
LogLevel = Annotated[
    str | None,
    typer.Option(help="debug, info, warning or error. (default: info)", rich_help_panel=_SERVER),
]
AllowLoopbackEndpoints = Annotated[
    bool | None,
    typer.Option(
        "--allow-loopback-endpoints/--refuse-loopback-endpoints",
        help="Let tenants name addresses of this machine for their systems. (default: only where no other machine "
        "reaches the server and the database is its own)",
        rich_help_panel=_ENDPOINTS,
        show_default=False,
    ),
]
DirectoryLdapPort = Annotated[
    int | None,
    typer.Option(help="Where directories speak LDAP. (default: 389)", rich_help_panel=_ENDPOINTS),
]
DirectoryLdapsPort = Annotated[
    int | None,
    typer.Option(help="Where directories speak LDAP with TLS. (default: 636)", rich_help_panel=_ENDPOINTS),
]
DirectoryDnsPort = Annotated[
    int | None,
    typer.Option(help="Where name servers of directories answer. (default: 53)", rich_help_panel=_ENDPOINTS),
]
Config = Annotated[
    Path | None,
    typer.Option(help="File of settings. (default: ./redrive.toml where it is)", rich_help_panel=_SERVER),
]


def up(
    data_dir: DataDir = None,
    host: Host = None,
    port: Port = None,
    workers: Workers = None,
    worker_threads: WorkerThreads = None,
    database_url: DatabaseUrl = None,
    storage_url: StorageUrl = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    insecure: Insecure = None,
    master_key_file: MasterKeyFile = None,
    allow_failpoints: AllowFailpoints = None,
    log_level: LogLevel = None,
    allow_loopback_endpoints: AllowLoopbackEndpoints = None,
    directory_ldap_port: DirectoryLdapPort = None,
    directory_ldaps_port: DirectoryLdapsPort = None,
    directory_dns_port: DirectoryDnsPort = None,
    config: Config = None,
) -> None:
    """Start everything: database, API and workers. Stop with Ctrl-C or SIGTERM.

    Every option is also an environment variable (REDRIVE_PORT) or a line of redrive.toml (port = 8700).
    """
    settings = _settings(locals())
    from redrive.server.supervisor import up as run  # noqa: PLC0415

    run(settings, announce=_announce)


def serve(
    data_dir: DataDir = None,
    host: Host = None,
    port: Port = None,
    database_url: DatabaseUrl = None,
    storage_url: StorageUrl = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    insecure: Insecure = None,
    master_key_file: MasterKeyFile = None,
    allow_failpoints: AllowFailpoints = None,
    log_level: LogLevel = None,
    allow_loopback_endpoints: AllowLoopbackEndpoints = None,
    directory_ldap_port: DirectoryLdapPort = None,
    directory_ldaps_port: DirectoryLdapsPort = None,
    directory_dns_port: DirectoryDnsPort = None,
    config: Config = None,
) -> None:
    """Start the API alone, on a PostgreSQL of your own; workers run elsewhere (redrive worker)."""
    settings = _settings(locals())
    from redrive.server.alone import serve as run  # noqa: PLC0415

    run(settings, announce=_announce)


def worker(
    data_dir: DataDir = None,
    worker_threads: WorkerThreads = None,
    database_url: DatabaseUrl = None,
    storage_url: StorageUrl = None,
    master_key_file: MasterKeyFile = None,
    allow_failpoints: AllowFailpoints = None,
    log_level: LogLevel = None,
    allow_loopback_endpoints: AllowLoopbackEndpoints = None,
    directory_ldap_port: DirectoryLdapPort = None,
    directory_ldaps_port: DirectoryLdapsPort = None,
    directory_dns_port: DirectoryDnsPort = None,
    config: Config = None,
) -> None:
    """Start one worker, on a PostgreSQL of your own."""
    settings = _settings(locals())
    from redrive.server.alone import work as run  # noqa: PLC0415

    run(settings, announce=_announce)


def _settings(options: dict[str, Any]) -> Settings:
    config = options.pop("config")
    return settings_module.load(options, config=config)


def _announce(line: str) -> None:
    typer.echo(line)


#: The three alone; the whole list is in redrive.cli.commands.
app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(up)
app.command()(serve)
app.command()(worker)

"""The first start: an account, its admin user, a tenant, a key pair, and ``credentials.json``.

The file is written (atomically) inside the transaction, before its commit: after a crash in between, the
next start finds no account, makes a new one and replaces the file. So a file whose keys are not known never
lasts, and an account whose keys nobody was told does not exist. Several processes may start at once: an
advisory lock lets one of them do it.
"""

from __future__ import annotations

import secrets
import time
import uuid
from dataclasses import replace
from typing import Any

import psycopg

from redrive.database import Database, Queries, Row
from redrive.errors import Problem, ProblemCode
from redrive.identity.audit import By, record_change
from redrive.identity.credentials import (
    Credentials,
    credentials_file,
    endpoint_of,
    publish_endpoint,
    read_credentials,
    write_credentials,
)
from redrive.identity.keys import NewKeyPair, create_key
from redrive.identity.master_key import START_LOCK, open_sealer
from redrive.identity.passwords import hash_password, new_password
from redrive.identity.sealing import Sealer
from redrive.ids import new_id
from redrive.settings import Settings

queries = Queries.beside(__file__)

DOMAIN_NAME = "redrive"
USER_NAME = "admin"
PROJECT_NAME = "local-1"
#: Who does what nobody asked for by name.
SERVER = By("redrive", "server")


def bootstrap(db: Database, settings: Settings) -> Sealer:
    """Make what a first start needs, check what a later one finds, and return the sealer. Safe to repeat."""
    sealer = open_sealer(db, settings)
    with db.transaction() as conn:
        conn.execute("select pg_advisory_xact_lock(%s)", (START_LOCK,))
        if conn.execute(queries.first_tenant).fetchone() is None:
            made = _create_all(conn, sealer, settings)
            write_credentials(credentials_file(settings), made)
        else:
            publish_endpoint(credentials_file(settings), endpoint_of(settings))
    return sealer


def rotate(
    db: Database, settings: Settings, sealer: Sealer, *, keep_old: bool = False, who: By = SERVER
) -> Credentials:
    """Give the first user a new password and key pair, revoke the former pair, and write the file anew.

    Key pairs made by ``keys create`` stay, and so does the endpoint in the file. A crash before the commit leaves
    the old pair in force; repeat it.
    """
    with db.transaction() as conn:
        conn.execute("select pg_advisory_xact_lock(%s)", (START_LOCK,))
        first = conn.execute(queries.first_tenant).fetchone()
        if first is None:
            raise Problem(
                ProblemCode.CONFLICT, "there is no account yet", hint="start the server once: redrive up"
            )
        password = new_password()
        conn.execute(queries.set_password, {"id": first.user_id, "password_hash": hash_password(password)})
        pair = _first_key(conn, sealer, first.id, first.user_id)
        by = replace(who, account_id=first.account_id)
        record_change(conn, by, "iam:users:resetPassword", first.user_name)
        detail = {"name": USER_NAME, "user": first.user_name, "tenant": str(first.id)}
        record_change(conn, by, "iam:credentials:create", pair.access_key, detail=detail)
        if not keep_old:
            named = {"tenant_id": first.id, "except_id": pair.id}
            for gone in conn.execute(queries.revoke_first_keys, named).fetchall():
                record_change(conn, by, "iam:credentials:delete", gone.access_key, detail=detail)
        made = _credentials(settings, first, password, pair)
        former = read_credentials(credentials_file(settings))
        if former is not None:
            made = replace(made, endpoint=former.endpoint)
        write_credentials(credentials_file(settings), made)
    return made


def _create_all(conn: psycopg.Connection[Any], sealer: Sealer, settings: Settings) -> Credentials:
    account_id, user_id, tenant_id = uuid.uuid4().hex, uuid.uuid4().hex, new_id()
    password = new_password()
    conn.execute(queries.insert_account, {"id": account_id, "name": DOMAIN_NAME})
    conn.execute(
        queries.insert_user,
        {
            "id": user_id,
            "account_id": account_id,
            "name": USER_NAME,
            "password_hash": hash_password(password),
            "description": "the account's own user",
            "root": True,
        },
    )
    conn.execute(
        queries.insert_tenant,
        {
            "id": tenant_id,
            "account_id": account_id,
            "project_id": uuid.uuid4().hex,
            "project_name": PROJECT_NAME,
            "org_id": new_org_id(),
            "workspace_id": uuid.uuid4().hex,
        },
    )
    pair = _first_key(conn, sealer, tenant_id, user_id)
    detail = {"user": USER_NAME, "project": PROJECT_NAME, "key": pair.access_key}
    record_change(
        conn, replace(SERVER, account_id=account_id), "iam:accounts:create", DOMAIN_NAME, detail=detail
    )
    first = conn.execute(queries.first_tenant).fetchone()
    return _credentials(settings, first, password, pair)


def new_org_id() -> str:
    """Return a new organization id: ``o`` and 15 digits, seconds first."""
    return f"o{int(time.time())}{secrets.randbelow(100_000):05}"


def _first_key(conn: psycopg.Connection[Any], sealer: Sealer, tenant_id: int, user_id: str) -> NewKeyPair:
    return create_key(conn, sealer, tenant_id=tenant_id, user_id=user_id, name=USER_NAME, first=True)


def _credentials(settings: Settings, first: Row, password: str, pair: NewKeyPair) -> Credentials:
    return Credentials(
        endpoint=endpoint_of(settings),
        domain_name=first.domain_name,
        user_name=first.user_name,
        password=password,
        project_id=first.project_id,
        project_name=first.project_name,
        org_id=first.org_id,
        workspace_id=first.workspace_id,
        access_key=pair.access_key,
        secret_key=pair.secret_key,
    )

"""An account in the database, and who does things."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redrive.database import Database
from redrive.identity import users
from redrive.identity.audit import By

BEN = By("ben", "test", address="10.0.0.9", request_id="r-1")
PASSWORD = "a password that is long enough"


@dataclass(frozen=True)
class Account:
    db: Database
    id: str
    tenant_id: int

    def user(self, name: str, password: str = PASSWORD) -> users.User:
        with self.db.transaction() as conn:
            return users.create_user(conn, self.id, name, password, who=BEN)

    def rows(self, statement: str, *values: Any) -> list[Any]:
        with self.db.transaction() as conn:
            return conn.execute(statement, values).fetchall()

    def trail(self) -> list[tuple[str, str]]:
        rows = self.rows("select action, resource from audit where actor = 'ben' order by id")
        return [(row.action, row.resource) for row in rows]


def account_of(db: Database) -> Account:
    with db.transaction() as conn:
        [row] = conn.execute("select id, account_id from tenants").fetchall()
    return Account(db, row.account_id, row.id)

"""Tokens of users: how long it takes to get one for a password, and to tell whose one is.

    python -m bench.tokens_of_users [--runs 50]

On an embedded PostgreSQL with fsync on. Getting one is the password's hash on purpose, two transactions and nothing
else: beside it stands the hash alone, which no program of this kind can be faster than. Telling whose one is comes
with every call, so it is kept for seconds; beside it stands the look-up in the database.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.results import Figure, report
from redrive.database import Database, migrate
from redrive.database.embedded import EmbeddedPostgres
from redrive.identity import passwords, user_tokens
from redrive.identity.authentication import Authenticator
from redrive.identity.bootstrap import bootstrap
from redrive.identity.credentials import credentials_file, read_credentials
from redrive.identity.user_tokens import Login
from redrive.settings import Settings


def milliseconds(work: Callable[[], object], runs: int) -> list[float]:
    took = []
    for _ in range(runs):
        begun = time.perf_counter()
        work()
        took.append((time.perf_counter() - begun) * 1000)
    return sorted(took)


def measure(db: Database, folder: Path, runs: int) -> None:
    migrate(db)
    settings = Settings(data_dir=folder, database_url=db.url)
    authenticator = Authenticator(db, bootstrap(db, settings))
    admin = read_credentials(credentials_file(settings))
    assert admin is not None
    login = Login(admin.password, name=admin.user_name, account_name=admin.domain_name)

    def issue() -> str:
        user = user_tokens.check_login(db, login)
        with db.transaction() as conn:
            return user_tokens.issue(conn, user.id, None).text

    token = issue()
    stored = passwords.hash_password(admin.password)
    alone = milliseconds(lambda: passwords.password_fits(stored, admin.password), runs)
    took = milliseconds(issue, runs)
    report(
        Figure(
            "a user's token for a password: median",
            statistics.median(took),
            "ms",
            "<= 150",
            "argon2 alone",
            statistics.median(alone),
        )
    )

    def looked_up() -> None:
        authenticator.forget_all()
        authenticator.by_user_token(token)

    fresh = milliseconds(looked_up, runs * 4)
    authenticator.by_user_token(token)
    kept = milliseconds(lambda: authenticator.by_user_token(token), runs * 200)
    report(
        Figure(
            "whose token it is, kept: 99 %",
            kept[int(len(kept) * 0.99)],
            "ms",
            "<= 0.2",
            "a look-up in the database, median",
            statistics.median(fresh),
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="redrive-bench-") as folder:
        server = EmbeddedPostgres(Path(folder) / "D")
        try:
            with Database(server.start()) as db:
                measure(db, Path(folder) / "D", options.runs)
        finally:
            server.stop()


if __name__ == "__main__":
    main()

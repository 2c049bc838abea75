"""``redrive serve`` and ``redrive worker`` on a PostgreSQL of somebody else."""

from __future__ import annotations

import json
import signal
import threading
import time
from pathlib import Path

from redrive.database import Database
from redrive.database.embedded import EmbeddedPostgres
from tests.servers import Launch, Server, eventually


def test_several_may_start_at_once_on_an_empty_database(
    empty_url: str, launch: Launch, tmp_path: Path
) -> None:
    key = tmp_path / "shared.key"
    options = ["--database-url", empty_url, "--master-key-file", str(key)]
    started: dict[str, Server] = {}

    def start(name: str, command: str) -> None:
        started[name] = launch(command, *options, data_dir=tmp_path / name)

    roles = {"first": "serve", "second": "serve", "third": "worker", "fourth": "worker"}
    threads = [threading.Thread(target=start, args=role) for role in roles.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [started[name].get("/readyz")[0] for name in ("first", "second")] == [200, 200]
    assert [started[name].line for name in ("third", "fourth")] == ["Redrive worker is ready"] * 2
    with Database(empty_url) as db:
        [count] = db.run(lambda conn: conn.execute("SELECT count(*) FROM tenants").fetchone() or [0])
        assert count == 1
        alive = "SELECT 1 FROM workers WHERE stopped_at IS NULL"
        eventually(
            lambda: len(db.run(lambda conn: conn.execute(alive).fetchall())) == 2, within=5, what="workers"
        )
        for server in started.values():
            assert server.stop(signal.SIGTERM) < 10
        assert not db.run(lambda conn: conn.execute(alive).fetchall())


def test_a_worker_whose_database_is_away_still_ends_in_time(launch: Launch, tmp_path: Path) -> None:
    database = EmbeddedPostgres(tmp_path / "db", settings={"fsync": "off"})
    url = database.start()
    try:
        server = launch("serve", "--database-url", url)
        worker = launch("worker", "--database-url", url)
        database.stop()
        time.sleep(0.5)
        assert worker.stop() < 10
        status, body = server.get("/readyz")
        assert (status, json.loads(body)["detail"]) == (503, "the database does not answer")
        database.start()
        eventually(lambda: server.get("/readyz")[0] == 200, within=5, what="the API is back")
    finally:
        database.stop()


def test_without_an_address_they_say_what_is_missing(launch: Launch) -> None:
    for command in ("serve", "worker"):
        server = launch(command)
        assert server.process.wait(10) == 2
        assert "there is no address of a database" in server.log.read_text()

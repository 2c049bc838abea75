"""A whole server dies while a workspace comes and goes: it ends by itself, and nothing is done twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from redrive.database import Database
from redrive.database.embedded import EmbeddedPostgres
from redrive.identity.sealing import new_key, write_key_file
from redrive.services.workspaces.steps import STEPS
from tests.endpoints.openldap import free_port
from tests.servers import Launch, Server, alive, eventually
from tests.wire_huawei.scene import login
from tests.workspaces.scene import ACCOUNT, DOMAIN, PASSWORD, directory_server
from tests.workspaces.watched_directory import ADD, DELETE, watched_directory

#: After the effect of a step, before its record: so long is the moment in which everything is killed.
SLOW = {"engine.unit.after": "delay:0.5"}
REGISTRATION = {
    "ad_domains": {
        "domain_type": "LOCAL_AD", "domain_name": DOMAIN, "domain_admin_account": ACCOUNT,
        "domain_password": PASSWORD, "active_domain_ip": "127.0.0.1", "active_domain_name": "dc1",
        "delete_computer_object": 1,
    },
    "access_mode": "INTERNET",
}  # fmt: skip


@dataclass
class Plant:
    """A second project on a server, which is not registered yet; calls as the account's root user."""

    server: Server
    project: str = ""
    token: str = ""

    def send(self, method: str, path: str, body: Any = None) -> tuple[int, Any, Any]:
        """Call; status, answer and headers. 0 and nothing where the server cannot be reached."""
        keys = json.loads((self.server.data_dir / "credentials.json").read_text())
        request = urllib.request.Request(
            self.server.url + path.replace("{}", self.project),
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        if path.startswith("/v1"):
            pair = urllib.request.HTTPPasswordMgrWithPriorAuth()
            pair.add_password(
                None, self.server.url, keys["access_key"], keys["secret_key"], is_authenticated=True
            )
            opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(pair))
        else:
            request.add_header("X-Auth-Token", self.token)
            opener = urllib.request.build_opener()
        try:
            with opener.open(request, timeout=15) as answer:
                return answer.status, json.loads(answer.read() or b"null"), answer.headers
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null"), error.headers
        except OSError:
            return 0, None, {}

    def begin(self, failpoints: dict[str, str]) -> None:
        """Make the project, get a token for it, and arm failpoints."""
        status, made, _ = self.send("POST", "/v1/identity/projects", {"name": "plant-2"})
        assert status == 201, made
        self.project = made["id"]
        keys = json.loads((self.server.data_dir / "credentials.json").read_text())
        scope = {"project": {"id": self.project}}
        asked = login(keys["user_name"], keys["password"], keys["domain_name"], scope)
        status, answer, headers = self.send("POST", "/v3/auth/tokens", asked)
        assert status == 201, answer
        self.token = headers["X-Subject-Token"]
        assert self.send("PUT", "/v1/failpoints", {"failpoints": failpoints})[0] == 200

    def task(self, method: str, path: str = "/v2/{}/workspaces", body: Any = None) -> str:
        status, answer, _ = self.send(method, path, body)
        assert status in (200, 202), answer
        return str(answer["job_id"])

    def running(self, task: str, step: str) -> bool:
        status, told, _ = self.send("GET", f"/v2/{{}}/workspace-jobs/{task}")
        steps = told["sub_jobs"] if status == 200 else []
        return any(each["entity"] == step and each["status"] == "RUNNING" for each in steps)

    def comes_to(self, word: str, *going: str) -> None:
        """Wait until the workspace stands at ``word``; other words than these on the way are wrong."""

        def there() -> bool:
            status, told, _ = self.send("GET", "/v2/{}/workspaces")
            assert status != 200 or told["status"] in (word, *going), told
            return status == 200 and told["status"] == word

        eventually(there, within=60, what=word)

    def ask(self, statement: str) -> list[Any]:
        """Ask the server's own database."""
        url = EmbeddedPostgres(self.server.data_dir).start()
        with Database(url, max_size=1) as db:
            return db.run(lambda conn: conn.execute(statement).fetchall())

    def each_step_once(self, kind: str, steps: int, *, kills: int) -> None:
        """By the database: one job in one attempt, every step done; for each kill at most one begun again."""
        (job,) = self.ask(
            f"""select j.state, j.attempt, j.done_units, j.attempt_redone, j.failed_units, t.open,
                       (select count(*) from units u
                        where u.job_id = j.id and u.state = 'done' and u.attempt = 1) as n
                from jobs j join tenants t on t.id = j.tenant_id
                where j.kind = 'workspace.{kind}' and t.project_name = 'plant-2'"""
        )
        assert (job.state, job.attempt, job.done_units, job.failed_units, job.n) == (
            "succeeded", 1, steps, 0, steps,
        ), job  # fmt: skip
        assert job.attempt_redone <= kills
        assert job.open is (kind == "registration")

    def made(self) -> tuple[int, int]:
        """How many schemas and data keys of projects there are."""
        (row,) = self.ask(
            "select count(*) as schemas, (select count(*) from tenant_keys) as keys from pg_namespace"
            " where starts_with(nspname, 'ws_')"
        )
        return row.schemas, row.keys


def killer(server: Server) -> Callable[[], None]:
    """Kill the server's PostgreSQL, and see it started again."""

    def kill() -> None:
        [postgres] = server.children("postgres -D")
        os.kill(postgres, signal.SIGKILL)
        eventually(
            lambda: server.children("postgres -D") not in ([], [postgres]), within=20, what="PostgreSQL"
        )

    return kill


@pytest.mark.timeout(240)
def test_the_database_is_killed_in_the_middle_of_a_registration_and_of_a_deregistration(
    launch: Launch, tmp_path: Path
) -> None:
    with watched_directory(tmp_path) as directory:
        options = ["--workers", "1", "--allow-failpoints", "--directory-ldap-port", str(directory.port)]
        plant = Plant(launch("up", *options))
        kill, killed = killer(plant.server), threading.Event()
        plant.begin(SLOW)

        def kill_after(sort: int) -> None:
            directory.on = lambda seen: (
                (kill(), killed.set()) if seen == sort and not killed.is_set() else None
            )

        kill_after(ADD)
        task = plant.task("POST", body=REGISTRATION)
        eventually(lambda: plant.running(task, "samples"), within=20, what="samples")
        kill()
        assert killed.wait(60), "it went on by itself, as far as the directory"
        plant.comes_to("SUBSCRIBED", "PREPARING", "SUBSCRIBING")
        plant.each_step_once("registration", len(STEPS), kills=2)
        assert directory.added == 1 and directory.deleted == 0
        assert plant.made() == (2, 2), "those of the first project, and these"

        killed.clear()
        kill_after(DELETE)
        task = plant.task("DELETE")
        eventually(lambda: plant.running(task, "endpoints"), within=30, what="endpoints")
        kill()
        assert killed.wait(60), "it went on by itself, as far as the directory"
        plant.comes_to("CLOSED", "DEREGISTERING")
        plant.each_step_once("deregistration", len(STEPS) + 1, kills=2)
        assert directory.added == 1 and directory.deleted == 1
        assert plant.made() == (1, 1), "those of the first project"
    assert [line["event"] for line in plant.server.said()].count("postgres.died") == 4


@pytest.mark.timeout(180)
def test_the_whole_server_is_killed_in_the_middle_of_a_registration_and_started_again(
    launch: Launch, tmp_path: Path
) -> None:
    with watched_directory(tmp_path) as directory:
        options = ["--workers", "1", "--allow-failpoints", "--directory-ldap-port", str(directory.port)]
        plant = Plant(launch("up", *options))
        plant.begin(SLOW)
        killed = threading.Event()

        def kill_all(sort: int) -> None:
            if sort == ADD and not killed.is_set():
                plant.server.children()
                for pid in [plant.server.process.pid, *plant.server.family]:
                    os.kill(pid, signal.SIGKILL)
                killed.set()

        directory.on = kill_all
        plant.task("POST", body=REGISTRATION)
        assert killed.wait(60)
        plant.server.process.wait(10)
        eventually(lambda: not any(alive(pid) for pid in plant.server.family), within=10, what="all are dead")

        plant.server = launch("up", *options)
        plant.comes_to("SUBSCRIBED", "SUBSCRIBING")
        plant.each_step_once("registration", len(STEPS), kills=1)
        assert directory.added == 1
        (join,) = plant.ask(
            """select ledger from units
               where kind = 'workspace.registration' and label = 'join' and ledger->>'joined' <> ''"""
        )
        assert join.ledger["found"] is True, "it was looked for, not made again"


@pytest.mark.timeout(180)
def test_without_its_master_key_it_does_not_start_and_with_it_a_task_that_waits_is_retried(
    launch: Launch, tmp_path: Path
) -> None:
    port = free_port()
    options = ["--workers", "1", "--allow-failpoints", "--directory-ldap-port", str(port)]
    plant = Plant(launch("up", *options))
    plant.begin({})
    task = plant.task("POST", body=REGISTRATION)
    plant.comes_to("SUBSCRIPTION_FAILED", "PREPARING", "SUBSCRIBING")
    plant.server.stop()
    key, kept = plant.server.data_dir / "master.key", tmp_path / "kept.key"
    shutil.move(key, kept)

    def refused(words: str) -> None:
        server = launch("up", *options)
        assert server.line == "" and server.process.wait(30) == 2
        said = server.log.read_text()
        assert words in said and str(key) in said and "Traceback" not in said, said[-2000:]

    refused("is missing, but this database holds values sealed with a master key")
    assert not key.exists(), "no other is made in its place"
    write_key_file(key, [new_key()])
    other = key.read_bytes()
    refused("does not fit this database")
    assert key.read_bytes() == other
    key.write_text("no key at all\n")
    refused("master.key")

    shutil.copy(kept, key)
    plant.server = launch("up", *options)
    plant.comes_to("SUBSCRIPTION_FAILED")
    with directory_server(tmp_path, port):
        again = plant.task("POST", f"/v2/{{}}/workspace-jobs/{task}/actions", {"op_type": "retry"})
        plant.comes_to("SUBSCRIBED", "PREPARING", "SUBSCRIBING")
    assert again != task

"""Empty tasks on absurd. Its tables are made by its own tool (``absurdctl init``) beforehand.

Settings: claims in batches; one connection for each client, as the SDK has it; in each process as many
clients, each in a thread of its own, as raise the rate.
"""

from __future__ import annotations

import os
import threading

from absurd_sdk import Absurd
from psycopg import connect
from start import run

CLIENTS = int(os.environ.get("ABSURD_CLIENTS", "4"))
BATCH = int(os.environ.get("ABSURD_BATCH", "50"))


def client_on(url: str) -> Absurd:
    client = Absurd(url, queue_name="bench")
    client.register_task("empty")(lambda params, context: None)
    return client


def fill(url: str, count: int) -> None:
    client = client_on(url)
    client.create_queue()
    with connect(url) as conn:
        # What `spawn` calls for one task, for many in one transaction.
        conn.execute(
            "select count(*) from (select absurd.spawn_task('bench', 'empty', '{}', '{\"max_attempts\": 5}')"
            " from generate_series(1, %s)) as spawned",
            (count,),
        )
    client.close()


def work(url: str) -> None:
    threads = [
        threading.Thread(
            target=client_on(url).start_worker,
            kwargs={"worker_id": f"{os.getpid()}-{n}", "batch_size": BATCH, "poll_interval": 0.01},
        )
        for n in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    run(fill, work)

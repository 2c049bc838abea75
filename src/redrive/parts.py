"""What a process of the server works with, opened once and handed to everything that needs it."""

from __future__ import annotations

from dataclasses import dataclass

from redrive.database import Database
from redrive.errors import Problem, ProblemCode
from redrive.identity.audit import Refusals
from redrive.identity.authentication import Authenticator
from redrive.identity.login_attempts import LoginAttempts
from redrive.identity.master_key import SEALED_COLUMNS as IDENTITY_COLUMNS
from redrive.identity.master_key import SealedColumn, open_sealer
from redrive.identity.sealing import Sealer
from redrive.services.timeseries.ingest import Ingest
from redrive.services.timeseries.reads.stored import Reads
from redrive.services.timeseries.storage import SampleStore
from redrive.services.workspaces.house import SEALED as SEALED_OF_WORKSPACES
from redrive.settings import Settings

#: Every column of sealed values that there is: what a rotation of the master key seals again.
SEALED_COLUMNS = (*IDENTITY_COLUMNS, *(SealedColumn(*column) for column in SEALED_OF_WORKSPACES))


@dataclass(frozen=True, slots=True)
class Parts:
    """The open parts of a process; ``close()`` them at its end."""

    settings: Settings
    db: Database
    sealer: Sealer
    authenticator: Authenticator
    refusals: Refusals
    logins: LoginAttempts
    store: SampleStore
    ingest: Ingest
    reads: Reads

    def close(self) -> None:
        """Write what waits, end the threads and close the connections; safe to repeat."""
        self.ingest.close()
        self.store.close()
        self.refusals.close()
        self.db.close()


def open_parts(
    settings: Settings,
    *,
    name: str = "redrive",
    connections: int = 8,
    wait_seconds: float = 30.0,
    idle_seconds: float = 60.0,
) -> Parts:
    """Open the parts on a database that is migrated; ``name`` shows in the database's list of sessions.

    ``wait_seconds``: how long work waits for a database that is away before it fails. ``idle_seconds``: see
    :class:`~redrive.database.Database`.
    """
    if settings.database_url is None:
        raise Problem(
            ProblemCode.INVALID,
            "there is no address of a database",
            hint="give --database-url or REDRIVE_DATABASE_URL",
        )
    db = Database(
        settings.database_url,
        max_size=connections,
        name=name,
        wait_seconds=wait_seconds,
        idle_seconds=idle_seconds,
    )
    try:
        sealer = open_sealer(db, settings)
        store = SampleStore(settings.storage, None, db)
        ingest = Ingest(db)
        reads = Reads(db, store, ingest.tail)
        return Parts(
            settings=settings,
            db=db,
            sealer=sealer,
            authenticator=Authenticator(db, sealer),
            refusals=Refusals(db),
            logins=LoginAttempts(),
            store=store,
            ingest=ingest,
            reads=reads,
        )
    except BaseException:
        db.close()
        raise

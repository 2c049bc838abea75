"""The Delta log of one table: snapshots, and commits that are fenced and lose nothing.

A commit is a compare-and-set: it is prepared on snapshot N, with everything it depends on checked there (the
fence, the files that it replaces), and written as version N+1 or not at all. Where somebody else was first, all
is checked again on the newest snapshot. So there is no window between a check and its commit.

::

    app id            number = claim   written by fences and by effects; greater than mine: I am fenced
    app id/effect     number           written by effects only: the claim, or the step where an app id has many
    write/<id>        number = 1       the change with that journal id was given up by a sweep: it never commits

Guarantees: an effect happens at most once per app id (or per step); an answer that got lost is found out; a
commit is durable when ``commit`` returns; a process that was frozen while the log moved on finds its commit in
the present log or tries again.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from redrive.clock import now, to_ms
from redrive.engine.failpoints import hit
from redrive.errors import Failure, FailureClass
from redrive.ids import new_id
from redrive.services.timeseries.storage import columns
from redrive.services.timeseries.storage.fencing import Commit, Fence, Fenced, GivenUp, Stale
from redrive.services.timeseries.storage.folder import Folder, Vanished, as_failure, log_path
from redrive.services.timeseries.storage.snapshot import LiveFile, Snapshot, live_files
from redrive.services.timeseries.storage.transactions import Transactions

_logger = logging.getLogger(__name__)

Actions = Sequence[AddAction | RemoveAction]

#: How long a table remembers fences and effects: longer than any lease and outage.
TRANSACTION_DAYS = 30
_CHECKPOINT_EVERY = 50
_PATIENCE_SECONDS = 60.0
#: A process that was away for longer than this looks whether its commit stands in the present log.
_FROZEN_SECONDS = 60.0

_CONFIGURATION: dict[str, str | None] = {
    "delta.dataSkippingStatsColumns": ",".join(columns.BOUNDED),
    "delta.logRetentionDuration": "interval 0 seconds",
    "delta.deletedFileRetentionDuration": "interval 0 seconds",
    "delta.setTransactionRetentionDuration": f"interval {TRANSACTION_DAYS} days",
    # Checkpoints and the cleaning of the log cost milliseconds each: we choose when.
    "delta.enableExpiredLogCleanup": "false",
    "delta.checkpointInterval": "1000000",
}
_NO_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
_SCHEMA = Schema.from_arrow(columns.TABLE)


class Log:
    """The log of one table, shared by the threads of a process."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        self._delta: DeltaTable | None = None
        self._transactions = Transactions(folder)
        self._snapshot: Snapshot | None = None

    def refresh(self) -> Snapshot | None:
        """Return the newest snapshot; None where the table has never been written."""
        with self._lock:
            try:
                delta = self._update()
            except TableNotFoundError:
                return None
            except (OSError, DeltaError) as error:
                raise as_failure(error, self.folder.uri) from error
            version = delta.version()
            if self._snapshot is None or self._snapshot.version != version:
                known: Mapping[str, LiveFile] = self._snapshot.files if self._snapshot else {}
                # Not pa.table(): that imports pandas where it is installed (1 s).
                actions = pa.RecordBatchReader.from_stream(delta.get_add_actions(flatten=True)).read_all()
                numbers = self._transactions.at(version)
                self._snapshot = Snapshot.of(version, live_files(actions, known), numbers)
            return self._snapshot

    def open(self) -> Snapshot:
        """Return the newest snapshot; the table is made where there is none."""
        snapshot = self.refresh()
        while snapshot is None:
            try:
                DeltaTable.create(
                    self.folder.uri,
                    columns.TABLE,
                    mode="ignore",
                    partition_by=["bucket"],
                    configuration=_CONFIGURATION,
                    storage_options=dict(self.folder.options) or None,
                    post_commithook_properties=_NO_HOOKS,
                )
                self.folder.sync_log(0)
            except (OSError, DeltaError) as error:
                if self.refresh() is None:
                    raise as_failure(error, self.folder.uri) from error
            snapshot = self.refresh()
        return snapshot

    def check(self, fence: Fence, snapshot: Snapshot) -> Commit | None:
        """Return the effect that stands already, None where it is still to be done; ``Fenced`` otherwise."""
        claimed = snapshot.transactions.get(fence.app_id)
        if claimed is not None and claimed > fence.claim:
            raise Fenced(f"{fence.app_id}: claim {fence.claim} gave way to {claimed}")
        effect = snapshot.transactions.get(fence.effect) if fence.once else None
        if effect is not None and (fence.step is None or effect >= fence.step):
            return Commit(snapshot.version, effect, repeated=True)
        return None

    def fence(self, fence: Fence) -> Snapshot:
        """Stop every earlier claim of the app id; safe to repeat. Return a snapshot behind the fence."""
        metadata = {"kind": "fence", "app_id": fence.app_id, "claim": fence.claim}
        number = {fence.app_id: fence.claim}

        def prepare(snapshot: Snapshot) -> Actions | None:
            claimed = snapshot.transactions.get(fence.app_id)
            if claimed is not None and claimed > fence.claim:
                raise Fenced(f"{fence.app_id}: claim {fence.claim} gave way to {claimed}")
            return None if claimed == fence.claim else ()

        return self._commit(prepare, number, metadata)

    def give_up(self, write_ids: Sequence[int]) -> Snapshot:
        """See to it that these changes never commit; return a snapshot behind that."""
        numbers = {_given_up(write_id): 1 for write_id in write_ids}

        def prepare(snapshot: Snapshot) -> Actions | None:
            return None if all(name in snapshot.transactions for name in numbers) else ()

        return self._commit(prepare, numbers, {"kind": "give_up"})

    def commit(
        self,
        fence: Fence,
        write_id: int,
        *,
        add: Sequence[AddAction],
        remove: Sequence[LiveFile],
        metadata: Mapping[str, Any],
        agrees: Callable[[Snapshot], bool] | None = None,
    ) -> Commit:
        """Add and remove files in one commit.

        ``Stale`` where a file to remove is not live any more, or ``agrees`` says no of the snapshot that the
        commit would follow; ``GivenUp`` where a sweep has given this change up.
        """
        done: list[Commit] = []

        def prepare(snapshot: Snapshot) -> Actions | None:
            standing = self.check(fence, snapshot)
            if standing is not None:
                done.append(standing)
                return None
            if _given_up(write_id) in snapshot.transactions:
                raise GivenUp(f"change {write_id} was given up")
            if any(file.path not in snapshot.files for file in remove):
                raise Stale("a file to replace is gone")
            if agrees is not None and not agrees(snapshot):
                raise Stale("the table has changed under this change")
            hit("timeseries.storage.before_commit")
            return [*(_removal(file) for file in remove), *add]

        numbers = {fence.app_id: fence.claim}
        if fence.once:
            numbers[fence.effect] = fence.number
        told = {"kind": "effect", "app_id": fence.app_id, "claim": fence.claim, "write": str(write_id)}
        snapshot = self._commit(prepare, numbers, {**told, **metadata})
        if done:
            # Either an earlier try of this very change, whose answer was lost, or another claim's effect.
            ours = all(action.path in snapshot.files for action in add) and bool(add)
            return Commit(done[0].version, done[0].number, repeated=not ours)
        return Commit(snapshot.version, fence.number)

    def checkpoint(self) -> None:
        """Write a checkpoint of the newest snapshot, so that opening the table stays fast."""
        with self._lock:
            if self._delta is not None:
                self._delta.create_checkpoint()

    def reload(self) -> None:
        """Forget what is kept of the log: the next refresh reads it anew."""
        with self._lock:
            self._delta, self._snapshot = None, None
            self._transactions = Transactions(self.folder)

    def _update(self) -> DeltaTable:
        if self._delta is not None:
            try:
                self._delta.update_incremental()
                return self._delta
            except TableNotFoundError:
                self.reload()
                raise
            except (OSError, DeltaError):
                # The log was cleaned behind us: read it from its newest checkpoint.
                self.reload()
        self._delta = DeltaTable(self.folder.uri, storage_options=dict(self.folder.options) or None)
        return self._delta

    def _commit(
        self,
        prepare: Callable[[Snapshot], Actions | None],
        numbers: Mapping[str, int],
        metadata: Mapping[str, Any],
    ) -> Snapshot:
        """Commit what ``prepare`` makes of a snapshot, until it stands; None from it: nothing to do."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        tries = 0
        while True:
            with self._lock:
                began = time.time()
                snapshot = self.open()
                actions = prepare(snapshot)
                if actions is None:
                    return snapshot
                token = str(new_id())
                error = self._try(actions, numbers, {**metadata, "token": token})
                if time.time() - began > _FROZEN_SECONDS:
                    self.reload()
                found = self.open()
                if self._stands(snapshot.version + 1, token, found, numbers, error):
                    self._after_commit(snapshot.version + 1)
                    return found
            if error is not None and found.version <= snapshot.version:
                raise as_failure(error, self.folder.uri) from error
            if time.monotonic() > deadline:
                raise Failure(
                    "storage",
                    "other changes of the table were always first",
                    hint="retry when fewer changes are under way",
                    kind=FailureClass.TRANSIENT,
                    target=self.folder.uri,
                )
            tries += 1
            time.sleep(random.uniform(0.0, min(0.1, 0.002 * 2 ** min(tries, 8))))

    def _try(
        self, actions: Actions, numbers: Mapping[str, int], metadata: Mapping[str, Any]
    ) -> Exception | None:
        assert self._delta is not None
        at_ms = to_ms(now())
        try:
            self._delta.create_write_transaction(
                list(actions),
                "append",
                _SCHEMA,
                ["bucket"],
                commit_properties=CommitProperties(
                    custom_metadata={"redrive": dict(metadata)},
                    # 0: as the next version of this very snapshot or not at all.
                    max_commit_retries=0,
                    app_transactions=[Transaction(name, number, at_ms) for name, number in numbers.items()],
                ),
                post_commithook_properties=_NO_HOOKS,
            )
        except (CommitFailedError, DeltaError, OSError) as error:
            return error
        return None

    def _stands(
        self,
        version: int,
        token: str,
        found: Snapshot,
        numbers: Mapping[str, int],
        error: Exception | None,
    ) -> bool:
        """Return whether the commit with ``token`` is part of the log that ``found`` was read from."""
        if found.version < version:
            return False
        if error is None and found.version == version:
            return True
        if any(found.transactions.get(name, -1) < number for name, number in numbers.items()):
            return False
        if error is None:
            return True
        try:
            return token.encode() in self.folder.read(log_path(version))
        except Vanished:
            return False

    def _after_commit(self, version: int) -> None:
        self.folder.sync_log(version)
        if version % _CHECKPOINT_EVERY == 0:
            try:
                self.checkpoint()
            except (OSError, DeltaError):
                _logger.warning("no checkpoint of %s at version %d", self.folder.uri, version, exc_info=True)


def _given_up(write_id: int) -> str:
    return f"write/{write_id}"


def _removal(file: LiveFile) -> RemoveAction:
    return RemoveAction(
        file.path, True, to_ms(now()), size=file.size, partition_values={"bucket": str(file.bucket)}
    )

"""The store of all organizations' samples: a local folder or a bucket."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from redrive.database import Database
from redrive.services.timeseries.storage import probing
from redrive.services.timeseries.storage.folder import Folder, make_folder
from redrive.services.timeseries.storage.journal import Journal
from redrive.services.timeseries.storage.table import OrgTable

#: Of all tables of a process. Each works on at most one file's rows, about 100 MB: that bounds the memory.
_THREADS = min(4, max(2, os.cpu_count() or 2))
#: Snapshots and footers are kept of so many tables.
_TABLES = 256


class SampleStore:
    """Tables below one root, ``<root>/<org_id>/samples``. One per process; ``close()`` at the end."""

    def __init__(self, root_url: str, storage_options: Mapping[str, str] | None, db: Database) -> None:
        self.root_url = root_url
        self.options = dict(storage_options or {})
        self._db = db
        self._tables: OrderedDict[str, OrgTable] = OrderedDict()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(_THREADS, "storage")

    def table(self, org_id: str) -> OrgTable:
        """Return the table of an organization; it is made in the store with its first samples."""
        with self._lock:
            table = self._tables.get(org_id)
            if table is None:
                table = OrgTable(self.folder(org_id), Journal(self._db, org_id), self._pool)
                self._tables[org_id] = table
                while len(self._tables) > _TABLES:
                    self._tables.popitem(last=False)
            self._tables.move_to_end(org_id)
            return table

    def folder(self, org_id: str) -> Folder:
        """Return where an organization's table lies."""
        return make_folder(self.root_url, self.options, org_id, "samples")

    def staging(self, org_id: str) -> Folder:
        """Return where an organization's uploaded files wait to be imported."""
        return make_folder(self.root_url, self.options, org_id, "imports")

    def probe(self) -> None:
        """Raise a ``Problem`` where the store cannot be written to or lacks conditional writes."""
        probing.probe(make_folder(self.root_url, self.options))

    def close(self) -> None:
        """End the threads; safe to repeat."""
        self._pool.shutdown()

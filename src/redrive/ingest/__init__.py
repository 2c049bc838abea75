"""The durable log of accepted batches: appended by ingest, read by time series and streams.

::

    values, arrow ─► samples (one table form) ─► LogWriter (group commit) ─► ingest_log in PostgreSQL
                                                                               │ tail (decoded, cached)
                                                        readers advance ◄──────┘ batches behind all are dropped

Guarantees:

* An acknowledged batch is committed, with ``fsync``, and readable at once.
* Every batch has a sequence number of its tenant; sequence order is commit order, so whoever has seen number
  n has seen everything up to n.
* A batch is stored as a whole or not at all; within one, the last row for an (asset, point, time) wins.

Refuses: values that are not finite, instants outside 1900 to 2262, names that could not be asked for again.
"""

from __future__ import annotations

from redrive.ingest.log import Channel, append, backlog, drop, head, read
from redrive.ingest.tail import Tail
from redrive.ingest.writer import LogWriter

__all__ = ["Channel", "LogWriter", "Tail", "append", "backlog", "drop", "head", "read"]

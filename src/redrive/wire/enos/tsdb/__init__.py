"""The vendor's time-series service, ``/tsdb-service/v2.1``: reads and deletions."""

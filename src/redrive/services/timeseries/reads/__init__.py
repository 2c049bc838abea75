"""Reads of samples: raw, minute by minute, aggregated, states, latest values.

::

    query ─► selection (types, zones, spans) ─► walking (slices of time) ─► frame (sorted columns)
                     ▲ registry                       ▲ log tail + tables          │
                                                                                    ▼
                               answer ◄─ samples · aggregates · conditions · newest ◄─ pure computations

``frame``, ``zones``, ``spans``, ``buckets``, ``aggregation``, ``interpolation``, ``states``, ``filters`` and
``localtime`` are pure. ``stored`` is the only module that knows where samples lie.

Guarantees: an answer shows one state of the data, never a mixture of before and after a deletion; a span has
its start and not its end; of several samples of one time the last accepted one counts; values come back as
they were given, large integers exactly.
"""

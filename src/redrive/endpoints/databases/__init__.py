"""The users' databases: what names one, how it is connected to, and what its errors mean.

::

    model      Endpoint: engine, place, account, TLS. Pure
    postgres   connections to PostgreSQL through the guard; its errors as failures
"""

from __future__ import annotations

"""The vendor's edge: its own SDKs work against it.

::

    auth       who calls: X-Auth-Token, or a signature over the raw request; for which project
    envelope   refusals in the vendor's shapes, the route class of a service
    codes      tables: our problem -> HTTP status and error code
    language   messages in the languages that the vendor knows
    identity/  tokens, catalog, projects, caller identity, sealed refusals (IAM, STS)
    workspace/ registration, deregistration, tasks, retry (Workspace v2)

Vendor words stay here; facts are from the vendor's published pages and from what its clients send.
"""

from __future__ import annotations

"""Who calls, for whom, and what they may do.

::

    account ──< user ──< key pair >── tenant          a key pair acts for one tenant
                            ├──< permission           asset:read, asset:write; on all or some assets
                            └──< access token         short-lived, stored as a hash

    sealing         the master key: secrets in the database are sealed, and bound to their row
    access          principals, scopes, the permission check
    keys            key pairs: create, list, revoke
    tokens          access tokens and proofs that count once
    authentication  from what a caller shows to a principal, with a cache of a few seconds
    server_keys     the server's own RSA key pair, for clients that encrypt who they are
    bootstrap       the first account, user, tenant and key pair, and credentials.json

Guarantees: no secret is stored in clear; a revoked key is refused by every process within
``authentication.CACHE_SECONDS``; another tenant's ids answer as if they did not exist.
Refuses: to start with a master key that does not fit the database.
"""

from __future__ import annotations

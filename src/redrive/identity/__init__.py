"""Who calls, for whom, and what they may do.

::

    account ──< user ──< key pair >── tenant (project)   a key pair acts as its user for one tenant, within its layers
       │         │  └──< user token                      24 hours, for a password; for a tenant or the account
       │         └──< group member >── group
       ├──< policy ──< attachment >── user or group      in one tenant, or in every one
       └──< tenant                 access token          of a key pair: short-lived, stored as a hash

    policies        policy documents, read strictly       conditions, patterns   what they are made of
    decisions       may this principal do that?           containment            do these rights hold what that gives?
    access          principals, actions, the check        builtin                policies that are always there
    keys            key pairs as rows                     issuing                made, rotated, revoked; audited
    users           users and groups                      policy_store           policies and attachments
    projects        projects of an account                delegation             nobody gives more than it has
    user_tokens     passwords to tokens                   login_attempts         who sends many wrong ones waits
    tokens          access tokens, proofs that count once simulation             may X do Y, and why
    authentication  from what a caller shows to a principal, with a cache of a few seconds
    audit           the trail: every refusal, every change of rights
    sealing         the master key: secrets in the database are sealed, and bound to their row
    server_keys     the server's own RSA key pair, for clients that encrypt who they are
    bootstrap       the first account, user, tenant and key pair, and credentials.json

Guarantees: no secret is stored in clear; what is revoked or detached is refused by every process within
``authentication.CACHE_SECONDS``; another tenant's ids answer as if they did not exist; a change of rights and its
entry in the trail are one transaction.
Refuses: to start with a master key that does not fit the database.
"""

from __future__ import annotations

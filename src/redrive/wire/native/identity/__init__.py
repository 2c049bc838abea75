"""The calls about identities: ``/v1/identity/…`` and ``/v1/audit``.

::

    guard       the action that guards a call, in one place
    users       users, groups
    policies    policies, where they are attached, "may X do Y?"
    keys        key pairs, temporary key pairs, projects
    tokens      a user's token for a password
    trail       the audit trail
"""

from __future__ import annotations

from redrive.wire.native.identity import keys, policies, tokens, trail, users

ROUTERS = (users.router, policies.router, keys.router, tokens.router, trail.router)

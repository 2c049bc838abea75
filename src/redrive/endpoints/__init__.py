"""The users' systems: everything outside that a tenant names and Redrive connects to.

::

    guard       the one way out: which addresses may be connected to, resolved once
    tls         TLS over a connection of the guard's, with failures that say what is wrong with a certificate
    words       what other machines say, fit to be shown
    directory   a directory (Active Directory, OpenLDAP) that a workspace joins

Nothing here connects to an address that has not passed :class:`~redrive.endpoints.guard.Guard`.
"""

"""Sessions with the controllers of a directory, opened and bound as its admin account."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass

from redrive.endpoints import tls
from redrive.endpoints.directory import ldap
from redrive.endpoints.directory.ldap import Answer, Root, Session, escaped
from redrive.endpoints.directory.model import Controller, Directory, Reach, needs_input
from redrive.endpoints.guard import Address
from redrive.errors import Failure, FailureClass

_RETRY = "correct the password by a modify call, then retry"
#: What Active Directory says behind "data" when it refuses a bind: Windows' error numbers, in hexadecimal.
_SUBCODES = {
    "525": ("there is no such account", "correct the account by a modify call, then retry"),
    "52e": ("the password or the account is wrong", _RETRY),
    "530": ("the account may not log on at this time", "change its logon hours, then retry"),
    "531": ("the account may not log on from here", "let it log on from Redrive's machine, then retry"),
    "532": ("the password has expired", "set a new one, give it by a modify call, then retry"),
    "533": ("the account is disabled", "enable it, then retry"),
    "701": ("the account has expired", "extend it, then retry"),
    "773": (
        "the password must be changed first",
        "log on once, give the new one by a modify call, then retry",
    ),
    "775": ("the account is locked", "unlock it, correct the password by a modify call, then retry"),
}


@dataclass(frozen=True, slots=True)
class Open:
    """A session, and what its server says of itself."""

    controller: Controller
    session: Session
    root: Root


def open_controller(directory: Directory, controller: Controller, reach: Reach) -> Open:
    """Return a session with a controller, not bound yet, under TLS where the directory wants it.

    ``Failure``: those of the guard and of TLS; ``domain_unknown`` where it is none of this domain. Close the session.
    """
    port = reach.ports.ldaps if directory.ldaps else reach.ports.ldap
    address = reach.guard.resolve(controller.ip, port)
    full_name = directory.full_name(controller)
    session = _session(directory, address, full_name, reach)
    try:
        root = session.root()
        if not root.holds(directory.base):
            raise needs_input(
                "domain_unknown",
                f"{session.target} does not hold the domain {directory.domain_name} ({directory.base}), but "
                + (", ".join(root.contexts)[:300] or "nothing that it tells"),
                "correct the domain or the controller's address",
                session.target,
            )
        return Open(controller, session, root)
    except BaseException:
        session.close()
        raise


def _session(directory: Directory, address: Address, full_name: str, reach: Reach) -> Session:
    target = f"{full_name} ({address})"
    if not directory.ldaps:
        connection = reach.guard.connect(address, reach.connect_seconds)
        return Session(connection, target, seconds=reach.answer_seconds)
    secured = tls.secure(
        lambda: reach.guard.connect(address, reach.connect_seconds),
        target,
        (full_name, address.ip),
        directory.ca_pem,
    )
    return Session(secured.connection, target, seconds=reach.answer_seconds, certificate=secured.certificate)


def bind(opened: Open, directory: Directory) -> None:
    """Show the directory's admin account. ``Failure``: ``directory_credentials``, ``directory_account_unknown``."""
    session = opened.session
    name = _bind_name(opened, directory)
    answer = session.bind(name, directory.password)
    if answer.code == ldap.SUCCESS:
        return
    if answer.code in (ldap.INVALID_CREDENTIALS, ldap.INAPPROPRIATE):
        why, hint = _in_words(answer)
        detail = f"{session.target} refuses the account {directory.admin_account}: {why}"
        raise needs_input("directory_credentials", detail, hint, session.target)
    if answer.code in (ldap.INVALID_DN, ldap.NO_SUCH_OBJECT):
        raise _no_account(opened, directory, "no entry has this name")
    raise session.refused(answer, "the account is shown")


def open_all(
    directory: Directory, reach: Reach, stack: contextlib.ExitStack
) -> tuple[list[Open], list[Failure]]:
    """Return bound sessions with the controllers that can be reached, standby ones last, and why not the others.

    They are closed with ``stack``. Anything but being away is raised: a certificate that does not fit, or a password
    that is refused, is no reason to go on elsewhere. So is that none can be reached.
    """
    found, away = [], []
    for controller in sorted(directory.controllers, key=lambda each: each.standby):
        try:
            opened = open_controller(directory, controller, reach)
            stack.callback(opened.session.close)
            bind(opened, directory)
            found.append(opened)
        except Failure as failure:
            if failure.kind is not FailureClass.TRANSIENT:
                raise
            away.append(failure)
    if not found:
        raise away[0]
    return found, away


def _bind_name(opened: Open, directory: Directory) -> str:
    """Return the name that the server knows the account by."""
    account = directory.admin_account.strip()
    if opened.root.is_active_directory:
        # A name with its domain (a@b, B\\a) and that of an entry are taken as they are.
        return account if re.search(r"[@\\=]", account) else f"{account}@{directory.domain_name.rstrip('.')}"
    if "=" in account:
        return account
    at_home = f"@{directory.domain_name.rstrip('.').lower()}"
    local = account[: -len(at_home)] if account.lower().endswith(at_home) else account
    value = escaped(local)
    condition = f"(|(uid={value})(cn={value}))"
    found = opened.session.search(directory.base, condition, ["1.1"], most=2)
    if not found:
        raise _no_account(opened, directory, f"no entry below {directory.base} has this uid or cn")
    if len(found) > 1:
        raise _no_account(opened, directory, "more than one entry has this uid or cn")
    return found[0].dn


def _no_account(opened: Open, directory: Directory, why: str) -> Failure:
    return needs_input(
        "directory_account_unknown",
        f"{opened.session.target} does not know the account {directory.admin_account}: {why}",
        "correct the account, or give the full name of its entry (uid=...,dc=...) by a modify call, then retry",
        opened.session.target,
    )


def _in_words(answer: Answer) -> tuple[str, str]:
    number = re.search(r"\bdata ([0-9a-f]{3})\b", answer.message.lower())
    if number and number[1] in _SUBCODES:
        return _SUBCODES[number[1]]
    return "the password is wrong", _RETRY

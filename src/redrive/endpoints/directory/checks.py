"""Looking at a directory before it is joined: are its controllers there, of this domain, do they take the account?

All controllers are looked at, the standby ones too: who names one wants to rely on it. The checks change nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from redrive.endpoints.directory.model import Controller, Directory, Finding, Reach, check_words
from redrive.endpoints.directory.opening import bind, open_controller
from redrive.errors import Failure


def check_controllers(directory: Directory, reach: Reach) -> tuple[Finding, ...]:
    """Return a finding per controller: reached, TLS as it must be, of this domain."""
    check_words(directory)
    return tuple(_finding(each, check_controller, directory, reach) for each in directory.controllers)


def check_account(directory: Directory, reach: Reach) -> tuple[Finding, ...]:
    """Return a finding per controller: whether it takes the account.

    The first one that refuses is the last one asked: each wrong password counts towards locking the account.
    """
    check_words(directory)
    findings: list[Finding] = []
    for controller in directory.controllers:
        findings.append(_finding(controller, _check_account, directory, reach))
        failure = findings[-1].failure
        if failure is not None and failure.code == "directory_credentials":
            break
    return tuple(findings)


def check_controller(directory: Directory, controller: Controller, reach: Reach) -> str:
    """Return what there is to say of a controller that is as it must be; ``Failure`` where it is not."""
    opened = open_controller(directory, controller, reach)
    with opened.session as session:
        sort = "Active Directory" if opened.root.is_active_directory else "LDAP"
        said = f"{session.target} holds {directory.base} ({sort})"
        if session.certificate is not None:
            said += f"; its certificate ends {session.certificate.not_after:%Y-%m-%d}"
        return said


def _check_account(directory: Directory, controller: Controller, reach: Reach) -> str:
    opened = open_controller(directory, controller, reach)
    with opened.session as session:
        bind(opened, directory)
        said = f"{session.target} takes the account {directory.admin_account}"
        return said if directory.ldaps else f"{said}; without TLS, the password crosses the network readable"


def _finding(
    controller: Controller,
    check: Callable[[Directory, Controller, Reach], str],
    directory: Directory,
    reach: Reach,
) -> Finding:
    which = "the standby controller" if controller.standby else "the controller"
    try:
        return Finding(check(directory, controller, reach))
    except Failure as failure:
        named = f"{which} {directory.full_name(controller)}: {failure.detail}"
        told = Failure(failure.code, named, hint=failure.hint, kind=failure.kind, target=failure.target)
        return Finding(named, told)

"""Joining a directory: one object for the workspace, found again by the mark that it carries.

::

    join     look at every controller that can be reached ── ours there ──► Joined(created=False)
                  │ nothing there                          └─ another's ──► directory_name_taken
                  ▼
             add at the first one ── its answer is lost ──► directory_interrupted: join again finds the object
    joined   the look alone, for a unit that may have been done
    leave    the look, then the deletion of what is ours

The object is a ``computer`` in Active Directory (mark: ``adminDescription``), a ``device`` elsewhere (mark:
``serialNumber``). All three are safe to repeat. An object without the mark is never changed or deleted. LDAP has no
condition on a deletion that all servers know: an object that is replaced between the look and the deletion, which
follows at once, would be deleted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from redrive.endpoints.directory import ldap
from redrive.endpoints.directory.ldap import Entry, escaped, escaped_in_dn
from redrive.endpoints.directory.model import (
    Directory,
    Joined,
    Left,
    Reach,
    check_name,
    check_words,
    needs_input,
)
from redrive.endpoints.directory.opening import Open, open_all
from redrive.errors import Failure

#: The account of a workstation (MS-ADTS 2.2.16).
_WORKSTATION = "4096"
_SAID = "Joined by Redrive"


@dataclass(frozen=True, slots=True)
class _Form:
    """How a computer is written in this sort of directory."""

    condition: str
    mark: str


def join(directory: Directory, reach: Reach, *, name: str, serial: str) -> Joined:
    """Make the object ``name`` with the mark ``serial``, unless it is there. Safe to repeat.

    ``Failure``: ``directory_name_taken`` where ``name`` belongs to somebody else; those of opening and of LDAP. After
    ``directory_interrupted`` and ``timed_out`` the object may be there.
    """
    _check(directory, name, serial)
    with contextlib.ExitStack() as stack:
        opened, _away = open_all(directory, reach, stack)
        found = _find(opened, directory, name, serial)
        if found is not None:
            return Joined(found[1].dn, created=False)
        return _add(opened[0], directory, name, serial)


def joined(directory: Directory, reach: Reach, *, name: str, serial: str) -> Joined | None:
    """Return our object where it is there. Changes nothing.

    A controller that cannot be reached may have it: then "nothing there" is no answer, and its ``Failure`` is raised.
    """
    _check(directory, name, serial)
    with contextlib.ExitStack() as stack:
        opened, away = open_all(directory, reach, stack)
        found = _find_ours(opened, directory, name, serial)
        if found is None and away:
            raise away[0]
        return None if found is None else Joined(found[1].dn, created=False)


def leave(directory: Directory, reach: Reach, *, name: str, serial: str, delete_object: bool) -> Left:
    """Delete our object, or leave it where ``delete_object`` is not wished. Safe to repeat.

    An object of this name that is not ours stays.
    """
    _check(directory, name, serial)
    with contextlib.ExitStack() as stack:
        opened, _away = open_all(directory, reach, stack)
        found = _find_ours(opened, directory, name, serial)
        if found is None:
            return Left(None, deleted=False)
        where, entry = found
        if not delete_object:
            return Left(entry.dn, deleted=False)
        return _delete(where, entry.dn)


def _check(directory: Directory, name: str, serial: str) -> None:
    check_words(directory)
    check_name(name, serial)


def _find(opened: Sequence[Open], directory: Directory, name: str, serial: str) -> tuple[Open, Entry] | None:
    """Return our object and where it was found; ``directory_name_taken`` where there is only another's."""
    taken: Failure | None = None
    for each in opened:
        form = _form(each, name)
        # Both in the condition: of many objects of this name only some would be told.
        ours = f"(&{form.condition}({form.mark}={escaped(serial)}))"
        for entry in each.session.search(directory.base, ours, ["cn", form.mark]):
            if serial in entry.texts(form.mark):
                return each, entry
        others = each.session.search(directory.base, form.condition, ["cn"], most=1)
        if others:
            taken = taken or _taken(each, name, others[0].dn)
    if taken is not None:
        raise taken
    return None


def _find_ours(
    opened: Sequence[Open], directory: Directory, name: str, serial: str
) -> tuple[Open, Entry] | None:
    """Return our object and where it was found; another's is nothing."""
    try:
        return _find(opened, directory, name, serial)
    except Failure as failure:
        if failure.code != "directory_name_taken":
            raise
        return None


def _form(opened: Open, name: str) -> _Form:
    if opened.root.is_active_directory:
        return _Form(f"(&(objectClass=computer)(sAMAccountName={escaped(name)}$))", "adminDescription")
    return _Form(f"(&(objectClass=device)(cn={escaped(name)}))", "serialNumber")


def _add(opened: Open, directory: Directory, name: str, serial: str) -> Joined:
    session = opened.session
    container = _container(opened, directory)
    dn = f"cn={escaped_in_dn(name)},{container}"
    if opened.root.is_active_directory:
        classes = ["top", "person", "organizationalPerson", "user", "computer"]
        attributes = {
            "sAMAccountName": f"{name}$",
            "userAccountControl": _WORKSTATION,
            "adminDescription": serial,
        }
    else:
        classes = ["top", "device"]
        attributes = {"serialNumber": serial}
    answer = session.add(dn, classes, attributes | {"cn": name, "description": _SAID})
    if answer.code == ldap.SUCCESS:
        return Joined(dn, created=True)
    if answer.code == ldap.ALREADY_EXISTS:
        # Made since we looked: by a twin of this call, or by somebody else.
        found = _find([opened], directory, name, serial)
        if found is None:
            raise _taken(opened, name, dn)
        return Joined(found[1].dn, created=False)
    if answer.code == ldap.FORBIDDEN:
        raise needs_input(
            "directory_forbidden",
            f"{session.target} does not let {directory.admin_account} create objects in {container}",
            "give the account the right to do so, then retry",
            session.target,
        )
    raise session.refused(answer, f"{dn} is added")


def _container(opened: Open, directory: Directory) -> str:
    """Return where computers stand: Windows' own place, or ``ou=Computers`` where there is one, or the domain."""
    if opened.root.is_active_directory:
        return f"CN=Computers,{directory.base}"
    wished = f"ou=Computers,{directory.base}"
    found = opened.session.search(wished, "(objectClass=*)", ["1.1"], scope="BASE", most=1)
    return wished if found else directory.base


def _delete(opened: Open, dn: str) -> Left:
    answer = opened.session.delete(dn)
    if answer.code == ldap.NOT_A_LEAF and opened.root.is_active_directory:
        # Windows keeps recovery keys and printers below a computer.
        answer = opened.session.delete(dn, with_all_below=True)
    if answer.code in (ldap.SUCCESS, ldap.NO_SUCH_OBJECT):
        return Left(dn, deleted=True)
    raise opened.session.refused(answer, f"{dn} is deleted")


def _taken(opened: Open, name: str, dn: str) -> Failure:
    return needs_input(
        "directory_name_taken",
        f"{opened.session.target} has {dn} already, and it is not this workspace's",
        f"choose another name than {name}, or let an administrator of the directory remove that object",
        opened.session.target,
    )

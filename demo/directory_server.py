"""A small directory in memory, for the demonstration and for tests that must not install anything.

``python -m demo.directory_server --port 3890 --domain plant.example --account admin --password-file F`` serves LDAP
on loopback and says so in one line. With ``--active-directory`` it behaves like Microsoft's where Redrive would
notice: the account is ``admin@plant.example``, computers stand in ``CN=Computers``, nothing is told before a bind.

It keeps nothing, and ends when it is told to or when the process that started it has ended.
"""

from __future__ import annotations

import argparse
import hmac
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ldaptor.inmemory import ReadOnlyInMemoryLDAPEntry
from ldaptor.interfaces import IConnectedLDAPEntry
from ldaptor.protocols import pureldap
from ldaptor.protocols.ldap import ldaperrors
from ldaptor.protocols.ldap.ldapserver import LDAPServer
from twisted.internet import reactor as the_reactor
from twisted.internet.protocol import ServerFactory
from twisted.internet.task import LoopingCall
from twisted.python.components import registerAdapter

reactor: Any = the_reactor

_ACTIVE_DIRECTORY = "1.2.840.113556.1.4.800"
_DELETE_TREE = b"1.2.840.113556.1.4.805"
_NOT_BOUND = (
    b"000004DC: LdapErr: DSID-0C090A4C, comment: In order to perform this operation a successful bind must be"
)
_NOT_BOUND += b" completed on the connection., data 0, v4563"
_WRONG = b"80090308: LdapErr: DSID-0C090439, comment: AcceptSecurityContext error, data 52e, v4563"
#: An LDAP message of ours is a few hundred bytes.
_MOST_BYTES = 1 << 20


class Place(ServerFactory):
    """The directory: its tree, and the one account that may change it."""

    def __init__(self, domain: str, account: str, password: bytes, *, active_directory: bool) -> None:
        self.active_directory = active_directory
        self.base = ",".join(f"dc={label}" for label in domain.split("."))
        self.root = ReadOnlyInMemoryLDAPEntry(
            self.base, {"objectClass": ["domain"], "dc": [domain.partition(".")[0]]}
        )
        self._password = password
        if active_directory:
            self._names = {f"{account}@{domain}".lower()}
            self.root.addChild("CN=Computers", {"objectClass": ["container"], "cn": ["Computers"]})
            self.root.addChild("CN=Users", {"objectClass": ["container"], "cn": ["Users"]})
        else:
            people = self.root.addChild(
                "ou=people", {"objectClass": ["organizationalUnit"], "ou": ["people"]}
            )
            who = people.addChild(
                f"uid={account}", {"objectClass": ["account"], "uid": [account], "cn": [account]}
            )
            self._names = {who.dn.getText().lower()}

    def buildProtocol(self, addr: object) -> Answerer:  # noqa: N802
        """Return what answers one connection."""
        answerer = Answerer()
        answerer.factory = self
        return answerer

    def knows(self, name: str, password: bytes) -> bool:
        """Return whether these are the account's name and password."""
        return name.lower() in self._names and hmac.compare_digest(password, self._password)


registerAdapter(lambda place: place.root, Place, IConnectedLDAPEntry)


class Answerer(LDAPServer):
    """One connection. Names of methods are ldaptor's."""

    bound = False

    def dataReceived(self, recd: bytes) -> None:  # noqa: N802
        """Take what came; more than a message can have ends the connection."""
        if len(self.buffer) + len(recd) > _MOST_BYTES:
            self.transport.abortConnection()
            return
        super().dataReceived(recd)

    def handle_LDAPBindRequest(self, request: Any, controls: Any, reply: object) -> Any:  # noqa: N802
        """Tell who is there."""
        self.checkControls(controls)
        self.bound = False
        if not request.auth:
            return pureldap.LDAPBindResponse(resultCode=0)  # as nobody, whatever the name (RFC 4513)
        if not self.factory.knows(request.dn.decode("utf-8", "replace"), bytes(request.auth)):
            raise ldaperrors.LDAPInvalidCredentials(_WRONG if self.factory.active_directory else None)
        self.bound = True
        return pureldap.LDAPBindResponse(resultCode=0)

    def handle_LDAPSearchRequest(self, request: Any, controls: Any, reply: Any) -> Any:  # noqa: N802
        """Search; Active Directory tells nobody more than its root DSE."""
        if self.factory.active_directory and not self.bound and request.baseObject:
            return pureldap.LDAPSearchResultDone(
                resultCode=ldaperrors.LDAPOperationsError.resultCode, errorMessage=_NOT_BOUND
            )
        return super().handle_LDAPSearchRequest(request, controls, reply)

    def handle_LDAPAddRequest(self, request: Any, controls: Any, reply: object) -> Any:  # noqa: N802
        """Add an entry, for the account."""
        self._need_bind()
        return super().handle_LDAPAddRequest(request, controls, reply)

    def handle_LDAPDelRequest(self, request: Any, controls: Any, reply: object) -> Any:  # noqa: N802
        """Delete an entry, for the account."""
        self._need_bind()
        known = self.factory.active_directory
        with_all_below = known and any(each[0] == _DELETE_TREE for each in controls or ())
        if not with_all_below:
            self.checkControls(controls)
        found = self.factory.root.lookup(request.value)
        found.addCallback(_delete, with_all_below=with_all_below)
        return found.addCallback(lambda _done: pureldap.LDAPDelResponse(resultCode=0))

    def _forbidden(self, request: object, controls: object, reply: object) -> None:
        raise ldaperrors.LDAPUnwillingToPerform(b"this directory only adds and deletes")

    handle_LDAPModifyRequest = _forbidden  # noqa: N815
    handle_LDAPModifyDNRequest = _forbidden  # noqa: N815
    handle_LDAPExtendedRequest = _forbidden  # noqa: N815

    def getRootDSE(self, request: object, reply: Callable[[Any], None]) -> Any:  # noqa: N802
        """Tell what this server is."""
        base = self.factory.base
        attributes = [("supportedLDAPVersion", ["3"]), ("namingContexts", [base])]
        if self.factory.active_directory:
            attributes += [("defaultNamingContext", [base]), ("supportedCapabilities", [_ACTIVE_DIRECTORY])]
        reply(pureldap.LDAPSearchResultEntry(objectName="", attributes=attributes))
        return pureldap.LDAPSearchResultDone(resultCode=0)

    def _need_bind(self) -> None:
        if not self.bound:
            raise ldaperrors.LDAPInsufficientAccessRights(b"only the account may do this")


def _delete(entry: Any, *, with_all_below: bool) -> Any:
    below = list(entry._children.values())
    if below and not with_all_below:
        raise ldaperrors.LDAPNotAllowedOnNonLeaf(b"there are entries below it")
    for child in below:
        _delete(child, with_all_below=True)
    return entry.delete()


def main(words: list[str]) -> None:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(prog="python -m demo.directory_server", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, required=True, help="0 takes any free one")
    parser.add_argument("--domain", required=True)
    parser.add_argument("--account", required=True)
    parser.add_argument("--password-file", type=Path, required=True, help="its first line is the password")
    parser.add_argument("--active-directory", action="store_true", help="behave like Microsoft's")
    given = parser.parse_args(words)
    password = given.password_file.read_text(encoding="utf-8").partition("\n")[0]
    if not password:
        parser.error("the password is empty: LDAP would take that for nobody")
    place = Place(
        given.domain.lower(), given.account, password.encode(), active_directory=given.active_directory
    )
    listening = reactor.listenTCP(given.port, place, interface=given.host)
    started_by = os.getppid()

    def leave_alone() -> None:
        if os.getppid() != started_by:
            reactor.stop()

    LoopingCall(leave_alone).start(0.5)
    port = listening.getHost().port
    sys.stdout.write(f"The directory {given.domain} is ready: ldap://{given.host}:{port}\n")
    sys.stdout.flush()
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1:])

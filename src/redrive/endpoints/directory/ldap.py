"""LDAP over one connection of the guard's. All that is known of ``ldap3`` is known here.

``ldap3`` gets a connection that is already there, and cannot make another: it would resolve names by itself, and
follow referrals (with the password) to wherever a directory points. It is imported when the first session is opened,
since it takes a tenth of a second that most processes never need.

Guarantees: no password in a failure, not even where a server repeats it; every question ends in time.

``Failure``: ``timed_out`` and ``directory_interrupted`` (transient: whether a change was made is not known),
``directory_protocol`` (what came is not LDAP), ``directory_busy``, ``directory_forbidden``, ``directory_needs_tls``,
``directory_referral``, ``directory_refused``.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redrive.endpoints.directory.bounded import Bounded, TooMuchError
from redrive.endpoints.directory.model import needs_input
from redrive.endpoints.tls import Certificate
from redrive.endpoints.words import shown
from redrive.errors import Failure, FailureClass

if TYPE_CHECKING:
    from ldap3 import Connection

#: Ours are a few hundred; a decoder in Python takes its time over hostile ones.
_MOST_BYTES = 64 * 1024
_LONGEST_MESSAGE = 300

# Result codes (RFC 4511, 4.1.9).
SUCCESS, TIME_LIMIT, SIZE_LIMIT, ADMIN_LIMIT = 0, 3, 4, 11
NEEDS_STRONGER, NEEDS_CONFIDENTIALITY, REFERRAL = 8, 13, 10
NO_SUCH_OBJECT, INVALID_DN, INAPPROPRIATE, INVALID_CREDENTIALS = 32, 34, 48, 49
FORBIDDEN, BUSY, UNAVAILABLE = 50, 51, 52
NOT_A_LEAF, ALREADY_EXISTS = 66, 68

_BUSY = {TIME_LIMIT, ADMIN_LIMIT, BUSY, UNAVAILABLE}
#: Deletes an entry with all below it (MS-ADTS 3.1.1.3.4.1.15).
_DELETE_TREE = "1.2.840.113556.1.4.805"
#: Stands among the capabilities of Active Directory (MS-ADTS 3.1.1.3.4.3.1), and of Samba's.
_ACTIVE_DIRECTORY = "1.2.840.113556.1.4.800"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said: result code, its name, and the server's words."""

    code: int
    name: str
    message: str


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a directory; names of attributes in lower case."""

    dn: str
    attributes: Mapping[str, Sequence[bytes]]

    def texts(self, name: str) -> list[str]:
        """Return the values of an attribute."""
        return [value.decode("utf-8", "replace") for value in self.attributes.get(name.lower(), ())]


@dataclass(frozen=True, slots=True)
class Root:
    """What a server says of itself (its root DSE). Unchecked: it is the server's word."""

    contexts: tuple[str, ...]
    is_active_directory: bool

    def holds(self, base: str) -> bool:
        """Return whether the server is one of the domain whose entry is ``base``."""
        return _plain(base) in {_plain(context) for context in self.contexts}


class Session:
    """Questions over one connection, one after the other. ``target`` names the server in failures. Close it."""

    def __init__(
        self,
        connection: socket.socket,
        target: str,
        *,
        seconds: float,
        certificate: Certificate | None = None,
    ) -> None:
        self.target = target
        self.certificate = certificate
        self._bounded = Bounded(connection, seconds=seconds, most_bytes=_MOST_BYTES)
        self._seconds = seconds
        self._secret = ""
        self._ldap = _over(self._bounded)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Say good-bye and close; safe to repeat."""
        self._bounded.ask()
        # Whatever goes wrong with the farewell, what there was to know is known.
        with contextlib.suppress(Exception):
            self._ldap.unbind()
        self._bounded.close()

    def root(self) -> Root:
        """Return what the server says of itself."""
        names = ["namingContexts", "defaultNamingContext", "supportedCapabilities"]
        found = self.search("", "(objectClass=*)", names, scope="BASE")
        if not found:
            raise needs_input(
                "directory_protocol",
                f"{self.target} says nothing of itself (its root DSE cannot be read)",
                "is it an LDAP server? anonymous reading of the root DSE must be allowed",
                self.target,
            )
        contexts = [*found[0].texts("defaultNamingContext"), *found[0].texts("namingContexts")]
        return Root(tuple(contexts), _ACTIVE_DIRECTORY in found[0].texts("supportedCapabilities"))

    def bind(self, name: str, password: str) -> Answer:
        """Show who we are. An empty name or password is a bug: a server would take it for nobody, gladly."""
        if not name or not password:
            raise ValueError("a bind needs a name and a password")
        self._secret = password
        if not _can_be_sent(password):
            raise needs_input(
                "directory_credentials",
                f"the password for {name} has characters that LDAP does not take, or is empty without them",
                "correct the password by a modify call, then retry",
                self.target,
            )

        def bind() -> None:
            self._ldap.rebind(name, password, authentication="SIMPLE", read_server_info=False)

        try:
            return self._ask(bind)
        finally:
            self._ldap.password = self._ldap.request = None

    def search(
        self, base: str, condition: str, attributes: Sequence[str], *, scope: Any = "SUBTREE", most: int = 10
    ) -> list[Entry]:
        """Return the entries below ``base`` for which ``condition`` (a filter, escaped) holds, at most ``most``.

        A base that does not exist has none. References to other servers are left out.
        """

        def search() -> None:
            self._ldap.search(
                base,
                condition,
                scope,
                dereference_aliases="NEVER",
                attributes=list(attributes),
                size_limit=most,
                time_limit=max(1, int(self._seconds)),
            )

        answer = self._ask(search)
        if answer.code == NO_SUCH_OBJECT:
            return []
        if answer.code not in (SUCCESS, SIZE_LIMIT):
            raise self.refused(answer, "searching")
        return [
            Entry(each["dn"], {name.lower(): values for name, values in each["raw_attributes"].items()})
            for each in self._ldap.response or []
            if each["type"] == "searchResEntry"
        ]

    def add(self, dn: str, classes: Sequence[str], attributes: Mapping[str, Sequence[str] | str]) -> Answer:
        """Add an entry."""
        ldap: Any = self._ldap  # no types in its stubs, as below
        return self._ask(lambda: ldap.add(dn, list(classes), dict(attributes)))

    def delete(self, dn: str, *, with_all_below: bool = False) -> Answer:
        """Delete an entry; ``with_all_below`` only Active Directory knows."""
        controls = [(_DELETE_TREE, True, None)] if with_all_below else None
        ldap: Any = self._ldap
        return self._ask(lambda: ldap.delete(dn, controls))

    def refused(self, answer: Answer, doing: str) -> Failure:
        """Return the failure that a bad answer is."""
        words = f"{self.target} answers {answer.name} when {doing}"
        words += f": {answer.message}" if answer.message else ""
        if answer.code in _BUSY:
            code, hint = "directory_busy", "it is tried again; is the server under load?"
            return Failure(code, shown(words), hint=hint, kind=FailureClass.TRANSIENT, target=self.target)
        if answer.code == FORBIDDEN:
            code, hint = "directory_forbidden", "give the account the right to do this, then retry"
        elif answer.code in (NEEDS_STRONGER, NEEDS_CONFIDENTIALITY):
            code, hint = "directory_needs_tls", "the server wants TLS: use LDAPS"
        elif answer.code == REFERRAL:
            code, hint = "directory_referral", "name the server it refers to; it is not followed by itself"
        else:
            code, hint = "directory_refused", "the answer is the server's own; its log may say more"
        return needs_input(code, words, hint, self.target)

    def _ask(self, question: Callable[[], object]) -> Answer:
        """Run a question of ``ldap3``'s and return the result; what breaks it becomes a failure."""
        self._bounded.ask()
        try:
            question()
            told = self._ldap.result
            return Answer(int(told["result"]), str(told["description"]), self._clean(str(told["message"])))
        except Exception as error:
            # Anything: a decoder of foreign bytes can fail in any way. The exceptions may hold the password.
            raise self._broken(error) from None

    def _broken(self, error: Exception) -> Failure:
        trouble = self._bounded.trouble
        if isinstance(trouble, TimeoutError):
            code, words = "timed_out", f"{self.target} did not answer within {self._seconds:g} s"
            hint = "is the server under load, and does it speak LDAP at this port?"
            return Failure(code, words, hint=hint, kind=FailureClass.TRANSIENT, target=self.target)
        closed = type(error).__name__ in ("LDAPSessionTerminatedByServerError", "LDAPSocketOpenError")
        if (trouble is not None and not isinstance(trouble, TooMuchError)) or closed:
            code, words = "directory_interrupted", f"{self.target} ended the connection before it answered"
            hint = "does the server run, and is this the right port (with or without TLS)?"
            return Failure(code, words, hint=hint, kind=FailureClass.TRANSIENT, target=self.target)
        why = str(trouble) if trouble else type(error).__name__
        return needs_input(
            "directory_protocol",
            f"{self.target} does not answer as an LDAP server: {why}",
            "correct the address or the port",
            self.target,
        )

    def _clean(self, message: str) -> str:
        """Return a server's words for people: without the password, should it repeat it."""
        if self._secret:
            message = message.replace(self._secret, "***")
        return shown(message, _LONGEST_MESSAGE)


def escaped(text: str) -> str:
    """Return a text as it stands in a filter (RFC 4515)."""
    from ldap3.utils.conv import escape_filter_chars  # noqa: PLC0415

    return str(escape_filter_chars(text))


def escaped_in_dn(text: str) -> str:
    """Return a text as it stands in a name of an entry (RFC 4514)."""
    from ldap3.utils.dn import escape_rdn  # noqa: PLC0415

    return str(escape_rdn(text))


def _can_be_sent(password: str) -> bool:
    from ldap3.core.exceptions import LDAPExceptionError  # noqa: PLC0415
    from ldap3.protocol.sasl.sasl import validate_simple_password  # noqa: PLC0415

    try:
        return bool(validate_simple_password(password))
    except (LDAPExceptionError, UnicodeError):
        return False


def _over(bounded: Bounded) -> Connection:
    """Return a client of ``ldap3`` over a connection that is there; it cannot open another."""
    import ldap3  # noqa: PLC0415
    from ldap3.core.exceptions import LDAPSocketOpenError  # noqa: PLC0415

    # The name is never resolved: it would be for connecting only.
    server = ldap3.Server("invalid.", get_info="NO_INFO", allowed_referral_hosts=[])
    connection = ldap3.Connection(
        server,
        auto_bind="NONE",
        auto_referrals=False,
        auto_range=False,
        check_names=False,
        return_empty_attributes=False,
    )

    def refuse(*_args: object, **_named: object) -> None:
        raise LDAPSocketOpenError("the connection has ended")

    strategy = connection.strategy
    strategy.open = connection.open = strategy.create_referral_connection = refuse
    # What the strategy's own `open` does after it has connected.
    strategy._outstanding = {}
    connection.socket = bounded
    connection.closed = False
    strategy._start_listen()
    return connection


def _plain(dn: str) -> str:
    return ",".join("=".join(half.strip() for half in part.split("=")) for part in dn.lower().split(","))

"""May this principal do that? One decision over all its policies. Pure.

::

    root user ──────────────┐
    identity policies ──────┴─ must allow ─┐
    each policy that limits the key pair ──┴─ must allow, too ──► allowed
    a Deny in any of them wins over every Allow

Guarantees: refused by default; the same rights, request and context always give the same decision, and the decision
says which statement it rests on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from redrive.identity.conditions import Context
from redrive.identity.patterns import matcher
from redrive.identity.policies import Effect, Policy, Statement, names_of

NO_CONTEXT: Context = MappingProxyType({})

_MOST_ACTIONS = 1_000


@dataclass(frozen=True, slots=True)
class Reach:
    """What one layer says of the names of a type: patterns that it allows (None: all) and denies."""

    allowed: tuple[str, ...] | None = None
    denied: tuple[str, ...] = ()

    def covers(self, name: str) -> bool:
        """Return whether ``name`` is allowed and not denied."""
        allowed = self.allowed is None or any(matcher(pattern)(name) for pattern in self.allowed)
        return allowed and not any(matcher(pattern)(name) for pattern in self.denied)


@dataclass(frozen=True, slots=True)
class Scope:
    """The names (of assets, of job kinds) that an action covers: all that every layer covers.

    ``reaches``: of the layers that leave anything out.
    """

    reaches: tuple[Reach, ...] = ()

    @property
    def every(self) -> bool:
        """Whether all names are covered, also those that nobody has thought of yet."""
        return not self.reaches

    @property
    def nothing(self) -> bool:
        """Whether it is plain that no name can be covered."""
        return any(reach.allowed == () or "*" in reach.denied for reach in self.reaches)

    def covers(self, name: str) -> bool:
        """Return whether ``name`` is in the scope."""
        return all(reach.covers(name) for reach in self.reaches)

    def outside(self, names: Iterable[str]) -> list[str]:
        """Return those of ``names`` that the scope does not cover, in order."""
        if self.every:
            return []
        return [name for name in names if not self.covers(name)]


EVERYTHING = Scope()
NOTHING = Scope((Reach(()),))


@dataclass(frozen=True, slots=True)
class Matched:
    """The statement that a decision rests on."""

    policy: str
    statement: str

    def words(self) -> str:
        """Return it for people."""
        return f"{self.statement} of {self.policy}"


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer, why, and the statement that it rests on (none: nothing allows it, or the root user asks)."""

    allowed: bool
    reason: str
    matched: Matched | None = None


@dataclass(frozen=True)
class Layer:
    """Policies of one sort; each layer must allow."""

    name: str
    policies: tuple[Policy, ...] = ()
    #: The root user's: allows whatever no policy denies.
    everything: bool = False
    _of_action: dict[str, tuple[tuple[Policy, Statement], ...]] = field(
        default_factory=dict, repr=False, compare=False
    )
    _reaches: dict[tuple[str, str], Reach] = field(default_factory=dict, repr=False, compare=False)

    def about(self, action: str) -> tuple[tuple[Policy, Statement], ...]:
        """Return the statements about an action, denials first; kept, since the same actions come again."""
        found = self._of_action.get(action)
        if found is None:
            every = [(policy, each) for policy in self.policies for each in policy.statements]
            about = [pair for pair in every if pair[1].is_about(action)]
            found = tuple(sorted(about, key=lambda pair: pair[1].effect is Effect.ALLOW))
            if len(self._of_action) >= _MOST_ACTIONS:
                self._of_action.clear()
            self._of_action[action] = found
        return found

    def reach(self, action: str, kind: str, context: Context) -> Reach:
        """Return which names the layer covers, of resources whose URN begins with ``kind`` (four parts)."""
        kept = self._reaches.get((action, kind))
        if kept is not None:
            return kept
        about = self.about(action)
        found = _reach(about, kind.split(":"), context, everything=self.everything)
        if len(self._reaches) < _MOST_ACTIONS and not any(each.conditions for _, each in about):
            self._reaches[action, kind] = found
        return found


@dataclass(frozen=True, slots=True)
class Rights:
    """Everything that says what a principal may do."""

    layers: tuple[Layer, ...] = ()

    def decide(self, action: str, resource: str = "*", context: Context = NO_CONTEXT) -> Decision:
        """Return whether ``action`` may be done to ``resource`` (a URN; ``*`` where an action has none)."""
        allowed: Decision | None = None
        for layer in self.layers:
            found = _decide(layer, action, resource, context)
            if not found.allowed:
                return found
            allowed = allowed or found
        return allowed or Decision(False, "implicit deny by identity-based policy")

    def decide_each(
        self, action: str, resource: str = "*", context: Context = NO_CONTEXT
    ) -> list[tuple[Layer, Decision]]:
        """Return what each layer says, for those who ask why."""
        return [(layer, _decide(layer, action, resource, context)) for layer in self.layers]

    def scope(self, action: str, kind: str, context: Context = NO_CONTEXT) -> Scope:
        """Return the names that ``action`` covers, of resources whose URN begins with ``kind`` (four parts)."""
        if not self.layers:
            return NOTHING
        reaches = (layer.reach(action, kind, context) for layer in self.layers)
        return Scope(tuple(reach for reach in reaches if reach.allowed is not None or reach.denied))


def _decide(layer: Layer, action: str, resource: str, context: Context) -> Decision:
    for policy, statement in layer.about(action):
        if not statement.covers(resource) or not all(each.holds(context) for each in statement.conditions):
            continue
        matched = Matched(policy.name, statement.name)
        if statement.effect is Effect.DENY:
            return Decision(False, f"explicit deny by {layer.name}", matched)
        return Decision(True, f"allowed by {layer.name}", matched)
    if layer.everything:
        return Decision(True, "the account's root user")
    return Decision(False, f"implicit deny by {layer.name}")


def _reach(
    about: Sequence[tuple[Policy, Statement]], urn: Sequence[str], context: Context, *, everything: bool
) -> Reach:
    allowed: list[str] | None = None if everything else []
    denied: list[str] = []
    for _, statement in about:
        if not all(each.holds(context) for each in statement.conditions):
            continue
        names = names_of(statement, urn)
        if statement.effect is Effect.DENY:
            denied += ("*",) if names is None else names
        elif names is None:
            allowed = None
        elif allowed is not None:
            allowed += names
    return Reach(None if allowed is None else tuple(dict.fromkeys(allowed)), tuple(dict.fromkeys(denied)))


IDENTITY, KEY_PAIR = "identity-based policy", "policy of the key pair"


def rights_of(
    policies: Sequence[Policy], *, root: bool = False, key_policies: Sequence[Policy] | None = None
) -> Rights:
    """Return the rights of a user with these policies, limited by each of its key pair's where it has any."""
    layers = [Layer(IDENTITY, tuple(policies), root)]
    if key_policies is not None:
        layers += [Layer(KEY_PAIR, (policy,)) for policy in key_policies] or [Layer(KEY_PAIR)]
    return Rights(tuple(layers))


def context_of(known: Mapping[str, str | Sequence[str] | None]) -> Context:
    """Return a context: keys in lower case, what is not known left out."""
    return MappingProxyType(
        {
            key.lower(): (value,) if isinstance(value, str) else tuple(value)
            for key, value in known.items()
            if value is not None
        }
    )

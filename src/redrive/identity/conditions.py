"""Conditions of policies: operators over what is known of a request. Pure.

A condition names an operator, a key and values. What is known of a request (the *context*) holds texts by key in
lower case: ``{"g:username": ("anna",), "g:sourceip": ("10.0.0.7",)}``. Rules, where the vendor's pages are silent
they are ours (``docs/decisions/0015-policies.md``):

* several values of a condition: one of them must match; with a negative operator none may;
* a key that the request does not have: a positive condition does not hold, a negative one does; with ``IfExists``
  behind the operator both hold;
* an operator of another type than its key's never holds, nor does one whose text in the request is not of its type.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import eq, ge, gt, le, lt
from types import MappingProxyType
from typing import Any

from redrive.identity.patterns import PATTERN_LENGTH, matcher

Context = Mapping[str, tuple[str, ...]]

#: Whether a text of the request matches; ``ValueError`` where it is not of the operator's type.
Matches = Callable[[str], bool]

IF_EXISTS = "IfExists"

#: Keys that every request may have, and their type; keys of services are texts.
KEY_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "g:username": "string",
        "g:userid": "string",
        "g:domainname": "string",
        "g:domainid": "string",
        "g:principalurn": "string",
        "g:projectname": "string",
        "g:enterpriseprojectid": "string",
        "g:useragent": "string",
        "g:sourceip": "address",
        "g:currenttime": "date",
        "g:mfapresent": "bool",
        "g:securetransport": "bool",
    }
)


@dataclass(frozen=True, slots=True)
class Operator:
    """A comparison: ``compiled`` makes of a value of the policy what is asked of each text of the request."""

    type: str
    compiled: Callable[[str], Matches]
    negative: bool = False


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition as written, and ready to be asked."""

    operator: str
    key: str
    values: tuple[str, ...]
    _matches: tuple[Matches, ...] = field(repr=False, compare=False)
    _negative: bool = field(repr=False, compare=False)
    _if_exists: bool = field(repr=False, compare=False)
    _possible: bool = field(repr=False, compare=False)

    def holds(self, context: Context) -> bool:
        """Return whether the condition holds for a request."""
        if not self._possible:
            return False
        texts = context.get(self.key)
        if not texts:
            return self._if_exists or self._negative
        try:
            found = any(matches(text) for text in texts for matches in self._matches)
        except ValueError:
            return False
        return found != self._negative


def condition(operator: str, key: str, values: Sequence[str]) -> Condition:
    """Return a condition; ``LookupError`` where there is no such operator, ``ValueError`` for a bad value."""
    bare = operator.removesuffix(IF_EXISTS)
    known = OPERATORS[bare]
    for value in values:
        if len(value) > PATTERN_LENGTH:
            raise ValueError(f"at most {PATTERN_LENGTH} characters")
    lowered = key.lower()
    return Condition(
        operator,
        lowered,
        tuple(values),
        tuple(known.compiled(value) for value in values),
        known.negative,
        operator != bare,
        KEY_TYPES.get(lowered, known.type) == known.type,
    )


def _equals(value: str) -> Matches:
    return value.__eq__


def _equals_ignoring_case(value: str) -> Matches:
    folded = value.casefold()
    return lambda text: text.casefold() == folded


def _starts_with(value: str) -> Matches:
    folded = value.casefold()
    return lambda text: text.casefold().startswith(folded)


def _ends_with(value: str) -> Matches:
    folded = value.casefold()
    return lambda text: text.casefold().endswith(folded)


def _like(value: str) -> Matches:
    return matcher(value)


def _number(compare: Callable[[Any, Any], bool]) -> Callable[[str], Matches]:
    def compiled(value: str) -> Matches:
        wanted = float(value)
        return lambda text: compare(float(text), wanted)

    return compiled


def _date(compare: Callable[[Any, Any], bool]) -> Callable[[str], Matches]:
    def compiled(value: str) -> Matches:
        wanted = _instant(value)
        return lambda text: compare(_instant(text), wanted)

    return compiled


def _instant(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _bool(value: str) -> Matches:
    wanted = _truth(value)
    return lambda text: _truth(text) == wanted


def _truth(text: str) -> bool:
    folded = text.lower()
    if folded not in ("true", "false"):
        raise ValueError("true or false")
    return folded == "true"


def _address(value: str) -> Matches:
    network = ipaddress.ip_network(value, strict=False)
    return lambda text: ipaddress.ip_address(text) in network


OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {
        "StringEquals": Operator("string", _equals),
        "StringNotEquals": Operator("string", _equals, negative=True),
        "StringEqualsIgnoreCase": Operator("string", _equals_ignoring_case),
        "StringNotEqualsIgnoreCase": Operator("string", _equals_ignoring_case, negative=True),
        "StringMatch": Operator("string", _like),
        "StringNotMatch": Operator("string", _like, negative=True),
        "StringStartWith": Operator("string", _starts_with),
        "StringNotStartWith": Operator("string", _starts_with, negative=True),
        "StringEndWith": Operator("string", _ends_with),
        "StringNotEndWith": Operator("string", _ends_with, negative=True),
        "NumberEquals": Operator("number", _number(eq)),
        "NumberNotEquals": Operator("number", _number(eq), negative=True),
        "NumberLessThan": Operator("number", _number(lt)),
        "NumberLessThanEquals": Operator("number", _number(le)),
        "NumberGreaterThan": Operator("number", _number(gt)),
        "NumberGreaterThanEquals": Operator("number", _number(ge)),
        "DateLessThan": Operator("date", _date(lt)),
        "DateLessThanEquals": Operator("date", _date(le)),
        "DateGreaterThan": Operator("date", _date(gt)),
        "DateGreaterThanEquals": Operator("date", _date(ge)),
        "Bool": Operator("bool", _bool),
        "IpAddress": Operator("address", _address),
        "NotIpAddress": Operator("address", _address, negative=True),
    }
)

"""Parameters in the vendor's spelling: read a value or raise the ``Problem`` that names the field.

``source`` is a query or a JSON object. Vendor clients send numbers and booleans as text too (``"10"``,
``"true"``), and an empty text where a value is not set; both are accepted everywhere.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeAlias

import orjson
from starlette.requests import Request

from redrive.errors import invalid

Source: TypeAlias = Mapping[str, Any]

_LONGEST_TEXT = 1_000_000


async def json_object(request: Request) -> dict[str, Any]:
    """Return the body as a JSON object; a FastAPI dependency. An absent body is an empty object."""
    raw = await request.body()
    if not raw.strip():
        return {}
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise invalid("body", "valid JSON", str(error)) from None
    if not isinstance(body, dict):
        raise invalid("body", "a JSON object")
    return body


def text(source: Source, name: str) -> str:
    """Return a mandatory text."""
    value = optional_text(source, name)
    if value is None:
        raise invalid(name, "a text that is not empty")
    return value


def optional_text(source: Source, name: str) -> str | None:
    """Return a text, or None where it is absent or empty."""
    value = source.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        raise invalid(name, "a text", value)
    if "\0" in value or (not value.isascii() and not _is_unicode(value)):
        raise invalid(name, "a text without NUL characters and lone surrogates")
    return value.strip() or None


def only(source: Mapping[str, Any], accepted: Collection[str]) -> None:
    """Refuse names that a call which deletes does not take: one that is not understood may narrow it."""
    for name in source:
        if name not in accepted:
            names = ", ".join(sorted(accepted))
            raise invalid(name[:80] or "body", "no such parameter in this call", hint=f"it takes {names}")


def id_list(source: Source, name: str, *, most: int | None = None) -> list[str]:
    """Return a mandatory comma-separated list, in order, each id once; ``most`` limits its length."""
    ids = list(dict.fromkeys(part.strip() for part in text(source, name).split(",") if part.strip()))
    if not ids:
        raise invalid(name, "ids separated by commas", source.get(name))
    if most is not None and len(ids) > most:
        raise invalid(name, f"at most {most} ids", f"{len(ids)} ids")
    return ids


def integer(source: Source, name: str, *, default: int | None = None, low: int, high: int) -> int:
    """Return an integer within ``low`` to ``high``; mandatory without ``default``."""
    found = optional_integer(source, name, low=low, high=high)
    if found is None:
        found = default
    if found is None:
        raise invalid(name, f"a whole number from {low} to {high}")
    return found


def optional_integer(source: Source, name: str, *, low: int, high: int) -> int | None:
    """Return an integer within ``low`` to ``high``, or None where it is absent or empty."""
    value = source.get(name)
    if value is None or value == "":
        return None
    number = _whole(value)
    if number is None or not low <= number <= high:
        raise invalid(name, f"a whole number from {low} to {high}", value)
    return number


def boolean(source: Source, name: str, *, default: bool = False) -> bool:
    """Return a boolean; also ``"true"`` and ``"false"`` in any case."""
    value = source.get(name)
    if value is None or value == "":
        return default
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise invalid(name, "true or false", value)


def choice(source: Source, name: str, among: tuple[str, ...], *, default: str | None = None) -> str:
    """Return one of ``among``; mandatory without ``default``."""
    value = optional_text(source, name)
    if value is None:
        value = default
    if value is None or value not in among:
        raise invalid(name, f"one of {', '.join(among)}", value or "")
    return value


def _whole(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        digits = value.strip().removeprefix("-")
        if digits.isascii() and digits.isdigit() and len(digits) <= 19:
            return int(value)
    return None


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True

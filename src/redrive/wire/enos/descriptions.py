"""How EnOS calls are described in OpenAPI: what they take, and the one envelope that they answer with.

The parsers hold to ``parameters``; a test sends what is described here, and what is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any]

JSON = "application/json"
TEXT: Schema = {"type": "string", "minLength": 1}
ORGANIZATION = "orgId"

_ORGANIZATION: Schema = {
    "name": ORGANIZATION,
    "in": "query",
    "required": True,
    "schema": {"type": "string", "pattern": "^o[0-9]+$"},
}


def envelope(**more: Schema) -> Schema:
    """Return the envelope's schema; ``more`` are fields beside code, message and data."""
    fields: dict[str, Any] = {"code": {"type": "integer"}, "msg": {"type": "string"}, **more, "data": {}}
    return {"type": "object", "required": list(fields), "properties": fields, "additionalProperties": False}


#: What the time-series service answers, and what the services with a request id do.
BARE = envelope(submsg={"type": ["string", "null"]})
NUMBERED = envelope(requestId={"type": "string"})


def parameter(name: str, schema: Schema, *, required: bool = False, about: str = "") -> Schema:
    """Return the description of a query parameter."""
    described: dict[str, Any] = {"name": name, "in": "query", "required": required, "schema": dict(schema)}
    return {**described, "description": about} if about else described


def fields(properties: Mapping[str, Schema], required: Sequence[str]) -> Schema:
    """Return the schema of a JSON body."""
    return {"type": "object", "required": sorted(required), "properties": dict(properties)}


def call(
    *,
    query: Sequence[Schema] = (),
    body: Schema | None = None,
    form: str = JSON,
    answer: Schema = BARE,
    organization: bool = True,
) -> dict[str, Any]:
    """Return the description of a call (``openapi_extra``). Refusals are HTTP 200 too, in the same envelope."""
    described: dict[str, Any] = {
        "parameters": [*([_ORGANIZATION] if organization else []), *query],
        "responses": {"200": {"content": {JSON: {"schema": answer}}}},
    }
    if body is not None:
        described["requestBody"] = {"required": True, "content": {form: {"schema": body}}}
    return described

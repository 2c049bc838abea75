"""The table of calls about identities says which action guards which call, as the code has it."""

from __future__ import annotations

import re

from redrive.identity.builtin import DOCUMENTS
from redrive.identity.conditions import KEY_TYPES
from redrive.wire.app import ROUTERS
from redrive.wire.native.identity.guard import ACTION
from tests.docs.pages import text


def test_the_table_of_actions_is_that_of_the_code() -> None:
    rows = re.findall(r"^\| `([A-Z]+) (/v1/[^`]+)` \| `([^`]+)`", text("security.md"), re.MULTILINE)
    served = {
        (method, route.path_format, route.openapi_extra[ACTION])
        for router in ROUTERS
        for route in router.routes
        if getattr(route, "openapi_extra", None) and ACTION in route.openapi_extra
        for method in route.methods
    }
    assert set(rows) == served and len(rows) == len(served)


def test_every_key_of_conditions_is_told() -> None:
    told = {word.lower() for word in re.findall(r"`(g:\w+)`", text("security.md"))}
    assert told == set(KEY_TYPES) - {"g:enterpriseprojectid"}


def test_built_in_policies_are_told() -> None:
    page = text("security.md")
    services = {name.rpartition("-")[0] for name in DOCUMENTS if "-" in name} - {"identity"}
    for name in (
        *services,
        "reader",
        "operator",
        "administrator",
        "identity-reader",
        "identity-administrator",
    ):
        assert f"`{name}`" in page, name

"""What services there are and where, as Keystone's clients ask for it. Pure.

Addresses begin with the one that the client itself used; what proxies add to a request is not believed.
"""

from __future__ import annotations

import re
from typing import Any

from redrive.errors import invalid

_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")

#: Type and name of each service, and the end of its address.
SERVICES = (
    ("identity", "keystone", "/v3"),
    ("sts", "sts", "/v5"),
    ("workspace", "workspace", "/v2/{project_id}"),
    ("drs", "drs", "/v3/{project_id}"),
    ("dataarts", "dataarts", "/v2/{project_id}"),
)


def base_url(scheme: str, host: str) -> str:
    """Return the address at which a client reached the server; a Problem where its Host is none."""
    if _HOST.fullmatch(host) is None:
        raise invalid("Host", "a host name, and a port where it is not the scheme's", host)
    return f"{scheme}://{host}"


def catalog(base: str, project_id: str, region: str) -> list[dict[str, Any]]:
    """Return the catalog; services of projects stand in it where there is a project."""
    found = []
    for kind, name, path in SERVICES:
        if "{project_id}" in path and not project_id:
            continue
        endpoint = {
            "id": f"{kind}-public",
            "interface": "public",
            "region": region,
            "region_id": region,
            "url": base + path.replace("{project_id}", project_id),
        }
        found.append({"id": kind, "type": kind, "name": name, "endpoints": [endpoint]})
    return found


def versions(base: str) -> dict[str, Any]:
    """Return the version list of the identity service."""
    return {"versions": {"values": [version(base)]}}


def version(base: str) -> dict[str, Any]:
    """Return the one version that there is."""
    return {
        "id": "v3.6",
        "status": "stable",
        "updated": "2016-04-04T00:00:00Z",
        "links": [{"rel": "self", "href": f"{base}/v3/"}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    }

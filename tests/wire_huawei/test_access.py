"""Access endpoints: a prefix of a workspace's own, open to its callers, from its networks."""

from __future__ import annotations

import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkworkspace.v2 import ListWorkspacesRequest, WorkspaceClient

from tests.wire_huawei.scene import Cloud


def endpoint(cloud: Cloud, way: str = "internet") -> str:
    return f"/access/{cloud.credentials.workspace_id}/{way}"


def test_every_call_works_through_the_endpoint_by_token_signature_and_key_pair(cloud: Cloud) -> None:
    through = endpoint(cloud)
    told = cloud.call("GET", "/v2/{}/workspaces").json()["internet_access_address"]
    assert told == cloud.url.removeprefix("http://") + through
    assert cloud.call("GET", through + "/v2/{}/workspaces").json()["status"] == "SUBSCRIBED"
    known = cloud.credentials
    assert cloud.http.get(through + "/v1/jobs", auth=(known.access_key, known.secret_key)).status_code == 200
    credentials = BasicCredentials(known.access_key, known.secret_key, known.project_id)
    client = (
        WorkspaceClient.new_builder().with_credentials(credentials).with_endpoint(f"http://{told}").build()
    )
    assert client.list_workspaces(ListWorkspacesRequest()).status == "SUBSCRIBED"


@pytest.mark.parametrize("way", ["dedicated", "internet"])
def test_an_endpoint_that_is_closed_or_anothers_is_refused(cloud: Cloud, way: str) -> None:
    name = "f" * 32 if way == "internet" else cloud.credentials.workspace_id
    answer = cloud.call("GET", f"/access/{name}/{way}" + "/v2/{}/workspaces")
    assert (answer.status_code, answer.json()["error_code"]) == (403, "WKS.00001012")


@pytest.mark.parametrize(("network", "status"), [("127.0.0.0/8", 200), ("10.0.0.0/8", 403)])
def test_a_dedicated_endpoint_is_for_its_networks(cloud: Cloud, network: str, status: int) -> None:
    with cloud.db.transaction() as conn:
        conn.execute(
            "update workspaces set endpoints = jsonb_build_object('dedicated', jsonb_build_object("
            "'prefix', '/x', 'from', jsonb_build_array(%s::text)))",
            (network,),
        )
    cloud.parts.authenticator.forget_all()
    assert cloud.call("GET", endpoint(cloud, "dedicated") + "/v2/{}/workspaces").status_code == status


@pytest.mark.parametrize(
    "odd", ["/access", "/access/", "/access/x/internet/v1/jobs", "/access/{}/other/v1/jobs"]
)
def test_what_is_no_endpoint_is_nothing(cloud: Cloud, odd: str) -> None:
    path = odd.replace("{}", cloud.credentials.workspace_id)
    known = cloud.credentials
    assert cloud.http.get(path, auth=(known.access_key, known.secret_key)).status_code == 404

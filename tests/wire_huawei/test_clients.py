"""The vendor's and the common published clients, unmodified."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import httpx
import keystoneauth1.session
import openstack
import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials, GlobalCredentials
from huaweicloudsdkcore.exceptions.exceptions import ServiceResponseException
from huaweicloudsdkcore.region.region import Region
from huaweicloudsdkiam.v3 import (
    AuthScope,
    AuthScopeProject,
    CreateTemporaryAccessKeyByTokenRequest,
    CreateTemporaryAccessKeyByTokenRequestBody,
    IamClient,
    IdentityToken,
    KeystoneCreateUserTokenByPasswordRequest,
    KeystoneCreateUserTokenByPasswordRequestBody,
    KeystoneListAuthDomainsRequest,
    KeystoneListProjectsRequest,
    KeystoneValidateTokenRequest,
    PwdAuth,
    PwdIdentity,
    PwdPassword,
    PwdPasswordUser,
    PwdPasswordUserDomain,
    TokenAuth,
    TokenAuthIdentity,
)
from huaweicloudsdksts.v1 import (
    DecodeAuthorizationMessageReq,
    DecodeAuthorizationMessageRequest,
    StsClient,
)
from huaweicloudsdkworkspace.v2 import CancelWorkspaceRequest, ListWorkspacesRequest, WorkspaceClient
from keystoneauth1.identity import generic, v3
from otcextensions import sdk as otc

from redrive.identity import signatures
from redrive.identity.builtin import DOCUMENTS
from redrive.identity.keys import create_temporary_key
from tests.wire_huawei.scene import Cloud, refusal


def status(client: WorkspaceClient) -> str:
    return str(client.list_workspaces(ListWorkspacesRequest()).status)


def test_with_a_project_id_and_an_endpoint(cloud: Cloud) -> None:
    assert status(cloud.workspaces()) == "SUBSCRIBED"


def test_with_a_region_and_no_project_id_the_client_finds_its_project(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUAWEICLOUD_SDK_IAM_ENDPOINT", cloud.url)
    credentials = BasicCredentials(cloud.credentials.access_key, cloud.credentials.secret_key)
    region = Region(cloud.credentials.project_name, cloud.url)
    client = WorkspaceClient.new_builder().with_credentials(credentials).with_region(region).build()
    assert status(client) == "SUBSCRIBED"


def test_without_either_the_client_is_told_what_it_lacks(cloud: Cloud) -> None:
    credentials = BasicCredentials(cloud.credentials.access_key, cloud.credentials.secret_key)
    client = WorkspaceClient.new_builder().with_credentials(credentials).with_endpoint(cloud.url).build()
    refused = refusal(lambda: status(client))
    assert refused.status_code == 400 and "without a project id" in refused.error_msg


def test_the_derived_signature(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    parse, seen = signatures.parse, list[str]()
    monkeypatch.setattr(signatures, "parse", lambda header: seen.append(header[:4]) or parse(header))
    credentials = BasicCredentials(cloud.credentials.access_key, cloud.credentials.secret_key, cloud.project)
    credentials.with_derived_predicate(lambda request: True)
    # The builder of this service names none; others do so with this call.
    credentials._process_derived_auth_params("workspace", cloud.credentials.project_name)
    client = WorkspaceClient.new_builder().with_credentials(credentials).with_endpoint(cloud.url).build()
    assert status(client) == "SUBSCRIBED" and seen == ["V11-"]


def test_temporary_keys_are_good_with_their_token_and_not_without(cloud: Cloud) -> None:
    with cloud.db.transaction() as conn:
        (user,) = conn.execute("select id from users where root").fetchall()
        made = create_temporary_key(
            conn,
            cloud.parts.sealer,
            tenant_id=cloud.tenant_id,
            user_id=user.id,
            name="app",
            life=timedelta(hours=1),
        )
    for token, good in ((made.security_token, True), (made.security_token + "x", False), (None, False)):
        credentials = BasicCredentials(made.pair.access_key, made.pair.secret_key, cloud.project)
        if token is not None:
            credentials.with_security_token(token)
        client = WorkspaceClient.new_builder().with_credentials(credentials).with_endpoint(cloud.url).build()
        if good:
            assert status(client) == "SUBSCRIBED"
        else:
            assert refusal(lambda client=client: status(client)).error_code == "APIGW.0301"  # type: ignore[misc]
    pair = (made.pair.access_key, made.pair.secret_key)
    assert httpx.get(cloud.url + "/v1/jobs", auth=pair).status_code == 401


def iam(cloud: Cloud) -> IamClient:
    credentials = GlobalCredentials(cloud.credentials.access_key, cloud.credentials.secret_key)
    return IamClient.new_builder().with_credentials(credentials).with_endpoint(cloud.url).build()


def test_the_identity_client_gets_a_token_validates_it_and_lists_projects(cloud: Cloud) -> None:
    client, known = iam(cloud), cloud.credentials
    user = PwdPasswordUser(
        domain=PwdPasswordUserDomain(name=known.domain_name), name=known.user_name, password=known.password
    )
    auth = PwdAuth(
        identity=PwdIdentity(methods=["password"], password=PwdPassword(user=user)),
        scope=AuthScope(project=AuthScopeProject(name=known.project_name)),
    )
    body = KeystoneCreateUserTokenByPasswordRequestBody(auth=auth)
    made = client.keystone_create_user_token_by_password(KeystoneCreateUserTokenByPasswordRequest(body=body))
    assert made.token.project.id == known.project_id and made.token.user.name == known.user_name
    shown = client.keystone_validate_token(KeystoneValidateTokenRequest(x_subject_token=made.x_subject_token))
    assert shown.token.expires_at == made.token.expires_at
    found = client.keystone_list_projects(KeystoneListProjectsRequest(name=known.project_name)).projects
    assert [project.id for project in found] == [known.project_id]
    assert client.keystone_list_projects(KeystoneListProjectsRequest(name="elsewhere")).projects == []
    (domain,) = client.keystone_list_auth_domains(KeystoneListAuthDomainsRequest()).domains
    assert domain.name == known.domain_name


def test_temporary_keys_by_a_token(cloud: Cloud) -> None:
    body = CreateTemporaryAccessKeyByTokenRequestBody(
        auth=TokenAuth(
            identity=TokenAuthIdentity(methods=["token"], token=IdentityToken(duration_seconds=900))
        )
    )
    answer = cloud.call("POST", "/v3.0/OS-CREDENTIAL/securitytokens", json=_plain(body))
    assert answer.status_code == 201, answer.text
    made = answer.json()["credential"]
    credentials = BasicCredentials(made["access"], made["secret"], cloud.project)
    credentials.with_security_token(made["securitytoken"])
    client = WorkspaceClient.new_builder().with_credentials(credentials).with_endpoint(cloud.url).build()
    assert status(client) == "SUBSCRIBED"
    with pytest.raises(ServiceResponseException) as refused:
        iam(cloud).create_temporary_access_key_by_token(CreateTemporaryAccessKeyByTokenRequest(body=body))
    assert refused.value.status_code == 403
    for seconds in (899, 86_401, "x", True, -1):
        bad = {"auth": {"identity": {"methods": ["token"], "token": {"duration_seconds": seconds}}}}
        assert cloud.call("POST", "/v3.0/OS-CREDENTIAL/securitytokens", json=bad).status_code == 400


def _plain(body: Any) -> Any:
    return json.loads(json.dumps(body, default=lambda value: _without_none(value.to_dict())))


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(each) for key, each in value.items() if each is not None}
    return value


def test_a_refusal_carries_a_sealed_reason_that_the_sts_client_opens(cloud: Cloud) -> None:
    pair = cloud.key(policy=DOCUMENTS["workspace-reader"])
    client = cloud.workspaces(pair.access_key, pair.secret_key)
    refused = refusal(lambda: client.cancel_workspace(CancelWorkspaceRequest()))
    assert (refused.status_code, refused.error_code) == (403, "WKS.00000403") and refused.request_id
    sealed = refused.encoded_auth_msg
    assert sealed and len(sealed) < 10_240
    known = cloud.credentials
    credentials = BasicCredentials(known.access_key, known.secret_key, known.project_id)
    sts = StsClient.new_builder().with_credentials(credentials).with_endpoint(cloud.url).build()
    asked = DecodeAuthorizationMessageRequest(body=DecodeAuthorizationMessageReq(encoded_message=sealed))
    told = json.loads(sts.decode_authorization_message(asked).decoded_message)
    assert told["failure"] == "implicit deny by policy of the key pair" and told["explicit_deny"] is False
    assert told["context"]["action"] == "workspace:tenants:delete"
    assert told["context"]["user_profile"]["user_name"] == "admin"
    assert told["request_id"] == refused.request_id
    assert {"key": "g:sourceip", "values": ["127.0.0.1"]} in told["context"]["conditions"]
    assert pair.secret_key not in json.dumps(told) and pair.access_key not in json.dumps(told)
    # Whoever was refused may not open it.
    limited = BasicCredentials(pair.access_key, pair.secret_key, known.project_id)
    other = StsClient.new_builder().with_credentials(limited).with_endpoint(cloud.url).build()
    assert refusal(lambda: other.decode_authorization_message(asked)).status_code == 403


@pytest.mark.parametrize("how", ["v3 with /v3", "v3 without", "generic"])
def test_keystoneauth(cloud: Cloud, how: str) -> None:
    known = cloud.credentials
    named = {
        "username": known.user_name,
        "password": known.password,
        "user_domain_name": known.domain_name,
        "project_name": known.project_name,
        "project_domain_name": known.domain_name,
    }
    url = cloud.url + ("/v3" if how == "v3 with /v3" else "")
    plugin = generic.Password if how == "generic" else v3.Password
    session = keystoneauth1.session.Session(auth=plugin(auth_url=url, **named))
    if how != "v3 without":
        assert session.get_token() and session.get_project_id() == known.project_id
        endpoint = session.get_endpoint(service_type="drs", region_name=known.project_name)
        assert endpoint == f"{cloud.url}/v3/{known.project_id}"


@pytest.mark.filterwarnings("ignore:Support for InfluxDB", "ignore::DeprecationWarning")
def test_openstack_and_otcextensions(cloud: Cloud) -> None:
    known = cloud.credentials
    connection = openstack.connect(
        auth={
            "auth_url": f"{cloud.url}/v3",
            "username": known.user_name,
            "password": known.password,
            "user_domain_name": known.domain_name,
            "project_name": known.project_name,
            "project_domain_name": known.domain_name,
        },
        region_name=known.project_name,
        auth_type="v3password",
    )
    otc.register_otc_extensions(connection)
    assert connection.authorize().startswith("rdu_")
    assert connection.current_project_id == known.project_id
    assert connection.drs.get_endpoint() == f"{cloud.url}/v3/{known.project_id}"
    connection.close()

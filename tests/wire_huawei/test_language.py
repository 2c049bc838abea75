"""Refusals begin in the language that was asked for; a language that there is not is refused by name."""

from __future__ import annotations

import pytest

from redrive.errors import ProblemCode
from redrive.wire.huawei import language
from redrive.wire.huawei.workspace.codes import REASONS
from tests.wire_huawei.scene import Cloud


@pytest.mark.parametrize("asked", [None, "en-us", "EN-US", "zh-cn", "zh-CN"])
def test_a_refusal_is_in_the_language_that_was_asked_for(unregistered: Cloud, asked: str | None) -> None:
    headers = {} if asked is None else {"X-Language": asked}
    answer = unregistered.call("DELETE", "/v2/{}/workspaces", headers=headers)
    message = answer.json()["error_msg"]
    chinese = asked is not None and "zh" in asked
    assert message.startswith("租户当前状态不允许该操作: ") == chinese
    assert (
        "the workspace cannot be deregistered now" in message
        and answer.json()["error_code"] == "WKS.00001005"
    )
    keystone = unregistered.http.post("/v3/auth/tokens", headers=headers, json={})
    assert keystone.json()["error"]["message"].startswith("请求参数无效: ") == chinese


@pytest.mark.parametrize("asked", ["", "de-de", "en", "zh-tw", "en-us,zh-cn"])
def test_another_language_is_refused_by_name_and_nothing_is_done(unregistered: Cloud, asked: str) -> None:
    body = {"ad_domains": {"domain_type": "LITE_AS"}}
    answer = unregistered.call("POST", "/v2/{}/workspaces", json=body, headers={"X-Language": asked})
    assert answer.status_code == 400 and answer.json()["error_msg"].startswith(
        "X-Language: expected en-us or zh-cn"
    )
    assert unregistered.call("GET", "/v2/{}/workspaces").json()["status"] == "CLOSED"


def test_every_code_and_every_reason_of_a_service_has_its_words() -> None:
    assert set(language._BY_CODE) == set(ProblemCode)
    assert set(REASONS) <= set(language._BY_REASON)

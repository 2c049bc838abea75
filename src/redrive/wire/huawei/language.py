"""``X-Language``: in which language a refusal begins. One table of messages; what follows them is in English.

Without the header, or with ``en-us``, the message is ours as it stands; with ``zh-cn`` it begins with the sentence of
the table. Any other value is refused by name, before anything is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from starlette.requests import Request

from redrive.errors import Problem, ProblemCode, invalid

ENGLISH, CHINESE = "en-us", "zh-cn"
LANGUAGES = (ENGLISH, CHINESE)
_HEADER = "x-language"

#: By the code of a problem: what stands before its detail.
_BY_CODE: Mapping[ProblemCode, str] = MappingProxyType(
    {
        ProblemCode.INVALID: "请求参数无效",
        ProblemCode.UNAUTHENTICATED: "身份认证失败",
        ProblemCode.FORBIDDEN: "没有操作权限",
        ProblemCode.NOT_FOUND: "资源不存在",
        ProblemCode.CONFLICT: "当前状态不允许该操作",
        ProblemCode.TOO_LARGE: "请求体过大",
        ProblemCode.TOO_MANY: "请求过于频繁",
        ProblemCode.UNAVAILABLE: "服务暂时不可用",
    }
)
#: By its reason, where that says more.
_BY_REASON: Mapping[str, str] = MappingProxyType(
    {
        "empty": "请求消息体为空",
        "placeholder": "客户端未设置项目ID",
        "scope": "不属于调用者的项目或账号",
        "not_failed": "任务没有失败,不能重试",
        "wrong_type": "该类型的任务不支持重试",
        "retried": "任务已经重试过",
        "superseded": "该任务之后已有新的任务",
        "wrong_status": "租户当前状态不允许该操作",
        "not_closable": "仍有未结束的作业,不能注销",
        "busy": "另一个任务正在执行",
        "name_taken": "企业ID已被使用",
        "not_locked": "租户未被锁定",
        "not_deletable": "该类型的子任务不能删除",
        "workspace": "租户未注册或已被锁定",
        "network": "网络规则不允许从该地址访问",
        "sealed": "不是该账号的授权信息",
        "wrong_password": "用户名或密码错误",
    }
)


def language_of(request: Request) -> str:
    """Return the language that a request asks for; a Problem that names the header where there is no such one."""
    value = request.headers.get(_HEADER)
    if value is None:
        return ENGLISH
    if value.strip().lower() not in LANGUAGES:
        raise invalid("X-Language", " or ".join(LANGUAGES), value)
    return value.strip().lower()


def in_language(request: Request, problem: Problem, words: str) -> str:
    """Return a message in the language of the request; a language that there is not is told in English."""
    value = request.headers.get(_HEADER, ENGLISH).strip().lower()
    if value != CHINESE:
        return words
    return f"{_BY_REASON.get(problem.reason) or _BY_CODE[problem.code]}: {words}"

"""Bodies that callers send, as settings of ours. Pure; what is wrong is told by the vendor's name of the field.

Registration takes an object ``ad_domains`` and subnets as objects; a change takes subnets as texts. Fields that are
not known are refused, so that a misspelt one is not dropped in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson

from redrive.errors import Problem, ProblemCode, invalid
from redrive.services.workspaces.model import Directory, WorkspaceSettings
from redrive.wire.huawei.workspace.codes import ACCESS_OF_WORD, DIRECTORY_OF_WORD

Body = Mapping[str, Any]

_LONGEST_NOTE = 1_000
#: Taken and told again; nothing of ours depends on them.
_NOTES = {
    "is_send_email": bool,
    "authorized_collect_log": bool,
    "authorized_hda_upgrade": bool,
    "is_authorized_install_agent": bool,
    "enable_user_create_snapshot": bool,
    "dc_vnc_ip": str,
    "internet_access_port": str,
    "apply_shared_vpc_dedicated_param": dict,
    "apply_dedicated_standby_network_param": dict,
}
#: The same of a directory: log-on by smart card is not ours.
_AD_NOTES = {"cba_enabled": bool, "certificate_id": str}
_AD_FIELDS = {
    "domain_type", "domain_name", "domain_admin_account", "domain_password", "active_domain_ip",
    "active_domain_name", "standby_domain_ip", "standby_domain_name", "active_dns_ip", "standby_dns_ip",
    "delete_computer_object", "use_ldaps", "tls_config", *_AD_NOTES,
}  # fmt: skip
_APPLY_FIELDS = {
    "ad_domains", "enterprise_id", "vpc_id", "subnet_ids", "manage_subnet_cidr", "access_mode", "dedicated_subnets",
    "apply_shared_vpc_dedicated_param", "is_send_email", "enterprise_project_id",
}  # fmt: skip
_MODIFY_FIELDS = {
    "ad_info", "ad_domains", "access_mode", "dedicated_subnets", "adn_conflict_network", "subnet_ids",
    "enterprise_id", *_NOTES,
}  # fmt: skip
#: A change is of one sort; these belong together.
_ONE_SORT = {"access_mode": "access", "dedicated_subnets": "access", "internet_access_port": "access"}


def registration(body: Body) -> tuple[WorkspaceSettings, str | None]:
    """Return what a registration asks for, and the directory's password."""
    _only(body, _APPLY_FIELDS)
    domains = body.get("ad_domains")
    if not isinstance(domains, dict):
        raise invalid("ad_domains", "an object", type(domains).__name__)
    directory, password = _directory(domains, Directory(), "ad_domains")
    settings = WorkspaceSettings(
        directory=directory,
        vpc_id=_text(body, "vpc_id"),
        subnets=tuple(_subnet(item) for item in _list(body, "subnet_ids")),
        management_cidr=_text(body, "manage_subnet_cidr"),
        enterprise_id=_text(body, "enterprise_id"),
        notes=_notes(body, _NOTES),
    )
    return _access(body, settings), password


def change(body: Body, present: WorkspaceSettings) -> tuple[WorkspaceSettings, str | None]:
    """Return the settings as a change wants them, and the directory's password where it is given."""
    _only(body, _MODIFY_FIELDS)
    if not body:
        raise Problem(ProblemCode.INVALID, "the change names nothing", reason="empty")
    sorts = {_ONE_SORT.get(name, name) for name in body}
    if len(sorts) > 1:
        raise invalid("body", "one sort of attribute in a request", ", ".join(sorted(body)))
    settings, password = present, None
    for name in ("ad_domains", "ad_info"):
        if name in body:
            if not isinstance(body[name], dict):
                raise invalid(name, "an object", type(body[name]).__name__)
            directory, password = _directory(body[name], present.directory, name)
            settings = replace(settings, directory=directory)
    if "subnet_ids" in body:
        settings = replace(settings, subnets=tuple(_subnet_text(item) for item in _list(body, "subnet_ids")))
    if "adn_conflict_network" in body:
        settings = replace(settings, conflict_networks=_parts(body, "adn_conflict_network"))
    if "enterprise_id" in body:
        settings = replace(settings, enterprise_id=_text(body, "enterprise_id"))
    settings = replace(settings, notes={**settings.notes, **_notes(body, _NOTES)})
    return _access(body, settings), password


def _access(body: Body, settings: WorkspaceSettings) -> WorkspaceSettings:
    if "access_mode" in body:
        word = _text(body, "access_mode")
        if word not in ACCESS_OF_WORD:
            raise invalid("access_mode", ", ".join(ACCESS_OF_WORD), word)
        settings = replace(settings, access=ACCESS_OF_WORD[word])
    if "dedicated_subnets" in body:
        settings = replace(settings, dedicated_subnets=_parts(body, "dedicated_subnets"))
    return settings


def _directory(body: Body, present: Directory, where: str) -> tuple[Directory, str | None]:
    unknown = sorted(set(body) - _AD_FIELDS)
    if unknown:
        raise invalid(f"{where}.{unknown[0]}", f"one of {', '.join(sorted(_AD_FIELDS))}")
    kind = present.kind
    if "domain_type" in body:
        word = _text(body, "domain_type")
        if word not in DIRECTORY_OF_WORD:
            raise invalid(f"{where}.domain_type", ", ".join(DIRECTORY_OF_WORD), word)
        kind = DIRECTORY_OF_WORD[word]
    elif where == "ad_domains" and not present.domain_name and present == Directory():
        raise invalid(f"{where}.domain_type", ", ".join(DIRECTORY_OF_WORD))

    def given(name: str, former: str) -> str:
        return _text(body, name) if name in body else former

    dns = [given("active_dns_ip", present.dns[0] if present.dns else "")]
    dns.append(given("standby_dns_ip", present.dns[1] if len(present.dns) > 1 else ""))
    directory = Directory(
        kind=kind,
        domain_name=given("domain_name", present.domain_name),
        admin_account=given("domain_admin_account", present.admin_account),
        active_ip=given("active_domain_ip", present.active_ip),
        active_name=given("active_domain_name", present.active_name),
        standby_ip=given("standby_domain_ip", present.standby_ip),
        standby_name=given("standby_domain_name", present.standby_name),
        dns=tuple(each for each in dns if each),
        delete_object=_zero_or_one(body, "delete_computer_object", present.delete_object),
        ldaps=_flag(body, "use_ldaps", present.ldaps),
        ca_pem=_certificate(body, present.ca_pem),
        notes={**present.notes, **_notes(body, _AD_NOTES)},
    )
    password = body.get("domain_password")
    if password is not None and not isinstance(password, str):
        raise invalid("domain_password", "text")
    return directory, password


def _certificate(body: Body, former: str) -> str:
    config = body.get("tls_config")
    if config is None:
        return former
    if not isinstance(config, dict):
        raise invalid("tls_config", "an object", type(config).__name__)
    return _text(config, "cert_pem", most=65_536)


def _only(body: Body, fields: set[str]) -> None:
    unknown = sorted(set(body) - fields)
    if unknown:
        raise invalid(str(unknown[0]), f"one of {', '.join(sorted(fields))}")


def _text(body: Body, name: str, *, most: int = 1_000) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > most:
        raise invalid(name, f"text of at most {most} characters", type(value).__name__)
    return value


def _parts(body: Body, name: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in _text(body, name, most=4_000).split(";") if part.strip())


def _list(body: Body, name: str) -> list[Any]:
    value = body.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise invalid(name, "a list", type(value).__name__)
    return value


def _subnet(item: Any) -> str:
    if not isinstance(item, dict) or not isinstance(item.get("subnet_id"), str):
        raise invalid("subnet_ids", 'a list of {"subnet_id": text}')
    return str(item["subnet_id"])


def _subnet_text(item: Any) -> str:
    if not isinstance(item, str):
        raise invalid("subnet_ids", "a list of texts", type(item).__name__)
    return item


def _flag(body: Body, name: str, former: bool) -> bool:
    value = body.get(name, former)
    if not isinstance(value, bool):
        raise invalid(name, "true or false", value)
    return value


def _zero_or_one(body: Body, name: str, former: bool) -> bool:
    # An integer where it is sent, a text where it is shown; both are taken.
    value = body.get(name, int(former))
    if isinstance(value, bool) or value not in (0, 1, "0", "1"):
        raise invalid(name, "0 or 1", value)
    return value in (1, "1")


def _notes(body: Body, taken: Mapping[str, type]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, kind in taken.items():
        value = body.get(name)
        if value is None:
            continue
        if not isinstance(value, kind) or not _is_small(value):
            raise invalid(name, _KIND_WORDS[kind], type(value).__name__)
        found[name] = value
    return found


def _is_small(value: Any) -> bool:
    """Return whether a value is short enough, and flat enough, to be kept as JSON."""
    try:
        return len(orjson.dumps(value)) <= _LONGEST_NOTE
    except orjson.JSONEncodeError:
        return False


_KIND_WORDS: Mapping[Callable[..., Any], str] = {bool: "true or false", str: "text", dict: "an object"}

"""The service's error codes and status words. Tables only.

The vendor documents few codes of this service and none for a refused retry; those from 1001 on are ours, in the
documented form. The parent task says ``FAIL`` and its steps ``FAILED``: the vendor's own pollers need it so.
"""

from __future__ import annotations

from types import MappingProxyType

from redrive.engine.model import JobState, UnitState
from redrive.services.workspaces.model import (
    DEREGISTRATION,
    MODIFICATION,
    REGISTRATION,
    UNLOCKING,
    Access,
    DirectoryKind,
    Status,
)
from redrive.wire.huawei.codes import surface

REASONS = MappingProxyType(
    {
        "empty": "WKS.0001",
        "not_failed": "WKS.00001001",
        "wrong_type": "WKS.00001002",
        "retried": "WKS.00001003",
        "superseded": "WKS.00001004",
        "wrong_status": "WKS.00001005",
        "not_closable": "WKS.00001006",
        "busy": "WKS.00001007",
        "name_taken": "WKS.00001008",
        "not_locked": "WKS.00001009",
        "not_deletable": "WKS.00001010",
        "workspace": "WKS.00001011",
        "network": "WKS.00001012",
    }
)

WORKSPACE = surface("workspace", "WKS", REASONS)

#: Fields by our name, where the vendor's is another.
FIELD_NAMES = MappingProxyType(
    {
        "subnets": "subnet_ids",
        "management_cidr": "manage_subnet_cidr",
        "conflict_networks": "adn_conflict_network",
        "directory.domain_name": "domain_name",
        "directory.admin_account": "domain_admin_account",
        "directory.password": "domain_password",
        "directory.active_ip": "active_domain_ip",
        "directory.active_name": "active_domain_name",
        "directory.standby_ip": "standby_domain_ip",
        "directory.standby_name": "standby_domain_name",
        "directory.dns[0]": "active_dns_ip",
        "directory.dns[1]": "standby_dns_ip",
    }
)

STATUS_WORDS = MappingProxyType(
    {
        Status.NONE: "CLOSED",
        Status.QUEUED: "PREPARING",
        Status.REGISTERING: "SUBSCRIBING",
        Status.REGISTERED: "SUBSCRIBED",
        Status.REGISTRATION_FAILED: "SUBSCRIPTION_FAILED",
        Status.DEREGISTERING: "DEREGISTERING",
        Status.DEREGISTRATION_FAILED: "DEREGISTRATION_FAILED",
        Status.CLOSED: "CLOSED",
    }
)

#: Whether it can be reached, per status; where a way is being opened or closed, its word says which.
ACCESS_STATUS = MappingProxyType(
    {
        Status.NONE: "init",
        Status.QUEUED: "init",
        Status.REGISTERING: "{way}Opening",
        Status.REGISTERED: "openSuccess",
        Status.REGISTRATION_FAILED: "{way}OpenFailed",
        Status.DEREGISTERING: "{way}Closing",
        Status.DEREGISTRATION_FAILED: "{way}CloseFailed",
        Status.CLOSED: "closeSuccess",
    }
)

TASK_WORDS = MappingProxyType(
    {
        JobState.QUEUED: "WAITING",
        JobState.RUNNING: "RUNNING",
        JobState.PAUSED: "RUNNING",
        JobState.SUCCEEDED: "SUCCESS",
        JobState.FAILED: "FAIL",
        JobState.CANCELLED: "FAIL",
    }
)

STEP_WORDS = MappingProxyType(
    {
        UnitState.WAITING: "WAITING",
        UnitState.RUNNING: "RUNNING",
        UnitState.UNKNOWN: "RUNNING",
        UnitState.DONE: "SUCCESS",
        UnitState.SKIPPED: "SUCCESS",
        UnitState.FAILED: "FAILED",
    }
)

#: The last two are ours: the vendor has no word for them in its list.
JOB_TYPES = MappingProxyType(
    {
        REGISTRATION: "applyWorkspace",
        DEREGISTRATION: "cancelWorkspace",
        MODIFICATION: "modifyWorkspace",
        UNLOCKING: "unlockWorkspace",
    }
)
KIND_OF_TYPE = MappingProxyType({word: kind for kind, word in JOB_TYPES.items()})

ACCESS_WORDS = MappingProxyType(
    {Access.INTERNET: "INTERNET", Access.DEDICATED: "DEDICATED", Access.BOTH: "BOTH"}
)
ACCESS_OF_WORD = MappingProxyType({word: access for access, word in ACCESS_WORDS.items()})
DIRECTORY_WORDS = MappingProxyType({DirectoryKind.LOCAL: "LITE_AS", DirectoryKind.LDAP: "LOCAL_AD"})
DIRECTORY_OF_WORD = MappingProxyType({word: kind for kind, word in DIRECTORY_WORDS.items()})

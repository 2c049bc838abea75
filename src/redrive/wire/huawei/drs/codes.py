"""The service's error codes and words. Tables only. The codes are those of the vendor's list; texts are ours."""

from __future__ import annotations

from types import MappingProxyType

from redrive.errors import ProblemCode
from redrive.services.replication.model import End, Mode, Status, Use
from redrive.wire.huawei.codes import Surface

REASONS = MappingProxyType(
    {
        "empty": "DRS.M00201",
        "body": "DRS.M00007",
        "duplicate": "DRS.M00301",
        "page": "DRS.M00210",
        "page_too_high": "DRS.M00211",
        "schema": "DRS.M00302",
        "not_supported": "DRS.M00300",
        "name_taken": "DRS.M00277",
        "not_found": "DRS.M05003",
        "deleted": "DRS.M05004",
        "wrong_status": "DRS.M00304",
        "not_tested": "DRS.M00300",
        "not_prechecked": "DRS.10010047",
        "busy": "DRS.M01504",
        "scope": "DRS.M00261",
        "credentials": "DRS.KE0002",
        "no_connection": "DRS.M00300",
    }
)

_CODES = MappingProxyType(
    {
        ProblemCode.INVALID: "DRS.M00202",
        ProblemCode.UNAUTHENTICATED: "DRS.M00100",
        ProblemCode.FORBIDDEN: "DRS.M00102",
        ProblemCode.NOT_FOUND: "DRS.M05003",
        ProblemCode.CONFLICT: "DRS.M00304",
        ProblemCode.TOO_LARGE: "DRS.M00007",
        ProblemCode.TOO_MANY: "DRS.M01503",
        ProblemCode.UNAVAILABLE: "DRS.M01501",
    }
)

DRS = Surface("drs", _CODES, "DRS.M00004", REASONS)
#: Of details and statuses: clients know a task that is not there by this code, which the published list lacks.
LOOKING = Surface("drs", _CODES, "DRS.M00004", MappingProxyType({**REASONS, "not_found": "DRS.M00289"}))

STATUS_WORDS = MappingProxyType(
    {
        Status.CONFIGURING: "CONFIGURATION",
        Status.SCHEDULED: "WAITING_FOR_START",
        Status.STARTING: "STARTJOBING",
        Status.START_FAILED: "START_JOB_FAILED",
        Status.LOADING: "FULL_TRANSFER_STARTED",
        Status.LOAD_FAILED: "FULL_TRANSFER_FAILED",
        Status.LOADED: "FULL_TRANSFER_COMPLETE",
        # Of a paused task, too: there is no other word in v3, and clients wait for this one.
        Status.PAUSED: "PAUSING",
        Status.RELEASING: "RELEASE_RESOURCE_STARTED",
        Status.RELEASE_FAILED: "RELEASE_RESOURCE_FAILED",
        Status.RELEASED: "RELEASE_RESOURCE_COMPLETE",
    }
)

MODE_WORDS = MappingProxyType(
    {Mode.FULL: "FULL_TRANS", Mode.FULL_AND_CHANGES: "FULL_INCR_TRANS", Mode.CHANGES: "INCR_TRANS"}
)
MODE_OF_WORD = MappingProxyType({word: mode for mode, word in MODE_WORDS.items()})
USE_WORDS = MappingProxyType({Use.MIGRATION: "migration", Use.SYNC: "sync", Use.RECOVERY: "cloudDataGuard"})
USE_OF_WORD = MappingProxyType({word: use for use, word in USE_WORDS.items()})
END_WORDS = MappingProxyType({End.SOURCE: "so", End.TARGET: "ta"})
END_OF_WORD = MappingProxyType({word: end for end, word in END_WORDS.items()})

DIRECTIONS = ("up", "down", "non-dbs")
NETWORKS = ("vpn", "vpc", "eip")
PRECHECK_MODES = ("forStartJob", "forRetryJob")
PAUSE_MODES = ("target", "all")
DELETE_TYPES = ("terminate", "force_terminate", "delete")

"""Decisions per second of one thread, on realistic rights, beside Casbin and a look-up in a dictionary.

    python -m bench.policy_decisions [--seconds 3] [--no-peer]

Three policies are attached (the built-in operator of time series, one of an application with conditions on half of
its statements, one that denies), and a key pair limits them. The questions are allowed, not allowed and denied ones
in turn, each with an address, as they come with requests. Which statements are about an action is kept, an answer is
not. Casbin gets the same rights
as rules (its matcher compares action, resource and address) and must give the same answers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import peers_environment
from bench.results import Figure, report
from redrive.identity.access import Principal
from redrive.identity.builtin import DOCUMENTS
from redrive.identity.decisions import context_of
from redrive.identity.principals import rights_from

INSIDE = "10.0.0.0/8"
_INSIDE = {"IpAddress": {"g:SourceIp": [INSIDE]}}
APPLICATION = {
    "Version": "5.0",
    "Statement": [
        {"Effect": "Allow", "Action": ["enos:asset:read"], "Resource": ["enos:*:*:asset:station-*"]},
        {
            "Effect": "Allow",
            "Action": ["enos:asset:write"],
            "Resource": ["enos:*:*:asset:station-7*"],
            "Condition": _INSIDE,
        },
        {"Effect": "Allow", "Action": ["workspace:jobs:*"]},
        {"Effect": "Allow", "Action": ["drs:migrationJob*:*"], "Condition": _INSIDE},
    ],
}
DENIES = {
    "Version": "5.0",
    "Statement": [
        {"Effect": "Deny", "Action": ["*:*:delete*"]},
        {
            "Effect": "Deny",
            "Action": ["workspace:jobs:retry"],
            "Condition": {"IpAddress": {"g:SourceIp": ["10.9.0.0/16"]}},
        },
    ],
}
LIMITS = {"Version": "5.0", "Statement": [{"Effect": "Allow", "Action": ["*"]}]}

#: Action, resource, address, and what is right.
QUESTIONS = [
    ("redrive:jobs:retry", "redrive:local-1:acc:job:timeseries.deletion", "10.1.2.3", True),
    ("redrive:jobs:cancel", "redrive:local-1:acc:job:timeseries.deletion", "10.1.2.3", False),
    ("enos:asset:read", "enos:local-1:acc:asset:station-12", "192.168.0.1", True),
    ("enos:asset:write", "enos:local-1:acc:asset:station-71", "10.1.2.3", True),
    ("enos:asset:write", "enos:local-1:acc:asset:station-71", "192.168.0.1", False),
    ("enos:asset:write", "enos:local-1:acc:asset:other", "10.1.2.3", False),
    ("workspace:jobs:retry", "workspace:local-1:acc:job:17", "10.1.2.3", True),
    ("workspace:jobs:retry", "workspace:local-1:acc:job:17", "10.9.2.3", False),
    ("drs:migrationJobs:create", "drs:local-1:acc:job:x", "10.1.2.3", True),
    ("drs:migrationJobs:delete", "drs:local-1:acc:job:x", "10.1.2.3", False),
    ("iam:users:create", "*", "10.1.2.3", False),
]


def principal() -> Principal:
    attached = [("timeseries-operator", None), ("application", APPLICATION), ("denies", DENIES)]
    rights = rights_from(attached, layers=[LIMITS])
    return Principal(1, "acc", "p" * 32, "o1", "u", 1, "k", "bench", rights, "local-1", "redrive", "bench")


def ours(seconds: float) -> float:
    who = principal()
    requests = [
        (who.at(context_of({"g:SourceIp": address, "g:UserName": "bench"})), action, resource, allowed)
        for action, resource, address, allowed in QUESTIONS
    ]
    for caller, action, resource, allowed in requests:
        assert caller.decide(action, resource).allowed is allowed, (action, resource)
    count, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        for caller, action, resource, _ in requests:
            caller.decide(action, resource)
        count += len(requests)
    return count / (time.perf_counter() - begun)


def dictionary(seconds: float) -> float:
    kept = {(action, resource, address): allowed for action, resource, address, allowed in QUESTIONS}
    count, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        for action, resource, address, _ in QUESTIONS:
            kept[action, resource, address]
        count += len(QUESTIONS)
    return count / (time.perf_counter() - begun)


def rules() -> list[list[str]]:
    """Return the same rights as rules, one for each effect, action, resource and network."""
    found = []
    for document in (DOCUMENTS["timeseries-operator"], APPLICATION, DENIES):
        for statement in document["Statement"]:
            nets: list[Any] = statement.get("Condition", {}).get("IpAddress", {}).get("g:SourceIp", [""])
            found += [
                [statement["Effect"].lower(), action, resource, net]
                for action in statement["Action"]
                for resource in statement.get("Resource", ["*"])
                for net in nets
            ]
    return found


def casbin(seconds: float) -> float:
    with tempfile.TemporaryDirectory(prefix="redrive-bench-") as folder:
        file = Path(folder) / "questions.json"
        file.write_text(json.dumps({"rules": rules(), "questions": QUESTIONS, "seconds": seconds}))
        script = Path(__file__).parent / "peers" / "with_casbin.py"
        ended = subprocess.run(
            [peers_environment.python(), script, file], capture_output=True, text=True, check=True
        )
    return float(ended.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--no-peer", action="store_true")
    options = parser.parse_args()
    found = ours(options.seconds)
    limit = dictionary(min(1.0, options.seconds))
    if options.no_peer:
        figure = Figure(
            "policy decisions, one thread", found, "/s", ">= 20000", "a look-up in a dictionary", limit
        )
    else:
        note = f"a look-up in a dictionary: {limit:,.0f} /s"
        peer = casbin(options.seconds)
        figure = Figure("policy decisions, one thread", found, "/s", ">= 20000", "Casbin 1.43", peer, note)
    report(figure)


if __name__ == "__main__":
    main()

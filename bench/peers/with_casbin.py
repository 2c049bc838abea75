"""Casbin deciding the same questions on the same rights. Says one number: decisions per second.

    python with_casbin.py FILE

FILE: JSON with ``rules`` ([effect, action pattern, resource pattern, network or ""]) and ``questions``
([action, resource, address, allowed or not]). A Deny wins, as with us; answers that differ end it with 1.
"""

from __future__ import annotations

import ipaddress
import json
import sys
import time
from functools import lru_cache
from pathlib import Path

import casbin

MODEL = """
[request_definition]
r = act, obj, ip
[policy_definition]
p = eft, act, obj, net
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = globMatch(r.act, p.act) && globMatch(r.obj, p.obj) && inside(r.ip, p.net)
"""


@lru_cache
def network(text: str):
    return ipaddress.ip_network(text)


def inside(address: str, text: str) -> bool:
    return not text or ipaddress.ip_address(address) in network(text)


def main() -> None:
    given = json.loads(Path(sys.argv[1]).read_text())
    model = casbin.Model()
    model.load_model_from_text(MODEL)
    enforcer = casbin.Enforcer(model)
    enforcer.add_function("inside", inside)
    for effect, action, resource, net in given["rules"]:
        enforcer.add_policy(effect, action, resource, net)
    for action, resource, address, allowed in given["questions"]:
        if enforcer.enforce(action, resource, address) != allowed:
            sys.exit(f"another answer: {action} {resource} {address}")
    count, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < given["seconds"]:
        for action, resource, address, _ in given["questions"]:
            enforcer.enforce(action, resource, address)
        count += len(given["questions"])
    print(count / (time.perf_counter() - begun))


if __name__ == "__main__":
    main()

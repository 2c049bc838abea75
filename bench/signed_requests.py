"""Signed requests: what checking a signature adds to a call.

    python -m bench.signed_requests [--seconds 3]

The request is the one that the vendor's client sends to retry a task, signed anew each time by the vendor's own signer,
which stands beside our check: both do the same hashing. Below both is the hashing alone.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.sdk_request import SdkRequest
from huaweicloudsdkcore.signer.signer import Signer

from bench.results import Figure, report
from redrive.clock import now
from redrive.identity import signatures

ACCESS, SECRET = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
PROJECT, TASK = "29dfe82ada564ac2b927e1ff036d9a9b", "6783cecb-0e5c-4521-a3ea-825f551c1ba9"
URL = f"http://127.0.0.1:8700/v2/{PROJECT}/workspace-jobs/{TASK}/actions"
BODY = b'{"op_type": "retry"}'


def request() -> SdkRequest:
    parts = urlsplit(URL)
    headers = {
        "Content-Type": "application/json",
        "X-Project-Id": PROJECT,
        "User-Agent": "huaweicloud-usdk-python/3.0",
    }
    return SdkRequest(
        method="POST",
        schema=parts.scheme,
        host=parts.netloc,
        resource_path=parts.path,
        query_params=[],
        header_params=headers,
        body=BODY.decode(),
    )


def microseconds(work: Callable[[], object], seconds: float) -> list[float]:
    took = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        begun = time.perf_counter()
        work()
        took.append((time.perf_counter() - begun) * 1e6)
    return sorted(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    seconds = parser.parse_args().seconds
    signer = Signer(BasicCredentials(ACCESS, SECRET, PROJECT))
    signed = signer.sign(request())
    headers = [(name.lower().encode(), str(value).encode()) for name, value in signed.header_params.items()]
    wire = signatures.Wire("POST", urlsplit(URL).path.encode(), b"", headers)
    authorization = signed.header_params["Authorization"]

    def check() -> None:
        signatures.check(signatures.parse(authorization), wire, BODY, SECRET, now())

    def hashing() -> None:
        canonical = hashlib.sha256(BODY).hexdigest() * 6
        hmac.new(SECRET.encode(), hashlib.sha256(canonical.encode()).digest(), hashlib.sha256).hexdigest()

    check()
    ours, theirs, alone = (
        microseconds(work, seconds) for work in (check, lambda: signer.sign(request()), hashing)
    )
    at_99 = ours[int(len(ours) * 0.99)] / 1000
    median = [found[len(found) // 2] / 1000 for found in (ours, theirs, alone)]
    report(Figure("checking a signature: 99 %", at_99, "ms", "<= 1"))
    report(Figure("checking a signature: median", median[0], "ms", "", "the vendor's signer", median[1]))
    report(Figure("checking a signature: median", median[0], "ms", "", "the hashes alone", median[2]))


if __name__ == "__main__":
    main()

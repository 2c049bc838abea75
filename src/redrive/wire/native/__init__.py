"""The native edge: ``/v1``, ``/metrics``, ``/docs``.

::

    auth          who calls: HTTP Basic with a key pair, or a bearer token
    problems      refusals as problem+json (RFC 9457); NativeRoute and add_handlers
    idempotency   Idempotency-Key: the same request has its effect once
    tokens        POST /v1/tokens
"""

from __future__ import annotations

"""The steps of a registration: each does one thing, finds it again after a crash, and undoes it.

``inputs`` says with what a step is done; where that changes before a retry, the step is undone and done again.
``do``, ``find`` and ``undo`` are safe to repeat. What is written into our own database goes behind the claim's fence,
in one transaction; directory and sample store are looked at by ``find``.
"""

from __future__ import annotations

from collections.abc import Mapping

from redrive.services.workspaces.steps.joining import DIRECTORY, JOIN
from redrive.services.workspaces.steps.keeping import DATABASE, KEY, SAMPLES
from redrive.services.workspaces.steps.reaching import ENDPOINTS, NAME, OPEN, RULES, SUBNETS, enterprise_id_of
from redrive.services.workspaces.steps.step import Step

#: In the order of a registration.
STEPS: tuple[Step, ...] = (
    SUBNETS,
    RULES,
    DATABASE,
    SAMPLES,
    KEY,
    DIRECTORY,
    JOIN,
    ENDPOINTS,
    NAME,
    OPEN,
)

BY_NAME: Mapping[str, Step] = {step.name: step for step in STEPS}

__all__ = ["BY_NAME", "STEPS", "Step", "enterprise_id_of"]

"""Identity (IAM, STS) as the vendor's clients call it: tokens, catalog, projects, temporary keys, sealed refusals."""

from __future__ import annotations

"""What diagnosis has to say: a name that can be expected in a scenario, the cause in words, and the mend."""

from __future__ import annotations

from dataclasses import dataclass

FINDINGS = (
    "self-replay",
    "replay-loop",
    "stale-cookie",
    "lost-target",
    "foreign-instance",
    "empty-region",
    "broken-directive",
    "replayed-fallback",
    "unknown-app",
    "large-body",
    "negotiated-upgrade",
    "doubtful-directive",
    "refused-connection",
    "broken-answer",
)
"""The ids of all findings that the rules can make, in their order; docs/findings.md tells of each."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about an exchange that a person should know."""

    id: str
    cause: str
    fix: str
    request_id: str

    def __str__(self) -> str:
        return f"{self.id}: {self.cause}\n  fix: {self.fix}"

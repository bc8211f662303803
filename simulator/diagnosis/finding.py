"""What diagnosis has to say: a name that can be expected in a scenario, the cause in words, and the mend."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about an exchange that a person should know."""

    id: str
    cause: str
    mend: str
    request_id: str

    def __str__(self) -> str:
        return f"{self.id}: {self.cause}\n  mend: {self.mend}"

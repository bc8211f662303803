"""Finding of diagnosis about one exchange: cause, evidence, fix, and the rules of Fly's proxy that explain it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where in the trace the problem is visible. A field is None if it does not apply."""

    hop: int | None = None
    """Position in `Trace.hops`, from 0."""
    header: str | None = None
    """Name in lower case."""
    text: str | None = None
    """The value of that header, or the message that shows the cause, as it is in the trace."""
    start: int | None = None
    end: int | None = None
    """The wrong part is `text[start:end]`."""


@dataclass(frozen=True, slots=True)
class Fix:
    """What to change: a text, and two values if a value is wrong."""

    text: str
    before: str | None = None
    after: str | None = None

    def as_dict(self) -> dict[str, str]:
        """For JSON. `before` and `after` are omitted if they are None."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Finding:
    """A diagnosis of one exchange. `id` is stable: scenarios expect it, docs/findings.md explains it."""

    id: str
    cause: str
    fix: Fix
    request_id: str
    rules: tuple[str, ...] = ()
    """Ids of the rules of Fly's proxy that explain it, such as F-1.38; docs/fidelity.md lists them."""
    evidence: Evidence = Evidence()

    def __str__(self) -> str:
        lines = [f"{self.id}: {self.cause}", f"  fix: {self.fix.text}"]
        if self.fix.before is not None:
            lines.append(f"    - {self.fix.before}")
        if self.fix.after is not None:
            lines.append(f"    + {self.fix.after}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: `{id, rules, cause, evidence, fix, request_id}`."""
        return {
            "id": self.id,
            "rules": list(self.rules),
            "cause": self.cause,
            "evidence": asdict(self.evidence),
            "fix": self.fix.as_dict(),
            "request_id": self.request_id,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Finding:
        """The reverse of `as_dict`, for clients of the control API."""
        return cls(
            id=data["id"],
            cause=data["cause"],
            fix=Fix(**data["fix"]),
            request_id=data["request_id"],
            rules=tuple(data["rules"]),
            evidence=Evidence(**data["evidence"]),
        )

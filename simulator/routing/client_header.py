"""Routing headers of the client: preferred and forced machines and regions (facts 3).

`force` never falls back, `prefer` does (F-3.1 to F-3.7). A forced machine takes precedence over all others, a
forced region over a preferred one; Fly does not document their precedence (F-3.9).
"""

from __future__ import annotations

from simulator.routing.balancing.selection import Target
from simulator.routing.headers import find_field
from simulator.routing.model import Fields
from simulator.routing.regions import ANY

FORCE_INSTANCE = b"fly-force-instance-id"
PREFER_INSTANCE = b"fly-prefer-instance-id"
FORCE_REGION = b"fly-force-region"
PREFER_REGION = b"fly-prefer-region"
CACHE_CONTROL = b"fly-replay-cache-control"
_PREFIXES = (b"fly-f", b"fly-p")


def target_from_headers(fields: Fields, app: str) -> Target:
    """The target of a new request to `app`."""
    if not any(key[:5].lower() in _PREFIXES for key, _ in fields):
        return Target(app)
    forced = find_field(fields, FORCE_REGION)
    preferred = find_field(fields, PREFER_REGION)
    regions = _codes(forced) or ((*_codes(preferred), ANY) if preferred else ())
    instance = find_field(fields, FORCE_INSTANCE) or None
    if instance is not None:
        return Target(app, instance=instance, regions=_codes(forced))
    return Target(app, prefer_instance=find_field(fields, PREFER_INSTANCE) or None, regions=regions)


def wants_bypass(fields: Fields) -> bool:
    """Whether the client asks to bypass the replay cache (F-2.29)."""
    return (find_field(fields, CACHE_CONTROL) or "").lower() == "skip"


def _codes(text: str | None) -> tuple[str, ...]:
    return tuple(code for item in (text or "").split(",") if (code := item.strip().lower()))

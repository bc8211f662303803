"""Session rule of `replay_cache` in fly.toml: which requests share a session, and its TTL (F-2.18 to F-2.21)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class KeyKind(StrEnum):
    """Where the session id of a request is read from (F-2.19)."""

    COOKIE = "cookie"
    HEADER = "header"


@dataclass(frozen=True, slots=True)
class CacheRule:
    """One `replay_cache` entry of a service (F-2.18, F-2.19)."""

    path_prefix: str
    ttl_seconds: int
    kind: KeyKind
    name: str
    allow_bypass: bool = False

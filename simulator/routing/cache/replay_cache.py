"""Replay caches: remembered replays, by path (response headers or JSON) and by session (rules in `fly.toml`).

An optimisation and no promise: the origin may be asked at any time (F-2.2). Nothing here knows the time; `now` is
an argument, in seconds since the Unix epoch. Sources: facts section 2.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from simulator.routing.cache.rule import CacheRule, KeyKind
from simulator.routing.headers import find_cookie, find_field
from simulator.routing.model import Fields
from simulator.routing.replay.directive import ReplayDirective

_Key = TypeVar("_Key", bound=tuple[str, ...])

MIN_TTL_SECONDS = 10
"""F-2.4: for both kinds."""
MAX_ENTRIES = 10_000
"""Per cache; the oldest goes first. Fly names no bound."""


class CacheStatus(StrEnum):
    """The values of `fly-replay-cache-status` (F-1.47); not replayed: no header."""

    MISS = "miss"
    HIT = "hit"
    BYPASS = "bypass"


@dataclass(frozen=True, slots=True)
class CacheInstruction:
    """What a replaying response says about caching: in headers or in the JSON `cache` (F-2.11, F-1.81)."""

    prefix: str | None = None
    ttl_seconds: int | None = None
    allow_bypass: bool = False
    invalidate: bool = False


@dataclass(frozen=True, slots=True)
class PathPattern:
    """Where a cached replay applies: a path and all below it, on one host or the request's (F-2.11, F-2.12)."""

    host: str | None
    path: str

    def covers(self, host: str, path: str) -> bool:
        """Segment boundaries count: /api covers /api and /api/x, not /apiary (F-2.16, F-2.20)."""
        if self.host is not None and self.host != host:
            return False
        return self.path == "/" or path == self.path or path.startswith(f"{self.path}/")


def parse_pattern(text: str) -> PathPattern:
    """`/path`, `/path/`, `/path/*`, or any of them behind a host. Raises ValueError that says what is wrong."""
    text = text.strip()
    if "://" in text:
        raise ValueError(f"{text!r} has a protocol; a host and a path is all it takes")
    host, slash, rest = text.partition("/")
    if not slash:
        raise ValueError(f"{text!r} has no path; it takes a '/'")
    if ":" in host:
        raise ValueError(f"{text!r} has a port, which is not allowed")
    path = "/" + rest.removesuffix("*").rstrip("/")
    if "*" in path:
        raise ValueError(f"{text!r} has a '*' elsewhere than at its end")
    return PathPattern(host.lower() or None, path)


@dataclass(frozen=True, slots=True)
class CachedReplay:
    """A remembered replay: from which machine, to where, for how long."""

    directive: ReplayDirective
    source_app: str
    source_id: str
    expires_at: float
    allow_bypass: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a request the caches look at. `scope` is the edge's region, or empty where all edges share (K-24)."""

    scope: str
    host: str
    path: str
    fields: Fields


class ReplayCache:
    """Both kinds of cache of one proxy."""

    def __init__(self, max_entries: int = MAX_ENTRIES) -> None:
        self._max_entries = max_entries
        self._paths: OrderedDict[tuple[str, str, str], CachedReplay] = OrderedDict()
        """(scope, host, path prefix) -> replay."""
        self._sessions: OrderedDict[tuple[str, str, str, str, str], CachedReplay] = OrderedDict()
        """(scope, host, rule's path, rule's cookie or header, its value) -> replay (F-2.22)."""

    def find(
        self, asked: Asked, rules: Iterable[CacheRule], now: float, *, session_first: bool = False
    ) -> CachedReplay | None:
        """What is remembered for a request: by path first, then by session, or the other way round (K-26)."""
        if not self._paths and not self._sessions:
            return None
        by_path, by_session = self._find_path(asked, now), self._find_session(asked, rules, now)
        return (by_session or by_path) if session_first else (by_path or by_session)

    def _find_path(self, asked: Asked, now: float) -> CachedReplay | None:
        found = (self._living(self._paths, (asked.scope, asked.host, p), now) for p in _prefixes(asked.path))
        return next((replay for replay in found if replay is not None), None)

    def _find_session(self, asked: Asked, rules: Iterable[CacheRule], now: float) -> CachedReplay | None:
        key = _session_key(asked, rules)
        return self._living(self._sessions, key, now) if key is not None else None

    def remember_path(self, asked: Asked, pattern: PathPattern, replay: CachedReplay) -> None:
        self._put(self._paths, (asked.scope, pattern.host or asked.host, pattern.path), replay)

    def remember_session(self, asked: Asked, rules: Iterable[CacheRule], replay: CachedReplay) -> None:
        """Only for a request that carries the rule's cookie or header (F-2.23)."""
        key = _session_key(asked, rules)
        if key is not None:
            self._put(self._sessions, key, replay)

    def forget(self, asked: Asked, rules: Iterable[CacheRule]) -> None:
        """Whatever would answer this request is forgotten (F-2.27)."""
        for prefix in _prefixes(asked.path):
            self._paths.pop((asked.scope, asked.host, prefix), None)
        key = _session_key(asked, rules)
        if key is not None:
            self._sessions.pop(key, None)

    def _put(self, entries: OrderedDict[_Key, CachedReplay], key: _Key, replay: CachedReplay) -> None:
        entries[key] = replay
        entries.move_to_end(key)
        if len(entries) > self._max_entries:
            entries.popitem(last=False)

    @staticmethod
    def _living(entries: OrderedDict[_Key, CachedReplay], key: _Key, now: float) -> CachedReplay | None:
        found = entries.get(key)
        if found is not None and found.expires_at <= now:
            del entries[key]
            return None
        return found


def find_rule(asked: Asked, rules: Iterable[CacheRule]) -> CacheRule | None:
    """The rule with the longest path that covers the request (F-2.21)."""
    matching = [rule for rule in rules if parse_pattern(rule.path_prefix).covers(asked.host, asked.path)]
    return max(matching, key=lambda rule: len(rule.path_prefix.rstrip("/*")), default=None)


def _session_key(asked: Asked, rules: Iterable[CacheRule]) -> tuple[str, str, str, str, str] | None:
    """None where no rule fits, or the request has not what the rule names: it is routed normally (F-2.25)."""
    rule = find_rule(asked, rules)
    if rule is None:
        return None
    read = find_cookie if rule.kind is KeyKind.COOKIE else find_field
    value = read(
        asked.fields, rule.name.lower().encode() if rule.kind is KeyKind.HEADER else rule.name.encode()
    )
    return (asked.scope, asked.host, rule.path_prefix, rule.name, value) if value else None


def _prefixes(path: str) -> Iterator[str]:
    """Every path that covers `path`, the longest first: /a/b, /a, /."""
    path = path.rstrip("/")
    while path:
        yield path
        path = path.rpartition("/")[0]
    yield "/"

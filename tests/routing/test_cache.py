"""Replay cache: when entries are stored, used and invalidated (facts 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.routing import Cause, Deliver, Fleet, Reject, Relay, Router, RoutingOptions
from simulator.routing.cache.caching import read_instruction
from simulator.routing.cache.replay_cache import (
    CachedReplay,
    CacheLookup,
    PathPattern,
    ReplayCache,
    find_rule,
    parse_pattern,
)
from simulator.routing.cache.rule import CacheRule, KeyKind
from simulator.routing.headers import find_cookie
from simulator.routing.replay.directive import ReplayDirective
from simulator.routing.service import HttpOptions, Service, ServicePort
from tests.routing.build import (
    AMS_1,
    CHAT_1,
    DEMO,
    DFW_1,
    DFW_2,
    NOW,
    STREAMS,
    Caller,
    fields,
    fleet,
    request,
    stopped,
    two_apps,
)

TO_DFW_1, TO_DFW_2 = f"instance={DFW_1.id}", f"instance={DFW_2.id}"
CACHE = {"fly-replay-cache": "/app", "fly-replay-cache-ttl-secs": "60"}


class Proxy:
    """One proxy with its caches, for several requests."""

    def __init__(self, machines: Fleet = DEMO, *, chance: Any = lambda n: 0, **options: Any) -> None:
        self.router = Router(machines, RoutingOptions(**options), chance)

    def ask(
        self,
        target: str = "/app",
        headers: dict[str, str] | None = None,
        *,
        at: float = 0.0,
        edge: str = "ams",
        **changes: Any,
    ) -> Caller:
        asked = request(headers, target=target, **changes)
        return Caller(request=asked, router=self.router, edge=edge, at=NOW + at)

    def remember(
        self,
        directive: str = TO_DFW_1,
        cache: dict[str, str] | None = None,
        target: str = "/app",
        headers: dict[str, str] | None = None,
        **changes: Any,
    ) -> Caller:
        """Send a request whose first machine replays with a cache instruction; the target responds with 200."""
        caller = self.ask(target, headers, **changes)
        caller.respond(307, {"fly-replay": directive} | (CACHE if cache is None else cache))
        if isinstance(caller.decision, Deliver):
            caller.respond(200)
        return caller

    def hits(self, target: str = "/app", headers: dict[str, str] | None = None, **changes: Any) -> bool:
        caller = self.ask(target, headers, **changes)
        return caller.trace.hops[0].cause is Cause.CACHED


# By path.


def test_a_cached_replay_is_used_without_asking_the_origin() -> None:
    """F-12.13, F-2.1, F-2.6, F-2.11, F-2.14"""
    proxy = Proxy()
    first = proxy.remember()
    assert first.trace.hops[1].sent[-1] == ("fly-replay-cache-status", "miss")  # F-1.47
    second = proxy.ask()
    assert second.at == "dfw-1"
    assert second.sent["fly-replay-cache-status"] == "hit"
    assert "fly-replay-src" not in second.sent  # F-1.43
    second.respond()
    assert (second.trace.path, second.trace.hops[0].cause) == (("dfw-1",), Cause.CACHED)


def test_a_replay_without_cache_headers_is_not_cached() -> None:
    """F-1.48, F-2.1"""
    proxy = Proxy()
    proxy.remember(cache={})
    assert not proxy.hits()


@pytest.mark.parametrize(
    ("pattern", "host", "path"),
    [
        ("/some/path/*", None, "/some/path"),  # F-2.11
        ("/some/path/", None, "/some/path"),
        ("/some/path", None, "/some/path"),
        (" /api ", None, "/api"),
        ("/", None, "/"),
        ("/*", None, "/"),
        ("Example.com/api/*", "example.com", "/api"),  # F-2.12, F-2.20
        ("example.com/api/", "example.com", "/api"),
        ("example.com/api", "example.com", "/api"),
        ("example.com/", "example.com", "/"),
    ],
)
def test_a_pattern_is_a_path_with_or_without_a_host(pattern: str, host: str | None, path: str) -> None:
    """F-2.11, F-2.12, F-2.20"""
    assert parse_pattern(pattern) == PathPattern(host, path)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("https://example.com/api", "has a scheme"),  # F-2.20
        ("example.com:8080/api/*", "has a port, which is not allowed"),  # F-2.12
        ("api", "has no path"),
        ("", "has no path"),
        ("/a/*/b", "has a '*' that is not at its end"),
    ],
)
def test_an_invalid_pattern_is_reported(pattern: str, text: str) -> None:
    """F-2.12, F-2.20 (gallery 24)"""
    with pytest.raises(ValueError, match="'") as caught:
        parse_pattern(pattern)
    assert text in str(caught.value)
    proxy = Proxy()
    caller = proxy.remember(cache=CACHE | {"fly-replay-cache": pattern})
    assert text in caller.trace.warnings[0]
    assert not proxy.hits()


@pytest.mark.parametrize(
    ("pattern", "path", "covered"),
    [
        ("/api", "/api", True),
        ("/api", "/api/", True),
        ("/api", "/api/x/y", True),
        ("/api", "/apiary", False),  # F-2.16
        ("/api", "/API", False),
        ("/api", "/", False),
        ("/", "/anything", True),
        ("h.dev/api", "/api", True),
        ("other.dev/api", "/api", False),
    ],
)
def test_a_pattern_matches_whole_segments(pattern: str, path: str, covered: bool) -> None:
    """F-2.11, F-2.12, F-2.16"""
    assert parse_pattern(pattern).covers("h.dev", path) is covered


@pytest.mark.parametrize(
    ("target", "hit"),
    [("/app", True), ("/app/", True), ("/app/x", True), ("/app?q=1", True), ("/apple", False), ("/", False)],
)
def test_an_entry_applies_to_paths_below_its_path(target: str, hit: bool) -> None:
    """F-2.11, F-2.16: the query is ignored"""
    proxy = Proxy()
    proxy.remember()
    assert proxy.hits(target) is hit


def test_of_two_entries_the_longer_path_wins() -> None:
    """F-2.17: documented for session rules only (F-2.21)"""
    proxy = Proxy()
    proxy.remember(TO_DFW_1, CACHE | {"fly-replay-cache": "/"}, target="/")
    proxy.remember(
        TO_DFW_2, CACHE | {"fly-replay-cache": "/app"}, headers={"fly-force-instance-id": AMS_1.id}
    )
    assert (proxy.ask("/app/x").at, proxy.ask("/x").at) == ("dfw-2", "dfw-1")


@pytest.mark.parametrize(
    ("pattern", "host", "hit"),
    [
        ("/app", "streams.fly.dev", True),
        ("/app", "Streams.fly.dev:8080", True),
        ("/app", "other.example.com", False),
        ("streams.fly.dev/app", "streams.fly.dev", True),
        ("streams.fly.dev/app", "other.example.com", False),
    ],
)
def test_an_entry_applies_to_the_hostname_of_the_request(pattern: str, host: str, hit: bool) -> None:
    """F-2.12"""
    proxy = Proxy()
    proxy.remember(cache=CACHE | {"fly-replay-cache": pattern})
    assert proxy.hits(host=host) is hit


@pytest.mark.parametrize(("refusing", "replayed"), [("ignore", True), ("refuse", False)])
def test_a_pattern_that_does_not_match_the_request_is_not_cached(refusing: Any, replayed: bool) -> None:
    """F-2.13, K-23"""
    proxy = Proxy(unmatched_pattern=refusing)
    caller = proxy.remember(cache=CACHE | {"fly-replay-cache": "/other"})
    assert (caller.trace.error is None) is replayed
    assert not proxy.hits("/other")
    if replayed:
        assert caller.trace.warnings == (
            "the replay is not cached: the pattern '/other' does not match this request",
        )
    else:
        assert caller.code == "PA03"


@pytest.mark.parametrize(("at", "hit"), [(59.9, True), (60.0, False), (600.0, False)])
def test_an_entry_expires_after_its_ttl(at: float, hit: bool) -> None:
    """F-2.14"""
    proxy = Proxy()
    proxy.remember()
    assert proxy.hits(at=at) is hit
    assert proxy.hits(at=at) is hit


@pytest.mark.parametrize(
    ("ttl", "ignored_for", "clamped_for"),
    [
        ("10", 10, 10),
        ("9", 0, 10),
        ("0", 0, 10),
        ("-5", 0, 10),
        ("", 0, 0),
        ("ten", 0, 0),
        ("1.5", 0, 0),
        ("9" * 10, 0, 0),
        ("²", 0, 0),
    ],
)
def test_a_short_or_missing_ttl(ttl: str, ignored_for: int, clamped_for: int) -> None:
    """F-10.7, F-2.4, K-22 (gallery 24)"""
    for choice, seconds in (("ignore", ignored_for), ("clamp", clamped_for)):
        proxy = Proxy(short_ttl=choice)
        caller = proxy.remember(cache=CACHE | {"fly-replay-cache-ttl-secs": ttl})
        assert proxy.hits(at=9.9) is (seconds > 0)
        assert not proxy.hits(at=10.0)
        assert bool(caller.trace.warnings) is (seconds == 0)


def test_without_a_ttl_nothing_is_cached() -> None:
    """F-2.4"""
    proxy = Proxy()
    caller = proxy.remember(cache={"fly-replay-cache": "/app"})
    assert caller.trace.warnings == ("the replay is not cached: it has no TTL",)
    assert not proxy.hits()


@pytest.mark.parametrize("rest", ["state=x", "timeout=1s", "fallback=force_self"])
@pytest.mark.parametrize(("choice", "replayed"), [("replay", True), ("refuse", False)])
def test_a_replay_with_state_timeout_or_fallback_is_not_cached(
    rest: str, choice: Any, replayed: bool
) -> None:
    """F-1.57, F-2.3, K-21 (gallery 23)"""
    proxy = Proxy(uncacheable_replay=choice)
    caller = proxy.remember(f"{TO_DFW_1};{rest}")
    assert not proxy.hits()
    assert isinstance(caller.decision, Relay if replayed else Reject)
    what = rest.partition("=")[0]
    if replayed:
        assert caller.trace.warnings == (f"a replay with {what} is not cached (F-2.3)",)
    else:
        assert (caller.code, what in caller.rejection.error.message) == ("PA03", True)


def test_a_replay_with_a_transform_is_not_cached() -> None:
    """F-2.3"""
    proxy = Proxy()
    caller = proxy.ask()
    body = {"instance": DFW_1.id, "transform": {"path": "/x"}, "cache": {"prefix": "/app", "ttl": 60}}
    caller.replay_body(body)
    assert caller.trace.warnings == ("a replay with a transform is not cached (F-2.3)",)
    assert not proxy.hits()


def test_the_json_form_is_cached_like_the_header_form() -> None:
    """F-1.81, F-2.1"""
    proxy = Proxy()
    proxy.ask().replay_body({"instance": DFW_1.id, "cache": {"prefix": "/app", "ttl": 60}})
    assert proxy.hits()


def test_an_empty_cache_section_caches_nothing_without_a_warning() -> None:
    """F-1.81"""
    proxy = Proxy()
    caller = proxy.ask()
    caller.replay_body({"instance": DFW_1.id, "cache": {}})
    assert (caller.trace.warnings, proxy.hits()) == ((), False)


@pytest.mark.parametrize(("scope", "hit"), [("edge", False), ("global", True)])
def test_each_edge_has_its_own_cache_by_default(scope: Any, hit: bool) -> None:
    """F-2.7, K-24"""
    proxy = Proxy(cache_scope=scope)
    proxy.remember(edge="ams")
    assert proxy.hits(edge="ams")
    assert proxy.hits(edge="dfw") is hit


def test_a_directive_without_an_instance_is_cached() -> None:
    """F-2.6: the entry contains the directive, not the machine that was selected"""
    proxy = Proxy(two_apps())
    proxy.remember("app=chat")
    caller = proxy.ask()
    assert isinstance(caller.decision, Deliver)
    assert caller.decision.machine == CHAT_1


def test_a_cached_elsewhere_still_excludes_the_origin() -> None:
    """F-1.6, F-2.6"""
    proxy = Proxy()
    proxy.remember("elsewhere=true")
    assert proxy.ask().at == "dfw-1"


def test_a_refused_replay_is_not_cached() -> None:
    """F-1.68: a cached replay needs permission like any other"""
    proxy = Proxy(two_apps(org="other"))
    assert proxy.remember("app=chat").code == "PA05"
    assert not proxy.hits()


def test_only_the_first_replay_of_a_request_is_cached() -> None:
    """F-2.5: one lookup per request, at the origin"""
    proxy = Proxy()
    caller = proxy.ask()
    caller.replay(TO_DFW_1)
    caller.respond(307, {"fly-replay": TO_DFW_2} | CACHE)
    assert caller.at == "dfw-2"
    assert not proxy.hits()


def test_a_replay_by_the_cached_target_is_not_cached() -> None:
    """F-2.5"""
    proxy = Proxy()
    proxy.remember()
    caller = proxy.ask()
    caller.respond(307, {"fly-replay": TO_DFW_2} | CACHE)
    assert (caller.at, caller.sent["fly-replay-cache-status"]) == ("dfw-2", "miss")
    assert proxy.ask().at == "dfw-1"


def test_a_websocket_uses_the_cache_like_any_request() -> None:
    """F-2.10"""
    proxy = Proxy()
    proxy.remember()
    caller = proxy.ask(headers={"Connection": "Upgrade", "Upgrade": "websocket"})
    caller.respond(101)
    assert (caller.trace.path, caller.trace.websocket) == (("dfw-1",), True)


# The cached target is gone.


@pytest.mark.parametrize(
    "left",
    [fleet(AMS_1, DFW_2), fleet(AMS_1, stopped(DFW_1)), fleet(AMS_1, replace(DFW_1, healthy=False))],
    ids=["destroyed", "stopped", "unhealthy"],
)
def test_if_the_cached_target_is_gone_the_origin_is_asked(left: Fleet) -> None:
    """F-2.2, F-2.8, K-25 (gallery 22)"""
    proxy = Proxy()
    proxy.remember()
    proxy.router.fleet = left
    caller = proxy.ask()
    assert (caller.at, caller.trace.hops[0].cause, caller.elapsed) == ("ams-1", Cause.ROUTED, 0.0)
    assert "fly-replay-cache-status" not in caller.sent
    proxy.router.fleet = DEMO
    assert not proxy.hits()


def test_if_the_cached_target_is_gone_the_request_fails_if_configured() -> None:
    """K-25"""
    proxy = Proxy(lost_cached_target="error")
    proxy.remember()
    proxy.router.fleet = fleet(AMS_1)
    assert proxy.ask().code == "PR04"


def test_if_the_cached_target_keeps_refusing_the_origin_is_asked() -> None:
    """F-2.8, F-5.41"""
    proxy = Proxy(attempts=2)
    proxy.remember()
    caller = proxy.ask()
    caller.fail()
    caller.fail()
    assert caller.at == "ams-1"
    caller.respond()
    assert caller.trace.path == ("dfw-1", "ams-1")


def test_a_request_queues_for_a_full_cached_target_before_asking_the_origin() -> None:
    """F-2.8, F-5.6, K-25, K-31"""
    machines = fleet(
        AMS_1, DFW_1, apps=[replace(STREAMS, services=(Service(hard_limit=1, autostart=False),))]
    )
    proxy = Proxy(machines)
    first = proxy.remember()
    first.exchange.finish(NOW)
    proxy.router.load.take(DFW_1.id, Service())
    caller = proxy.ask()
    caller.wait(10.0)
    assert caller.at == "ams-1"


@pytest.mark.parametrize(("chance", "hit"), [(0, False), (499, False), (500, True), (999, True)])
def test_the_cache_can_be_skipped_at_random(chance: int, hit: bool) -> None:
    """F-2.2, K-27: off by default"""
    proxy, usual = Proxy(chance=lambda n: chance if n == 1000 else 0, cache_refusal=0.5), Proxy()
    for each in (proxy, usual):
        each.remember()
    assert proxy.hits() is hit
    assert usual.hits()


# Bypass.


@pytest.mark.parametrize(
    ("allow", "control", "bypassed"),
    [
        ("yes", "skip", True),  # F-2.15, F-2.29
        ("YES", "Skip", True),
        ("no", "skip", False),  # F-2.30
        (None, "skip", False),
        ("yes", "no-store", False),
        ("yes", None, False),
    ],
)
def test_a_client_can_bypass_the_cache_if_the_entry_allows_it(
    allow: str | None, control: str | None, bypassed: bool
) -> None:
    """F-2.15, F-2.29, F-2.30, F-3.13"""
    proxy = Proxy()
    proxy.remember(cache=CACHE | ({"fly-replay-cache-allow-bypass": allow} if allow else {}))
    caller = proxy.ask(headers={"fly-replay-cache-control": control} if control else {})
    assert caller.at == ("ams-1" if bypassed else "dfw-1")
    assert caller.sent["fly-replay-cache-status"] == ("bypass" if bypassed else "hit")  # F-1.47


def test_a_bypass_without_an_entry_has_no_effect() -> None:
    """F-1.47, F-2.29"""
    caller = Proxy().ask(headers={"fly-replay-cache-control": "skip"})
    assert "fly-replay-cache-status" not in caller.sent


def test_a_request_that_bypasses_the_cache_refreshes_it() -> None:
    """F-2.31"""
    proxy = Proxy()
    allowed = CACHE | {"fly-replay-cache-allow-bypass": "yes"}
    proxy.remember(cache=allowed)
    proxy.remember(TO_DFW_2, allowed, headers={"fly-replay-cache-control": "skip"})
    assert proxy.ask().at == "dfw-2"


def test_a_forced_machine_takes_precedence_over_the_cache() -> None:
    """F-3.5, F-3.9"""
    proxy = Proxy()
    proxy.remember()
    caller = proxy.ask(headers={"fly-force-instance-id": DFW_2.id})
    assert (caller.at, "fly-replay-cache-status" in caller.sent) == ("dfw-2", False)


# Invalidation.

INVALIDATE = {"fly-replay-cache": "invalidate"}


@pytest.mark.parametrize("directive", [f"instance={AMS_1.id}", "region=ams"])
def test_the_target_invalidates_a_cached_replay(directive: str) -> None:
    """F-2.27"""
    proxy = Proxy()
    proxy.remember()
    caller = proxy.ask()
    caller.respond(307, {"fly-replay": directive} | INVALIDATE)
    assert (caller.at, caller.sent["fly-replay-src"].partition(";")[0]) == ("ams-1", TO_DFW_1)
    assert not proxy.hits()


def test_the_target_invalidates_a_cached_replay_by_json() -> None:
    """F-1.81, F-2.27"""
    proxy = Proxy()
    proxy.remember()
    proxy.ask().replay_body({"instance": AMS_1.id, "cache": {"invalidate": True}})
    assert not proxy.hits()


@pytest.mark.parametrize(("lenient", "hit"), [(True, False), (False, True)])
def test_a_replay_to_a_third_machine_invalidates_if_configured(lenient: bool, hit: bool) -> None:
    """F-2.28, K-28"""
    proxy = Proxy(invalidate_with_any_replay=lenient)
    proxy.remember()
    proxy.ask().respond(307, {"fly-replay": TO_DFW_2} | INVALIDATE)
    assert proxy.hits() is hit


@pytest.mark.parametrize(
    ("directive", "hit"),
    [(f"instance={AMS_1.id}", False), ("region=ams", False), ("app=chat", True), (TO_DFW_2, True)],
)
def test_in_strict_mode_only_a_replay_to_the_origin_invalidates(directive: str, hit: bool) -> None:
    """F-2.27, K-28"""
    proxy = Proxy(two_apps(), invalidate_with_any_replay=False)
    proxy.remember()
    proxy.ask().respond(307, {"fly-replay": directive} | INVALIDATE)
    assert proxy.hits() is hit


def test_an_invalidation_without_an_entry_is_a_normal_replay() -> None:
    """F-2.27"""
    proxy = Proxy(invalidate_with_any_replay=False)
    caller = proxy.ask()
    caller.respond(307, {"fly-replay": TO_DFW_1} | INVALIDATE)
    assert (caller.at, caller.trace.warnings) == ("dfw-1", ())


def test_an_invalidation_without_a_replay_has_no_effect() -> None:
    """F-2.28, K-28"""
    proxy = Proxy()
    proxy.remember()
    caller = proxy.ask()
    assert isinstance(caller.respond(200, INVALIDATE), Relay)
    assert caller.trace.warnings == ("fly-replay-cache has no effect on a response without a replay (K-28)",)
    assert proxy.hits()


# By session.


def with_rules(*rules: CacheRule) -> Fleet:
    port = ServicePort(80, 80, http=HttpOptions(cache_rules=rules))
    return fleet(*DEMO.machines, apps=[replace(STREAMS, services=(Service(ports=(port,), autostart=False),))])


BY_COOKIE = CacheRule("/", 60, KeyKind.COOKIE, "sid")
BY_HEADER = CacheRule("/", 60, KeyKind.HEADER, "X-Tenant")


@pytest.mark.parametrize(
    ("rule", "mine", "others"),
    [
        (BY_COOKIE, {"Cookie": "a=1; sid=7"}, {"Cookie": "sid=8"}),
        (BY_COOKIE, {"cookie": 'sid="7"'}, {"Cookie": "SID=7"}),  # F-2.26
        (BY_HEADER, {"x-tenant": "7"}, {"X-Tenant": "8"}),
    ],
)
def test_a_session_uses_the_replay_of_its_first_request(
    rule: CacheRule, mine: dict[str, str], others: dict[str, str]
) -> None:
    """F-2.1, F-2.18, F-2.19, F-2.23, F-2.25"""
    proxy = Proxy(with_rules(rule))
    proxy.remember(cache={}, headers=mine)
    again = proxy.ask("/other", mine)
    assert (again.at, again.sent["fly-replay-cache-status"]) == ("dfw-1", "hit")
    assert not proxy.hits("/other", others)
    assert not proxy.hits("/other")  # F-2.25


@pytest.mark.parametrize("headers", [{}, {"Cookie": "other=1"}, {"Cookie": "sid="}, {"X-Tenant": "7"}])
def test_a_request_without_the_cookie_creates_no_session(headers: dict[str, str]) -> None:
    """F-2.23, F-2.25"""
    proxy = Proxy(with_rules(BY_COOKIE))
    proxy.remember(cache={}, headers=headers)
    assert not proxy.hits(headers=headers)


def test_a_request_that_is_not_replayed_creates_no_session() -> None:
    """F-2.23, F-2.24: the proxy does not set a cookie either"""
    proxy = Proxy(with_rules(BY_COOKIE))
    caller = proxy.ask(headers={"Cookie": "sid=7"})
    relay = caller.respond(200)
    assert isinstance(relay, Relay)
    assert not [name for name, _ in relay.fields if name.lower() == b"set-cookie"]
    assert not proxy.hits(headers={"Cookie": "sid=7"})


@pytest.mark.parametrize(("at", "hit"), [(59.9, True), (60.0, False)])
def test_a_session_expires_after_the_ttl_of_its_rule(at: float, hit: bool) -> None:
    """F-2.19"""
    proxy, session = Proxy(with_rules(BY_COOKIE)), {"Cookie": "sid=7"}
    proxy.remember(cache={}, headers=session)
    assert proxy.hits(headers=session, at=at) is hit


@pytest.mark.parametrize("allowed", [True, False])
def test_the_rule_decides_whether_a_session_can_be_bypassed(allowed: bool) -> None:
    """F-2.19, F-2.29"""
    proxy, session = Proxy(with_rules(replace(BY_COOKIE, allow_bypass=allowed))), {"Cookie": "sid=7"}
    proxy.remember(cache={}, headers=session)
    caller = proxy.ask(headers=session | {"fly-replay-cache-control": "skip"})
    assert caller.sent["fly-replay-cache-status"] == ("bypass" if allowed else "hit")


def test_sessions_are_separate_for_each_hostname() -> None:
    """F-2.22"""
    proxy, session = Proxy(with_rules(BY_COOKIE)), {"Cookie": "sid=7"}
    proxy.remember(cache={}, headers=session)
    assert not proxy.hits(headers=session, host="other.example.com")


def test_the_target_invalidates_a_session() -> None:
    """F-2.27: works for entries by path and by session"""
    proxy, session = Proxy(with_rules(BY_COOKIE)), {"Cookie": "sid=7"}
    proxy.remember(cache={}, headers=session)
    caller = proxy.ask(headers=session)
    caller.respond(307, {"fly-replay": f"instance={AMS_1.id}"} | INVALIDATE)
    assert not proxy.hits(headers=session)


def test_a_session_replay_with_state_is_not_cached() -> None:
    """F-2.3: without a warning, since the app did not request caching"""
    proxy, session = Proxy(with_rules(BY_COOKIE)), {"Cookie": "sid=7"}
    caller = proxy.remember(f"{TO_DFW_1};state=x", cache={}, headers=session)
    assert (caller.trace.warnings, proxy.hits(headers=session)) == ((), False)


@pytest.mark.parametrize(("order", "machine"), [("path", "dfw-1"), ("session", "dfw-2")])
def test_if_both_caches_match_the_order_is_configurable(order: Any, machine: str) -> None:
    """F-2.26, K-26"""
    proxy, session = Proxy(with_rules(BY_COOKIE), cache_order=order), {"Cookie": "sid=7"}
    proxy.remember(TO_DFW_1)
    proxy.remember(TO_DFW_2, {}, "/x", session)
    assert proxy.ask("/app", session).at == machine


RULES = [
    CacheRule("/", 60, KeyKind.COOKIE, "all"),
    CacheRule("/api/*", 60, KeyKind.COOKIE, "api"),
    CacheRule("/api/v2/", 60, KeyKind.COOKIE, "v2"),
    CacheRule("h.dev/files", 60, KeyKind.COOKIE, "files"),
]


@pytest.mark.parametrize(
    ("host", "path", "name"),
    [
        ("h.dev", "/", "all"),
        ("h.dev", "/apiary", "all"),
        ("h.dev", "/api", "api"),
        ("h.dev", "/api/v2/x", "v2"),
        ("h.dev", "/files/1", "files"),
        ("x.dev", "/files/1", "all"),
    ],
)
def test_of_several_rules_the_longest_path_wins(host: str, path: str, name: str) -> None:
    """F-2.20, F-2.21"""
    for rules in (RULES, RULES[::-1]):
        rule = find_rule(CacheLookup("", host, path, ()), rules)
        assert rule is not None
        assert rule.name == name


def test_without_a_matching_rule_there_is_no_session() -> None:
    """F-2.25"""
    assert find_rule(CacheLookup("", "h.dev", "/x", ()), RULES[1:3]) is None


@pytest.mark.parametrize(
    ("cookies", "value"),
    [
        (["sid=7"], "7"),
        (["a=1;sid=7; b=2"], "7"),
        (["a=1", "sid=7"], "7"),
        (["sid=7; sid=8"], "7"),  # F-2.26: the first of two
        (['sid="7"'], "7"),
        (["xsid=7", "sid"], ""),
        (["SID=7"], None),
        ([], None),
    ],
)
def test_a_cookie_is_read_in_the_format_of_browsers(cookies: Sequence[str], value: str | None) -> None:
    """F-2.26"""
    there = tuple((b"Cookie", cookie.encode()) for cookie in cookies)
    assert find_cookie((*there, (b"x-cookie", b"sid=9")), b"sid") == value


# The cache itself.


def kept(name: str) -> CachedReplay:
    return CachedReplay(ReplayDirective(instance=name), "streams", AMS_1.id, NOW + 60, allow_bypass=False)


def test_a_full_cache_evicts_its_oldest_entry() -> None:
    """F-2.2: no limit is documented, and the cache is not a guarantee"""
    cache = ReplayCache(max_entries=2)
    for path in ("/a", "/b", "/a", "/c"):
        cache.store_path(CacheLookup("", "h", path, ()), PathPattern(None, path), kept(path))
    found = [cache.find(CacheLookup("", "h", path, ()), (), NOW) for path in ("/a", "/b", "/c")]
    assert found == [kept("/a"), None, kept("/c")]


def test_a_reset_clears_the_cache() -> None:
    proxy = Proxy()
    proxy.remember()
    proxy.router.reset()
    assert not proxy.hits()


@given(st.text("/ab*", max_size=8), st.text("/ab", max_size=8))
def test_an_entry_is_found_exactly_for_the_paths_its_pattern_covers(pattern: str, path: str) -> None:
    """F-2.11, F-2.13: the lookup by prefix is consistent with the pattern"""
    try:
        parsed = parse_pattern(pattern)
    except ValueError:
        return
    cache, asked = ReplayCache(), CacheLookup("", "h", f"/{path}", ())
    cache.store_path(CacheLookup("", "h", "/", ()), parsed, kept("x"))
    if parsed.host is None and "//" not in pattern + asked.path:
        assert (cache.find(asked, (), NOW) is not None) is parsed.covers("h", asked.path)


def test_cache_headers_are_case_insensitive() -> None:
    """F-2.11, F-2.14, F-2.15, F-2.27"""
    read = read_instruction(fields({"Fly-Replay-Cache": "/a", "FLY-REPLAY-CACHE-TTL-SECS": "60"}))
    assert read is not None
    assert (read.prefix, read.ttl_seconds, read.allow_bypass, read.invalidate) == ("/a", 60, False, False)
    forget = read_instruction(fields({"fly-replay-cache": "Invalidate"}))
    assert forget is not None
    assert forget.invalidate
    assert read_instruction(fields({"fly-replay-cache-ttl-secs": "60"})) is None

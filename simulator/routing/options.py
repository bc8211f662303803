"""The choices that Fly leaves open (facts, section 13): one field each, with the default that the facts suggest.

A person sets them under `[proxy]` in flysim.toml; docs/fidelity.md lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class RoutingOptions:
    """What the emulated proxy does where Fly's documents are silent or disagree."""

    replay_body_limit_bytes: int = 1_048_576
    """K-1: a request body larger than this cannot be replayed (PA01)."""
    replay_error_status: int = 502
    """K-2: what the client sees for PA01 to PA05."""
    no_candidate_status: int = 502
    """K-3: what the client sees for PR01 to PR04."""
    overload_status: int = 503
    """K-4: what the client sees when every machine stays at its hard limit."""
    forced_instance_status: int = 502
    """K-5: what the client sees when a forced machine is unknown or dead."""
    replay_error_seconds: float = 7.5
    """K-6: how long the proxy looks for a replay's target before it gives up, on the simulated clock; 0: one try."""
    timeout_without_unit: Literal["refuse", "milliseconds"] = "refuse"
    """K-7: what `timeout=1500` means: PA03, or milliseconds."""
    lenient_region_list: bool = False
    """K-8: accept a region list without quotes."""
    strict_fields: bool = False
    """K-9: an unknown key, or one given twice, is PA03 and not only a warning."""
    foreign_instance: Literal["no-candidate", "refuse"] = "no-candidate"
    """K-10: `app` with an `instance` of another app finds no candidate (PR04), or is PA03."""
    prefer_header_form: bool = False
    """K-11: where a response has both forms of a replay the header wins, not the JSON body."""
    allow_bypass_place: Literal["both", "top", "cache"] = "both"
    """K-12: where the JSON form may have `allow_bypass`: beside `cache`, inside it, or both."""
    websocket_replay: Literal["any", "only_101", "only_non_101"] = "any"
    """K-13: which answers to a WebSocket upgrade are replayed; others are relayed as they are."""
    client_headers_win: bool = False
    """K-14: `fly-force-instance-id` of the client stays in force on a replay that names another machine."""
    strip_forged_headers: bool = True
    """K-15: remove `fly-replay-*` and `fly-preferred-instance-unavailable` that a client sent."""
    replay_src_of: Literal["last", "first"] = "last"
    """K-16: which replaying machine `fly-replay-src` names after several hops."""
    replay_src_on_fallback: bool = False
    """K-17: whether a fallback delivery carries `fly-replay-src`."""
    replay_from_fallback: Literal["refuse", "ignore"] = "refuse"
    """K-18: a fallback request that is replayed again is an error, or its answer is passed on as it is."""
    fallback_on_refusal: bool = False
    """K-19: a `fallback` acts on PA04, PA05 and a refused network, too."""
    relay_replay_cookies: bool = False
    """K-20: `Set-Cookie` of a replaying response reaches the client."""
    uncacheable_replay: Literal["replay", "refuse"] = "replay"
    """K-21: a replay to be cached that has state, timeout, fallback or transform: uncached, or PA03."""
    short_ttl: Literal["ignore", "clamp"] = "ignore"
    """K-22: a TTL below ten seconds: do not cache, or cache for ten."""
    unmatched_pattern: Literal["ignore", "refuse"] = "ignore"
    """K-23: a cache pattern that does not match the request: do not cache, or PA03."""
    cache_scope: Literal["edge", "global"] = "edge"
    """K-24: whether the edges share their replay caches."""
    lost_cached_target: Literal["ask-origin", "error"] = "ask-origin"
    """K-25: what to do when a cached replay's machine is gone."""
    cache_order: Literal["path", "session"] = "path"
    """K-26: which cache is asked first."""
    cache_refusal: float = 0.0
    """K-27: the probability, 0 to 1, that the cache is passed over (F-2.2)."""
    invalidate_with_any_replay: bool = True
    """K-28: `invalidate` counts with any replay of the target, not only with one to the origin."""
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """K-29: members of geographic aliases, in place of the usual ones; also new ones, such as africa."""
    unknown_region: Literal["no-candidate", "refuse"] = "no-candidate"
    """K-30: a replay to a region that does not exist finds no candidate, or is PA03."""
    unready_instance: Literal["retry", "reject"] = "retry"
    """K-31: a replay to a machine that cannot answer is tried until its time is up, or fails at once."""
    elsewhere_lasts: bool = False
    """K-32: `elsewhere=true` excludes its machine for the rest of the exchange, not only for the next hop."""
    attempts: int = 40
    """K-33: how many times the proxy tries to reach a machine before PR03."""
    retry_reached: bool = False
    """K-34: send idempotent requests again that a machine may have seen."""
    idle_timeout_seconds: float = 0.0
    """K-35: end connections without traffic after so long where fly.toml sets no idle_timeout; 0: never."""
    queue_seconds: float = 10.0
    """K-36: how long a request waits for a place when all machines are at their hard limit."""
    forward_client_headers: bool = True
    """K-37: pass `fly-force-*` and `fly-prefer-*` on to the app."""
    new_request_id_per_hop: bool = False
    """K-38: `Fly-Request-Id` is another on each hop."""
    name_unknown_failed_fields: bool = False
    """K-39: `fly-replay-failed` has empty members for what the replay did not name."""
    transform_order: Literal["delete-set", "set-delete"] = "delete-set"
    """K-40: which part of a `transform` is applied first."""
    strict_content_type: bool = False
    """K-41: a replay body's `Content-Type` may have no parameters."""
    location_beats_replay: bool = False
    """K-42: a redirect status with a `Location` is passed on although it carries `fly-replay`."""
    replay_over_flycast: bool = True
    """K-43: `fly-replay` is honoured for requests that came in over Flycast."""
    cross_network_replays: tuple[str, ...] = ()
    """F-1.69: the organizations that have cross-network replays switched on."""


ROUTING_SECONDS = 8.0
"""How long the proxy looks for a machine where no replay sets the time: measured in logs (F-5.30, F-10.5)."""

START_SECONDS = 8.2
"""How long a machine that is started for a request may take to be reachable (F-5.30, F-10.5)."""

MAX_REPLAYS = 10
"""F-1.38, F-10.2: the eleventh `fly-replay` of one request ends in PA02."""

"""Routing options: behavior that Fly does not document (facts, section 13), with the most likely defaults.

They are set under `[proxy]` in flysim.toml; docs/fidelity.md lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class RoutingOptions:
    """What the emulated proxy does where Fly's documentation is silent or contradicts itself."""

    replay_body_limit_bytes: int = 1_048_576
    """K-1: a request body larger than this cannot be replayed (PA01)."""
    replay_error_status: int = 502
    """K-2: what the client sees for PA01 to PA05."""
    no_candidate_status: int = 502
    """K-3: what the client sees for PR01 to PR04."""
    overload_status: int = 503
    """K-4: what the client sees if every machine stays at its hard limit."""
    forced_instance_status: int = 502
    """K-5: what the client sees if a forced machine is unknown or unavailable."""
    replay_error_seconds: float = 7.5
    """K-6: how long the proxy tries to reach a replay's target, on the simulated clock; 0: one attempt."""
    timeout_without_unit: Literal["refuse", "milliseconds"] = "refuse"
    """K-7: `timeout=1500` is PA03, or is in milliseconds."""
    lenient_region_list: bool = False
    """K-8: accept a region list without quotes."""
    strict_fields: bool = False
    """K-9: an unknown or repeated key is PA03 instead of a warning."""
    foreign_instance: Literal["no-candidate", "refuse"] = "no-candidate"
    """K-10: `app` with an `instance` of another app has no candidate (PR04), or is PA03."""
    prefer_header_form: bool = False
    """K-11: if a response has both forms of a replay, the header wins instead of the JSON body."""
    allow_bypass_place: Literal["both", "top", "cache"] = "both"
    """K-12: where the JSON form accepts `allow_bypass`: at the top level, inside `cache`, or both."""
    websocket_replay: Literal["any", "only_101", "only_non_101"] = "any"
    """K-13: which responses to a WebSocket upgrade are replayed; others are relayed unchanged."""
    client_headers_win: bool = False
    """K-14: `fly-force-instance-id` of the client overrides a replay that names another machine."""
    strip_forged_headers: bool = True
    """K-15: remove `fly-replay-*` and `fly-preferred-instance-unavailable` that a client sent."""
    replay_src_of: Literal["last", "first"] = "last"
    """K-16: which replaying machine `fly-replay-src` names after several replays."""
    replay_src_on_fallback: bool = False
    """K-17: a fallback delivery has `fly-replay-src`."""
    replay_from_fallback: Literal["refuse", "ignore"] = "refuse"
    """K-18: a replay of a fallback request is an error, or its response is relayed unchanged."""
    fallback_on_refusal: bool = False
    """K-19: `fallback` also applies to PA04, PA05 and a refused cross-network replay."""
    relay_replay_cookies: bool = False
    """K-20: pass `Set-Cookie` of a replaying response on to the client."""
    uncacheable_replay: Literal["replay", "refuse"] = "replay"
    """K-21: a cacheable replay with state, timeout, fallback or transform is not cached, or is PA03."""
    short_ttl: Literal["ignore", "clamp"] = "ignore"
    """K-22: a TTL below 10 s: do not cache, or cache for 10 s."""
    unmatched_pattern: Literal["ignore", "refuse"] = "ignore"
    """K-23: a cache pattern that does not match the request: do not cache, or PA03."""
    cache_scope: Literal["edge", "global"] = "edge"
    """K-24: each edge has its own replay cache, or all share one."""
    lost_cached_target: Literal["ask-origin", "error"] = "ask-origin"
    """K-25: what to do if the machine of a cached replay is unavailable."""
    cache_order: Literal["path", "session"] = "path"
    """K-26: which cache is looked up first."""
    cache_refusal: float = 0.0
    """K-27: the probability, 0 to 1, that a request skips the cache (F-2.2)."""
    invalidate_with_any_replay: bool = True
    """K-28: `invalidate` works with any replay by the target, not only with one to the origin."""
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """K-29: members of geographic aliases, replacing the default ones; may add aliases, such as africa."""
    unknown_region: Literal["no-candidate", "refuse"] = "no-candidate"
    """K-30: a replay to an unknown region has no candidate (PR04), or is PA03."""
    unready_instance: Literal["retry", "reject"] = "retry"
    """K-31: a replay to a machine that is not ready is retried until its timeout, or fails immediately."""
    elsewhere_lasts: bool = False
    """K-32: `elsewhere=true` excludes its machine for the rest of the exchange instead of the next hop only."""
    attempts: int = 40
    """K-33: how many delivery attempts the proxy makes before PR03."""
    retry_reached: bool = False
    """K-34: resend idempotent requests that a machine may have received."""
    idle_timeout_seconds: float = 0.0
    """K-35: close idle connections after this time if fly.toml sets no idle_timeout; 0: never."""
    queue_seconds: float = 10.0
    """K-36: how long a request is queued if all machines are at their hard limit."""
    forward_client_headers: bool = True
    """K-37: pass `fly-force-*` and `fly-prefer-*` on to the app."""
    new_request_id_per_hop: bool = False
    """K-38: each hop has a new `Fly-Request-Id`."""
    name_unknown_failed_fields: bool = False
    """K-39: `fly-replay-failed` has empty values for fields that the replay did not have."""
    transform_order: Literal["delete-set", "set-delete"] = "delete-set"
    """K-40: which part of a `transform` is applied first."""
    strict_content_type: bool = False
    """K-41: the `Content-Type` of a replay body must have no parameters."""
    location_beats_replay: bool = False
    """K-42: a redirect with a `Location` is relayed even if it has `fly-replay`."""
    replay_over_flycast: bool = True
    """K-43: `fly-replay` works for requests over Flycast."""
    max_replay_timeout_seconds: float = 60.0
    """K-56: the longest `timeout` of a replay; a longer one counts as this one."""
    cross_network_replays: tuple[str, ...] = ()
    """F-1.69: the organizations with cross-network replays enabled."""


ROUTING_SECONDS = 8.0
"""How long the proxy tries to deliver a request that is not a replay, as measured in logs (F-5.30, F-10.5)."""

START_SECONDS = 8.2
"""How long a machine that is started for a request may take until it is reachable (F-5.30, F-10.5)."""

MAX_REPLAYS = 10
"""F-1.38, F-10.2: the eleventh `fly-replay` of a request ends in PA02."""

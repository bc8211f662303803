"""Routing options: the default of each, and the effect of each setting on a short exchange."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any

import pytest

from simulator.routing import (
    Deliver,
    Failure,
    ReadBody,
    Redirect,
    Reject,
    Relay,
    Router,
    RoutingOptions,
    Wait,
)
from simulator.routing.cache.rule import CacheRule, KeyKind
from simulator.routing.options import MAX_REPLAYS, ROUTING_SECONDS, START_SECONDS
from simulator.routing.replay.body import CONTENT_TYPE
from simulator.routing.service import HttpOptions, Service, ServicePort
from tests.routing.build import (
    AMS_1,
    CHAT_1,
    DEMO,
    DFW_1,
    DFW_2,
    STREAMS,
    Caller,
    as_texts,
    autostart_fleet,
    fleet,
    request,
    two_apps,
)

Run = Callable[[RoutingOptions], object]
TO_DFW_1, TO_DFW_2, TO_GONE = f"instance={DFW_1.id}", f"instance={DFW_2.id}", "instance=gone"
FORCE_DFW_2 = {"fly-force-instance-id": DFW_2.id}
UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket"}
CACHE = {"fly-replay-cache": "/", "fly-replay-cache-ttl-secs": "60"}


def end(caller: Caller) -> object:
    """The current decision: the name of a machine, an error code, or the type of the decision."""
    match caller.decision:
        case Deliver(machine=machine):
            return machine.name
        case Reject(error=error):
            return error.code
        case Relay() | Redirect() | ReadBody() | Wait() as decision:
            return type(decision).__name__


def replayed(
    directive: str,
    headers: dict[str, str] | None = None,
    machines: Any = DEMO,
    status: int = 307,
    **asked: Any,
) -> Run:
    """The first machine replays with this directive; `asked` overrides the request."""

    def run(options: RoutingOptions) -> object:
        caller = Caller(machines, request=request(**asked), options=options)
        caller.respond(status, {"fly-replay": directive} | (headers or {}))
        return end(caller)

    return run


def status_of(run: Callable[[RoutingOptions], Caller]) -> Run:
    return lambda options: run(options).rejection.status


def code_of(run: Callable[[RoutingOptions], Caller]) -> Run:
    return lambda options: end(run(options))


def sent(name: str, run: Callable[[RoutingOptions], Caller]) -> Run:
    """The header `name` of the last delivery."""
    return lambda options: run(options).sent.get(name)


def after(
    *directives: str, headers: dict[str, str] | None = None, machines: Any = DEMO
) -> Callable[..., Caller]:
    """An exchange whose machines replayed with these directives."""

    def run(options: RoutingOptions) -> Caller:
        caller = Caller(machines, request=request(headers), options=options)
        for directive in directives:
            caller.replay(directive)
        return caller

    return run


def twice(
    first: dict[str, str],
    *,
    edge: str = "ams",
    later: Any = DEMO,
) -> Run:
    """Where a second request goes, after the machine of a first one responded with the headers `first`."""

    def run(options: RoutingOptions) -> object:
        router = Router(DEMO, options, lambda n: 0)
        caller = Caller(router=router)
        caller.respond(307, first)
        if isinstance(caller.decision, Reject):
            return caller.code
        router.fleet = later
        return end(Caller(router=router, edge=edge))

    return run


def failed(*failures: Failure, machines: Any = DEMO) -> Callable[[RoutingOptions], Caller]:
    def run(options: RoutingOptions) -> Caller:
        caller = Caller(machines, options=options)
        for failure in failures:
            caller.fail(failure)
        return caller

    return run


def overloaded(seconds: float) -> Callable[[RoutingOptions], Caller]:
    """A second request to a machine with a hard limit of one, after waiting for `seconds`."""

    def run(options: RoutingOptions) -> Caller:
        first = Caller(autostart_fleet(AMS_1, hard_limit=1, autostart=False), options=options)
        second = Caller(router=first.router)
        second.wait(seconds)
        return second

    return run


def by_json(body: dict[str, Any]) -> Callable[[RoutingOptions], Caller]:
    def run(options: RoutingOptions) -> Caller:
        caller = Caller(options=options, request=request({"a": "1"}))
        caller.replay_body(body)
        return caller

    return run


def bypassing(body: dict[str, Any]) -> Run:
    """The cache status of a request that asks to bypass the entry of this JSON replay."""

    def run(options: RoutingOptions) -> object:
        caller = by_json({"instance": DFW_1.id} | body)(options)
        skip = request({"fly-replay-cache-control": "skip"})
        return Caller(router=caller.router, request=skip).sent["fly-replay-cache-status"]

    return run


def both_forms(options: RoutingOptions) -> object:
    caller = Caller(options=options)
    caller.respond(200, {"content-type": CONTENT_TYPE, "fly-replay": TO_DFW_2})
    return end(caller)


def relayed_cookie(options: RoutingOptions) -> object:
    caller = Caller(options=options)
    caller.respond(307, {"fly-replay": TO_DFW_1, "Set-Cookie": "a=1"})
    relay = caller.respond()
    assert isinstance(relay, Relay)
    return as_texts(relay.fields).get("set-cookie")


def request_ids(options: RoutingOptions) -> object:
    """How many different request ids the machines get."""
    caller = after()(options)
    first = caller.sent["fly-request-id"]
    caller.replay(TO_DFW_1, after=1.0)
    return len({first, caller.sent["fly-request-id"]})


def ruled() -> Any:
    rule = CacheRule("/s", 60, KeyKind.COOKIE, "sid")
    port = ServicePort(80, 80, http=HttpOptions(cache_rules=(rule,)))
    return fleet(*DEMO.machines, apps=[replace(STREAMS, services=(Service(ports=(port,), autostart=False),))])


def path_and_session(options: RoutingOptions) -> object:
    router = Router(ruled(), options, lambda n: 0)
    asked = request({"Cookie": "sid=1"}, target="/s")
    Caller(router=router, request=request(target="/s")).respond(307, {"fly-replay": TO_DFW_1} | CACHE)
    both = Caller(router=router, request=request({"Cookie": "sid=1"} | FORCE_DFW_2, target="/s"))
    both.respond(307, {"fly-replay": TO_DFW_2})
    return end(Caller(router=router, request=asked))


def invalidated(options: RoutingOptions) -> object:
    """The target of a cached replay invalidates the entry with a replay to a third machine."""
    router = Router(DEMO, options, lambda n: 0)
    Caller(router=router).respond(307, {"fly-replay": TO_DFW_1} | CACHE)
    Caller(router=router).respond(307, {"fly-replay": TO_DFW_2, "fly-replay-cache": "invalidate"})
    return end(Caller(router=router))


def idle(options: RoutingOptions) -> object:
    return Caller(options=options).exchange.idle_timeout_seconds


def elapsed(run: Callable[[RoutingOptions], Caller]) -> Run:
    return lambda options: round(run(options).elapsed, 3)


def leave_fallback(options: RoutingOptions) -> object:
    return end(after(f"{TO_GONE};timeout=0s;fallback=force_self", TO_DFW_1)(options))


def cross_network(options: RoutingOptions) -> object:
    return end(after("app=chat", machines=two_apps(network="other"))(options))


def tampered(options: RoutingOptions) -> object:
    body = {
        "region": "dfw",
        "transform": {"delete_headers": ["a"], "set_headers": [{"name": "a", "value": "2"}]},
    }
    return by_json(body)(options).sent.get("a")


@dataclass(frozen=True)
class OptionCase:
    """One key of RoutingOptions, and the outcome of an exchange for each setting."""

    option: str
    default: object
    run: Run
    outcomes: tuple[tuple[object, object], ...]
    """(setting, outcome) pairs; the default is the first."""


def case(option: str, run: Run, *outcomes: tuple[object, object]) -> OptionCase:
    return OptionCase(option, outcomes[0][0], run, outcomes)


CASES = [
    case("replay_error_status", status_of(after("leader")), (502, 502), (500, 500)),  # K-2, F-1.99
    case("no_candidate_status", status_of(after(machines=fleet())), (502, 502), (503, 503)),  # K-3, F-6.60
    case("overload_status", status_of(overloaded(10.0)), (503, 503), (502, 502)),  # K-4
    case(  # K-5
        "forced_instance_status",
        status_of(after(headers={"fly-force-instance-id": "gone"})),
        (502, 502),
        (503, 503),
    ),
    case("replay_error_seconds", elapsed(after(TO_GONE)), (7.5, 7.5), (0.0, 0.0), (1.0, 1.0)),  # K-6
    case(  # K-7
        "timeout_without_unit",
        code_of(after(f"{TO_DFW_1};timeout=1500")),
        ("refuse", "PA03"),
        ("milliseconds", "dfw-1"),
    ),
    case("lenient_region_list", replayed("region=nrt,dfw"), (False, "PA03"), (True, "dfw-1")),  # K-8
    case("strict_fields", replayed(f"{TO_DFW_1};group=a"), (False, "dfw-1"), (True, "PA03")),  # K-9
    case("strict_fields", replayed(f"app=x;{TO_DFW_1};app=streams"), (False, "dfw-1"), (True, "PA03")),  # K-9
    case(  # K-10, F-1.16
        "foreign_instance",
        replayed(f"app=chat;{TO_DFW_1}", machines=two_apps()),
        ("no-candidate", "PR04"),
        ("refuse", "PA03"),
    ),
    case("prefer_header_form", both_forms, (False, "ReadBody"), (True, "dfw-2")),  # K-11, F-1.82
    case(  # K-12
        "allow_bypass_place",
        bypassing({"cache": {"prefix": "/", "ttl": 60}, "allow_bypass": True}),
        ("both", "bypass"),
        ("top", "bypass"),
        ("cache", "hit"),
    ),
    case(  # K-12
        "allow_bypass_place",
        bypassing({"cache": {"prefix": "/", "ttl": 60, "allow_bypass": True}}),
        ("both", "bypass"),
        ("top", "hit"),
        ("cache", "bypass"),
    ),
    case(  # K-13, F-1.86 to F-1.91, X-11
        "websocket_replay",
        replayed(TO_DFW_1, status=101, fields=request(UPGRADE).fields),
        ("any", "dfw-1"),
        ("only_101", "dfw-1"),
        ("only_non_101", "Relay"),
    ),
    case(  # K-13
        "websocket_replay",
        replayed(TO_DFW_1, status=307, fields=request(UPGRADE).fields),
        ("any", "dfw-1"),
        ("only_101", "Relay"),
        ("only_non_101", "dfw-1"),
    ),
    case("websocket_replay", replayed(TO_DFW_1), ("any", "dfw-1"), ("only_101", "dfw-1")),  # K-13: no upgrade
    case(  # K-14
        "client_headers_win", code_of(after(TO_DFW_1, headers=FORCE_DFW_2)), (False, "dfw-1"), (True, "dfw-2")
    ),
    case(  # K-15
        "strip_forged_headers",
        sent("fly-replay-failed", after(headers={"fly-replay-failed": "x"})),
        (True, None),
        (False, "x"),
    ),
    case(  # K-16
        "replay_src_of",
        lambda options: after(TO_DFW_1, "region=ams")(options).sent["fly-replay-src"].partition(";")[0],
        ("last", TO_DFW_1),
        ("first", f"instance={AMS_1.id}"),
    ),
    case(  # K-17
        "replay_src_on_fallback",
        lambda options: "fly-replay-src" in after(f"{TO_GONE};timeout=0s;fallback=force_self")(options).sent,
        (False, False),
        (True, True),
    ),
    case("replay_from_fallback", leave_fallback, ("refuse", "PA03"), ("ignore", "Relay")),  # K-18, F-1.56
    case(  # K-19
        "fallback_on_refusal",
        code_of(after("app=nobody;timeout=0s;fallback=force_self")),
        (False, "PA04"),
        (True, "ams-1"),
    ),
    case("relay_replay_cookies", relayed_cookie, (False, None), (True, "a=1")),  # K-20, F-1.25
    case(  # K-21
        "uncacheable_replay",
        replayed(f"{TO_DFW_1};state=x", CACHE),
        ("replay", "dfw-1"),
        ("refuse", "PA03"),
    ),
    case(  # K-22
        "short_ttl",
        twice({"fly-replay": TO_DFW_1} | CACHE | {"fly-replay-cache-ttl-secs": "5"}),
        ("ignore", "ams-1"),
        ("clamp", "dfw-1"),
    ),
    case(  # K-23
        "unmatched_pattern",
        twice({"fly-replay": TO_DFW_1} | CACHE | {"fly-replay-cache": "/other"}),
        ("ignore", "ams-1"),
        ("refuse", "PA03"),
    ),
    case(  # K-24
        "cache_scope",
        twice({"fly-replay": TO_DFW_2} | CACHE, edge="dfw"),
        ("edge", "dfw-1"),
        ("global", "dfw-2"),
    ),
    case(  # K-25
        "lost_cached_target",
        twice({"fly-replay": TO_DFW_1} | CACHE, later=fleet(AMS_1)),
        ("ask-origin", "ams-1"),
        ("error", "PR04"),
    ),
    case("cache_order", path_and_session, ("path", "dfw-1"), ("session", "dfw-2")),  # K-26
    case(  # K-27
        "cache_refusal", twice({"fly-replay": TO_DFW_1} | CACHE), (0.0, "dfw-1"), (1.0, "ams-1")
    ),
    case(  # K-28
        "invalidate_with_any_replay",
        invalidated,
        (True, "ams-1"),
        (False, "dfw-1"),
    ),
    case(  # K-29
        "aliases", replayed("region=africa"), ({}, "PR04"), ({"africa": ("jnb", "dfw")}, "dfw-1")
    ),
    case(  # K-29: replaces the default members
        "aliases", replayed("region=eu"), ({}, "ams-1"), ({"eu": ("dfw",)}, "dfw-1")
    ),
    case("unknown_region", replayed("region=xyz"), ("no-candidate", "PR04"), ("refuse", "PA03")),  # K-30
    case(  # K-30: codes, aliases and any are known
        "unknown_region", replayed('region="nrt,sea,us,any"'), ("no-candidate", "dfw-1"), ("refuse", "dfw-1")
    ),
    case(  # K-31, F-1.65
        "unready_instance",
        elapsed(after(TO_DFW_1, machines=fleet(AMS_1, replace(DFW_1, healthy=False)))),
        ("retry", 7.5),
        ("reject", 0.0),
    ),
    case(
        "elsewhere_lasts",
        code_of(after("elsewhere=true", 'region="ams,any"')),
        (False, "ams-1"),
        (True, "dfw-1"),
    ),  # K-32
    case(  # K-33, F-5.42, F-10.3, X-6
        "attempts",
        lambda options: "within 40 attempts" in after(machines=fleet())(options).rejection.error.message,
        (40, True),
        (90, False),
    ),
    case("retry_reached", code_of(failed(Failure.CLOSED)), (False, "PU02"), (True, "dfw-1")),  # K-34
    case("idle_timeout_seconds", idle, (0.0, None), (60.0, 60.0)),  # K-35
    case(  # K-56, F-1.49
        "max_replay_timeout_seconds",
        elapsed(after(TO_GONE + ";timeout=999999999h")),
        (60.0, 60.0),
        (90.0, 90.0),
    ),
    case("queue_seconds", code_of(overloaded(5.0)), (10.0, "Wait"), (5.0, "PR04")),  # K-36
    case(  # K-37
        "forward_client_headers",
        sent("fly-force-instance-id", after(headers=FORCE_DFW_2)),
        (True, DFW_2.id),
        (False, None),
    ),
    case("new_request_id_per_hop", request_ids, (False, 1), (True, 2)),  # K-38, F-4.16
    case(  # K-39
        "name_unknown_failed_fields",
        lambda options: (
            after("region=nrt;timeout=0s;fallback=force_self")(options)
            .sent["fly-replay-failed"]
            .partition(";")[0]
        ),
        (False, "app=streams"),
        (True, "instance="),
    ),
    case("transform_order", tampered, ("delete-set", "2"), ("set-delete", None)),  # K-40
    case(  # K-41
        "strict_content_type",
        replayed(TO_DFW_1, {"content-type": f"{CONTENT_TYPE}; charset=utf-8"}),
        (False, "ReadBody"),
        (True, "dfw-1"),
    ),
    case(  # K-42
        "location_beats_replay",
        replayed(TO_DFW_1, {"Location": "/x"}),
        (False, "dfw-1"),
        (True, "Relay"),
    ),
    case("location_beats_replay", replayed(TO_DFW_1), (False, "dfw-1"), (True, "dfw-1")),  # K-42: no Location
    case(  # K-42: no redirect
        "location_beats_replay",
        replayed(TO_DFW_1, {"Location": "/x"}, status=409),
        (False, "dfw-1"),
        (True, "dfw-1"),
    ),
    case(  # K-43, F-8.20
        "replay_over_flycast", replayed(TO_DFW_1, host="streams.flycast"), (True, "dfw-1"), (False, "Relay")
    ),
    case(
        "replay_over_flycast", replayed(TO_DFW_1), (True, "dfw-1"), (False, "dfw-1")
    ),  # K-43: not over Flycast
    case(  # F-1.69
        "cross_network_replays",
        cross_network,
        ((), "PA05"),
        (("personal",), CHAT_1.name),
        (("other",), "PA05"),
    ),
]


@pytest.mark.parametrize(
    ("option", "setting", "run", "outcome"),
    [
        pytest.param(each.option, setting, each.run, outcome, id=f"{each.option}={setting}")
        for each in CASES
        for setting, outcome in each.outcomes
    ],
)
def test_a_setting_changes_the_exchange(option: str, setting: object, run: Run, outcome: object) -> None:
    """One row of the table for each setting of each key; the proxy layer enforces the body limit (K-1)."""
    settings: dict[str, Any] = {option: setting}
    assert run(RoutingOptions(**settings)) == outcome


@pytest.mark.parametrize("each", CASES, ids=lambda each: each.option)
def test_each_option_has_the_default_of_the_facts(each: OptionCase) -> None:
    """X-1, X-6, F-6.3, F-10.3; K-1: 1,048,576 bytes, F-1.34"""
    assert getattr(RoutingOptions(), each.option) == each.default
    assert RoutingOptions().replay_body_limit_bytes == 1_048_576


def test_each_option_has_a_row() -> None:
    """All of section 13 but K-44, which is about traffic that bypasses the proxy"""
    keys = {field.name for field in fields(RoutingOptions)}
    assert keys - {each.option for each in CASES} == {"replay_body_limit_bytes"}


def test_each_literal_setting_has_a_row() -> None:
    tried: dict[str, set[object]] = {}
    for each in CASES:
        if not isinstance(each.default, Mapping):
            tried.setdefault(each.option, set()).update(setting for setting, _ in each.outcomes)
    for field in fields(RoutingOptions):
        annotation = str(field.type)
        if field.default is not MISSING and annotation.startswith("Literal["):
            assert tried[field.name] == {word.strip(" \"'") for word in annotation[8:-1].split(",")}
        elif annotation == "bool":
            assert tried[field.name] == {False, True}


def test_the_constants_are_those_of_the_facts() -> None:
    """F-1.38, F-10.2; F-10.5: about 8 s; F-5.30"""
    assert (MAX_REPLAYS, ROUTING_SECONDS, START_SECONDS) == (10, 8.0, 8.2)

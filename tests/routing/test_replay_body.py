"""JSON form of a replay: parsing, errors, cache instruction and transform (facts 1.10)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from simulator.routing import Deliver, ReadBody, Relay, RoutingOptions
from simulator.routing.cache.replay_cache import CacheInstruction
from simulator.routing.replay.body import (
    CONTENT_TYPE,
    MAX_BYTES,
    ReplayBody,
    Transform,
    is_replay_body,
    parse_replay_body,
)
from simulator.routing.replay.directive import DirectiveError, Fallback, ReplayDirective
from tests.routing.build import AMS_1, DFW_1, DFW_2, Caller, as_texts, fields, request, two_apps


def parse(body: object, **options: Any) -> ReplayBody:
    text = body if isinstance(body, str) else json.dumps(body)
    return parse_replay_body(text.encode(), RoutingOptions(**options))


# Content type.


@pytest.mark.parametrize(
    ("content_type", "lenient", "strict"),
    [
        ("application/vnd.fly.replay+json", True, True),  # F-1.75
        ("Application/Vnd.Fly.Replay+JSON", True, True),
        ("application/vnd.fly.replay+json; charset=utf-8", True, False),  # K-41
        ("application/json", False, False),
        ("application/vnd.fly.replay+jsonp", False, False),
        ("", False, False),
        (None, False, False),
    ],
)
def test_the_content_type_announces_a_replay_body(
    content_type: str | None, lenient: bool, strict: bool
) -> None:
    """F-1.75, K-41"""
    assert is_replay_body(content_type) is lenient
    assert is_replay_body(content_type, strict=True) is strict


@pytest.mark.parametrize(("strict", "is_replayed"), [(False, True), (True, False)])
def test_accepting_content_type_parameters_is_configurable(strict: bool, is_replayed: bool) -> None:
    """F-1.75, K-41"""
    caller = Caller(options=RoutingOptions(strict_content_type=strict))
    decision = caller.respond(200, {"content-type": f"{CONTENT_TYPE}; charset=utf-8"})
    assert isinstance(decision, ReadBody if is_replayed else Relay)


@pytest.mark.parametrize("status", [200, 204, 307, 409, 502])
def test_the_replay_body_is_read_for_any_status(status: int) -> None:
    """F-1.75, F-1.83"""
    caller = Caller()
    caller.replay_body({"instance": DFW_1.id}, status=status)
    assert caller.at == "dfw-1"
    assert caller.trace.hops[0].replay == json.dumps({"instance": DFW_1.id})


def test_the_replay_body_has_a_maximum_size() -> None:
    assert Caller().respond(200, {"content-type": CONTENT_TYPE}) == ReadBody(MAX_BYTES)


# Fields.


@pytest.mark.parametrize(
    ("body", "directive"),
    [
        ({}, ReplayDirective()),
        ({"region": "iad,us"}, ReplayDirective(regions=("iad", "us"))),  # F-1.11
        ({"region": "iad"}, ReplayDirective(regions=("iad",))),
        ({"instance": "a"}, ReplayDirective(instance="a")),
        ({"prefer_instance": "a"}, ReplayDirective(prefer_instance="a")),
        ({"app": "chat", "state": "s=1;x"}, ReplayDirective(app="chat", state="s=1;x")),
        ({"state": ""}, ReplayDirective(state="")),
        ({"state": "voilà"}, ReplayDirective(state="voil\xc3\xa0")),
        ({"state": "\ud800"}, ReplayDirective(state="?")),
        ({"elsewhere": True}, ReplayDirective(elsewhere=True)),
        ({"elsewhere": False, "app": None}, ReplayDirective()),
        ({"timeout": "500ms"}, ReplayDirective(timeout_seconds=0.5)),  # F-1.57
        ({"fallback": "prefer_self"}, ReplayDirective(fallback=Fallback.PREFER_SELF)),  # F-1.57
        ({"group": "a"}, ReplayDirective(warnings=("unknown field 'group' is ignored",))),  # K-9
    ],
)
def test_each_field_has_the_meaning_of_the_header_form(
    body: dict[str, Any], directive: ReplayDirective
) -> None:
    """F-1.76"""
    assert parse(body) == ReplayBody(directive)


def test_a_timeout_without_a_unit_follows_the_same_option() -> None:
    """F-1.15, K-7"""
    replay = parse({"timeout": "1500"}, timeout_without_unit="milliseconds")
    assert replay.directive.timeout_seconds == 1.5


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("", "the replay body is not JSON"),
        ("{", "the replay body is not JSON"),
        ("region=iad", "the replay body is not JSON"),
        ("[" * 100_000, "the replay body is not JSON"),
        ("[]", "the replay body is a list, expected an object"),
        ("null", "the replay body is null, expected an object"),
        ("7", "the replay body is 7, expected an object"),
        ({"app": 7}, "app is 7, expected a string"),
        ({"app": True}, "app is a boolean, expected a string"),
        ({"region": ["iad", "us"]}, "region is a list, expected a string"),  # F-1.11
        ({"region": ""}, "region is empty"),
        ({"region": "iad,,us"}, "region=iad,,us has an empty region"),
        ({"instance": "a\r\nx: y"}, "instance has a control character"),
        ({"state": "a\nb"}, "state has a control character"),
        ({"elsewhere": "true"}, "elsewhere is 'true', expected true or false"),
        ({"timeout": 10}, "timeout is 10, expected a string"),
        ({"timeout": "1500"}, "timeout is '1500', expected a number with a unit"),  # K-7
        ({"fallback": "self"}, "fallback is 'self', expected force_self or prefer_self"),
        ({"transform": []}, "transform is a list, expected an object"),
        (
            {"transform": {"path": "new"}},
            "transform.path is 'new', expected a path that starts with '/'",
        ),  # K-40
        ({"transform": {"path": "/a b"}}, "transform.path is '/a b'"),
        ({"transform": {"delete_headers": "x"}}, "transform.delete_headers is 'x', expected a list"),
        ({"transform": {"delete_headers": ["a b"]}}, "transform.delete_headers has 'a b'"),
        ({"transform": {"delete_headers": [7]}}, "transform.delete_headers has 7"),
        (
            {"transform": {"set_headers": ["x: y"]}},
            'has an invalid item, expected an object such as {"name": "x-user", "value": "7"}',
        ),
        ({"transform": {"set_headers": [{"name": "x", "value": 7}]}}, "expected an object such as"),
        ({"transform": {"set_headers": [{"value": "7"}]}}, "transform.set_headers has None"),
        (
            {"transform": {"set_headers": [{"name": "x", "value": "a\nb"}]}},
            "which is not a valid header value",
        ),
        ({"transform": {"path": "/a#b"}}, "transform.path is '/a#b'"),
        (
            {"transform": {"set_headers": [{"name": "Host", "value": "a, b"}]}},
            "transform.set_headers has the host 'a, b', expected a host and an optional port",
        ),
        ({"cache": True}, "cache is a boolean, expected an object"),
        ({"cache": {"ttl": "60"}}, "cache.ttl is '60', expected a number of seconds"),
        ({"cache": {"ttl": True}}, "cache.ttl is a boolean, expected a number of seconds"),
        ({"cache": {"ttl": 10**400}}, "cache.ttl has more than nine digits"),
        ({"cache": {"invalidate": 1}}, "invalidate is 1, expected true or false"),
        ({"cache": {"prefix": 1}}, "prefix is 1, expected a string"),
        ({"cache": {}, "allow_bypass": "yes"}, "allow_bypass is 'yes', expected true or false"),
    ],
)
def test_an_invalid_body_is_reported(body: object, text: str) -> None:
    """F-1.84"""
    with pytest.raises(DirectiveError) as caught:
        parse(body)
    assert text in str(caught.value)


@pytest.mark.parametrize("body", ["[]", "\xff", b"\xff\xfe", None])
def test_a_malformed_body_is_pa03(body: object) -> None:
    """F-1.84, K-2; None: the body is incomplete or too large"""
    caller = Caller()
    caller.replay_body(body)
    assert (caller.code, caller.rejection.status, caller.rejection.log_machine_id) == ("PA03", 502, AMS_1.id)


def test_a_replay_body_of_a_fallback_is_rejected_before_it_is_parsed() -> None:
    """F-1.56"""
    caller = Caller()
    caller.replay("instance=gone;timeout=0s;fallback=force_self")
    caller.replay_body("[]")
    assert "fallback request, which cannot be replayed" in caller.rejection.error.message


def test_warnings_about_a_body_are_in_the_trace() -> None:
    """K-9, K-40"""
    caller = Caller()
    caller.replay_body({"group": "a", "transform": {"delete_headers": ["Connection"]}})
    assert caller.trace.warnings == (
        "unknown field 'group' is ignored",
        "transform cannot change the header 'Connection': it is left unchanged (K-40)",
    )


def test_a_transform_keeps_exactly_one_host() -> None:
    """RFC 9112, 3.2"""
    hosts = [{"name": "Host", "value": host} for host in ("a.test", "b.test:80", "b.test:80")]
    caller = Caller()
    caller.replay_body(
        {"instance": DFW_1.id, "transform": {"delete_headers": ["HOST"], "set_headers": hosts}}
    )
    assert isinstance(caller.decision, Deliver)
    assert [value for name, value in caller.decision.fields if name.lower() == b"host"] == [b"b.test:80"]
    assert caller.trace.warnings == (
        "transform cannot delete the header 'host': a request has exactly one",
        "transform sets 'host' 3 times: the last one counts",
    )


@pytest.mark.parametrize(("header_first", "machine"), [(False, "dfw-1"), (True, "dfw-2")])
def test_of_both_forms_in_one_response_one_is_used(header_first: bool, machine: str) -> None:
    """F-1.82, K-11: the body by default"""
    caller = Caller(options=RoutingOptions(prefer_header_form=header_first))
    headers = {"fly-replay": f"instance={DFW_2.id}"}
    if header_first:
        caller.respond(200, headers | {"content-type": CONTENT_TYPE})
    else:
        caller.replay_body({"instance": DFW_1.id}, headers)
    assert caller.at == machine
    assert caller.trace.warnings == (
        "the response has both a fly-replay header and a replay body: only one of them is used (K-11)",
    )


def test_an_invalid_header_next_to_a_body_is_ignored() -> None:
    """F-1.82: seen in practice, as `fly-replay: true` with JSON"""
    caller = Caller()
    caller.replay_body({"instance": DFW_1.id}, {"fly-replay": "true"})
    assert caller.at == "dfw-1"


def test_a_request_body_past_the_limit_cannot_be_replayed_by_json() -> None:
    """F-1.32"""
    caller = Caller()
    caller.replay_body({"instance": DFW_1.id}, body_kept=False)
    assert caller.code == "PA01"


def test_state_is_sent_as_utf_8() -> None:
    """F-1.41, F-1.76"""
    caller = Caller()
    caller.replay_body({"instance": DFW_1.id, "state": "voilà"})
    assert isinstance(caller.decision, Deliver)
    src = dict(caller.decision.fields)[b"fly-replay-src"]
    assert src.endswith(";state=voilà".encode())


# The cache instruction.


@pytest.mark.parametrize(
    ("body", "instruction"),
    [
        ({"cache": {"prefix": "/api", "ttl": 60}}, CacheInstruction("/api", 60)),  # F-1.81
        ({"cache": {"invalidate": True}}, CacheInstruction(invalidate=True)),  # F-1.81, F-2.27
        ({"cache": {}}, CacheInstruction()),
        ({}, None),
        ({"allow_bypass": True}, None),
    ],
)
def test_the_cache_section_mirrors_the_headers(
    body: dict[str, Any], instruction: CacheInstruction | None
) -> None:
    """F-1.81"""
    assert parse(body).cache == instruction


@pytest.mark.parametrize(
    ("place", "at_top", "inside"), [("both", True, True), ("top", True, False), ("cache", False, True)]
)
def test_the_place_of_allow_bypass_is_configurable(place: Any, at_top: bool, inside: bool) -> None:
    """F-1.81, K-12"""
    top = parse({"cache": {"prefix": "/"}, "allow_bypass": True}, allow_bypass_place=place).cache
    within = parse({"cache": {"prefix": "/", "allow_bypass": True}}, allow_bypass_place=place).cache
    assert top is not None
    assert within is not None
    assert (top.allow_bypass, within.allow_bypass) == (at_top, inside)


# The transform.


def test_a_transform_changes_path_and_query_and_headers() -> None:
    """F-1.77, F-1.78, F-1.79"""
    caller = Caller(
        request=request({"Cookie": "a=1", "X-User": "forged", "Accept": "*/*"}, target="/old?q=1")
    )
    transform = {
        "path": "/new/path?param=value",
        "delete_headers": ["cookie"],
        "set_headers": [{"name": "x-user", "value": "7"}, {"name": "X-Role", "value": "admin"}],
    }
    caller.replay_body({"instance": DFW_1.id, "transform": transform})
    assert isinstance(caller.decision, Deliver)
    assert caller.decision.target == "/new/path?param=value"
    sent = caller.sent
    assert "cookie" not in sent
    assert (sent["x-user"], sent["x-role"], sent["accept"]) == ("7", "admin", "*/*")
    assert sent["fly-replay-cache-status"] == "miss"


def test_without_a_path_the_target_is_unchanged() -> None:
    """F-1.31, F-1.77"""
    caller = Caller(request=request(target="/old?q=1"))
    caller.replay_body({"instance": DFW_1.id, "transform": {"delete_headers": ["accept"]}})
    assert isinstance(caller.decision, Deliver)
    assert caller.decision.target == "/old?q=1"


def test_a_transform_applies_to_retries_but_not_to_the_next_replay() -> None:
    """F-1.26, F-1.77: a replay sends the original request"""
    caller = Caller(request=request({"Cookie": "a=1"}, target="/old"))
    caller.replay_body({"region": "dfw", "transform": {"path": "/new", "delete_headers": ["Cookie"]}})
    caller.fail()
    assert isinstance(caller.decision, Deliver)
    assert (caller.at, caller.decision.target, "cookie" in caller.sent) == ("dfw-2", "/new", False)
    caller.replay("region=ams")
    assert (caller.decision.target, caller.sent["cookie"]) == ("/old", "a=1")


def test_a_fallback_is_not_transformed() -> None:
    """F-1.54, F-1.57"""
    caller = Caller(request=request(target="/old"))
    body = {"instance": "gone", "timeout": "0s", "fallback": "force_self", "transform": {"path": "/new"}}
    caller.replay_body(body)
    assert isinstance(caller.decision, Deliver)
    assert (caller.at, caller.decision.target) == ("ams-1", "/old")
    assert "fly-replay-failed" in caller.sent


@pytest.mark.parametrize(
    ("order", "left"), [("delete-set", {"a": "2", "b": "1"}), ("set-delete", {"b": "1"})]
)
def test_headers_are_deleted_before_others_are_set_by_default(order: Any, left: dict[str, str]) -> None:
    """F-1.80, K-40"""
    caller = Caller(request=request({"a": "1", "b": "1"}), options=RoutingOptions(transform_order=order))
    transform = {"delete_headers": ["A"], "set_headers": [{"name": "a", "value": "2"}]}
    caller.replay_body({"region": "dfw", "transform": transform})
    assert {name: value for name, value in caller.sent.items() if name in ("a", "b")} == left


@pytest.mark.parametrize(
    "name",
    [
        *("Connection", "keep-alive", "TE", "Upgrade", "Transfer-Encoding", "Content-Length", "Fly-Replay"),
        *("fly-replay-src", "fly-replay-failed", "fly-replay-cache", "Fly-Preferred-Instance-Unavailable"),
    ],
)
def test_a_transform_cannot_change_hop_by_hop_and_proxy_headers(name: str) -> None:
    """F-1.80, K-40"""
    replay = parse({"transform": {"delete_headers": [name], "set_headers": [{"name": name, "value": "x"}]}})
    assert replay.transform == Transform(warnings=replay.warnings)
    assert (
        replay.warnings == (f"transform cannot change the header {name!r}: it is left unchanged (K-40)",) * 2
    )


@pytest.mark.parametrize("name", ["Host", "fly-force-instance-id", "authorization", "x-forwarded-for"])
def test_a_transform_can_change_any_other_header(name: str) -> None:
    """F-1.31, F-3.10, K-40: host-based routers need it"""
    replay = parse({"transform": {"set_headers": [{"name": name, "value": "x"}]}})
    assert replay.transform is not None
    assert as_texts(replay.transform.apply(fields({name.upper(): "old", "A": "1"}))) == {
        "a": "1",
        name.lower(): "x",
    }


def test_a_replay_body_can_name_another_app() -> None:
    """F-1.4, F-1.76"""
    caller = Caller(two_apps())
    caller.replay_body({"app": "chat", "elsewhere": True})
    assert caller.trace.hops[-1].app == "chat"

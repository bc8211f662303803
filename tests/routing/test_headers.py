from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.routing import App, Fields, Relay, RoutingOptions
from simulator.routing.headers import (
    SERVER,
    FailedReplay,
    cookie_names,
    end_to_end,
    find_field,
    overwrite,
    rejection_fields,
    replay_src,
    request_fields,
    response_fields,
    shown_fields,
)
from simulator.routing.service import HttpOptions, Service, ServicePort
from tests.routing.build import AMS_1, DFW_1, NOW, REQUEST_ID, Caller, as_texts, fields, fleet, request


def sent(
    headers: dict[str, str] | None = None, *, strip_forged: bool = True, **changes: object
) -> dict[str, str]:
    """The request headers that a machine gets if the client sends `headers`."""
    client = request(headers, **changes)
    options = RoutingOptions(strip_forged_headers=strip_forged)
    return as_texts(request_fields(client, "ams", REQUEST_ID, NOW, options))


def relayed(
    headers: dict[str, str],
    *,
    http_version: str = "1.1",
    replayed: bool = False,
    http: HttpOptions = HttpOptions(),  # noqa: B008  # it is frozen
) -> dict[str, str]:
    return as_texts(response_fields(fields(headers), REQUEST_ID, http_version, http, replayed=replayed))


# Requests.


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fly-client-ip", "198.51.100.7"),  # F-4.1
        ("fly-forwarded-port", "80"),  # F-4.2
        ("fly-region", "ams"),  # F-4.3: of the edge
        ("x-forwarded-for", "198.51.100.7, 203.0.113.80"),  # F-4.4
        ("x-forwarded-proto", "http"),  # F-4.5
        ("x-forwarded-port", "80"),  # F-4.6
        ("x-forwarded-ssl", "off"),  # F-4.7
        ("via", "1.1 fly.io"),  # F-4.8
        ("fly-request-id", REQUEST_ID),  # F-4.11
        ("fly-forwarded-proto", "http"),  # F-4.12
        ("fly-forwarded-ssl", "off"),  # F-4.12
        ("fly-tracestate", ""),  # F-4.13
        ("x-request-start", "t=1700000000000000"),  # F-4.14
        ("host", "streams.fly.dev"),  # F-1.31
    ],
)
def test_the_proxy_adds_its_headers_to_a_request(name: str, value: str) -> None:
    assert sent()[name] == value


def test_a_request_over_tls_has_the_https_headers() -> None:
    """F-4.2, F-4.5, F-4.7, F-4.12"""
    headers = sent(scheme="https", edge_port=443)
    names = (
        "x-forwarded-proto",
        "x-forwarded-port",
        "x-forwarded-ssl",
        "fly-forwarded-port",
        "fly-forwarded-ssl",
    )
    assert [headers[name] for name in names] == ["https", "443", "on", "443", "on"]


def test_the_traceparent_is_derived_from_the_request_id() -> None:
    """F-4.13: `00-<32 hex>-<16 hex>-00`, the same for the same request id"""
    parent = sent()["fly-traceparent"]
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", parent)
    assert sent({"Fly-Traceparent": "forged"})["fly-traceparent"] == parent


def test_via_has_the_http_version_of_the_client() -> None:
    """F-4.8"""
    assert sent(http_version="2")["via"] == "2 fly.io"
    assert sent({"Via": "1.1 cdn"})["via"] == "1.1 cdn, 1.1 fly.io"


def test_x_forwarded_for_is_appended_to() -> None:
    """F-4.4, F-4.17"""
    assert (
        sent({"X-Forwarded-For": "192.0.2.1"})["x-forwarded-for"] == "192.0.2.1, 198.51.100.7, 203.0.113.80"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("X-Forwarded-Proto", "https"), ("X-Forwarded-Port", "8443"), ("X-Forwarded-Ssl", "on")],
)
def test_the_clients_x_forwarded_headers_pass_through(name: str, value: str) -> None:
    """F-4.6, F-4.17"""
    assert sent({name: value})[name.lower()] == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Fly-Client-IP", "198.51.100.7"),
        ("fly-forwarded-port", "80"),
        ("FLY-REGION", "ams"),
        ("Fly-Request-Id", REQUEST_ID),
        ("Fly-Forwarded-Proto", "http"),
        ("Fly-Forwarded-Ssl", "off"),
        ("Fly-Tracestate", ""),
        ("X-Request-Start", "t=1700000000000000"),
    ],
)
def test_the_fly_headers_of_the_client_are_overwritten(name: str, value: str | None) -> None:
    """F-12.12, F-4.17"""
    assert sent({name: "forged"}).get(name.lower()) == value


FORGEABLE = [
    "fly-replay-src",
    "Fly-Replay-Failed",
    "fly-replay-cache-status",
    "fly-preferred-instance-unavailable",
]


@pytest.mark.parametrize("name", FORGEABLE)
def test_forged_replay_headers_are_stripped(name: str) -> None:
    """K-15, F-4.18 (gallery 27)"""
    assert name.lower() not in sent({name: "instance=forged"})
    assert sent({name: "instance=forged"}, strip_forged=False)[name.lower()] == "instance=forged"


@pytest.mark.parametrize("name", ["fly_replay_src", "Fly_Replay-Src", "FLY_CLIENT_IP", "fly_request_id"])
def test_fly_headers_with_underscores_count_as_forged(name: str) -> None:
    """K-15, F-4.17: apps behind CGI or WSGI cannot tell the names apart"""
    assert name.lower() not in sent({name: "forged"})


@pytest.mark.parametrize(
    "name", ["x_custom", "fly-prefer-region", "fly-force-instance-id", "fly-replay-cache-control", "cookie"]
)
def test_headers_of_the_client_reach_the_machine(name: str) -> None:
    """F-3.11, K-37"""
    assert sent({name: "value"})[name] == "value"


# Hop-by-hop headers.


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        ({"A": "1"}, {"a": "1"}),
        ({"A": "1", "Connection": "keep-alive", "Keep-Alive": "timeout=5"}, {"a": "1"}),
        ({"A": "1", "Connection": "close, A", "B": "2"}, {"b": "2"}),
        ({"A": "1", "connection": ""}, {"a": "1"}),
        ({"Proxy-Connection": "keep-alive", "TE": "trailers"}, {}),
        ({"Transfer-Encoding": "chunked"}, {"transfer-encoding": "chunked"}),
        (
            {"Connection": "keep-alive, Upgrade", "Upgrade": "websocket", "Keep-Alive": "1"},
            {"upgrade": "websocket", "connection": "Upgrade"},
        ),
        (
            {"Connection": "Upgrade", "Upgrade": "h2c, WebSocket"},
            {"upgrade": "websocket", "connection": "Upgrade"},
        ),
        ({"Connection": "Upgrade"}, {}),
        ({"Upgrade": "h2c"}, {}),
        ({"Upgrade": "websocket"}, {}),
        # RFC 9110, 7.8: an upgrade to another protocol is ignored.
        ({"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABk"}, {}),
        # Connection cannot drop the host, or what defines the length of the body.
        (
            {"Connection": "host, Content-Length", "Host": "a", "Content-Length": "1"},
            {"host": "a", "content-length": "1"},
        ),
        (
            {"Connection": "transfer-encoding", "Transfer-Encoding": "chunked"},
            {"transfer-encoding": "chunked"},
        ),
    ],
)
def test_hop_by_hop_headers_are_removed_except_for_an_upgrade(
    headers: dict[str, str], kept: dict[str, str]
) -> None:
    """F-4.20"""
    assert as_texts(end_to_end(fields(headers))) == kept


def test_a_request_without_http_1_1_is_not_upgraded() -> None:
    """RFC 9110, 7.8"""
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
    assert sent(upgrade)["upgrade"] == "websocket"
    for version in ("1.0", "2"):
        assert not {"upgrade", "connection"} & set(sent(upgrade, http_version=version))


NAMES = st.sampled_from(
    [b"connection", b"Connection", b"upgrade", b"keep-alive", b"TE", b"x-a", b"via", b"set-cookie", b"cookie"]
)
VALUES = st.sampled_from([b"upgrade", b"close", b"x-a, keep-alive", b"Upgrade,x-a", b"a=1; b", b"websocket"])
FIELDS = st.lists(st.tuples(NAMES | st.binary(max_size=6), VALUES | st.binary(max_size=12)), max_size=8).map(
    tuple
)


@settings(max_examples=30)
@given(FIELDS)
def test_no_hop_by_hop_header_is_left(given_fields: Fields) -> None:
    """F-4.20"""
    left = end_to_end(given_fields)
    names = {name.lower() for name, _ in left}
    named = {
        token.strip().lower()
        for name, value in given_fields
        if name.lower() == b"connection"
        for token in value.split(b",")
    }
    assert not names & {b"keep-alive", b"proxy-connection", b"te"}
    assert names & named <= {b"upgrade", b"connection"}
    protocols = [
        protocol.strip().lower()
        for name, value in given_fields
        if name.lower() == b"upgrade"
        for protocol in value.split(b",")
    ]
    is_upgrade = b"upgrade" in named and b"websocket" in protocols
    assert [value for name, value in left if name.lower() == b"connection"] == [b"Upgrade"] * is_upgrade
    assert (b"upgrade" in names) is is_upgrade
    assert end_to_end(left) == left


@settings(max_examples=30)
@given(FIELDS)
def test_the_header_functions_accept_any_bytes(given_fields: Fields) -> None:
    client = request()
    delivered = request_fields(
        type(client)("GET", "/", "h", "http", given_fields, "::1", "::1", 80),
        "ams",
        "id",
        NOW,
        RoutingOptions(),
    )
    for name in (b"x-forwarded-for", b"via", b"fly-region", b"fly-request-id", b"fly-client-ip"):
        assert sum(key.lower() == name for key, _ in delivered) == 1
    answered = response_fields(given_fields, "id", "1.1", HttpOptions(), replayed=True)
    for name in (b"server", b"via", b"fly-request-id"):
        assert sum(key.lower() == name for key, _ in answered) == 1
    shown_fields(given_fields)
    cookie_names(given_fields)
    find_field(given_fields, b"cookie")


# Responses.


def test_the_proxy_adds_its_headers_to_a_response_and_keeps_the_others() -> None:
    """F-4.21, F-4.22"""
    answered = relayed(
        {"Server": "nginx", "Fly-Request-Id": "forged", "Set-Cookie": "a=1", "Connection": "close"}
    )
    assert answered == {
        "server": SERVER.decode(),
        "via": "1.1 fly.io",
        "fly-request-id": REQUEST_ID,
        "set-cookie": "a=1",
    }


def test_the_server_header_has_flys_format() -> None:
    """F-4.22"""
    assert as_texts(((b"server", SERVER),))["server"] == "Fly/f1751a0e (2026-08-13)"


def test_a_replayed_response_has_two_via_entries() -> None:
    """F-1.100, F-4.8"""
    assert relayed({}, replayed=True)["via"] == "1.1 fly.io, 1.1 fly.io"
    assert relayed({"Via": "1.0 app"}, http_version="2")["via"] == "1.0 app, 2 fly.io"


def test_a_rejection_has_an_empty_body_and_gives_no_reason() -> None:
    """F-1.99, F-6.1"""
    date = "Mon, 23 Nov 2026 06:00:00 GMT"
    assert as_texts(rejection_fields(REQUEST_ID, "1.1", date.encode())) == {
        "content-length": "0",
        "date": date,
        "server": SERVER.decode(),
        "via": "1.1 fly.io",
        "fly-request-id": REQUEST_ID,
    }


# Response options of fly.toml.


def test_a_pristine_response_is_unchanged() -> None:
    """F-4.21, F-4.24: nothing added, nothing modified"""
    headers = {"Server": "nginx", "Via": "1.0 app", "X-App": "1"}
    answered = relayed(headers, replayed=True, http=HttpOptions(pristine=True))
    assert answered == {"server": "nginx", "via": "1.0 app", "x-app": "1"}
    assert relayed({"Connection": "close"}, http=HttpOptions(pristine=True)) == {}  # F-4.20


@pytest.mark.parametrize(
    ("configured", "headers", "seen"),
    [
        ((("X-New", ("1",)),), {}, [("x-new", "1")]),
        ((("X-New", ("1", "2")),), {}, [("x-new", "1"), ("x-new", "2")]),  # a list
        ((("x-app", None),), {"X-App": "1"}, []),  # false: removed
        ((("Server", None), ("via", None), ("fly-request-id", None)), {}, []),
        ((("X-App", ("2",)),), {"X-App": "1"}, [("x-app", "1"), ("x-app", "2")]),  # added, not replaced
        ((("X-App", None), ("x-new", ("1",))), {"x-app": "1"}, [("x-new", "1")]),
    ],
)
def test_headers_of_responses_are_added_and_removed(
    configured: Any, headers: dict[str, str], seen: list[tuple[str, str]]
) -> None:
    """F-4.25"""
    http = HttpOptions(response_headers=configured)
    answered = response_fields(fields(headers), REQUEST_ID, "1.1", http, replayed=False)
    removed = {name.lower() for name, values in configured if values is None}
    usual = {"server", "via", "fly-request-id"} - removed
    texts = [(name.decode().lower(), value.decode()) for name, value in answered]
    assert [pair for pair in texts if pair[0] not in usual] == seen
    assert {name for name, _ in texts} >= usual


def test_a_pristine_response_can_have_configured_headers() -> None:
    """F-4.24, F-4.25"""
    http = HttpOptions(pristine=True, response_headers=(("x-new", ("1",)), ("x-app", None)))
    assert relayed({"X-App": "1", "Server": "nginx"}, http=http) == {"server": "nginx", "x-new": "1"}


def test_the_response_options_are_those_of_the_requested_app() -> None:
    """F-4.24, F-4.25"""
    port = ServicePort(80, 80, http=HttpOptions(pristine=True))
    caller = Caller(fleet(AMS_1, apps=[App("streams", services=(Service(ports=(port,)),))]))
    relay = caller.respond(200, {"server": "nginx"})
    assert isinstance(relay, Relay)
    assert relay.fields == ((b"server", b"nginx"),)


# Replay headers.


@pytest.mark.parametrize(
    ("state", "value"),
    [
        (None, b"instance=286533db064e58;region=dfw;t=1700000000000000"),
        ("cart", b"instance=286533db064e58;region=dfw;t=1700000000000000;state=cart"),
        ("", b"instance=286533db064e58;region=dfw;t=1700000000000000;state="),
        ("voil\xc3\xa0", b"instance=286533db064e58;region=dfw;t=1700000000000000;state=voil\xc3\xa0"),
    ],
)
def test_replay_src_names_the_machine_that_replayed(state: str | None, value: bytes) -> None:
    """F-1.41, F-1.42: in this order; `state` only if the replay has one"""
    assert replay_src(DFW_1, 1_700_000_000_000_000, state) == value


@pytest.mark.parametrize(
    ("failed", "value"),
    [
        # F-1.54: the example of Fly's documentation.
        (
            FailedReplay("00bb33ff", "target-app", "iad", "11aa44ee", "timeout", 10_000),
            b"instance=00bb33ff;app=target-app;region=iad;replay_source=11aa44ee;reason=timeout;elapsed_ms=10000",
        ),
        # F-1.55, K-39
        (
            FailedReplay(None, "target-app", None, "11aa44ee", "no_candidate", 0),
            b"app=target-app;replay_source=11aa44ee;reason=no_candidate;elapsed_ms=0",
        ),
    ],
)
def test_replay_failed_omits_unknown_fields(failed: FailedReplay, value: bytes) -> None:
    assert failed.header_value() == value


def test_overwrite_replaces_fields_of_the_same_name() -> None:
    there = fields({"Fly-Replay-Src": "forged", "A": "1"})
    assert overwrite(there, fields({"fly-replay-src": "true"})) == fields(
        {"A": "1", "fly-replay-src": "true"}
    )


# Reading fields.


@pytest.mark.parametrize(
    ("there", "value"),
    [
        (((b"Fly-Replay", b" instance=a\t"),), "instance=a"),
        (((b"FLY-REPLAY", b"instance=a"), (b"fly-replay", b"instance=b"), (b"x", b"y")), "instance=b"),
        (((b"fly-replay", b""),), ""),
        (((b"fly-replay", b"state=\xc3\xa0"),), "state=\xc3\xa0"),
        (((b"fly-replay-src", b"instance=a"),), None),
        ((), None),
    ],
)
def test_find_field_returns_the_last_value_in_any_letter_case(there: Fields, value: str | None) -> None:
    """F-1.13, K-9"""
    assert find_field(there, b"fly-replay") == value


def test_a_hop_shows_the_relevant_response_headers() -> None:
    there = fields(
        {"Set-Cookie": "a=1", "Fly-Replay": "x", "Content-Length": "3", "X-Fly": "no", "Location": "/"}
    )
    assert shown_fields(there) == (("set-cookie", "a=1"), ("fly-replay", "x"), ("location", "/"))


@pytest.mark.parametrize(
    ("cookies", "names"),
    [
        (["a=1; b=2"], ("a", "b")),
        (["a=1", "b"], ("a", "b")),
        (["fly-machine-id=x;;"], ("fly-machine-id",)),
        ([], ()),
    ],
)
def test_the_cookie_names_of_a_request_are_listed(cookies: list[str], names: tuple[str, ...]) -> None:
    there = tuple((b"Cookie", cookie.encode()) for cookie in cookies)
    assert cookie_names((*there, (b"x-cookie", b"c=3"))) == names

"""Services, ports and handlers: what a request can reach (facts 9)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from simulator.routing import App, Cause, Deliver, Fleet, Outcome, Redirect, RoutingOptions
from simulator.routing.names import flycast_app, is_flycast, is_private
from simulator.routing.service import HttpOptions, Service, ServicePort
from tests.routing.build import AMS_1, CHAT_1, DFW_1, STREAMS, Caller, fleet, request, two_apps


def served(*services: Service, machines: Any = (AMS_1,)) -> Fleet:
    return fleet(*machines, apps=[replace(STREAMS, services=services)])


WEB = Service(ports=(ServicePort(80, 80),), internal_port=8080, autostart=False)
ADMIN = Service(ports=(ServicePort(9000, 9099),), internal_port=7070, autostart=False)


# Ports.


def test_the_default_service_has_http_on_80_and_https_on_443() -> None:
    """F-9.1, F-9.2"""
    service = App("streams").services[0]
    assert service.internal_port == 8080
    assert [(port.start, port.handlers) for port in service.ports] == [
        (80, ("http",)),
        (443, ("tls", "http")),
    ]


@pytest.mark.parametrize(
    ("scheme", "service_port", "public"), [("http", None, 80), ("https", None, 443), ("http", 9090, 9090)]
)
def test_the_public_port_is_that_of_the_scheme_or_of_the_edge(
    scheme: str, service_port: int | None, public: int
) -> None:
    """F-9.1, F-1.61"""
    assert request(scheme=scheme, service_port=service_port).public_port == public


@pytest.mark.parametrize(("public", "internal"), [(80, AMS_1.port), (9000, 7070), (9050, 7070), (9099, 7070)])
def test_a_public_port_maps_to_the_internal_port_of_its_service(public: int, internal: int) -> None:
    """F-1.61, F-9.6: ranges, too"""
    caller = Caller(served(WEB, ADMIN), request=request(service_port=public))
    assert isinstance(caller.decision, Deliver)
    assert caller.decision.port == internal


@pytest.mark.parametrize("services", [(), (WEB,), (WEB, replace(ADMIN, ports=(ServicePort(9001, 9001),)))])
@pytest.mark.parametrize("status", [502, 503])
def test_a_port_without_a_service_is_pr01(services: tuple[Service, ...], status: int) -> None:
    """F-9.18, F-6.51, K-3"""
    caller = Caller(
        served(*services),
        request=request(service_port=9000),
        options=RoutingOptions(no_candidate_status=status),
    )
    assert str(caller.rejection.error) == "[PR01] no known healthy instances found for route tcp/9000"
    assert (caller.rejection.status, caller.rejection.log_app, caller.rejection.log_machine_id) == (
        status,
        "streams",
        None,
    )


def test_an_app_without_services_cannot_be_reached() -> None:
    """F-9.18"""
    assert Caller(served()).code == "PR01"


def test_a_service_is_offered_by_machines_of_its_process_groups_only() -> None:
    """F-9.15, F-5.12"""
    worker = replace(AMS_1, group="worker")
    there = served(replace(WEB, groups=("web",)), machines=(worker, replace(DFW_1, group="web")))
    assert Caller(there).at == "dfw-1"
    assert Caller(served(replace(WEB, groups=("web",)), machines=(worker,))).code == "PR04"


# Port of a replay.


def chat_on(*ports: int, **chat: Any) -> Fleet:
    """The demo and an app `chat` whose only service has these public ports."""
    its = Service(ports=tuple(ServicePort(port, port) for port in ports), internal_port=5000, autostart=False)
    return two_apps(services=(its,), **chat)


@pytest.mark.parametrize(("scheme", "ports"), [("http", (80,)), ("https", (443,)), ("https", (80, 443))])
def test_the_target_app_must_serve_the_requested_port(scheme: str, ports: tuple[int, ...]) -> None:
    """F-1.61"""
    caller = Caller(chat_on(*ports), request=request(scheme=scheme))
    caller.replay("app=chat")
    assert isinstance(caller.decision, Deliver)
    assert caller.decision.machine == CHAT_1


@pytest.mark.parametrize(
    ("scheme", "ports", "number"), [("http", (443,), 80), ("https", (80,), 443), ("http", (9090,), 80)]
)
def test_a_target_app_that_does_not_serve_the_port_is_pr04(
    scheme: str, ports: tuple[int, ...], number: int
) -> None:
    """F-1.61, F-1.62, F-6.2 (gallery 32)"""
    caller = Caller(chat_on(*ports), request=request(scheme=scheme))
    caller.replay("app=chat")
    assert str(caller.rejection.error) == (
        f"[PR04] app streams tried to fly-replay to app chat, but nothing from that app serves port tcp/{number}"
    )
    assert (caller.rejection.status, caller.rejection.log_machine_id) == (502, AMS_1.id)
    assert caller.elapsed == pytest.approx(7.5)


@pytest.mark.parametrize("directive", ["app=empty", "app=empty;region=ams"])
def test_an_app_without_machines_serves_no_port(directive: str) -> None:
    """F-1.62: with the same text"""
    caller = Caller(fleet(AMS_1, apps=[STREAMS, App("empty")]))
    caller.replay(directive)
    assert caller.rejection.error.message.endswith("nothing from that app serves port tcp/80")


def test_an_app_that_serves_the_port_but_has_no_machine_has_no_candidate() -> None:
    """F-1.21, F-6.54"""
    caller = Caller(two_apps())
    caller.replay("app=chat;region=nrt")
    assert caller.rejection.error.message.startswith("could not find a good candidate")


def test_a_replay_keeps_a_custom_public_port() -> None:
    """F-1.61: 9090 to `port: 9090`"""
    own = Service(ports=(ServicePort(9090, 9090),), autostart=False)
    there = fleet(
        AMS_1, DFW_1, CHAT_1, apps=[replace(STREAMS, services=(WEB, own)), replace(STREAMS, name="chat")]
    )
    caller = Caller(there, request=request(service_port=9090))
    caller.replay("region=dfw")
    assert caller.at == "dfw-1"
    caller.replay("app=chat;timeout=0s")
    assert caller.rejection.error.message.endswith("serves port tcp/9090")


# Handlers.


@pytest.mark.parametrize(
    ("handlers", "speaks"),
    [(("http",), True), (("tls", "http"), True), (("tls",), False), ((), False), (("proxy_proto",), False)],
)
def test_only_the_http_handler_reads_requests(handlers: tuple[str, ...], speaks: bool) -> None:
    """F-9.4, F-1.28, F-3.16"""
    assert ServicePort(80, 80, handlers).speaks_http is speaks


@pytest.mark.parametrize(
    ("scheme", "force", "redirected"),
    [("http", True, True), ("http", False, False), ("https", True, False), ("https", False, False)],
)
def test_force_https_redirects_plain_http(scheme: str, force: bool, redirected: bool) -> None:
    """F-4.26, F-9.3"""
    ports = (
        ServicePort(80, 80, force_https=force),
        ServicePort(443, 443, ("tls", "http"), force_https=force),
    )
    there = served(replace(WEB, ports=ports))
    caller = Caller(there, request=request(scheme=scheme, target="/room?x=1", host="a.example.com"))
    if not redirected:
        assert caller.at == "ams-1"
        return
    assert caller.decision == Redirect("https://a.example.com/room?x=1", 301)
    trace = caller.exchange.finish(caller.now)
    assert (trace.outcome, trace.status, trace.path, trace.served_by) == (Outcome.REDIRECTED, 301, (), None)


@pytest.mark.parametrize(
    ("h2_backend", "upgrade", "h2"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_a_delivery_uses_http_1_unless_the_app_has_h2_backend(
    h2_backend: bool, upgrade: bool, h2: bool
) -> None:
    """F-9.5; F-1.97: an upgrade uses HTTP/1.1 on every hop"""
    port = ServicePort(80, 80, http=HttpOptions(h2_backend=h2_backend))
    headers = {"Connection": "Upgrade", "Upgrade": "websocket"} if upgrade else {}
    caller = Caller(served(replace(WEB, ports=(port,))), request=request(headers))
    assert isinstance(caller.decision, Deliver)
    assert caller.decision.h2 is h2


def test_after_a_replay_the_h2_backend_of_the_target_app_applies() -> None:
    """F-9.5"""
    modern = Service(ports=(ServicePort(80, 80, http=HttpOptions(h2_backend=True)),), autostart=False)
    caller = Caller(two_apps(services=(modern,)))
    assert isinstance(caller.decision, Deliver)
    assert not caller.decision.h2
    caller.replay("app=chat")
    assert caller.decision.h2


# Names.


@pytest.mark.parametrize("host", ["chat.flycast", "CHAT.flycast:80", "chat.fly.dev"])
def test_an_app_is_reached_by_its_public_and_private_names(host: str) -> None:
    """F-8.20"""
    caller = Caller(two_apps(), request=request(host=host))
    assert isinstance(caller.decision, Deliver)
    assert (caller.decision.machine, caller.trace.hops[0].cause) == (CHAT_1, Cause.ROUTED)


def test_a_flycast_name_is_private_and_identifies_an_app() -> None:
    """F-8.20"""
    there = two_apps()
    assert is_flycast("chat.flycast")
    assert is_flycast("Chat.FLYCAST.")
    assert not is_flycast("chat.internal")
    assert [is_private(name) for name in ("chat.flycast", "chat.internal", "chat.fly.dev")] == [
        True,
        True,
        False,
    ]
    assert flycast_app(there, "Chat.flycast.") == there.apps["chat"]
    assert flycast_app(there, "nobody.flycast") is None


def test_any_service_of_an_app_can_serve_a_port() -> None:
    """F-1.62, F-9.18"""
    app = App("streams", services=(WEB, ADMIN))
    assert [app.serves(port) for port in (80, 9050, 443)] == [True, True, False]


def test_if_two_apps_claim_a_hostname_the_first_one_wins() -> None:
    both = Fleet.of([App("a", hostnames=("example.com",)), App("b", hostnames=("example.com",))])
    for _ in range(2):
        found = both.app_for_host("example.com")
        assert found is not None
        assert found.name == "a"


@pytest.mark.parametrize(
    ("host", "hostname"),
    [("A.dev", "a.dev"), ("a.dev:8080", "a.dev"), ("[::1]", "[::1]"), ("[::1]:80", "[::1]"), ("", "")],
)
def test_a_hostname_is_in_lower_case_and_without_port(host: str, hostname: str) -> None:
    """F-2.12"""
    assert request(host=host).hostname == hostname


# Replays between apps of different organizations or networks.


@pytest.mark.parametrize(
    ("org", "network", "sources", "switched_on", "code"),
    [
        ("personal", "default", (), (), None),  # F-1.68
        ("personal", "other", (), (), "PA05"),  # F-1.68, F-1.70
        ("personal", "other", (), ("personal",), None),  # F-1.69
        ("personal", "other", (), ("other",), "PA05"),
        ("personal", "other", ("personal",), (), "PA05"),  # F-1.71: the list is about other organizations
        ("other", "default", (), (), "PA05"),  # F-1.72
        ("other", "default", ("personal",), (), None),  # F-1.71
        (
            "other",
            "other",
            ("personal",),
            (),
            None,
        ),  # F-1.69: the setting is about replays within one organization
        ("other", "default", (), ("personal", "other"), "PA05"),  # F-1.69
        ("other", "default", ("third",), (), "PA05"),
    ],
)
def test_permission_to_replay_to_another_app(
    org: str, network: str, sources: tuple[str, ...], switched_on: tuple[str, ...], code: str | None
) -> None:
    """F-1.68 to F-1.72, X-3, X-4"""
    there = two_apps(org=org, network=network, replay_sources=sources)
    caller = Caller(there, options=RoutingOptions(cross_network_replays=switched_on))
    caller.replay("app=chat")
    assert caller.trace.error == code
    if code is not None:
        assert (caller.rejection.log_app, caller.rejection.log_machine_id) == ("streams", AMS_1.id)

"""Builders of fleets, requests and responses, and a caller that carries out the decisions of an exchange.

By default the fleet is that of the demo, and the first of several equal machines is chosen.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from simulator.routing import (
    App,
    Decision,
    Deliver,
    Exchange,
    Failure,
    Fields,
    Fleet,
    Machine,
    MachineState,
    ReadBody,
    Reject,
    Request,
    Response,
    Router,
    RoutingOptions,
    Trace,
    Wait,
)
from simulator.routing.replay.body import CONTENT_TYPE
from simulator.routing.service import Service

NOW = 1_700_000_000.0
REQUEST_ID = "01HF7YAT00000000000000000G-ams"

AMS_1 = Machine("d8dd626f379508", "ams-1", "streams", "ams", port=8080, private_ip="fdaa::1")
DFW_1 = Machine("286533db064e58", "dfw-1", "streams", "dfw", port=8081, private_ip="fdaa::2")
DFW_2 = Machine("4d891ee9b43e08", "dfw-2", "streams", "dfw", port=8082, private_ip="fdaa::3")
STREAMS = App("streams", services=(Service(autostart=False),))
"""As in the demo's fly.toml: no autostart."""
DEMO = Fleet.of([STREAMS], [AMS_1, DFW_1, DFW_2])

CHAT_1 = Machine("90801679a10038", "ams-1", "chat", "ams", port=8083)


def machine(number: int, region: str, app: str = "streams", **changes: Any) -> Machine:
    """A machine whose id and name contain `number`."""
    return Machine(f"{number:014x}", f"{region}-{number}", app, region, **changes)


def stopped(machine: Machine) -> Machine:
    return replace(machine, state=MachineState.STOPPED)


def fleet(*machines: Machine, apps: Sequence[App] = (STREAMS,)) -> Fleet:
    return Fleet.of(apps, machines)


def autostart_fleet(*machines: Machine, **service: Any) -> Fleet:
    """Machines of an app with autostart (F-5.27); `service` overrides its defaults."""
    return fleet(*machines, apps=[App("streams", primary_region="ams", services=(Service(**service),))])


def two_apps(**chat: Any) -> Fleet:
    """The demo and an app `chat` with one machine; `chat` overrides the settings of that app."""
    return fleet(*DEMO.machines, CHAT_1, apps=[STREAMS, replace(STREAMS, name="chat", **chat)])


def fields(headers: dict[str, str]) -> Fields:
    return tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items())


def request(headers: dict[str, str] | None = None, **changes: Any) -> Request:
    plain = Request(
        method="GET",
        target="/",
        host="streams.fly.dev",
        scheme="http",
        fields=fields({"Host": "streams.fly.dev"} | (headers or {})),
        client_ip="198.51.100.7",
        edge_ip="203.0.113.80",
        edge_port=80,
    )
    return replace(plain, **changes)


def response(status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(status, fields(headers or {}))


def as_texts(fields: Fields) -> dict[str, str]:
    """The fields as text, names in lower case; fails if a name is repeated."""
    texts = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in fields}
    assert len(texts) == len(fields), f"repeated field in {fields}"
    return texts


class Caller:
    """A stand-in for the proxy layer: carries out each decision, skips simulated waits, reports the result.

    For a wait in real time, the test calls `wait`, which advances the clock and resumes the exchange.
    """

    def __init__(
        self,
        fleet: Fleet = DEMO,
        *,
        edge: str = "ams",
        request: Request | None = None,
        options: RoutingOptions | None = None,
        chance: Any = lambda n: 0,
        router: Router | None = None,
        at: float = NOW,
    ) -> None:
        self.requested_starts: list[str] = []
        self.router = router or Router(fleet, options or RoutingOptions(), chance)
        self.router.request_start = self.requested_starts.append
        self.now = at
        self._began = at
        self.exchange: Exchange = self.router.open(request or _REQUEST, edge, REQUEST_ID, self.now)
        self.decision: Decision = self._carry_out(self.exchange.begin(self.now))

    def respond(
        self,
        status: int = 200,
        headers: dict[str, str] | None = None,
        *,
        after: float = 0.0,
        body_kept: bool = True,
    ) -> Decision:
        self.now += after
        head = response(status, headers)
        return self._carry_out(self.exchange.receive(head, self.now, body_kept=body_kept))

    def replay(
        self, directive: str, status: int = 307, *, after: float = 0.0, body_kept: bool = True
    ) -> Decision:
        return self.respond(status, {"fly-replay": directive}, after=after, body_kept=body_kept)

    def fail(
        self, failure: Failure = Failure.REFUSED, *, after: float = 0.0, body_kept: bool = True
    ) -> Decision:
        self.now += after
        return self._carry_out(self.exchange.fail(failure, self.now, body_kept=body_kept))

    def fail_until_done(self, failure: Failure = Failure.REFUSED, *, after: float = 0.0) -> Decision:
        while isinstance(self.decision, Deliver) and len(self.trace.hops) < 100:
            self.fail(failure, after=after)
        return self.decision

    def replay_body(
        self,
        body: object,
        headers: dict[str, str] | None = None,
        *,
        status: int = 200,
        body_kept: bool = True,
    ) -> Decision:
        """Replay in the JSON form; `body` is text, bytes, None (incomplete), or a value to encode."""
        self.respond(status, {"content-type": CONTENT_TYPE} | (headers or {}))
        assert isinstance(self.decision, ReadBody), self.decision
        raw = (
            body
            if isinstance(body, bytes | None)
            else body.encode()
            if isinstance(body, str)
            else _json(body)
        )
        return self.receive_body(raw, body_kept=body_kept)

    def receive_body(self, body: bytes | None, *, body_kept: bool = True) -> Decision:
        """The replay body arrived; None if it is incomplete."""
        return self._carry_out(self.exchange.receive_body(body, self.now, body_kept=body_kept))

    def wait(self, seconds: float = 0.0, fleet: Fleet | None = None) -> Decision:
        """Advance the clock by `seconds`, replace the fleet if one is given, and resume the exchange."""
        assert isinstance(self.decision, Wait), self.decision
        assert self.decision.in_real_time
        self.now += seconds
        self.router.fleet = fleet or self.router.fleet
        return self._carry_out(self.exchange.resume(self.now))

    def _carry_out(self, decision: Decision) -> Decision:
        while isinstance(decision, Wait) and not decision.in_real_time:
            self.now += decision.wait_seconds
            decision = self.exchange.resume(self.now)
        self.decision = decision
        if isinstance(decision, Deliver | Reject):
            self.now += decision.wait_seconds
        return decision

    @property
    def at(self) -> str:
        """The name of the current delivery's machine."""
        assert isinstance(self.decision, Deliver), self.decision
        return self.decision.machine.name

    @property
    def sent(self) -> dict[str, str]:
        """The request headers of the current delivery."""
        assert isinstance(self.decision, Deliver), self.decision
        return as_texts(self.decision.fields)

    @property
    def rejection(self) -> Reject:
        assert isinstance(self.decision, Reject), self.decision
        return self.decision

    @property
    def code(self) -> str:
        return self.rejection.error.code

    @property
    def trace(self) -> Trace:
        return self.exchange.trace

    @property
    def elapsed(self) -> float:
        return self.now - self._began


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


_REQUEST = request()

"""Fleets, requests and responses for the tables, and a caller that carries out what an exchange decides.

The fleet is the demo's unless a test says otherwise; chance takes the first of several equals.
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
"""As in the demo's fly.toml: a machine that is stopped stays so."""
DEMO = Fleet.of([STREAMS], [AMS_1, DFW_1, DFW_2])

CHAT_1 = Machine("90801679a10038", "ams-1", "chat", "ams", port=8083)


def machine(number: int, region: str, app: str = "streams", **changes: Any) -> Machine:
    """A machine whose id and name say its number."""
    return Machine(f"{number:014x}", f"{region}-{number}", app, region, **changes)


def stopped(machine: Machine) -> Machine:
    return replace(machine, state=MachineState.STOPPED)


def fleet(*machines: Machine, apps: Sequence[App] = (STREAMS,)) -> Fleet:
    return Fleet.of(apps, machines)


def awake(*machines: Machine, **service: Any) -> Fleet:
    """Machines of an app whose only service starts those that are stopped (F-5.27); `service` says what differs."""
    return fleet(*machines, apps=[App("streams", primary_region="ams", services=(Service(**service),))])


def two_apps(**chat: Any) -> Fleet:
    """The demo, and an app `chat` with one machine; `chat` says what of that app differs."""
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
    """Names in lower case; a name that occurs twice would be a mistake of the test."""
    texts = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in fields}
    assert len(texts) == len(fields), f"a field is there twice: {fields}"
    return texts


class Caller:
    """Does what the proxy layer does: carries each decision out, waits as long as it says, reports what came.

    A wait for something real is left to the test: `wait` lets time pass and asks again.
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
        self.wanted: list[str] = []
        self.router = router or Router(fleet, options or RoutingOptions(), chance)
        self.router.request_start = self.wanted.append
        self.now = at
        self._began = at
        self.exchange: Exchange = self.router.open(request or _REQUEST, edge, REQUEST_ID, self.now)
        self.decision: Decision = self._carry_out(self.exchange.begin(self.now))

    def answer(
        self,
        status: int = 200,
        headers: dict[str, str] | None = None,
        *,
        after: float = 0.0,
        body_kept: bool = True,
    ) -> Decision:
        self.now += after
        answer = response(status, headers)
        return self._carry_out(self.exchange.receive(answer, self.now, body_kept=body_kept))

    def replay(
        self, directive: str, status: int = 307, *, after: float = 0.0, body_kept: bool = True
    ) -> Decision:
        return self.answer(status, {"fly-replay": directive}, after=after, body_kept=body_kept)

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
        """The JSON form: a response head, then its body; `body` is text, bytes, None, or a value for JSON."""
        self.answer(status, {"content-type": CONTENT_TYPE} | (headers or {}))
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
        """After ReadBody: this is it, or it did not come whole."""
        return self._carry_out(self.exchange.receive_body(body, self.now, body_kept=body_kept))

    def wait(self, seconds: float = 0.0, fleet: Fleet | None = None) -> Decision:
        """What was really waited for: `seconds` pass, the fleet has changed, the exchange looks again."""
        assert isinstance(self.decision, Wait), self.decision
        assert self.decision.really
        self.now += seconds
        self.router.fleet = fleet or self.router.fleet
        return self._carry_out(self.exchange.resume(self.now))

    def _carry_out(self, decision: Decision) -> Decision:
        while isinstance(decision, Wait) and not decision.really:
            self.now += decision.wait_seconds
            decision = self.exchange.resume(self.now)
        self.decision = decision
        if isinstance(decision, Deliver | Reject):
            self.now += decision.wait_seconds
        return decision

    @property
    def at(self) -> str:
        """The name of the machine that the present delivery goes to."""
        assert isinstance(self.decision, Deliver), self.decision
        return self.decision.machine.name

    @property
    def sent(self) -> dict[str, str]:
        """The request headers of the present delivery."""
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

"""Plan of a soak run: machines, requests and faults. The seed decides all of it, so a seed repeats its plan.

Times of the load are not planned: each lane sends its next session when the last one has ended and the rate allows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

REGIONS = ("ams", "dfw")
LOST = "ffffffffffffff"
"""An instance that never exists."""
LANES = (*["http1"] * 6, *["pipelined"] * 2, *["http2"] * 3, *["websocket"] * 3, *["leaving"] * 2)
"""The kind of client of each lane."""


@dataclass(frozen=True)
class PlannedMachine:
    id: str
    app: str
    region: str


@dataclass(frozen=True)
class PlannedRequest:
    """A request, and what the rules expect of it."""

    kind: str
    query: dict[str, str] = field(default_factory=dict)
    method: str = "GET"
    app: str = "web"
    body_size: int = 0
    allowed_apps: tuple[str, ...] = ("web",)
    expected: str = "ok"
    """`ok`, `refused` by the proxy, `aborted` by the machine."""


@dataclass(frozen=True)
class PlannedSession:
    """The requests of one client connection."""

    client: str
    number: int
    edge: str
    requests: tuple[PlannedRequest, ...]
    messages: int = 0
    """Number of messages on a WebSocket."""
    leaves_after: float | None = None
    """Seconds until the client disconnects in the middle."""


@dataclass(frozen=True)
class PlannedFault:
    """A fault that starts `pause` seconds after the last one has started, and lasts for `seconds`."""

    kind: str
    pause: float
    seconds: float
    machines: tuple[PlannedMachine, ...]
    """The machines that it concerns; empty: all."""
    values: dict[str, Any] = field(default_factory=dict)
    """For a fault of the network: its mapping in a scenario."""


class Plan:
    def __init__(self, seed: int, machines: int) -> None:
        self.seed = seed
        self.web = tuple(
            PlannedMachine(f"{0x10 + number:014x}", "web", REGIONS[number % 2]) for number in range(machines)
        )
        others = ("api", "alone", "grpc", "lab", "vault")
        self.machines = (
            *self.web,
            *(PlannedMachine(f"{0xA0 + number:014x}", app, "ams") for number, app in enumerate(others)),
        )

    def sessions(self, lane: int) -> Iterator[PlannedSession]:
        random = Random(f"{self.seed} lane {lane}")
        client = LANES[lane]
        for number in count():
            edge = random.choice(REGIONS)
            if client == "websocket":
                page = PlannedRequest("sticky", {"sticky": "1"})
                yield PlannedSession(client, number, edge, (page,), messages=random.randrange(1, 20))
            elif client == "leaving":
                requests = (random.choice(_LEAVING)(random, self),)
                yield PlannedSession(client, number, edge, requests, leaves_after=random.uniform(0, 0.2))
            else:
                kinds = _PIPELINED if client == "pipelined" else _KINDS
                requests = tuple(_choose(kinds, random)(random, self) for _ in range(random.randrange(1, 12)))
                yield PlannedSession(client, number, edge, requests)

    def faults(self) -> Iterator[PlannedFault]:
        random = Random(f"{self.seed} faults")
        while True:
            pause, seconds = random.uniform(1.0, 6.0), random.uniform(0.3, 3.0)
            kind = random.choice(_FAULTS)
            machine = random.choice(self.web)
            make = _NETWORK_FAULTS.get(kind)
            if kind in ("latency", "partition_regions"):
                values = {"between": list(REGIONS)}
                if kind == "latency":
                    values["of"] = f"{random.randrange(10, 80)}ms"  # type: ignore[assignment]
                yield PlannedFault(kind, pause, seconds, (), {kind.partition("_")[0]: values})
            else:
                yield PlannedFault(kind, pause, seconds, (machine,), make(random, machine.id) if make else {})


_NETWORK_FAULTS: dict[str, Callable[[Random, str], dict[str, Any]]] = {
    "silent": lambda random, machine: {"silent": machine},
    "partition": lambda random, machine: {"partition": {"machine": machine}},
    "reset": lambda random, machine: {
        "reset": {"machine": machine, "after": random.choice([0, 10, 1000]), "times": random.randrange(1, 20)}
    },
    "fail_first": lambda random, machine: {
        "fail_first": {
            "machine": machine,
            "times": random.randrange(1, 20),
            "with": random.choice(["refuse", "reset", "unreachable", "close", 503]),
        }
    },
}
_FAULTS = ("kill", "stop", "suspend", "cordon", "clone", "latency", "partition_regions", *_NETWORK_FAULTS)

MakeRequest = Callable[[Random, Plan], PlannedRequest]


def _plain(random: Random, plan: Plan) -> PlannedRequest:
    return PlannedRequest("plain")


def _upload(random: Random, plan: Plan) -> PlannedRequest:
    return PlannedRequest("upload", method="POST", body_size=random.choice([1, 100, 20_000, 2_000_000]))


def _slow(random: Random, plan: Plan) -> PlannedRequest:
    return PlannedRequest("slow", {"wait": f"{random.uniform(0.02, 0.4):.3f}"})


def _stream(random: Random, plan: Plan) -> PlannedRequest:
    return PlannedRequest("stream", {"chunks": str(random.randrange(1, 20))})


def _download(random: Random, plan: Plan) -> PlannedRequest:
    return PlannedRequest("download", {"size": str(random.randrange(1_000, 1_000_000))})


def _replay(random: Random, plan: Plan) -> PlannedRequest:
    """To a region or an instance, in the header or the JSON form."""
    target = f"instance={random.choice(plan.web).id}"
    if random.random() < 0.4:
        target = f"region={random.choice(REGIONS)}"
    query = {"replay": f"{target};state=s{random.randrange(1000)}"}
    return PlannedRequest("replay", query | ({"form": "json"} if random.random() < 0.4 else {}))


def _replay_to_app(random: Random, plan: Plan) -> PlannedRequest:
    return PlannedRequest("replay to app", {"replay": "app=api"}, allowed_apps=("web", "api"))


def _replay_with_body(random: Random, plan: Plan) -> PlannedRequest:
    query = {"replay": f"instance={random.choice(plan.web).id}"}
    return PlannedRequest("replay with body", query, "POST", body_size=random.randrange(1, 100_000))


def _late(random: Random, plan: Plan) -> PlannedRequest:
    return PlannedRequest("late", {"replay": f"instance={random.choice(plan.web).id}", "end": "late"})


def _fallback(random: Random, plan: Plan) -> PlannedRequest:
    return PlannedRequest("fallback", {"replay": f"instance={LOST};timeout=200ms;fallback=force_self"})


def _too_large(random: Random, plan: Plan) -> PlannedRequest:
    query = {"replay": f"instance={plan.web[0].id}"}
    return PlannedRequest("too large", query, "POST", body_size=1_200_000, expected="refused")


def _loop(random: Random, plan: Plan) -> PlannedRequest:
    return PlannedRequest("loop", {"replay": "region=any", "loop": "1"}, expected="refused")


def _forbidden(random: Random, plan: Plan) -> PlannedRequest:
    """To an app of another network or organization."""
    return PlannedRequest(
        "forbidden", {"replay": f"app={random.choice(['lab', 'vault'])}"}, expected="refused"
    )


def _lost(random: Random, plan: Plan) -> PlannedRequest:
    return PlannedRequest("lost", {"replay": f"instance={LOST};timeout=200ms"}, expected="refused")


def _abort(random: Random, plan: Plan) -> PlannedRequest:
    return PlannedRequest("abort", {"end": "abort"}, expected="aborted")


def _sticky(random: Random, plan: Plan) -> PlannedRequest:
    return PlannedRequest("sticky", {"sticky": "1"})


def _other_app(random: Random, plan: Plan) -> PlannedRequest:
    app = random.choice(["alone", "grpc"])
    return PlannedRequest(app, app=app, allowed_apps=(app,))


_KINDS: dict[MakeRequest, int] = {
    _plain: 20,
    _upload: 6,
    _slow: 4,
    _stream: 3,
    _download: 3,
    _replay: 20,
    _replay_to_app: 4,
    _replay_with_body: 5,
    _late: 3,
    _fallback: 2,
    _too_large: 1,
    _loop: 2,
    _forbidden: 2,
    _lost: 2,
    _abort: 2,
    _sticky: 12,
    _other_app: 10,
}
_PIPELINED: dict[MakeRequest, int] = {_plain: 5, _slow: 1, _stream: 1, _replay: 5, _replay_to_app: 1}
_LEAVING: tuple[MakeRequest, ...] = (_slow, _stream, _download, _upload, _replay_with_body, _late)


def _choose(kinds: dict[MakeRequest, int], random: Random) -> MakeRequest:
    return random.choices(list(kinds), list(kinds.values()))[0]

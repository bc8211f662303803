"""Benchmark of routing decisions: median time per hop with 100 and with 1,000 machines in 18 regions."""

from __future__ import annotations

import statistics
import time
from random import Random

from simulator.routing import App, Deliver, Fleet, Machine, Request, Response, Router, RoutingOptions
from simulator.routing.regions import REGIONS
from tests.bench.row import Row

EXCHANGES = 2_000
_FIELDS = (
    (b"host", b"bench.fly.dev"),
    (b"user-agent", b"bench/1.0"),
    (b"accept", b"*/*"),
    (b"cookie", b"session=0123456789abcdef"),
)


def microseconds_per_hop(machines: int) -> float:
    """Median over exchanges of two hops: first delivery, replay by region, final response."""
    regions = [code for code, region in REGIONS.items() if region.current]
    fleet = Fleet.of(
        [App("bench")],
        [
            Machine(f"{number:014x}", f"m-{number}", "bench", regions[number % 18])
            for number in range(machines)
        ],
    )
    router = Router(fleet, RoutingOptions(), Random(1).randrange)
    replay = Response(307, ((b"fly-replay", b"region=dfw;state=bench"), (b"content-length", b"0")))
    final = Response(200, ((b"content-type", b"text/plain"), (b"content-length", b"5")))
    times = []
    for number in range(EXCHANGES):
        edge = regions[number % 18]
        request = Request("GET", "/", "bench.fly.dev", "http", _FIELDS, "127.0.0.1", "127.0.0.1", 8080)
        start = time.perf_counter()
        exchange = router.open(request, edge, "01ARZ3NDEKTSV4RRFFQ69G5FAV-dfw", 0.0)
        first = exchange.begin(0.0)
        second = exchange.receive(replay, 0.0)
        exchange.receive(final, 0.0)
        times.append(time.perf_counter() - start)
        exchange.finish(0.0)
        assert isinstance(first, Deliver)
        assert isinstance(second, Deliver)
        assert second.machine.region == "dfw"
    return statistics.median(times) / 2 * 1e6


def measure() -> list[Row]:
    return [
        Row(
            "routing decision, 100 machines",
            "µs per hop",
            [microseconds_per_hop(100) for _ in range(3)],
            "<= 50",
        ),
        Row("routing decision, 1,000 machines", "µs per hop", [microseconds_per_hop(1000) for _ in range(3)]),
    ]

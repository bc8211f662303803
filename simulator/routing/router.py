"""The proxy's mind: the fleet as it is now, the options, and the exchanges it opens."""

from __future__ import annotations

from collections.abc import Callable

from simulator.routing.balancing.load import Load
from simulator.routing.balancing.selection import Chance
from simulator.routing.cache.replay_cache import ReplayCache
from simulator.routing.exchange import Exchange
from simulator.routing.model import App, Fleet, Request
from simulator.routing.options import RoutingOptions


def _start_nothing(machine_id: str) -> None:
    """Where nobody runs the machines, none can be started."""


class Router:
    """Opens exchanges. Whoever watches the machines puts each new `fleet` in; open exchanges see it at once.

    `want` is told of a machine that a request waits for; `new_id` makes request ids for K-38.
    """

    def __init__(
        self,
        fleet: Fleet,
        options: RoutingOptions,
        chance: Chance,
        *,
        request_start: Callable[[str], None] = _start_nothing,
        new_id: Callable[[str, float], str] | None = None,
    ) -> None:
        self.fleet = fleet
        self.options = options
        self.chance = chance
        self.aliases = {alias: frozenset(members) for alias, members in options.aliases.items()}
        self.load = Load()
        self.cache = ReplayCache()
        self.request_start = request_start
        self._new_id = new_id

    def new_request_id(self, edge: str, now: float) -> str:
        return self._new_id(edge, now) if self._new_id else f"{int(now * 1_000_000):026}-{edge}"

    def reset(self) -> None:
        """As at the start: nothing under way, nothing remembered."""
        self.load = Load()
        self.cache = ReplayCache()

    def open(self, request: Request, edge: str, request_id: str, now: float) -> Exchange:
        """Begin an exchange for the app that the request's host names."""
        # Where there is no app at all, it is for one that serves nothing, and ends as PR01.
        app = self.fleet.app_for_host(request.host) or App(request.host, services=())
        return Exchange(request, edge, app, request_id, now, self)

"""Router: the proxy's current fleet, load, caches and options; opens one `Exchange` per request."""

from __future__ import annotations

from collections.abc import Callable

from simulator.routing.balancing.load import Load
from simulator.routing.balancing.selection import Chance
from simulator.routing.cache.replay_cache import ReplayCache
from simulator.routing.exchange import Exchange
from simulator.routing.model import App, Fleet, Request
from simulator.routing.options import RoutingOptions


def _start_nothing(machine_id: str) -> None:
    """The default of `request_start`: no machine can be started."""


class Router:
    """Opens exchanges. The owner assigns each new `fleet`; open exchanges use it at once.

    `chance` is a source of random numbers, `request_start` is called with the id of a machine that a request waits
    for, `new_id` makes request ids for K-38.
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
        """Clear the load and the caches."""
        self.load = Load()
        self.cache = ReplayCache()

    def open(self, request: Request, edge: str, request_id: str, now: float) -> Exchange:
        """Open an exchange for the app of the request's host."""
        # Without any app, a placeholder that serves no port makes the exchange end in PR01.
        app = self.fleet.app_for_host(request.host) or App(request.host, services=())
        return Exchange(request, edge, app, request_id, now, self)

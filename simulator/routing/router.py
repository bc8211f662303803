"""The proxy's mind: the fleet as it is now, the options, and the exchanges it opens."""

from __future__ import annotations

from simulator.routing.exchange import Exchange
from simulator.routing.model import Fleet, Request
from simulator.routing.options import RoutingOptions
from simulator.routing.selection import Chance


class Router:
    """Opens exchanges. Whoever watches the machines puts each new `fleet` in; open exchanges see it at once."""

    def __init__(self, fleet: Fleet, options: RoutingOptions, chance: Chance) -> None:
        self.fleet = fleet
        self.options = options
        self.chance = chance

    def open(self, request: Request, edge: str, request_id: str, now: float) -> Exchange:
        """Begin an exchange for the app that the request's host names. Raises ValueError for a fleet without apps."""
        app = self.fleet.app_for_host(request.host)
        if app is None:
            raise ValueError("the fleet has no app to route to")
        return Exchange(request, edge, app, request_id, now, self)

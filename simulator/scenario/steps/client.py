"""`client`: who makes the requests from here on: another visitor, with a cookie jar and an edge of their own."""

from __future__ import annotations

from typing import ClassVar

from simulator.config.base_model import Text
from simulator.scenario.context import ScenarioContext
from simulator.scenario.steps.base import Step


class ClientStep(Step):
    key: ClassVar[str] = "client"
    inner_keys: ClassVar[tuple[str, ...]] = ("name",)

    client: Text
    """A new name is a new visitor, with an empty jar."""
    edge: Text | None = None
    """Where their connections go from now on; their cookies stay."""
    headers: dict[str, Text] | None = None
    """Sent with each of their requests."""
    cookies: dict[str, Text] | None = None
    """Put into the jar, for the host of the edge."""
    fresh: bool = False
    """Forget what the visitor of that name had: cookies, headers and open connections."""

    @property
    def title(self) -> str:
        return f"client {self.client}" + (f" at edge {self.edge}" if self.edge else "")

    async def run(self, context: ScenarioContext) -> None:
        if self.fresh and self.client in context.shared.clients:
            await context.shared.clients.pop(self.client).close()
        client = context.get_client(self.client)
        context.current_client = self.client
        if self.edge is not None:
            context.edge_url(self.edge)
            client.edge = self.edge
        if self.headers is not None:
            client.headers = dict(self.headers)
        for name, value in (self.cookies or {}).items():
            client.cookie_jar.put(name, value, context.edge_url(client.edge), context.simulator.clock.now())

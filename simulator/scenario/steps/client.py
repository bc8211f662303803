"""Step `client`: selects the client of the following steps. Each has its own cookie jar, edge and connections."""

from __future__ import annotations

from typing import ClassVar

from simulator.config.base_model import Text
from simulator.scenario.context import ScenarioContext
from simulator.scenario.steps.base import Step


class ClientStep(Step):
    key: ClassVar[str] = "client"
    inner_keys: ClassVar[tuple[str, ...]] = ("name",)

    client: Text
    """A new name creates a client with an empty cookie jar."""
    edge: Text | None = None
    """The edge of its connections from now on. Its cookies stay."""
    headers: dict[str, Text] | None = None
    """Sent with each of its requests."""
    cookies: dict[str, Text] | None = None
    """Added to its cookie jar, for the host of the edge."""
    fresh: bool = False
    """Discard an existing client of that name, with its cookies, headers and connections."""

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

"""The networks that a container is in: it can be taken off all of them, and put back as it was."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from simulator.errors import EnvironmentFault
from simulator.machines.docker.engine import Engine, Refusal


class Wiring:
    """Of one container."""

    def __init__(self, engine: Engine, container_id: str) -> None:
        self._engine = engine
        self._container_id = container_id
        self._cut: dict[str, Any] = {}
        """Network that it was taken off -> what the engine said of it there."""

    async def cut(self, networks: dict[str, Any]) -> bool:
        """Take it off these; whether it is off any. Raises EnvironmentFault for one that it cannot leave."""
        if not self._cut:
            for name, endpoint in networks.items():
                await self._engine.do(
                    self._engine.api.disconnect_container_from_network, self._container_id, name
                )
                self._cut[name] = endpoint
        return bool(self._cut)

    async def mend(self) -> None:
        """Its addresses are those that it was given; what Docker chose, Docker may choose anew.

        Raises EnvironmentFault for a network that does not take it back.
        """
        while self._cut:
            name, endpoint = self._cut.popitem()
            try:
                await self._engine.do(_connect, self._engine.api, self._container_id, name, endpoint)
            except Refusal as error:
                if error.status != HTTPStatus.NOT_FOUND and "already exists" not in error.explanation:
                    raise EnvironmentFault(
                        f"container {self._container_id[:12]} stays cut off from network {name}: {error.explanation}",
                        mend=f"docker network connect {name} {self._container_id[:12]}",
                    ) from error


def _connect(api: Any, container_id: str, network: str, endpoint: Any) -> None:
    """Blocks. With the addresses that `endpoint` says to have been asked for."""
    wanted = endpoint.get("IPAMConfig") or {}
    api.connect_container_to_network(
        container_id,
        network,
        ipv4_address=wanted.get("IPv4Address"),
        ipv6_address=wanted.get("IPv6Address"),
        aliases=endpoint.get("Aliases"),
    )

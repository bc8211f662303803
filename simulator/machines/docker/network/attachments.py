"""The networks that a container is in: it can be taken off all of them, and put back as it was."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from simulator.cancellation import shielded
from simulator.errors import EnvironmentFault
from simulator.machines.docker.engine import Engine, Refusal


class NetworkAttachments:
    """Of one container."""

    def __init__(self, engine: Engine, container_id: str) -> None:
        self._engine = engine
        self._container_id = container_id
        self._cut: dict[str, Any] = {}
        """Network that it was taken off -> what the engine said of it there."""

    async def disconnect(self, networks: dict[str, Any]) -> bool:
        """Take it off these; whether it is off any. Raises EnvironmentFault for one that it cannot leave.

        A request that is cancelled is carried out nevertheless: so it is known of before, and waited for.
        """
        disconnect = self._engine.api.disconnect_container_from_network
        for name, endpoint in () if self._cut else networks.items():
            self._cut[name] = endpoint
            await shielded(self._engine.do(disconnect, self._container_id, name))
        return bool(self._cut)

    async def reconnect(self) -> None:
        """Its addresses are those that it was given; what Docker chose, Docker may choose anew.

        Raises EnvironmentFault for the first network that does not take it back, once all have been asked; such a one
        is asked again the next time.
        """
        failures = []
        for name, endpoint in tuple(self._cut.items()):
            try:
                await shielded(self._engine.do(self._connect, name, endpoint))
            except Refusal as error:
                if error.status != HTTPStatus.NOT_FOUND and "already exists" not in error.explanation:
                    failures.append(self._fault(name, error))
                    continue
            self._cut.pop(name, None)
        if failures:
            raise failures[0]

    def _connect(self, network: str, endpoint: Any) -> None:
        """Blocks. With the addresses that `endpoint` says to have been asked for."""
        wanted = endpoint.get("IPAMConfig") or {}
        self._engine.api.connect_container_to_network(
            self._container_id,
            network,
            ipv4_address=wanted.get("IPv4Address"),
            ipv6_address=wanted.get("IPv6Address"),
            aliases=endpoint.get("Aliases"),
        )

    def _fault(self, network: str, refusal: Refusal) -> EnvironmentFault:
        short_id = self._container_id[:12]
        return EnvironmentFault(
            f"container {short_id} stays cut off from network {network}: {refusal.explanation}",
            hint=f"docker network connect {network} {short_id}",
        )

"""Network attachments of a container: disconnected from all networks for a partition, and reconnected."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from simulator.cancellation import shielded
from simulator.errors import EnvironmentFault
from simulator.machines.docker.engine import Engine, EngineError


class NetworkAttachments:
    """The networks of one container."""

    def __init__(self, engine: Engine, container_id: str) -> None:
        self._engine = engine
        self._container_id = container_id
        self._disconnected: dict[str, Any] = {}
        """Network name -> its endpoint as `docker inspect` showed it before."""

    async def disconnect(self, networks: dict[str, Any]) -> bool:
        """Disconnect from these networks; return whether it is disconnected from any. Raises EnvironmentFault.

        The engine carries out a request even if its caller is canceled. So each network is recorded before the
        request, and the request is shielded.
        """
        disconnect = self._engine.api.disconnect_container_from_network
        for name, endpoint in () if self._disconnected else networks.items():
            self._disconnected[name] = endpoint
            await shielded(self._engine.call(disconnect, self._container_id, name))
        return bool(self._disconnected)

    async def reconnect(self) -> None:
        """Reconnect to all networks. Configured addresses are restored; the others may change.

        Raises EnvironmentFault for the first network that fails, after all have been tried. The next call tries the
        failed ones again.
        """
        faults = []
        for name, endpoint in tuple(self._disconnected.items()):
            try:
                await shielded(self._engine.call(self._connect, name, endpoint))
            except EngineError as error:
                if error.status != HTTPStatus.NOT_FOUND and "already exists" not in error.explanation:
                    faults.append(self._fault(name, error))
                    continue
            self._disconnected.pop(name, None)
        if faults:
            raise faults[0]

    def _connect(self, network: str, endpoint: Any) -> None:
        """Connect with the addresses that were configured for `endpoint`. Blocks."""
        requested = endpoint.get("IPAMConfig") or {}
        self._engine.api.connect_container_to_network(
            self._container_id,
            network,
            ipv4_address=requested.get("IPv4Address"),
            ipv6_address=requested.get("IPv6Address"),
            aliases=endpoint.get("Aliases"),
        )

    def _fault(self, network: str, error: EngineError) -> EnvironmentFault:
        short_id = self._container_id[:12]
        return EnvironmentFault(
            f"container {short_id} cannot be reconnected to network {network}: {error.explanation}",
            hint=f"docker network connect {network} {short_id}",
        )

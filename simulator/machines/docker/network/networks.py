"""Private networks of a run: one per Fly network in the config, with addresses as on Fly (F-8.16, F-8.24).

A gateway container in each network is its name server and the target of `.flycast` names.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

from simulator.errors import EnvironmentFault
from simulator.machines.docker import labels as label
from simulator.machines.docker.engine import Engine, EngineError, cancel_all
from simulator.machines.docker.image.images import PYTHON, PYTHON_IMAGE, Images
from simulator.machines.docker.network import gateway
from simulator.machines.docker.network.tunnel import Address, FindEdge, Tunnel
from simulator.retry import retry_on
from simulator.routing.model import App

_ATTEMPTS = 8


class _SubnetInUse(EnvironmentFault):
    """The random subnet overlaps a network that exists."""


@dataclass(frozen=True, slots=True)
class PrivateNetwork:
    name: str
    number: int
    """32 bits, which follow fdaa in every address."""
    gateway_ip: str

    @property
    def subnet(self) -> str:
        return str(_subnet(self.number))


def _subnet(number: int) -> IPv6Network:
    return IPv6Network(((0xFDAA << 112) | (number << 80), 64))


class Networks:
    """Creates each network for its first machine, and the gateway together with the first network."""

    def __init__(
        self,
        engine: Engine,
        images: Images,
        run_id: str,
        apps: Iterable[App],
        dns_address: Address,
        find_edge: FindEdge,
    ) -> None:
        self._engine = engine
        self._images = images
        self._run_id = run_id
        apps = tuple(apps)
        self._network_keys = {app.name: (app.org, app.network) for app in apps}
        self._ports = sorted(
            {port.start for app in apps for service in app.services for port in service.ports}
        )
        self._dns_address = dns_address
        self._find_edge = find_edge
        self._networks: dict[tuple[str, str], asyncio.Task[PrivateNetwork]] = {}
        self._gateway: str | None = None
        self._tunnel: Tunnel | None = None
        self._create_lock = asyncio.Lock()

    async def for_app(self, app: str) -> PrivateNetwork:
        """Raises EnvironmentFault if the network cannot be created."""
        key = self._network_keys.get(app, ("personal", "default"))
        if key not in self._networks:
            self._networks[key] = asyncio.create_task(self._make(key))
        return await asyncio.shield(self._networks[key])

    async def find_container(self, ip: str) -> str | None:
        """The id of the container with this IPv4 address in one of the networks."""
        for creation in self._networks.values():
            network = await creation
            attrs = await self._engine.call(self._engine.api.inspect_network, network.name)
            for container_id, endpoint in attrs["Containers"].items():
                if endpoint["IPv4Address"].partition("/")[0] == ip:
                    return str(container_id)
        return None

    async def close(self) -> None:
        await cancel_all(self._networks.values())
        if self._tunnel is not None:
            await self._tunnel.close()

    async def _make(self, key: tuple[str, str]) -> PrivateNetwork:
        org, name = key
        async with self._create_lock:
            full_name = f"flysim-{self._run_id}-{org}-{name}"
            number: int = await retry_on(_SubnetInUse, interval_seconds=0, attempts=_ATTEMPTS)(
                self._create, full_name
            )
            if self._gateway is None:
                self._gateway = await self._start_gateway(full_name, number)
            else:
                await self._join_gateway(full_name, number)
            return PrivateNetwork(full_name, number, await self._gateway_ip(full_name))

    async def _create(self, name: str) -> int:
        """Create a network with a random subnet, and return its number. Raises EnvironmentFault."""
        from docker.types import IPAMConfig, IPAMPool

        number = secrets.randbits(32)
        pools = IPAMConfig(pool_configs=[IPAMPool(subnet=str(_subnet(number)))])
        try:
            await self._engine.call(
                self._engine.api.create_network,
                name,
                driver="bridge",
                ipam=pools,
                enable_ipv6=True,
                labels={label.RUN: self._run_id},
            )
        except EngineError as error:
            kind = _SubnetInUse if "overlaps" in error.explanation else EnvironmentFault
            raise kind(
                f"the Docker engine cannot create a private network: {error.explanation}",
                hint="check that the engine supports IPv6 (Linux does unless it is disabled) and has a free address "
                "range: docker network prune",
            ) from error
        return number

    async def _start_gateway(self, network: str, number: int) -> str:
        await self._images.require_python("the name server of the private network")
        token = secrets.token_hex(16)
        engine = self._engine
        port = f"{gateway.TUNNEL_PORT}/tcp"
        container_id = await engine.call(
            _create_gateway,
            engine.api,
            name=f"flysim-{self._run_id}-gateway",
            token=token,
            ports=self._ports,
            labels={label.RUN: self._run_id},
            publish=(engine.publishing_address, gateway.TUNNEL_PORT),
            network=network,
            ip=_gateway_address(number),
        )
        await engine.call(engine.api.start, container_id)
        attrs = await engine.call(engine.api.inspect_container, container_id)
        published = int(attrs["NetworkSettings"]["Ports"][port][0]["HostPort"])
        self._tunnel = Tunnel((engine.published_host, published), token, self._dns_address, self._find_edge)
        self._tunnel.open()
        return str(container_id)

    async def _join_gateway(self, network: str, number: int) -> None:
        await self._engine.call(
            self._engine.api.connect_container_to_network,
            self._gateway or "",
            network,
            ipv6_address=_gateway_address(number),
        )

    async def _gateway_ip(self, network: str) -> str:
        attrs = await self._engine.call(self._engine.api.inspect_container, self._gateway or "")
        return str(attrs["NetworkSettings"]["Networks"][network]["IPAddress"])


def _gateway_address(number: int) -> str:
    """Fly's name server is fdaa::3 (F-8.15). The gateway is the third address of its network."""
    return str(IPv6Address(int(_subnet(number).network_address) + 3))


def _create_gateway(
    api: Any,
    *,
    name: str,
    token: str,
    ports: Iterable[int],
    labels: Mapping[str, str],
    publish: tuple[str, int],
    network: str,
    ip: str,
) -> str:
    address, port = publish
    source = Path(gateway.__file__).read_text(encoding="utf-8")
    created = api.create_container(
        PYTHON_IMAGE,
        [PYTHON, "-I", "-c", source, token, *(str(each) for each in ports)],
        name=name,
        hostname="gateway",
        labels=dict(labels),
        user="65534:65534",
        ports=[port],
        networking_config=api.create_networking_config(
            {network: api.create_endpoint_config(ipv6_address=ip)}
        ),
        host_config=api.create_host_config(
            port_bindings={port: (address,)},
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            read_only=True,
            init=True,
            mem_limit="128m",
        ),
    )
    return str(created["Id"])

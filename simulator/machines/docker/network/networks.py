"""The private networks of a run: one for each of the config's, with addresses as Fly's have them (F-8.16, F-8.24).

In each stands the gateway, flysim's own foot there: the name server, and where `.flycast` names lead.
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
from simulator.machines.docker.engine import Engine, Refusal, give_up
from simulator.machines.docker.image.images import PYTHON, PYTHON_IMAGE, Images
from simulator.machines.docker.network import gateway
from simulator.machines.docker.network.tunnel import Address, FindEdge, Tunnel
from simulator.routing.model import App

_ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class PrivateNetwork:
    name: str
    number: int
    """32 bits, which stand behind fdaa in every address."""
    gateway_ip: str

    @property
    def subnet(self) -> str:
        return str(_subnet(self.number))


def _subnet(number: int) -> IPv6Network:
    return IPv6Network(((0xFDAA << 112) | (number << 80), 64))


class Networks:
    """Makes networks when their first machine comes, and the gateway with the first of them."""

    def __init__(
        self,
        engine: Engine,
        images: Images,
        run: str,
        apps: Iterable[App],
        names: Address,
        find_edge: FindEdge,
    ) -> None:
        self._engine = engine
        self._images = images
        self._run = run
        apps = tuple(apps)
        self._of_app = {app.name: (app.org, app.network) for app in apps}
        self._ports = sorted(
            {port.start for app in apps for service in app.services for port in service.ports}
        )
        self._names = names
        self._find_edge = find_edge
        self._networks: dict[tuple[str, str], asyncio.Task[PrivateNetwork]] = {}
        self._gateway: str | None = None
        self._tunnel: Tunnel | None = None
        self._making = asyncio.Lock()

    async def of_app(self, app: str) -> PrivateNetwork:
        """Raises EnvironmentFault."""
        key = self._of_app.get(app, ("personal", "default"))
        if key not in self._networks:
            self._networks[key] = asyncio.create_task(self._make(key))
        return await asyncio.shield(self._networks[key])

    async def find_container(self, ip: str) -> str | None:
        """The id of the container with an IPv4 address in one of the networks."""
        for making in self._networks.values():
            network = await making
            described = await self._engine.do(self._engine.api.inspect_network, network.name)
            for container_id, endpoint in described["Containers"].items():
                if endpoint["IPv4Address"].partition("/")[0] == ip:
                    return str(container_id)
        return None

    async def close(self) -> None:
        await give_up(self._networks.values())
        if self._tunnel is not None:
            await self._tunnel.close()

    async def _make(self, key: tuple[str, str]) -> PrivateNetwork:
        org, name = key
        async with self._making:
            full_name, number = await self._create(f"flysim-{self._run}-{org}-{name}")
            if self._gateway is None:
                self._gateway = await self._start_gateway(full_name, number)
            else:
                await self._join_gateway(full_name, number)
            return PrivateNetwork(full_name, number, await self._gateway_ip(full_name))

    async def _create(self, name: str) -> tuple[str, int]:
        from docker.types import IPAMConfig, IPAMPool

        for _ in range(_ATTEMPTS):
            number = secrets.randbits(32)
            pools = IPAMConfig(pool_configs=[IPAMPool(subnet=str(_subnet(number)))])
            try:
                await self._engine.do(
                    self._engine.api.create_network,
                    name,
                    driver="bridge",
                    ipam=pools,
                    enable_ipv6=True,
                    labels={label.RUN: self._run},
                )
            except Refusal as error:
                if "overlaps" not in error.explanation:
                    raise _no_network(error.explanation) from error
                continue
            return name, number
        raise _no_network("all its addresses are taken")

    async def _start_gateway(self, network: str, number: int) -> str:
        await self._images.require_python("the private network's name server")
        token = secrets.token_hex(16)
        engine = self._engine
        port = f"{gateway.TUNNEL_PORT}/tcp"
        made = await engine.do(
            _create_gateway,
            engine.api,
            name=f"flysim-{self._run}-gateway",
            token=token,
            ports=self._ports,
            labels={label.RUN: self._run},
            publish=(engine.publishing_address, gateway.TUNNEL_PORT),
            network=network,
            ip=_gateway_address(number),
        )
        await engine.do(engine.api.start, made)
        described = await engine.do(engine.api.inspect_container, made)
        published = int(described["NetworkSettings"]["Ports"][port][0]["HostPort"])
        self._tunnel = Tunnel((engine.published_host, published), token, self._names, self._find_edge)
        self._tunnel.open()
        return str(made)

    async def _join_gateway(self, network: str, number: int) -> None:
        await self._engine.do(
            self._engine.api.connect_container_to_network,
            self._gateway or "",
            network,
            ipv6_address=_gateway_address(number),
        )

    async def _gateway_ip(self, network: str) -> str:
        described = await self._engine.do(self._engine.api.inspect_container, self._gateway or "")
        return str(described["NetworkSettings"]["Networks"][network]["IPAddress"])


def _gateway_address(number: int) -> str:
    """Fly's name server is fdaa::3 (F-8.15): ours is the third of its network."""
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
    made = api.create_container(
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
    return str(made["Id"])


def _no_network(problem: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"the Docker engine makes no private network: {problem}",
        hint="the engine needs IPv6 (Linux has it unless it is switched off) and a free range of addresses: "
        "docker network prune",
    )

"""Makes containers: of an app's image in a private network of ours, or like one that is there already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from simulator.config.compose.labels import APP, MACHINE_ID, REGION
from simulator.config.model import MachineSpec
from simulator.errors import InputError
from simulator.machines.address import AddressBook, private_address
from simulator.machines.backend import Observer, Placement
from simulator.machines.docker import labels as label
from simulator.machines.docker.container.clone import create_clone
from simulator.machines.docker.container.machine_container import Locate, MachineContainer
from simulator.machines.docker.engine import Engine
from simulator.machines.docker.image.images import PYTHON, Images, Source
from simulator.machines.docker.network.networks import Networks, PrivateNetwork
from simulator.machines.docker.network.tunnel import FindEdge
from simulator.machines.docker.project import locate
from simulator.machines.environment import fly_variables, machine_command, machine_environment
from simulator.routing.model import App

ANY_HOST = "0.0.0.0"
"""What {host} is in a container: Fly's proxy comes by IPv4 (F-8.17)."""


class ContainerFactory:
    """For one run on one engine. `find_edge`: where connections to `.flycast` names go."""

    def __init__(self, engine: Engine, run: str, apps: Iterable[App], find_edge: FindEdge) -> None:
        self._engine = engine
        self._run = run
        self._apps = tuple(apps)
        self._find_edge = find_edge
        self._addresses = AddressBook()
        self._images = Images(engine)
        self._networks: Networks | None = None

    async def make(self, spec: MachineSpec, observer: Observer, dns_address: str) -> MachineContainer:
        """Raises InputError and EnvironmentFault for what the engine refuses."""
        network = await self._network_of(spec, dns_address)
        private_ip = private_address(network.number, spec)
        inside = Placement(ANY_HOST, spec.internal_port, private_ip)
        names = f"{network.gateway_ip}:53"
        command = machine_command(spec, inside, dns_address=names, python=PYTHON)
        variables = machine_environment(spec, inside, dns_address=names, inherited={}, python=PYTHON)
        source = await self._images.source_of(spec, command)
        placement = self._place(spec, private_ip)
        options = self._options(spec, source, network, private_ip)
        made = await self._engine.do(
            _create,
            self._engine.api,
            source,
            environment=variables,
            publish=self._bindings(placement),
            **options,
        )
        find_place = None if self._engine.is_local else self._locate(spec)
        return MachineContainer(self._engine, made, spec, placement, observer, find_place)

    async def clone(
        self, spec: MachineSpec, original: MachineContainer, observer: Observer, ours: frozenset[str]
    ) -> MachineContainer:
        """Another like one of somebody else's. `ours`: the networks that flysim itself is in.

        The engine chooses its ports: in a container, flysim could not see which are free on the computer.
        """
        inside = Placement(ANY_HOST, spec.internal_port, "")
        variables = fly_variables(spec, inside)
        del variables["FLY_PRIVATE_IP"]  # Docker chooses it.
        made = await self._engine.do(
            create_clone,
            self._engine.api,
            await original.describe(),
            spec,
            name=self._name(spec),
            labels=self._labels(spec),
            variables=variables,
            publish=dict.fromkeys(spec.all_ports, (self._engine.publishing_address, 0)),
        )
        return MachineContainer(self._engine, made, spec, inside, observer, self._locate(spec, ours))

    def give_back(self, machine_id: str) -> None:
        self._addresses.give_back(machine_id)

    async def find_container(self, ip: str) -> str | None:
        """Which container of our networks has an IPv4 address."""
        return await self._networks.find_container(ip) if self._networks is not None else None

    async def close(self) -> None:
        if self._networks is not None:
            await self._networks.close()
        await self._images.close()
        self._addresses.close()

    async def _network_of(self, spec: MachineSpec, dns_address: str) -> PrivateNetwork:
        if self._networks is None:
            host, _, port = dns_address.rpartition(":")
            self._networks = Networks(
                self._engine, self._images, self._run, self._apps, (host, int(port)), self._find_edge
            )
        return await self._networks.of_app(spec.app)

    def _place(self, spec: MachineSpec, private_ip: str) -> Placement:
        ports = tuple((own, self._take_port(spec, own)) for own in spec.all_ports)
        return Placement(self._engine.published_host, ports[0][1], private_ip, ports)

    def _take_port(self, spec: MachineSpec, internal_port: int) -> int:
        """0: the engine is to choose, at each start anew. Which ports are free can only be seen on this computer."""
        return self._addresses.take_port(spec, internal_port) if self._engine.is_local else 0

    def _locate(self, spec: MachineSpec, ours: frozenset[str] = frozenset()) -> Locate:
        """Tells where it is once it runs."""
        return partial(locate, ports=spec.all_ports, published_host=self._engine.published_host, ours=ours)

    def _bindings(self, placement: Placement) -> dict[int, tuple[str, int]]:
        return {own: (self._engine.publishing_address, there) for own, there in placement.ports}

    def _name(self, spec: MachineSpec) -> str:
        return f"flysim-{self._run}-{spec.app}-{spec.name}-{spec.id}"

    def _labels(self, spec: MachineSpec) -> dict[str, str]:
        return {label.RUN: self._run, REGION: spec.region, APP: spec.app, MACHINE_ID: spec.id}

    def _options(
        self, spec: MachineSpec, source: Source, network: PrivateNetwork, private_ip: str
    ) -> dict[str, Any]:
        return {
            "name": self._name(spec),
            "hostname": spec.id,
            "labels": self._labels(spec),
            "network": network.name,
            "private_ip": private_ip,
            "stop_signal": spec.kill_signal,
            "host_options": {
                "dns": [network.gateway_ip],
                "extra_hosts": {"fly-local-6pn": private_ip},  # F-8.17
                "init": True,  # As on Fly, the app is not process 1: signals work as anywhere.
                "mem_limit": f"{spec.memory_mb}m",
            },
        }


def _create(
    api: Any,
    source: Source,
    *,
    name: str,
    hostname: str,
    environment: Mapping[str, str],
    labels: Mapping[str, str],
    network: str,
    private_ip: str,
    publish: Mapping[int, tuple[str, int]],
    stop_signal: str,
    host_options: Mapping[str, Any],
) -> str:
    """A container's id. Blocks."""
    from docker.errors import APIError

    endpoint = api.create_endpoint_config(ipv6_address=private_ip)
    try:
        made = api.create_container(
            source.image,
            list(source.command) or None,
            name=name,
            hostname=hostname,
            environment=dict(environment),
            labels=dict(labels),
            working_dir=source.folder,
            ports=list(publish),
            stop_signal=stop_signal,
            networking_config=api.create_networking_config({network: endpoint}),
            host_config=api.create_host_config(port_bindings=dict(publish), **host_options),
        )
        if source.files:
            api.put_archive(made["Id"], "/", source.files)
    except APIError as error:
        raise InputError(
            f"the engine makes no container of image {source.image} with host name {hostname}: {error.explanation}"
        ) from error
    return str(made["Id"])

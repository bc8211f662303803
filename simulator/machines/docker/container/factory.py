"""Container factory: from an app's image in a private network, or as a clone of an existing container."""

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
from simulator.machines.docker.image.images import PYTHON, ContainerSource, Images
from simulator.machines.docker.network.networks import Networks, PrivateNetwork
from simulator.machines.docker.network.tunnel import FindEdge
from simulator.machines.docker.project import locate
from simulator.machines.environment import fly_variables, machine_command, machine_environment
from simulator.routing.model import App

ANY_HOST = "0.0.0.0"
"""The value of {host} in a container: Fly's proxy connects by IPv4 (F-8.17)."""


class ContainerFactory:
    """The containers of one run on one engine. `find_edge`: the edge for connections to `.flycast` names."""

    def __init__(self, engine: Engine, run_id: str, apps: Iterable[App], find_edge: FindEdge) -> None:
        self._engine = engine
        self._run_id = run_id
        self._apps = tuple(apps)
        self._find_edge = find_edge
        self._addresses = AddressBook()
        self._images = Images(engine)
        self._networks: Networks | None = None

    async def make(self, spec: MachineSpec, observer: Observer, dns_address: str) -> MachineContainer:
        """Create a container without starting it. Raises InputError, EnvironmentFault."""
        network = await self._network_for(spec, dns_address)
        private_ip = private_address(network.number, spec)
        inside = Placement(ANY_HOST, spec.internal_port, private_ip)
        gateway_dns = f"{network.gateway_ip}:53"
        command = machine_command(spec, inside, dns_address=gateway_dns, python=PYTHON)
        variables = machine_environment(spec, inside, dns_address=gateway_dns, inherited={}, python=PYTHON)
        source = await self._images.source_of(spec, command)
        placement = self._place(spec, private_ip)
        options = self._options(spec, source, network, private_ip)
        container_id = await self._engine.call(
            _create,
            self._engine.api,
            source,
            environment=variables,
            publish=self._bindings(placement),
            **options,
        )
        locate_machine = None if self._engine.is_local else self._locate(spec)
        return MachineContainer(self._engine, container_id, spec, placement, observer, locate_machine)

    async def clone(
        self, spec: MachineSpec, original: MachineContainer, observer: Observer, own_networks: frozenset[str]
    ) -> MachineContainer:
        """Create a clone of a project's container. `own_networks`: the networks of flysim's own container.

        The engine chooses the ports: flysim may run in a container, where it cannot tell which ports of the host are
        free.
        """
        inside = Placement(ANY_HOST, spec.internal_port, "")
        variables = fly_variables(spec, inside)
        del variables["FLY_PRIVATE_IP"]  # Docker chooses the address.
        container_id = await self._engine.call(
            create_clone,
            self._engine.api,
            await original.inspect(),
            spec,
            name=self._name(spec),
            labels=self._labels(spec),
            variables=variables,
            publish=dict.fromkeys(spec.all_ports, (self._engine.publishing_address, 0)),
        )
        locate_machine = self._locate(spec, own_networks)
        return MachineContainer(self._engine, container_id, spec, inside, observer, locate_machine)

    def release_address(self, machine_id: str) -> None:
        self._addresses.release(machine_id)

    async def find_container(self, ip: str) -> str | None:
        """The id of the container with this IPv4 address in one of the run's networks."""
        return await self._networks.find_container(ip) if self._networks is not None else None

    async def close(self) -> None:
        if self._networks is not None:
            await self._networks.close()
        await self._images.close()
        self._addresses.close()

    async def _network_for(self, spec: MachineSpec, dns_address: str) -> PrivateNetwork:
        if self._networks is None:
            host, _, port = dns_address.rpartition(":")
            self._networks = Networks(
                self._engine, self._images, self._run_id, self._apps, (host, int(port)), self._find_edge
            )
        return await self._networks.for_app(spec.app)

    def _place(self, spec: MachineSpec, private_ip: str) -> Placement:
        ports = tuple((own, self._choose_port(spec, own)) for own in spec.all_ports)
        return Placement(self._engine.published_host, ports[0][1], private_ip, ports)

    def _choose_port(self, spec: MachineSpec, internal_port: int) -> int:
        """0 for a remote engine, which chooses a port at each start: only it can tell which ports are free."""
        return self._addresses.take_port(spec, internal_port) if self._engine.is_local else 0

    def _locate(self, spec: MachineSpec, own_networks: frozenset[str] = frozenset()) -> Locate:
        return partial(
            locate,
            ports=spec.all_ports,
            published_host=self._engine.published_host,
            own_networks=own_networks,
        )

    def _bindings(self, placement: Placement) -> dict[int, tuple[str, int]]:
        return {own: (self._engine.publishing_address, public) for own, public in placement.ports}

    def _name(self, spec: MachineSpec) -> str:
        return f"flysim-{self._run_id}-{spec.app}-{spec.name}-{spec.id}"

    def _labels(self, spec: MachineSpec) -> dict[str, str]:
        return {label.RUN: self._run_id, REGION: spec.region, APP: spec.app, MACHINE_ID: spec.id}

    def _options(
        self, spec: MachineSpec, source: ContainerSource, network: PrivateNetwork, private_ip: str
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
                "init": True,  # As on Fly, the app is not process 1, so default signal handlers work.
                "mem_limit": f"{spec.memory_mb}m",
            },
        }


def _create(
    api: Any,
    source: ContainerSource,
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
    """Return the id of the new container. Blocks."""
    from docker.errors import APIError

    endpoint = api.create_endpoint_config(ipv6_address=private_ip)
    try:
        created = api.create_container(
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
            api.put_archive(created["Id"], "/", source.files)
    except APIError as error:
        raise InputError(
            f"cannot create a container of image {source.image} with hostname {hostname}: {error.explanation}"
        ) from error
    return str(created["Id"])

"""The backend of containers: each machine is one, made from its app's image or taken from a Compose project.

Machines are reached by ports that they publish on the engine's loopback address, so it makes no difference whether
the engine runs on this computer, in a virtual machine of it, or elsewhere. Between one another they have private
addresses as on Fly, and names from flysim (`network.py`). What the engine tells of containers is heard at once.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from simulator.config.model import MachineSpec
from simulator.errors import InputError
from simulator.machines.address import AddressBook, private_address
from simulator.machines.backend import FindEdge, Observer, Placement
from simulator.machines.docker import label
from simulator.machines.docker.container import MachineContainer
from simulator.machines.docker.engine import Engine
from simulator.machines.docker.events import ContainerEvent, EventStream
from simulator.machines.docker.guard import ContainerGuard
from simulator.machines.docker.image import PYTHON, Images, Source
from simulator.machines.docker.network import Networks, PrivateNetwork
from simulator.machines.docker.sockets import listening_ports
from simulator.machines.docker.tunnel import Address
from simulator.machines.environment import machine_command, machine_environment
from simulator.routing.model import App

ANY_HOST = "0.0.0.0"
"""What {host} is in a container: Fly's proxy comes by IPv4 (F-8.17)."""


class DockerBackend:
    """Runs every machine as a container of one engine."""

    def __init__(
        self,
        apps: Iterable[App] = (),
        *,
        find_edge: FindEdge = lambda port, region: None,
    ) -> None:
        """`find_edge` tells where the edge listens that a `.flycast` name leads to, for machines of a region."""
        self._apps = tuple(apps)
        self._find_edge = find_edge
        self._run = secrets.token_hex(4)
        self._addresses = AddressBook()
        self._guard = ContainerGuard(self._run)
        self._containers: dict[str, MachineContainer] = {}
        self._hearing: set[asyncio.Task[None]] = set()
        self._opening: asyncio.Lock = asyncio.Lock()
        self._engine: Engine | None = None
        self._events: EventStream | None = None
        self._images: Images
        self._networks: Networks | None = None

    # The protocol.

    async def watch(self, specs: tuple[MachineSpec, ...], observer: Observer) -> None:
        await self._open()

    async def launch(self, spec: MachineSpec, observer: Observer, *, dns_address: str) -> Placement:
        await self._open()
        container = self._containers.get(spec.id)
        if container is None:
            container = self._containers[spec.id] = await self._make(spec, observer, dns_address)
        await container.start()
        return container.placement

    async def stop(self, machine_id: str) -> None:
        if container := self._containers.get(machine_id):
            await container.stop()

    async def kill(self, machine_id: str) -> None:
        if container := self._containers.get(machine_id):
            await container.kill()

    async def suspend(self, machine_id: str) -> None:
        if container := self._containers.get(machine_id):
            await container.suspend()

    async def resume(self, machine_id: str) -> None:
        if container := self._containers.get(machine_id):
            await container.resume()

    async def release(self, machine_id: str) -> None:
        if container := self._containers.pop(machine_id, None):
            await container.remove()
        self._addresses.give_back(machine_id)

    async def listening_addresses(self, machine_id: str) -> tuple[str, ...]:
        container = self._containers.get(machine_id)
        if container is None or self._engine is None:
            return ()
        open_ports, own_ports = await self._engine.do(listening_ports, self._engine.api, container.id)
        reached = [
            f"{container.placement.host}:{container.placement.port_for(port)}" for port in sorted(open_ports)
        ]
        return (*reached, *(f"127.0.0.1:{port} of its container" for port in sorted(own_ports)))

    async def find_impostor(self, machine_id: str, port: int) -> str | None:
        """A published port is the container's, or it would not have started."""
        return None

    async def close(self) -> None:
        if self._engine is None:
            return
        await self._engine.settle()
        await asyncio.gather(*(each.kill() for each in self._containers.values() if each.is_ours))
        if self._networks is not None:
            await self._networks.close()
        if self._events is not None:
            self._events.close()
        for task in tuple(self._hearing):
            task.cancel()
        await asyncio.gather(*self._hearing, return_exceptions=True)
        await self._engine.settle()
        await self._engine.do(sweep, self._engine.api, self._run)
        self._containers.clear()
        self._addresses.close()
        self._guard.close()
        self._engine.close()
        self._engine = None

    # The engine.

    async def _open(self) -> None:
        async with self._opening:
            if self._engine is not None:
                return
            engine = await Engine.connect()
            self._guard.start()
            self._images = Images(engine)
            self._events = EventStream(engine.api, self._hear, self._lose_engine)
            await engine.do(self._events.open)
            self._engine = engine

    def _hear(self, event: ContainerEvent) -> None:
        for machine_id, container in tuple(self._containers.items()):
            if container.id == event.container_id:
                task = asyncio.create_task(self._pass_on(machine_id, container, event))
                self._hearing.add(task)
                task.add_done_callback(self._hearing.discard)

    async def _pass_on(self, machine_id: str, container: MachineContainer, event: ContainerEvent) -> None:
        await container.hear(event)
        if event.action == "destroy":
            await container.is_over()
            if self._containers.get(machine_id) is container:  # Else it was released.
                del self._containers[machine_id]

    def _lose_engine(self) -> None:
        """The engine stopped: so did its containers, or nobody can tell."""
        for container in self._containers.values():
            lost = ContainerEvent(container.id, "die", {"exitCode": "137"})
            self._hear(lost)

    # A machine of ours.

    async def _make(self, spec: MachineSpec, observer: Observer, dns_address: str) -> MachineContainer:
        engine = self._engine
        assert engine is not None
        network = await self._network_of(spec, dns_address)
        private_ip = private_address(network.number, spec)
        inside = Placement(ANY_HOST, spec.internal_port, private_ip)
        names = f"{network.gateway_ip}:53"
        command = machine_command(spec, inside, dns_address=names, python=PYTHON)
        variables = machine_environment(spec, inside, dns_address=names, inherited={}, python=PYTHON)
        source = await self._images.source_of(spec, command)
        placement = self._place(spec, engine.published_host, private_ip)
        publish = {own: (engine.publishing_address, there) for own, there in placement.ports}
        options = self._options(spec, source, network, private_ip, publish)
        made = await engine.do(_create, engine.api, source, environment=variables, **options)
        return MachineContainer(engine, made, spec, placement, observer, is_ours=True)

    async def _network_of(self, spec: MachineSpec, dns_address: str) -> PrivateNetwork:
        assert self._engine is not None
        if self._networks is None:
            host, _, port = dns_address.rpartition(":")
            names = (host, int(port))
            self._networks = Networks(
                self._engine, self._images, self._run, self._apps, names, self._find_edge_for
            )
        return await self._networks.of_app(spec.app)

    async def _find_edge_for(self, port: int, asker: str) -> Address | None:
        assert self._networks is not None
        container_id = await self._networks.find_container(asker)
        regions = (each.spec.region for each in self._containers.values() if each.id == container_id)
        return self._find_edge(port, next(regions, ""))

    def _place(self, spec: MachineSpec, host: str, private_ip: str) -> Placement:
        wanted = (
            spec.internal_port,
            *spec.further_ports,
            *(check.port for check in spec.checks if check.port),
        )
        ports = tuple((own, self._addresses.take_port(spec, own)) for own in dict.fromkeys(wanted))
        return Placement(host, ports[0][1], private_ip, ports)

    def _options(
        self,
        spec: MachineSpec,
        source: Source,
        network: PrivateNetwork,
        private_ip: str,
        publish: Mapping[int, tuple[str, int]],
    ) -> dict[str, Any]:
        return {
            "name": f"flysim-{self._run}-{spec.app}-{spec.name}-{spec.id}",
            "hostname": spec.id,
            "labels": {
                label.RUN: self._run,
                label.REGION: spec.region,
                label.APP: spec.app,
                label.MACHINE_ID: spec.id,
            },
            "network": network.name,
            "private_ip": private_ip,
            "publish": publish,
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


def sweep(api: Any, run: str) -> None:
    """Remove everything of a run. Blocks."""
    from docker.errors import APIError

    ours = {"label": f"{label.RUN}={run}"}
    for container in api.containers(all=True, quiet=True, filters=ours):
        with suppress(APIError):  # it is being removed already
            api.remove_container(container["Id"], v=True, force=True)
    for network in api.networks(filters=ours):
        with suppress(APIError):
            api.remove_network(network["Id"])
